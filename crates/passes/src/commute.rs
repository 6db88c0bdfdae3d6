//! `commute`: sums of windows are taken after a convolution of one tap that leaves fewer channels.
//!
//! The convolution mixes the channels of each place, a sum of windows the places of each channel, so
//! either may come first: so may factors between them, and zeros around the image. What has fewer
//! channels has fewer windows to sum and less to write and read again: the branch of an Inception module
//! that averages 576 channels and keeps 128 of them averages 128. Sums round in another order; `precise`
//! forbids it.

use std::collections::HashMap;

use kiln_graph::{Graph, Node, NodeId, Var, ops, rebuild};

use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;
use crate::winograd::is_frame;

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "commute", doc: "sum windows after convolutions that leave fewer channels", run };

/// What stands between an image and a convolution of one tap, from the convolution backwards.
struct Before {
    /// Products and quotients with a number.
    factors: Vec<NodeId>,
    sums: NodeId,
    pad: Option<NodeId>,
    image: NodeId,
}

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) || notes.options.precise {
        return Ok(graph);
    }
    let found: HashMap<NodeId, Before> =
        graph.ids().filter_map(|id| Some((id, before(&graph, id)?))).collect();
    if found.is_empty() {
        return Ok(graph);
    }
    // What stands before a convolution is only known by its old name there.
    let mut new: HashMap<NodeId, NodeId> = HashMap::new();
    let rebuilt = rebuild(&graph, |b, id, node, operands| {
        for (old, var) in graph.operands(id).into_iter().zip(operands) {
            new.insert(old, var.id());
        }
        let before = found.get(&id)?;
        let value = |old: NodeId| new.get(&old).map(|&id| b.var(id));
        commuted(&graph, before, node, operands[1], &value)
    })?;
    Ok(kiln_graph::sweep(rebuilt))
}

/// The sums of windows before a convolution, if they may come after it and are fewer there.
fn before(graph: &Graph, id: NodeId) -> Option<Before> {
    let node = &graph[id];
    let &[operand, kernel] = &graph.operands(id)[..] else { return None };
    let ([x, y], w) = ([operand, id].map(|n| &graph[n].ty.shape), &graph[kernel].ty.shape);
    let mixes = node.op == &ops::CONV
        && [w[0], w[3], w[4]] == [1; 3]
        && node.attrs.ints("stride") == [1, 1];
    if !mixes || y[2] >= x[2] {
        return None;
    }
    let alone = |n: NodeId| graph.users(n).len() == 1 && graph.results().all(|r| r != n);
    let (mut at, mut factors) = (operand, Vec::new());
    while graph[at].op != &ops::SUM_POOL {
        let next = *graph.operands(at).first()?;
        if !alone(at) {
            return None;
        }
        match graph[at].op {
            op if op == &ops::RESHAPE && is_image(x, &graph[next].ty.shape) => {}
            op if (op == &ops::DIV || op == &ops::MUL) && is_number(graph, at) => factors.push(at),
            _ => return None,
        }
        at = next;
    }
    let sums = at;
    if !alone(sums) || graph[sums].attrs.ints("stride") != [1, 1] {
        return None;
    }
    let padded = graph.operands(sums)[0];
    let pad = Some(padded).filter(|&p| is_frame(&graph[p]));
    let image = pad.map_or(padded, |p| graph.operands(p)[0]);
    let places = |shape: &[usize]| shape[2] * shape[3];
    // No more places than there are windows.
    let fewer = graph[image].ty.shape.rank() == 4
        && places(&graph[image].ty.shape) <= places(&graph[sums].ty.shape);
    fewer.then_some(Before { factors, sums, pad, image })
}

/// Whether `[N, 1, C, H, W]` is a reshape of `[N, C, H, W]`.
fn is_image(x: &[usize], from: &[usize]) -> bool {
    x[1] == 1 && from == [x[0], x[2], x[3], x[4]]
}

/// Whether the second operand is a number.
fn is_number(graph: &Graph, id: NodeId) -> bool {
    graph.operands(id).get(1).is_some_and(|&n| graph[n].ty.shape.rank() == 0)
}

fn commuted<'b>(
    graph: &Graph,
    before: &Before,
    node: &Node,
    kernel: Var<'b>,
    value: &dyn Fn(NodeId) -> Option<Var<'b>>,
) -> Option<Var<'b>> {
    let image = value(before.image)?;
    let b = image.builder();
    let [n, c, h, w] = [0, 1, 2, 3].map(|axis| image.shape()[axis]);
    let image = image.reshape(&[n, 1, c, h, w]);
    let mixed = b.op(node.op, node.attrs.clone(), &[image, kernel]);
    let mut y = mixed.reshape(&[n, node.ty.shape[2], h, w]);
    for id in before.pad.into_iter().chain([before.sums]) {
        y = b.op(graph[id].op, graph[id].attrs.clone(), &[y]);
    }
    for &factor in before.factors.iter().rev() {
        let number = value(graph.operands(factor)[1])?;
        y = b.op(graph[factor].op, graph[factor].attrs.clone(), &[y, number]);
    }
    Some(y.reshape(&node.ty.shape))
}

#[cfg(test)]
mod tests {
    use kiln_graph::Builder;
    use kiln_tensor::DType;

    use super::*;
    use crate::pass::PassOptions;
    use crate::testing::{after, assert_same, count};

    /// A branch of an Inception module.
    struct Branch {
        channels: usize,
        outputs: usize,
        pad: usize,
        window: usize,
        stride: usize,
        groups: usize,
    }

    const SAME: Branch =
        Branch { channels: 8, outputs: 3, pad: 1, window: 3, stride: 1, groups: 1 };

    impl Branch {
        fn graph(&self, more: impl for<'b> FnOnce(&'b Builder, Var<'b>)) -> Graph {
            let b = Builder::new();
            let x = b.data("x", DType::F32, &[2, self.channels, 6, 5]);
            let zeros = [0, 0, self.pad, self.pad];
            let padded = x.pad(&zeros, &zeros, &[0; 4], 0.0);
            let mean = padded.avg_pool([self.window; 2], [self.stride; 2], [1, 1]);
            let w = b.param("w", &[self.outputs, self.channels / self.groups, 1, 1]);
            b.output("y", mean.conv(w, [1, 1], [0, 0], [1, 1], self.groups).relu());
            more(&b, mean);
            b.finish().expect("well-formed")
        }

        /// Channels that windows are summed of before and after the pass.
        fn channels_summed(&self) -> [usize; 2] {
            let plain = self.graph(|_, _| ());
            let (new, _) = after(&PASS, plain.clone());
            assert_same(&plain, &new, 1e-12);
            [&plain, &new].map(|g| {
                let sums = g.ids().find(|&id| g[id].op == &ops::SUM_POOL).expect("one");
                g[sums].ty.shape[1]
            })
        }
    }

    #[test]
    fn fewer_channels_are_averaged() {
        assert_eq!(SAME.channels_summed(), [8, 3]);
        assert_eq!(Branch { pad: 2, window: 5, ..SAME }.channels_summed(), [8, 3]);
        assert_eq!(Branch { pad: 2, ..SAME }.channels_summed(), [8, 3]);
        assert_eq!(Branch { pad: 0, window: 1, ..SAME }.channels_summed(), [8, 3]);
    }

    #[test]
    fn no_convolution_gets_more_to_do() {
        for branch in [
            Branch { outputs: 8, ..SAME },
            Branch { pad: 0, ..SAME },
            Branch { stride: 2, ..SAME },
            Branch { groups: 2, outputs: 2, ..SAME },
        ] {
            assert_eq!(branch.channels_summed(), [8, 8]);
        }
    }

    #[test]
    fn what_others_read_stays() {
        let plain = SAME.graph(|b, mean| b.output("mean", mean));
        assert_eq!(after(&PASS, plain.clone()).0.to_string(), plain.to_string());
    }

    #[test]
    fn precise_forbids_it() {
        let plain = SAME.graph(|_, _| ());
        let mut notes = Notes::new(PassOptions { precise: true, ..PassOptions::default() });
        let new = crate::run(&[&PASS], plain.clone(), &mut notes, &mut |_, _| {});
        let new = new.expect("succeeds");
        assert_eq!((new.to_string(), count(&new, "sum_pool")), (plain.to_string(), 1));
    }
}
