//! `absorb`: factors and terms of channels after a contraction move into its weights.
//!
//! `(conv(x, w) - mean) * scale + shift`, where all but `x` depend on weights alone, becomes
//! `conv(x, w * scale) + (shift - mean * scale)`: what batch normalisation is in a graph that does
//! not train. `precise` forbids it. The new weights are computed once (see [`crate::prepare`]), so an element of the
//! result costs one addition. Sums and products round in another order than before; no bit of a
//! training step changes, because there the weights are updated.

use std::collections::HashMap;

use kiln_graph::op::{Lower, Space};
use kiln_graph::{Graph, NodeId, Var, ops, rebuild};

use crate::fixed::fixed;
use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "absorb", doc: "move factors of channels into the weights before them", run };

/// A contraction and the operators after it that its weights can take in.
struct Chain {
    anchor: NodeId,
    /// Which operand of the contraction holds the weights.
    weights: usize,
    /// For each axis of `channels` the axis of the weights it is.
    axes: Vec<usize>,
    /// The axes of the contraction's result that are one axis, the channel, in the chain.
    channels: Vec<usize>,
    steps: Vec<Step>,
    last: NodeId,
}

/// One operator of a chain.
enum Step {
    /// Times one value a channel.
    Scale(NodeId),
    /// Plus one value a channel, or minus.
    Shift(NodeId, bool),
}

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) || notes.options.precise {
        return Ok(graph);
    }
    let fixed = fixed(&graph);
    let mut chains = HashMap::new();
    for id in graph.ids() {
        if let Lower::Contract(space) = graph[id].op.lower {
            let space = graph.with_view(id, space);
            if let Some(chain) = chain(&graph, &fixed, id, &space) {
                chains.insert(chain.last, chain);
            }
        }
    }
    if chains.is_empty() {
        return Ok(graph);
    }
    // Operands of a chain stand before its end, but are only known by their old names there.
    let mut new: HashMap<NodeId, NodeId> = HashMap::new();
    let rebuilt = rebuild(&graph, |b, id, node, operands| {
        for (old, var) in graph.operands(id).into_iter().zip(operands) {
            new.insert(old, var.id());
        }
        let chain = chains.get(&id)?;
        let value = |old: NodeId| new.get(&old).map(|&id| b.var(id));
        Some(absorbed(&graph, chain, &value)?.reshape(&node.ty.shape))
    })?;
    Ok(kiln_graph::sweep(rebuilt))
}

/// Follows the only reader of a contraction as long as it scales or shifts channels.
fn chain(graph: &Graph, fixed: &[bool], anchor: NodeId, space: &Space) -> Option<Chain> {
    let operands = graph.operands(anchor);
    let weights = (0..2).find(|&p| fixed[operands[p].index()])?;
    if fixed[operands[1 - weights].index()] {
        return None;
    }
    let mut chain =
        Chain { anchor, weights, axes: vec![], channels: vec![], steps: vec![], last: anchor };
    let mut channels: Option<Vec<usize>> = None;
    let mut scales = false;
    let mut at = anchor;
    while graph.results().all(|r| r != at) {
        let [user] = graph.users(at)[..] else { break };
        if graph[user].op != &ops::RESHAPE {
            let Some((step, axis)) = step(graph, fixed, at, user) else { break };
            let here = merged(&graph[anchor].ty.shape, &graph[at].ty.shape, axis);
            if here.is_none() || channels.as_ref().is_some_and(|c| Some(c) != here.as_ref()) {
                break;
            }
            scales |= matches!(step, Step::Scale(_));
            chain.steps.push(step);
            chain.last = user;
            channels = here;
        }
        at = user;
    }
    chain.channels = channels?;
    chain.axes = axes_of(space, weights, &chain.channels)?;
    // Terms alone are as cheap where they are. Axes of a broadcast ascend.
    (scales && chain.axes.is_sorted()).then_some(chain)
}

/// The step that `user` is on `value`, and the axis its vector runs along.
fn step(graph: &Graph, fixed: &[bool], value: NodeId, user: NodeId) -> Option<(Step, usize)> {
    let operands = graph.operands(user);
    let op = graph[user].op;
    let (other, negated) = match operands[..] {
        [x, y] if x == value && y != value => (y, op == &ops::SUB),
        [x, y] if y == value && x != value && op != &ops::SUB => (x, false),
        _ => return None,
    };
    if !fixed[other.index()] || graph[other].op != &ops::BROADCAST {
        return None;
    }
    let &[axis] = graph[other].attrs.ints("axes") else { return None };
    let vector = graph.operands(other)[0];
    let step = match op {
        op if op == &ops::MUL => Step::Scale(vector),
        op if op == &ops::ADD || op == &ops::SUB => Step::Shift(vector, negated),
        _ => return None,
    };
    Some((step, usize::try_from(axis).ok()?))
}

/// The axes of `from` that a reshape to `to` makes axis `axis` of.
fn merged(from: &[usize], to: &[usize], axis: usize) -> Option<Vec<usize>> {
    let before: usize = to[..axis].iter().product();
    let (mut product, mut start) = (1, 0);
    while product < before {
        product *= from.get(start)?;
        start += 1;
    }
    let (mut size, mut end) = (1, start);
    while size < to[axis] {
        size *= from.get(end)?;
        end += 1;
    }
    (product == before && size == to[axis]).then(|| (start..end).filter(|&a| from[a] > 1).collect())
}

/// For each of these axes of the result the axis of the weights that it is.
fn axes_of(space: &Space, weights: usize, channels: &[usize]) -> Option<Vec<usize>> {
    let access = &space.operands[weights].0;
    let position =
        |&channel: &usize| access.iter().position(|a| a.terms == [(channel, 1)] && a.offset == 0);
    channels.iter().map(position).collect()
}

/// The contraction with its new weights, plus what the steps add.
fn absorbed<'b>(
    graph: &Graph,
    chain: &Chain,
    value: &dyn Fn(NodeId) -> Option<Var<'b>>,
) -> Option<Var<'b>> {
    let (mut scale, mut shift): (Option<Var<'b>>, Option<Var<'b>>) = (None, None);
    for step in &chain.steps {
        match step {
            Step::Scale(vector) => {
                let c = value(*vector)?;
                scale = Some(scale.map_or(c, |s| s * c));
                shift = shift.map(|t| t * c);
            }
            Step::Shift(vector, negated) => {
                let c = value(*vector)?;
                shift = Some(match (shift, negated) {
                    (Some(t), false) => t + c,
                    (Some(t), true) => t - c,
                    (None, false) => c,
                    (None, true) => -c,
                });
            }
        }
    }
    let operands = graph.operands(chain.anchor);
    let mut x = [value(operands[0])?, value(operands[1])?];
    let shape = &graph[chain.anchor].ty.shape;
    let sizes: Vec<usize> = chain.channels.iter().map(|&a| shape[a]).collect();
    let weights = x[chain.weights];
    x[chain.weights] = weights * scale?.reshape(&sizes).broadcast(&weights.shape(), &chain.axes);
    let node = &graph[chain.anchor];
    let product = weights.builder().op(node.op, node.attrs.clone(), &x);
    let shift = shift.map(|t| t.reshape(&sizes).broadcast(shape, &chain.channels));
    Some(shift.map_or(product, |t| product + t))
}

#[cfg(test)]
mod tests {
    use kiln_graph::Builder;
    use kiln_tensor::DType;

    use super::*;
    use crate::testing::{after, assert_same, count, graph};

    /// Batch normalisation of a convolution's result, with running statistics.
    fn normalised<'b>(b: &'b Builder, x: Var<'b>, groups: usize) -> Var<'b> {
        let w = b.param("w", &[6, x.shape()[1] / groups, 3, 3]);
        let y = x.conv(w, [1, 1], [1, 1], [1, 1], groups);
        let dims = y.shape().to_vec();
        let vector = |name| b.param(name, &[6]).broadcast(&dims, &[1]);
        (y - vector("mean")) * vector("scale") * vector("weight") + vector("bias")
    }

    #[test]
    fn a_normalisation_becomes_weights_and_one_term() {
        for groups in [1, 2] {
            let build = |b: &Builder| {
                let x = b.data("x", DType::F32, &[2, 4, 5, 5]);
                b.output("y", normalised(b, x, groups).relu());
            };
            let b = Builder::new();
            build(&b);
            let plain = b.finish().expect("well-formed");
            let (new, _) = after(&PASS, plain.clone());
            assert_same(&plain, &new, 1e-12);
            let image = |id: &NodeId| new[*id].ty.shape[..] == [2, 6, 5, 5];
            let ops = |op: &str| new.ids().filter(image).filter(|&i| new[i].op.name == op).count();
            assert_eq!([ops("mul"), ops("sub")], [0, 0], "{new}");
            assert_eq!(count(&new, "conv"), 1);
        }
    }

    #[test]
    fn what_others_read_or_training_changes_stays() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let (x, w) = (b.data("x", DType::F32, &[3, 4]), b.param("w", &[4, 5]));
                let c = b.param("c", &[5]).broadcast(&[3, 5], &[1]);
                let y = x.matmul(w);
                vec![y * c, y]
            }),
        );
        assert_eq!(count(&g, "broadcast"), 1);
        let b = Builder::new();
        let (x, w) = (b.data("x", DType::F32, &[3, 4]), b.param("w", &[4, 5]));
        let y = x.matmul(w) * b.param("c", &[5]).broadcast(&[3, 5], &[1]);
        b.output("y", y);
        b.update(w, w * 0.5);
        let plain = b.finish().expect("well-formed");
        assert_eq!(after(&PASS, plain.clone()).0.to_string(), plain.to_string());
    }

    #[test]
    fn factors_along_rows_stay() {
        let rows = |b: &Builder| {
            let (x, w) = (b.data("x", DType::F32, &[3, 4]), b.param("w", &[4, 5]));
            b.output("y", x.matmul(w) * b.param("c", &[3]).broadcast(&[3, 5], &[0]));
        };
        let b = Builder::new();
        rows(&b);
        let plain = b.finish().expect("well-formed");
        assert_eq!(after(&PASS, plain.clone()).0.to_string(), plain.to_string());
    }
}
