//! `winograd`: convolutions whose weights do not change become Winograd's F(4x4, 3x3), F(2x2, 3x3),
//! F(2x2, 5x5) or F(4x4, 4x4).
//!
//! Of 3 x 3 taps, tiles of 4 x 4 results take 36 products instead of 144 and tiles of 2 x 2 take 16
//! instead of 36; of 5 x 5 taps, tiles of 2 x 2 take 36 instead of 100; of 4 x 4 taps, tiles of 4 x 4
//! take 49 instead of 256 (Lavin & Gray 2015, "Fast algorithms for convolutional neural networks"):
//! factors of the image, a matrix product for each factor with factors of the weights, results of the
//! products. The factors of the weights are computed once (see [`crate::prepare`]), in f64. It pays
//! where the transforms and the larger weights cost less than the products saved; the estimates are in
//! the remarks.
//!
//! A convolution with a stride S is one of stride 1 over its phases: rows and columns of each remainder
//! by S become channels of their own, and K taps become K / S, rounded up. So 7 x 7 taps by a stride of 2
//! are 4 x 4 of four times as many channels, and take a quarter of the products.
//!
//! Errors of six or seven factors along an axis are some 1e-5 of the range of results, those of F(2x2, 3x3)
//! and of the direct convolution 1e-6 at most; `precise` forbids all.

use std::fmt;

use kiln_graph::op::Lower;
use kiln_graph::ops::WinogradForm;
use kiln_graph::{Builder, Graph, GraphError, Node, Var, ops, rebuild};
use kiln_tensor::DType;

use crate::fixed::fixed;
use crate::lower::is_turn;
use crate::pass::{Notes, Pass, PassError, Way};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "winograd", doc: "convolutions take fewer products, by Winograd", run };

/// Channels on either side below which rows of the products are too short.
const CHANNELS: usize = 12;
/// Multiply-adds a nanosecond that a product reaches on one core, and terms of it that storing a result
/// takes as long as; bytes a nanosecond at which weights come from the last cache meanwhile, where outputs
/// are many enough for few rows to read each line once and where they are not; nanoseconds that a transform
/// takes for each factor; bytes of factors and products that stay in the second-level cache, and bytes a
/// nanosecond at which others go to memory and come back.
const PRODUCT: f64 = 84.0;
const STORED: usize = 6;
const MANY: usize = 256;
const WEIGHTS: [f64; 2] = [15.0, 12.0];
const TRANSFORM: f64 = 0.06;
const STAYS: usize = 2 << 20;
const SPILLED: f64 = 14.0;
/// The name of the way without tiles.
const DIRECT_WAY: &str = "direct";

/// Sizes of a convolution; as text, what it is called among decisions.
struct Sizes {
    taps: usize,
    stride: usize,
    images: usize,
    channels: usize,
    outputs: usize,
    /// Rows and columns of results.
    results: [usize; 2],
}

impl Sizes {
    fn tiles(&self, tile: usize) -> usize {
        self.results.iter().map(|n| n.div_ceil(tile)).product::<usize>() * self.images
    }

    /// Channels of the convolution of stride 1 over its phases.
    fn phase_channels(&self) -> usize {
        self.channels * self.stride * self.stride
    }

    /// Taps of the convolution of stride 1 over its phases, along an axis.
    fn phase_taps(&self) -> usize {
        self.taps.div_ceil(self.stride)
    }

    /// Nanoseconds on one core of `products` matrix products with so many rows and terms.
    fn products(&self, products: usize, [rows, terms]: [usize; 2]) -> f64 {
        let weights = (products * terms * self.outputs) as f64;
        let stored = (products * STORED * self.outputs) as f64;
        let bytes = WEIGHTS[usize::from(self.outputs < MANY)];
        let arrives = weights * size_of::<f32>() as f64 / bytes;
        ((weights + stored) * rows as f64 / PRODUCT).max(arrives)
    }

    /// The direct convolution, and Winograd's where rows of its products are not too short.
    fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way { name: DIRECT_WAY, nanoseconds: self.direct() }];
        if self.phase_channels().min(self.outputs) >= CHANNELS {
            let taps = self.phase_taps();
            let tiled = WinogradForm::ALL.into_iter().filter(|form| form.taps == taps);
            ways.extend(tiled.map(|f| Way { name: f.name(), nanoseconds: self.tiled(f) }));
        }
        ways
    }

    /// A convolution of these sizes between an image and a reduction, as it stands in a network.
    fn alone(&self) -> Result<Graph, GraphError> {
        let ([h, w], [n, c, o]) = (self.results, [self.images, self.channels, self.outputs]);
        let b = Builder::new();
        let (k, s) = (self.taps, self.stride);
        let (image, kernel) =
            (b.data("image", DType::F32, &[n, c, h * s, w * s]), b.param("kernel", &[o, c, k, k]));
        let result = image.conv(kernel, [s; 2], [k / 2; 2], [1, 1], 1).slice(
            &[0; 4],
            &[n, o, h, w],
            &[1; 4],
        );
        b.output("most", result.reduce_max(&[2, 3]));
        b.finish()
    }

    /// Nanoseconds of the direct convolution, on one core.
    fn direct(&self) -> f64 {
        let rows = self.images * self.results[0] * self.results[1];
        self.products(1, [rows, self.taps * self.taps * self.channels])
    }

    /// Nanoseconds by tiles. Threads share rows of tiles; of several images, whole ones, unless some rows
    /// of tiles are a turn.
    fn tiled(&self, form: WinogradForm) -> f64 {
        let (tiles, factors, channels) =
            (self.tiles(form.tile), form.factors(), self.phase_channels());
        let bytes = |tiles: usize| {
            let elements = (factors * tiles).saturating_mul(channels + self.outputs);
            elements.saturating_mul(size_of::<f32>())
        };
        let [rows, row] = self.results.map(|n| n.div_ceil(form.tile));
        let is_turn = |rows: &usize| is_turn(factors, [rows * row, self.outputs, channels]);
        let turn = match self.images {
            1 => 1,
            _ => (1..=rows).filter(|d| rows.is_multiple_of(*d)).find(is_turn).unwrap_or(rows),
        };
        let spilled = if bytes(turn * row) > STAYS { 2 * bytes(tiles) } else { 0 };
        let transformed = factors * tiles * (channels + self.outputs);
        self.products(factors, [tiles, channels])
            + TRANSFORM * transformed as f64
            + spilled as f64 / SPILLED
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([h, w], [n, c, o]) = (self.results, [self.images, self.channels, self.outputs]);
        let (k, s) = (self.taps, self.stride);
        let stride = if s == 1 { String::new() } else { format!(" of stride {s}") };
        write!(f, "{k}x{k} convolution{stride} to {n}x{o}x{h}x{w} from {c} channels")
    }
}

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) || notes.options.precise {
        return Ok(graph);
    }
    let fixed = fixed(&graph);
    let mut chosen = vec![None; graph.len()];
    for id in graph.ids().filter(|&id| graph[id].op == &ops::CONV) {
        let [image, kernel] = graph.operands(id)[..] else { continue };
        let Some(sizes) = sizes(&graph[id], &graph[image], &graph[kernel]) else { continue };
        if !fixed[kernel.index()] || fixed[image.index()] {
            continue;
        }
        let (subject, ways) = (sizes.to_string(), sizes.ways());
        let choice = notes.decide(&subject, &ways, || sizes.alone())?;
        chosen[id.index()] = WinogradForm::ALL.into_iter().find(|f| f.name() == choice);
        let estimates: Vec<String> =
            ways.iter().map(|way| format!("{:.0} ns {}", way.nanoseconds, way.name)).collect();
        let tuned = if notes.options.choices.contains_key(&subject) { " as tuned" } else { "" };
        let reason = format!("{choice}{tuned}: {subject}, about {}", estimates.join(", "));
        notes.remark(&graph, id, reason);
    }
    if chosen.iter().all(Option::is_none) {
        return Ok(graph);
    }
    let rebuilt = rebuild(&graph, |_, id, node, x| {
        let [image, kernel] = x else { return None };
        let form = chosen[id.index()].filter(|_| matches!(node.op.lower, Lower::Contract(_)))?;
        let stride = usize::try_from(node.attrs.ints("stride")[0]).ok()?;
        Some(convolution(*image, *kernel, &node.ty.shape, stride, form))
    })?;
    Ok(kiln_graph::sweep(rebuilt))
}

/// The sizes of a convolution that there is a form for: one stride along both axes, one group.
fn sizes(node: &Node, image: &Node, kernel: &Node) -> Option<Sizes> {
    let (y, w) = (&node.ty.shape, &kernel.ty.shape);
    let [stride, across] = node.attrs.ints("stride") else { return None };
    let sizes = Sizes {
        taps: w[3],
        stride: usize::try_from(*stride).ok()?,
        images: y[0],
        channels: image.ty.shape[2],
        outputs: y[2],
        results: [y[3], y[4]],
    };
    let square = w[3] == w[4] && stride == across && node.attrs.ints("dilation") == [1, 1];
    let known = WinogradForm::ALL.iter().any(|form| form.taps == sizes.phase_taps());
    (square && w[0] == 1 && known && sizes.stride < sizes.taps).then_some(sizes)
}

/// The convolution of `[N, 1, C, H, W]` with `[1, O, C, K, K]`, of shape `y`, by tiles.
fn convolution<'b>(
    image: Var<'b>,
    kernel: Var<'b>,
    y: &[usize],
    stride: usize,
    form: WinogradForm,
) -> Var<'b> {
    let (c, o, k) = (image.shape()[2], y[2], kernel.shape()[4]);
    let [th, tw] = [y[3], y[4]].map(|n| n.div_ceil(form.tile));
    let sides = [th, tw].map(|tiles| form.tile * tiles + form.taps - 1);
    let frame = Frame::around(image);
    let (image, shift) = match stride {
        1 => (frame.image(sides), [0; 2]),
        _ => frame.phases(sides, stride, form.taps * stride - k),
    };
    let kernel = kernel.reshape(&[o, c, k, k]);
    let kernel = match stride {
        1 => kernel,
        _ => {
            let kernel = framed(kernel, [2, 3], shift, [form.taps * stride; 2]);
            let phases = kernel.reshape(&[o, c, form.taps, stride, form.taps, stride]);
            let phases = phases.transpose(&[0, 3, 5, 1, 2, 4]);
            phases.reshape(&[o, stride * stride * c, form.taps, form.taps])
        }
    };
    let weights = kernel.winograd_weights(form).transpose(&[0, 2, 1]);
    let products = image.winograd_image(form).dot(weights);
    let result = products.winograd_result(form, [y[0], th, tw]);
    result.slice(&[0; 4], &[y[0], o, y[3], y[4]], &[1; 4]).reshape(y)
}

/// Whether the node puts zeros around images, or takes rows and columns off.
pub(crate) fn is_frame(node: &Node) -> bool {
    if node.op != &ops::PAD || node.ty.shape.rank() != 4 {
        return false;
    }
    let [low, high, interior] = ["low", "high", "interior"].map(|n| node.attrs.ints(n));
    node.attrs.float("value").to_bits() == 0
        && interior.iter().all(|&i| i == 0)
        && [low, high].iter().all(|sides| sides[..2] == [0, 0])
}

/// An image `[N, C, H, W]` with zeros before and after its rows and columns.
struct Frame<'b> {
    inner: Var<'b>,
    /// Zeros before it.
    before: [usize; 2],
}

impl<'b> Frame<'b> {
    /// What `[N, 1, C, H, W]` is, with the zeros that it is padded with.
    fn around(image: Var<'b>) -> Frame<'b> {
        let shape = image.shape();
        let shape = [shape[0], shape[2], shape[3], shape[4]];
        let b = image.builder();
        let padded = b.inspect(|g| {
            let mut id = image.id();
            while g[id].op == &ops::RESHAPE {
                id = g.operands(id)[0];
            }
            let node = &g[id];
            if !is_frame(node) || node.ty.shape[..] != shape {
                return None;
            }
            let low = node.attrs.ints("low");
            let before = |axis: usize| usize::try_from(low[axis]).ok();
            Some((g.operands(id)[0], [before(2)?, before(3)?]))
        });
        match padded {
            Some((inner, before)) => Frame { inner: b.var(inner), before },
            None => Frame { inner: image.reshape(&shape), before: [0; 2] },
        }
    }

    /// As `[N, C, H, W]` of so many rows and columns.
    fn image(&self, sides: [usize; 2]) -> Var<'b> {
        framed(self.inner, [2, 3], self.before, sides)
    }

    /// As `[N, S * S * C, H, W]` of so many rows and columns: channels for rows and columns of each
    /// remainder by the stride `S`. The zeros before the image are a multiple of the stride, so that they
    /// are rows and columns of phases, if there may be so many more, which are returned.
    fn phases(&self, sides: [usize; 2], stride: usize, more: usize) -> (Var<'b>, [usize; 2]) {
        let shift = self.before.map(|n| n.next_multiple_of(stride) - n);
        let shape = self.inner.shape();
        let whole = shape[2..].iter().all(|n| n.is_multiple_of(stride));
        let (image, shift) = if whole && shift.iter().all(|&n| n <= more) {
            let phases = phases(self.inner, stride);
            let before = self.before.map(|n| n.div_ceil(stride));
            (framed(phases, [1, 2], before, sides), shift)
        } else {
            (phases(self.image(sides.map(|n| n * stride)), stride), [0; 2])
        };
        let [n, h, w, c] = [0, 1, 2, 5].map(|axis| image.shape()[axis]);
        let image = image.reshape(&[n, h, w, stride * stride * c]);
        (image.transpose(&[0, 3, 1, 2]), shift)
    }
}

/// `[N, C, S * H, S * W]` as `[N, H, W, S, S, C]`.
fn phases(image: Var<'_>, stride: usize) -> Var<'_> {
    let shape = image.shape();
    let (h, w) = (shape[2] / stride, shape[3] / stride);
    let split = image.reshape(&[shape[0], shape[1], h, stride, w, stride]);
    split.transpose(&[0, 2, 4, 3, 5, 1])
}

/// The operand with zeros before it along two axes, and as many elements of it and zeros after it as
/// make their sizes so.
fn framed(x: Var<'_>, axes: [usize; 2], before: [usize; 2], sizes: [usize; 2]) -> Var<'_> {
    let shape = x.shape();
    let none = vec![0; shape.rank()];
    let (mut low, mut high, mut limit) = (none.clone(), none.clone(), shape.to_vec());
    for ((axis, before), size) in axes.into_iter().zip(before).zip(sizes) {
        low[axis] = before.min(size);
        limit[axis] = shape[axis].min(size - low[axis]);
        high[axis] = size - low[axis] - limit[axis];
    }
    x.slice(&none, &limit, &vec![1; shape.rank()]).pad(&low, &high, &none, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::PassOptions;
    use crate::testing::{after, assert_same, count};

    fn network(size: [usize; 2], pad: [usize; 2], stride: usize) -> Graph {
        with_taps(3, size, pad, stride)
    }

    fn with_taps(taps: usize, size: [usize; 2], pad: [usize; 2], stride: usize) -> Graph {
        of_channels(32, taps, size, pad, stride)
    }

    fn of_channels(
        channels: usize,
        taps: usize,
        size: [usize; 2],
        pad: [usize; 2],
        stride: usize,
    ) -> Graph {
        let b = Builder::new();
        let x = b.data("x", DType::F32, &[4, channels, size[0], size[1]]);
        let w = b.param("w", &[48, channels, taps, taps]);
        b.output("y", x.conv(w, [stride; 2], pad, [1, 1], 1));
        b.finish().expect("well-formed")
    }

    #[test]
    fn images_of_any_size_and_padding_have_the_same_convolution() {
        for (size, pad) in
            [([16, 16], [1, 1]), ([13, 10], [1, 0]), ([14, 14], [0, 0]), ([11, 18], [2, 1])]
        {
            let plain = network(size, pad, 1);
            let (new, notes) = after(&PASS, plain.clone());
            assert_eq!([count(&new, "conv"), count(&new, "winograd_image")], [0, 1], "{new}");
            assert!(count(&new, "pad") <= 1, "{new}");
            assert_same(&plain, &new, 1e-12);
            assert!(notes.remarks[0].reason.contains(" ns F(4x4, 3x3)"), "{notes:?}");
        }
    }

    #[test]
    fn five_taps_have_small_tiles() {
        for (size, pad) in [([12, 12], [0, 0]), ([11, 8], [2, 2]), ([9, 13], [1, 0])] {
            let plain = with_taps(5, size, pad, 1);
            let (new, notes) = after(&PASS, plain.clone());
            assert_eq!([count(&new, "conv"), count(&new, "winograd_image")], [0, 1], "{new}");
            assert_same(&plain, &new, 1e-12);
            assert!(notes.remarks[0].reason.starts_with("F(2x2, 5x5): 5x5"), "{notes:?}");
        }
    }

    #[test]
    fn phases_of_a_stride_have_few_taps() {
        for (taps, stride, size, pad, form) in [
            (7, 2, [16, 18], [3, 3], "F(4x4, 4x4)"), // the padding is one of phases
            (7, 2, [16, 18], [2, 0], "F(4x4, 4x4)"),
            (7, 2, [15, 18], [3, 1], "F(4x4, 4x4)"), // the image has rows that are no phases
            (8, 2, [16, 16], [3, 2], "F(4x4, 4x4)"), // no tap may be put before them
            (8, 2, [23, 23], [0, 0], "F(4x4, 4x4)"), // nothing depends on the last row
            (5, 2, [16, 15], [2, 2], "F(4x4, 3x3)"),
            (11, 4, [32, 36], [2, 5], "F(4x4, 3x3)"),
            (9, 3, [22, 27], [4, 3], "F(4x4, 3x3)"),
        ] {
            let plain = of_channels(3, taps, size, pad, stride);
            let (new, notes) = after(&PASS, plain.clone());
            assert_eq!([count(&new, "conv"), count(&new, "winograd_image")], [0, 1], "{new}");
            assert_same(&plain, &new, 1e-12);
            let reason = format!("{form}: {taps}x{taps} convolution of stride {stride} to 4x48");
            assert!(notes.remarks[0].reason.starts_with(&reason), "{notes:?}");
        }
    }

    #[test]
    fn others_stay_direct() {
        let unchanged =
            |graph: Graph| assert_eq!(after(&PASS, graph.clone()).0.to_string(), graph.to_string());
        unchanged(network([16, 16], [1, 1], 2));
        unchanged(network([2, 2], [1, 1], 1));
        unchanged(with_taps(7, [16, 16], [3, 3], 1));
        unchanged(with_taps(1, [16, 16], [0, 0], 2));
        let b = Builder::new();
        let (x, w) =
            (b.data("x", DType::F32, &[2, 32, 16, 16]), b.data("w", DType::F32, &[48, 32, 3, 3]));
        b.output("y", x.conv(w, [1, 1], [1, 1], [1, 1], 1));
        unchanged(b.finish().expect("well-formed"));
    }

    #[test]
    fn small_images_have_small_tiles() {
        for (size, pad) in [([4, 4], [1, 1]), ([8, 6], [0, 1]), ([6, 6], [1, 1])] {
            let plain = network(size, pad, 1);
            let (new, notes) = after(&PASS, plain.clone());
            assert_eq!([count(&new, "conv"), count(&new, "winograd_image")], [0, 1], "{new}");
            assert!(new.to_string().contains("tile=2"), "{new}");
            assert_same(&plain, &new, 1e-12);
            assert!(notes.remarks[0].reason.starts_with("F(2x2, 3x3)"));
        }
    }

    #[test]
    fn what_is_decided_already_is_not_estimated() {
        let (graph, subject) =
            (network([2, 2], [1, 1], 1), "3x3 convolution to 4x48x2x2 from 32 channels");
        let run = |choice: &str| {
            let choices = [(subject.to_owned(), choice.to_owned())].into();
            let mut notes = Notes::new(PassOptions { choices, ..PassOptions::default() });
            let new =
                crate::run(&[&PASS], graph.clone(), &mut notes, &mut |_, _| {}).expect("succeeds");
            (count(&new, "conv"), notes)
        };
        let (convolutions, notes) = run("F(4x4, 3x3)");
        assert_eq!(convolutions, 0);
        assert!(notes.remarks[0].reason.starts_with("F(4x4, 3x3) as tuned: 3x3"), "{notes:?}");
        let [decision] = &notes.decisions[..] else { panic!("one subject") };
        assert_eq!((&decision.subject[..], decision.chosen), (subject, "F(4x4, 3x3)"));
        // The graph to time it by asks for the same decision.
        let mut alone = Notes::default();
        crate::run(&[&PASS], decision.alone.clone(), &mut alone, &mut |_, _| {}).expect("succeeds");
        assert_eq!(alone.decisions[0].subject, subject);
        // Unknown ways are as good as none.
        assert_eq!([run("direct").0, run("F(9, 9)").0], [1, 1]);
    }

    #[test]
    fn precise_forbids_it() {
        let graph = network([16, 16], [1, 1], 1);
        let mut notes = Notes::new(PassOptions { precise: true, ..PassOptions::default() });
        let new = crate::run(&[&PASS], graph, &mut notes, &mut |_, _| {}).expect("succeeds");
        assert_eq!(count(&new, "conv"), 1);
    }
}
