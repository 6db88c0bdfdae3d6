//! `flatten`: a flattened image is multiplied in the order in which it lies in memory.
//!
//! Convolutions store channels last, but a flattened image counts its channels first. The product that
//! reads it does not care in which order it sums, as long as its weights have the same: `dot(x, w)`
//! becomes the product of `x` with rows, columns and channels in this order and of `w` with its terms
//! moved alike, once (see [`crate::prepare`]). What stores the image then works along its channels.
//! `precise` forbids it.

use kiln_graph::op::{Lower, Space};
use kiln_graph::{Graph, NodeId, Var, merge, ops, rebuild};

use crate::fixed::fixed;
use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "flatten", doc: "multiply flattened images in the order they lie in", run };

/// Elements of weights that are worth a second order. A product with more of them waits for memory
/// whatever its other operand costs.
const MOST: usize = 1 << 21;
/// Nodes between the image and the convolution, at most.
const REACH: usize = 16;
/// The axes `[N, C, H, W]` as they lie.
const LAST: [usize; 4] = [0, 2, 3, 1];

/// A product of a flattened image.
struct Flat {
    /// Positions of the image and of the weights among the operands.
    image: usize,
    weights: usize,
    /// The axis of the weights that the product sums over.
    axis: usize,
    /// `C`, `H` and `W` of the image.
    sizes: [usize; 3],
}

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) || notes.options.precise {
        return Ok(graph);
    }
    let fixed = fixed(&graph);
    let found: Vec<Option<Flat>> = graph.ids().map(|id| flat(&graph, &fixed, id)).collect();
    if found.iter().all(Option::is_none) {
        return Ok(graph);
    }
    let rebuilt = rebuild(&graph, |b, id, node, operands| {
        let flat = found[id.index()].as_ref()?;
        let mut operands = operands.to_vec();
        let reshaped = operands[flat.image];
        let image = b.inspect(|g| g.operands(reshaped.id()).first().copied())?;
        let flattened = graph.operands(id)[flat.image];
        b.locate(merge([&graph[flattened].locations, &node.locations]));
        operands[flat.image] = b.var(image).transpose(&LAST).reshape(&reshaped.shape());
        b.locate(node.locations.clone());
        operands[flat.weights] = flat.moved(operands[flat.weights]);
        Some(b.op(node.op, node.attrs.clone(), &operands))
    })?;
    Ok(kiln_graph::sweep(rebuilt))
}

impl Flat {
    /// The weights with their terms in the order in which the image lies.
    fn moved<'b>(&self, weights: Var<'b>) -> Var<'b> {
        let shape = weights.shape();
        let (before, after) = (&shape[..self.axis], &shape[self.axis + 1..]);
        let apart = [before, &self.sizes, after].concat();
        let mut order: Vec<usize> = (0..apart.len()).collect();
        order[self.axis..self.axis + 3].rotate_left(1);
        weights.reshape(&apart).transpose(&order).reshape(&shape)
    }
}

/// The product, if it is one of an image from a convolution that nothing else reads, flattened.
fn flat(graph: &Graph, fixed: &[bool], id: NodeId) -> Option<Flat> {
    let Lower::Contract(space) = graph[id].op.lower else { return None };
    let space = graph.with_view(id, space);
    let &[terms] = &space.reduced[..] else { return None };
    let operands = graph.operands(id);
    let weights = (0..2).find(|&p| fixed[operands[p].index()])?;
    let image = 1 - weights;
    let (reshaped, kernel) = (operands[image], operands[weights]);
    if graph[reshaped].op != &ops::RESHAPE || graph[kernel].ty.shape.elements() > MOST {
        return None;
    }
    let source = graph.operands(reshaped)[0];
    let &[n, c, h, w] = &graph[source].ty.shape[..] else { return None };
    // The axes of the space are those of the result, then the one summed over.
    let summed = graph[id].ty.shape.rank();
    let [along, axis] = [image, weights].map(|p| only_axis(&space, p, summed));
    let along = along?;
    let rows: usize = graph[reshaped].ty.shape[..along].iter().product();
    let alone = graph.users(reshaped)[..] == [id] && graph.users(source)[..] == [reshaped];
    let whole = rows == n && terms == c * h * w && c > 1 && h * w > 1;
    let kept = graph.results().any(|r| r == source || r == reshaped);
    (whole && alone && !kept && of_convolution(graph, source)).then_some(Flat {
        image,
        weights,
        axis: axis?,
        sizes: [c, h, w],
    })
}

/// The axis of the operand that is this one of the space, if only one depends on it.
fn only_axis(space: &Space, operand: usize, axis: usize) -> Option<usize> {
    let access = &space.operands[operand].0;
    let depends = |i: &usize| access[*i].terms.iter().any(|t| t.0 == axis);
    let mut all = (0..access.len()).filter(depends);
    let (one, other) = (all.next()?, all.next());
    let plain = access[one].terms == [(axis, 1)] && access[one].offset == 0;
    (plain && other.is_none()).then_some(one)
}

/// Whether the value is computed from a convolution's result by what keeps the order of its axes.
fn of_convolution(graph: &Graph, mut id: NodeId) -> bool {
    for _ in 0..REACH {
        if matches!(graph[id].op.lower, Lower::Tiles(_)) || graph[id].op == &ops::CONV {
            return true;
        }
        let Some(&next) = graph.operands(id).first() else { return false };
        id = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use kiln_graph::Builder;
    use kiln_tensor::DType;

    use super::*;
    use crate::pass::PassOptions;
    use crate::testing::{after, assert_same, count, graph};

    /// A convolution's flattened result times weights.
    fn network<'b>(b: &'b Builder, images: usize, second: bool) -> Var<'b> {
        let x = b.data("x", DType::F32, &[images, 2, 5, 6]);
        let y = x.conv(b.param("k", &[3, 2, 2, 2]), [1, 1], [0, 0], [1, 1], 1).relu();
        let y = y.max_pool([2, 2], [2, 2], [1, 1]);
        match second {
            true => y.reshape(&[1, images, 12]).dot(b.param("w", &[1, 12, 7])),
            false => b.param("w", &[1, 7, 12]).dot(y.reshape(&[1, 12, images])),
        }
    }

    #[test]
    fn the_product_is_the_same() {
        for (images, second) in [(1, true), (4, true), (1, false)] {
            let plain = graph(|b| vec![network(b, images, second)]);
            let (new, _) = after(&PASS, plain.clone());
            assert_same(&plain, &new, 1e-12);
            assert_eq!(count(&new, "transpose"), 2, "{new}");
        }
    }

    #[test]
    fn what_others_read_and_what_is_no_image_stays() {
        let unchanged =
            |graph: Graph| assert_eq!(after(&PASS, graph.clone()).0.to_string(), graph.to_string());
        unchanged(graph(|b| {
            let x = b.data("x", DType::F32, &[4, 3, 2, 2]).relu();
            vec![x.reshape(&[1, 4, 12]).dot(b.param("w", &[1, 12, 7]))]
        }));
        unchanged(graph(|b| {
            let x = b.data("x", DType::F32, &[4, 2, 3, 3]);
            let y = x.conv(b.param("k", &[3, 2, 2, 2]), [1, 1], [0, 0], [1, 1], 1).relu();
            vec![y.reshape(&[1, 4, 12]).dot(b.param("w", &[1, 12, 7])), y]
        }));
        unchanged(graph(|b| {
            let x = b.data("x", DType::F32, &[4, 2, 3, 3]);
            let y = x.conv(b.param("k", &[3, 2, 2, 2]), [1, 1], [0, 0], [1, 1], 1).relu();
            vec![y.reshape(&[1, 4, 12]).dot(b.data("w", DType::F32, &[1, 12, 7]))]
        }));
    }

    #[test]
    fn precise_forbids_it() {
        let graph = graph(|b| vec![network(b, 4, true)]);
        let mut notes = Notes::new(PassOptions { precise: true, ..PassOptions::default() });
        let new = crate::run(&[&PASS], graph, &mut notes, &mut |_, _| {}).expect("succeeds");
        assert_eq!(count(&new, "transpose"), 0);
    }
}
