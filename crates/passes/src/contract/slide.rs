//! Windows that slide along an axis of a factor: what makes a contraction a convolution.
//!
//! An `unfold` whose one axis the sum keeps, the place, and whose other it sums over, the tap, walks
//! its operand as the window of a convolution does. Where the other factor has the tap and not the
//! place, the contraction is `conv`: the batch is its groups, rows its images, columns its outputs.

use kiln_graph::{Graph, Var, ops};

use super::{Arranged, Factor, Plan};

/// `conv` slides along so many axes at most.
const MAX_WINDOWS: usize = 2;

/// Two axes of the product that walk one axis of a factor's source: at a place and a tap they read
/// the element `offset + stride * place + dilation * tap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The axis of the source.
    pub axis: usize,
    /// The axis of the product that the sum keeps.
    pub place: usize,
    /// The axis of the product that is summed.
    pub tap: usize,
    offset: i64,
    stride: i64,
    dilation: i64,
}

impl Factor {
    /// Goes on below an `unfold` that slides a window; gives whether it was one.
    pub(super) fn step_below_window(&mut self, graph: &Graph, place: &[Option<usize>]) -> bool {
        let node = &graph[self.source];
        if node.op != &ops::UNFOLD {
            return false;
        }
        let (axis, strides) = (node.attrs.int("axis") as usize, node.attrs.ints("strides"));
        let walked = axis..axis + strides.len();
        if self.windows.iter().any(|w| walked.contains(&w.axis)) {
            return false;
        }
        let along = |at: usize| {
            let product_axis = self.axes.iter().position(|a| *a == Some(axis + at))?;
            Some((product_axis, strides[at]))
        };
        let (Some(a), Some(b), 2) = (along(0), along(1), strides.len()) else { return false };
        let ((place, stride), (tap, dilation)) = match (place[a.0], place[b.0]) {
            (Some(_), None) => (a, b),
            (None, Some(_)) => (b, a),
            _ => return false,
        };
        if stride < 1 || dilation == 0 {
            return false;
        }
        let below = |at: usize| if at < walked.end { at.min(axis) } else { at - 1 };
        self.axes.iter_mut().for_each(|a| *a = a.map(below));
        self.windows.iter_mut().for_each(|w| w.axis = below(w.axis));
        let offset = node.attrs.int("offset");
        self.windows.push(Window { axis, place, tap, offset, stride, dilation });
        self.source = graph.operands(self.source)[0];
        true
    }

    /// Whether its windows make a convolution with the other factor, given the axes that this one
    /// alone has in the sum and those that are contracted.
    pub(super) fn slides(&self, other: &Factor, own: &[usize], contracted: &[usize]) -> bool {
        let fits = |w: &Window| own.contains(&w.place) && contracted.contains(&w.tap);
        self.windows.is_empty()
            || other.windows.is_empty()
                && self.windows.len() <= MAX_WINDOWS
                && self.windows.iter().all(fits)
    }
}

impl Plan {
    /// The convolution, and the axes of the product that its result has, in order.
    pub(super) fn convolution<'b>(
        &self,
        left: Var<'b>,
        right: Var<'b>,
        known: &mut Arranged,
    ) -> (Var<'b>, Vec<usize>) {
        let mut windows = self.left.windows.clone();
        windows.sort_by_key(|w| w.axis);
        let (places, taps): (Vec<usize>, Vec<usize>) =
            windows.iter().map(|w| (w.place, w.tap)).unzip();
        let other = |axes: &[usize], windows: &[usize]| -> Vec<usize> {
            axes.iter().copied().filter(|a| !windows.contains(a)).collect()
        };
        let (rows, inputs) = (other(&self.rows, &places), other(&self.contracted, &taps));
        // The last window is that of W; without a second one H has size 1.
        let [w, h] = [0, 1].map(|from_end| windows.iter().rev().nth(from_end));
        let one = |axis: Option<usize>| axis.into_iter().collect::<Vec<usize>>();
        let image = self.arrange(
            self.cut(left, &windows),
            &self.left,
            &[&rows, &self.batch, &inputs, &one(h.map(|w| w.place)), &one(w.map(|w| w.place))],
            known,
        );
        let turned: Vec<usize> = windows
            .iter()
            .filter(|w| w.dilation < 0)
            .filter_map(|w| self.right.axes[w.tap])
            .collect();
        let kernel = if turned.is_empty() { right } else { right.reverse(&turned) };
        let kernel = self.arrange(
            kernel,
            &self.right,
            &[&self.batch, &self.cols, &inputs, &one(h.map(|w| w.tap)), &one(w.map(|w| w.tap))],
            known,
        );
        let of = |step: fn(&Window) -> i64| {
            [h, w].map(|window| window.map_or(1, |w| step(w).unsigned_abs() as usize))
        };
        let product = image.conv5(kernel, of(|w| w.stride), of(|w| w.dilation));
        let axes = [&rows, &self.batch, &self.cols, &places].into_iter().flatten();
        (product, axes.copied().collect())
    }

    /// The stretch of each window's axis that the windows see.
    fn cut<'b>(&self, x: Var<'b>, windows: &[Window]) -> Var<'b> {
        let mut start = vec![0; x.shape().rank()];
        let mut limit = x.shape().to_vec();
        for w in windows {
            let last = |axis: usize, step: i64| (self.extents[axis] as i64 - 1) * step;
            let taps = last(w.tap, w.dilation);
            // Every access is within the axis, which `unfold` has checked.
            start[w.axis] = (w.offset + taps.min(0)) as usize;
            limit[w.axis] = (w.offset + last(w.place, w.stride) + taps.max(0) + 1) as usize;
        }
        let rank = start.len();
        x.slice(&start, &limit, &vec![1; rank])
    }
}
