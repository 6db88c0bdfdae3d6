//! `cse`: nodes that compute the same become one.
//!
//! The same is the same operator on the same operands with attributes equal bit for bit. Random
//! numbers are functions of their operands and attributes, so they need no exception. The node
//! that stays carries the source locations of those that went.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kiln_graph::{Attr, Attrs, Graph, NodeId, Operands, copy_results, merge};
use kiln_tensor::{Data, Tensor};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;

/// See the module.
pub static PASS: Pass<Graph> = Pass { name: "cse", doc: "compute equal values once", run };

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) {
        return Ok(graph);
    }
    // For each node the first that computes the same.
    let mut first: Vec<NodeId> = Vec::with_capacity(graph.len());
    let mut known: FxHashMap<u64, SmallVec<[NodeId; 2]>> = FxHashMap::default();
    // For each first the nodes it stands for.
    let mut others: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
    for id in graph.ids() {
        let operands: Operands = graph.operands(id).iter().map(|o| first[o.index()]).collect();
        let same = known.entry(hash(&graph, id, &operands)).or_default();
        let earlier = same.iter().copied().find(|&other| {
            let others = graph.operands(other);
            graph[other].op == graph[id].op
                && others.iter().map(|o| first[o.index()]).eq(operands.iter().copied())
                && identical(&graph[other].attrs, &graph[id].attrs)
        });
        match earlier {
            Some(earlier) => {
                others.entry(earlier).or_default().push(id);
                first.push(earlier);
            }
            None => {
                same.push(id);
                first.push(id);
            }
        }
    }
    let mut merged = Graph::new();
    let mut new = vec![NodeId::end(); graph.len()];
    for id in graph.ids() {
        if first[id.index()] != id {
            new[id.index()] = new[first[id.index()].index()];
            continue;
        }
        let operands: Operands = graph.operands(id).iter().map(|o| new[o.index()]).collect();
        let mut node = graph[id].clone();
        if let Some(others) = others.get(&id) {
            let all = others.iter().map(|&other| &graph[other].locations);
            node.locations = merge(all.chain([&graph[id].locations]));
        }
        new[id.index()] = merged.append(node, &operands);
    }
    copy_results(&graph, &mut merged, |id| new[id.index()]);
    Ok(merged)
}

/// The same for nodes that compute the same; equal in every process.
fn hash(graph: &Graph, id: NodeId, operands: &[NodeId]) -> u64 {
    let mut state = FxHasher::default();
    let node = &graph[id];
    node.op.name.hash(&mut state);
    operands.hash(&mut state);
    for (name, attr) in node.attrs.iter() {
        name.hash(&mut state);
        match attr {
            Attr::Int(x) => x.hash(&mut state),
            Attr::Float(x) => x.to_bits().hash(&mut state),
            Attr::Bool(x) => x.hash(&mut state),
            Attr::Text(x) => x.hash(&mut state),
            Attr::Ints(x) => x.hash(&mut state),
            Attr::DType(x) => x.hash(&mut state),
            Attr::Tensor(x) => {
                x.shape().hash(&mut state);
                match x.data() {
                    Data::F32(v) => v.iter().for_each(|x| x.to_bits().hash(&mut state)),
                    Data::I32(v) => v.hash(&mut state),
                    Data::Bool(v) => v.hash(&mut state),
                }
            }
        }
    }
    state.finish()
}

/// Equal bit for bit: a NaN equals itself, 0 is not -0.
pub(crate) fn identical(a: &Attrs, b: &Attrs) -> bool {
    a.same_memory(b)
        || a.iter().count() == b.iter().count()
            && a.iter().zip(b.iter()).all(|((a_name, a), (b_name, b))| {
                a_name == b_name
                    && match (a, b) {
                        (Attr::Float(a), Attr::Float(b)) => a.to_bits() == b.to_bits(),
                        (Attr::Tensor(a), Attr::Tensor(b)) => Arc::ptr_eq(a, b) || same_bits(a, b),
                        _ => a == b,
                    }
            })
}

fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    a.shape() == b.shape()
        && match (a.data(), b.data()) {
            (Data::F32(a), Data::F32(b)) => {
                a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
            }
            (a, b) => a == b,
        }
}

#[cfg(test)]
mod tests {
    use kiln_graph::{Builder, Location};
    use kiln_tensor::DType;

    use super::*;
    use crate::testing::{after, count, graph};

    #[test]
    fn equal_chains_become_one_and_zeros_of_either_sign_stay_two() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let x = b.data("x", DType::F32, &[2]);
                vec![
                    (x + 0.0).exp(),
                    (x + 0.0).exp(),
                    (x + -0.0).exp(),
                    x.sum(&[0]),
                    x.reduce_max(&[0]),
                ]
            }),
        );
        assert_eq!((count(&g, "exp"), count(&g, "constant"), count(&g, "sum")), (2, 2, 1));
        assert_eq!(g.outputs[0].1, g.outputs[1].1);
    }

    #[test]
    fn random_numbers_are_one_if_all_they_depend_on_is() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let (seed, step) =
                    (b.data("seed", DType::I32, &[]), b.data("step", DType::I32, &[]));
                [(1, seed, step), (1, seed, step), (2, seed, step), (1, step, seed)]
                    .map(|(key, seed, step)| b.random(&[3], key, seed, step))
                    .to_vec()
            }),
        );
        assert_eq!(count(&g, "random"), 3);
    }

    #[test]
    fn what_stays_carries_the_locations_of_what_went() {
        let b = Builder::new();
        let x = b.data("x", DType::F32, &[]);
        for line in [7, 3] {
            b.locate([Location { file: "a.kiln".into(), line, column: 1 }].into());
            b.output(&line.to_string(), x.exp());
        }
        let (g, _) = after(&PASS, b.finish().expect("a well-formed graph"));
        let at = &g[g.outputs[0].1].locations;
        assert_eq!(at.iter().map(|l| l.line).collect::<Vec<_>>(), [3, 7]);
    }

    #[test]
    fn values_that_are_differentiated_by_are_not_merged() {
        let before = graph(|b| {
            let x = b.data("x", DType::F32, &[]);
            let (y, z) = (x.exp(), x.exp());
            vec![(y * z).grad(y)]
        });
        let text = before.to_string();
        let (g, notes) = after(&PASS, before);
        assert_eq!(g.to_string(), text);
        assert_eq!(notes.remarks[0].reason, "declined: autodiff has not run yet");
    }

    #[test]
    fn a_hundred_thousand_equal_nodes_become_one() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let x = b.data("x", DType::F32, &[]);
                let all: Vec<_> = (0..50_000).map(|_| x + 1.0).collect();
                vec![all[1..].iter().fold(all[0], |sum, &y| sum + y)]
            }),
        );
        assert_eq!((count(&g, "constant"), count(&g, "add")), (1, 50_000));
    }
}
