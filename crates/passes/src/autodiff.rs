//! `autodiff`: `grad` nodes become the backward graph.
//!
//! Reverse accumulation (Griewank and Walther, "Evaluating Derivatives", 2008) on the graph: for
//! each loss once, from the loss down over the nodes between it and the values it is
//! differentiated by. Each operator says how its own gradient is built ([`kiln_graph::op::Grad`])
//! from other operators, so that the result is an ordinary graph and can be differentiated again:
//! gradients are expanded in the order they stand in, and a gradient of a gradient finds the inner
//! one expanded. Forward nodes keep their order; the nodes of a backward graph stand where its
//! first `grad` stood and carry the source locations of the forward nodes they come from.

mod sum;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kiln_graph::op::Grad;
use kiln_graph::{Attrs, Builder, Graph, NodeId, Var, copy_results, ops, sweep};
use kiln_tensor::DType;

use crate::pass::{Notes, Pass, PassError};
use sum::Terms;

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "autodiff", doc: "expand gradients into the backward graph", run };

/// Nodes below all losses together, as a multiple of the limit on nodes.
const MAX_VISITS: usize = 4;

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    // The values each loss is differentiated by; ids of the graph as it came.
    let mut wanted: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for id in graph.ids().filter(|&id| graph[id].op == &ops::GRAD) {
        let operands = graph.operands(id);
        wanted.entry(operands[0]).or_default().push(operands[1]);
    }
    if wanted.is_empty() {
        return Ok(graph);
    }
    let by: HashSet<NodeId> = wanted.values().flatten().copied().collect();
    let b = Builder::new();
    let mut new: Vec<NodeId> = Vec::with_capacity(graph.len());
    let mut gradients: HashMap<NodeId, HashMap<NodeId, NodeId>> = HashMap::new();
    let mut visited = 0;
    for id in graph.ids() {
        let operands = graph.operands(id);
        if graph[id].op != &ops::GRAD {
            let mapped: Vec<NodeId> = operands.iter().map(|o| new[o.index()]).collect();
            new.push(b.modify(|g| g.append(graph[id].clone(), &mapped)));
            continue;
        }
        let (loss, x) = (operands[0], operands[1]);
        if let Entry::Vacant(slot) = gradients.entry(loss) {
            // What comes after the loss in the order is no part of it.
            let before = wanted[&loss].iter().filter(|w| w.index() < new.len());
            let targets: BTreeSet<NodeId> = before.map(|w| new[w.index()]).collect();
            let path = b.inspect(|g| path(g, new[loss.index()], &targets, &mut visited));
            slot.insert(backward(&b, &path, &targets, (&graph, loss), notes)?);
            let limit = notes.options.node_limit;
            if b.inspect(Graph::len) > limit {
                return Err(PassError::limit(format!("gradients need more than {limit} nodes")));
            }
            if visited > MAX_VISITS * limit {
                return Err(PassError::limit("too many losses share too large a graph"));
            }
        }
        b.locate(graph[id].locations.clone());
        let expanded = match gradients[&loss].get(&new[x.index()]) {
            Some(&gradient) => {
                b.modify(|g| g.locate(gradient, &graph[id].locations));
                b.var(gradient)
            }
            None => b.full(DType::F32, &graph[id].ty.shape, 0.0),
        };
        // A gradient that is differentiated by must not be the same node as anything else.
        let own = if by.contains(&id) {
            let attrs = Attrs::new().with("shape", &graph[id].ty.shape[..]);
            expanded.unary(&ops::RESHAPE, attrs)
        } else {
            expanded
        };
        new.push(own.id());
    }
    b.modify(|g| copy_results(&graph, g, |id| new[id.index()]));
    Ok(sweep(b.finish()?))
}

/// Builds the gradients of the loss with respect to those `targets` it depends on, given the
/// [`path`] from one to the other.
///
/// `source` is the loss in the graph the pass was given, for remarks.
fn backward(
    b: &Builder,
    path: &BTreeSet<NodeId>,
    targets: &BTreeSet<NodeId>,
    source: (&Graph, NodeId),
    notes: &mut Notes,
) -> Result<HashMap<NodeId, NodeId>, PassError> {
    let mut found = HashMap::new();
    // Contributions to the gradient with respect to each node, from its users, latest user first.
    let mut open: HashMap<NodeId, Terms> = HashMap::new();
    // Every node on the path stands before the loss.
    if let Some(&loss) = path.last() {
        b.locate(b.inspect(|g| g[loss].locations.clone()));
        open.entry(loss).or_default().add(b, b.scalar(1.0));
    }
    for &id in path.iter().rev() {
        let Some(terms) = open.remove(&id) else { continue };
        let (op, attrs, operands, locations) =
            b.inspect(|g| (g[id].op, g[id].attrs.clone(), g.operands(id), g[id].locations.clone()));
        b.locate(locations);
        let Some(dy) = terms.sum(b) else { continue };
        if targets.contains(&id) {
            found.insert(id, dy.id());
        }
        if !operands.iter().any(|o| path.contains(o)) {
            continue;
        }
        let Some(grad) = op.grad else { continue };
        let x: Vec<Var<'_>> = operands.iter().map(|&o| b.var(o)).collect();
        let dx = grad(&Grad { x: &x, y: b.var(id), dy, attrs: &attrs });
        if dx.len() != x.len() {
            return Err(PassError::defect(format!(
                "`{}` gave {} gradients for {} operands",
                op.name,
                dx.len(),
                x.len()
            )));
        }
        for (x, dx) in x.iter().zip(dx) {
            let Some(dx) = dx.filter(|_| path.contains(&x.id())) else { continue };
            if dx.ty() != x.ty() {
                return Err(PassError::defect(format!(
                    "`{}` gave a gradient of {} for an operand of {}",
                    op.name,
                    dx.ty(),
                    x.ty()
                )));
            }
            open.entry(x.id()).or_default().add(b, dx);
        }
    }
    let missing = targets.len() - found.len();
    if missing > 0 {
        notes.remark(
            source.0,
            source.1,
            format!("{missing} of {} gradients are zero: no differentiable path", targets.len()),
        );
    }
    Ok(found)
}

/// The nodes that lie on a differentiable path from one of `targets` to `loss`, both included;
/// none if there is no path. Counts the nodes it has `visited`.
fn path(
    graph: &Graph,
    loss: NodeId,
    targets: &BTreeSet<NodeId>,
    visited: &mut usize,
) -> BTreeSet<NodeId> {
    let mut ancestors = BTreeSet::from([loss]);
    let mut open = vec![loss];
    while let Some(id) = open.pop() {
        open.extend(graph.operands(id).into_iter().filter(|&o| ancestors.insert(o)));
    }
    *visited += ancestors.len();
    let mut path = BTreeSet::new();
    for id in ancestors {
        let through =
            graph[id].op.grad.is_some() && graph.operands(id).iter().any(|o| path.contains(o));
        if graph[id].ty.dtype == DType::F32 && (targets.contains(&id) || through) {
            path.insert(id);
        }
    }
    if path.contains(&loss) { path } else { BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiln_graph::{Builder, Location};

    use super::*;
    use crate::testing::{after, assert_same, count, graph, values};

    #[test]
    fn gradients_of_a_product_are_the_factors() {
        let g = graph(|b| {
            let (x, w) = (b.data("x", DType::F32, &[]), b.param("w", &[]));
            let loss = x * w;
            vec![loss.grad(x), loss.grad(w)]
        });
        let (expanded, _) = after(&PASS, g);
        let expected = graph(|b| {
            let (x, w) = (b.data("x", DType::F32, &[]), b.param("w", &[]));
            let one = b.scalar(1.0);
            vec![one * w, one * x]
        });
        assert_eq!(expanded.to_string(), expected.to_string());
    }

    #[test]
    fn contributions_add_up_and_second_order_works() {
        let g = graph(|b| {
            let x = b.data("x", DType::F32, &[]);
            let cube = x * x * x + x;
            let first = cube.grad(x);
            vec![first, first.grad(x), first.grad(x).grad(x)]
        });
        let expected = graph(|b| {
            let x = b.data("x", DType::F32, &[]);
            vec![3.0 * x * x + 1.0, 6.0 * x, b.scalar(6.0)]
        });
        assert_same(&after(&PASS, g).0, &expected, 1e-12);
    }

    #[test]
    fn a_gradient_that_is_differentiated_by_is_a_value_of_its_own() {
        // The gradient of x * w by x is w, yet what follows depends on w beside it.
        let g = graph(|b| {
            let (x, w) = (b.data("x", DType::F32, &[]), b.param("w", &[]));
            let g = (x * w).grad(x);
            vec![(g * g + w).grad(g)]
        });
        let expected = graph(|b| {
            let (_, w) = (b.data("x", DType::F32, &[]), b.param("w", &[]));
            vec![2.0 * w]
        });
        assert_same(&after(&PASS, g).0, &expected, 1e-12);
    }

    #[test]
    fn what_the_loss_does_not_depend_on_has_gradient_zero() {
        let g = graph(|b| {
            let (x, w) = (b.data("x", DType::F32, &[3]), b.param("w", &[2, 2]));
            let loss = (x.floor() + x.detach()).sum(&[0]);
            let dx = loss.grad(x);
            let later = b.param("later", &[2]);
            vec![dx, loss.grad(w), loss.grad(later)]
        });
        let (expanded, notes) = after(&PASS, g);
        for value in values(&expanded).outputs.values() {
            assert!(value.data.iter().all(|&x| x == 0.0));
        }
        assert_eq!(
            notes.remarks[0].to_string(),
            "autodiff: %5 sum: 2 of 2 gradients are zero: no differentiable path"
        );
    }

    #[test]
    fn one_backward_graph_serves_all_gradients_of_a_loss() {
        let g = graph(|b| {
            let (x, w) = (b.data("x", DType::F32, &[4]), b.param("w", &[4]));
            let loss = (x * w).tanh().tanh().sum(&[0]);
            vec![loss.grad(x), loss.grad(w)]
        });
        let (expanded, _) = after(&PASS, g);
        assert_eq!(count(&expanded, "tanh"), 2);
        assert_eq!(count(&expanded, "sub"), 2, "one 1 - y * y for each tanh:\n{expanded}");
    }

    #[test]
    fn backward_nodes_carry_the_locations_of_forward_nodes() {
        let b = Builder::new();
        let at = |line| -> Arc<[Location]> {
            [Location { file: "a.kiln".into(), line, column: 1 }].into()
        };
        let x = b.data("x", DType::F32, &[]);
        b.locate(at(1));
        let y = x.tanh();
        b.locate(at(2));
        let loss = y.exp();
        b.locate(at(3));
        b.output("dx", loss.grad(x));
        let (expanded, _) = after(&PASS, b.finish().expect("a well-formed graph"));
        let lines: Vec<u32> = expanded
            .ids()
            .filter(|&id| expanded[id].op == &ops::MUL || expanded[id].op == &ops::SUB)
            .map(|id| expanded[id].locations[0].line)
            .collect();
        assert_eq!(lines, [2, 1, 1, 1]);
    }

    #[test]
    fn a_chain_of_100000_operators_is_differentiated() {
        let g = graph(|b| {
            let x = b.data("x", DType::F32, &[]);
            let loss = (0..100_000).fold(x, |y, _| -y);
            vec![loss.grad(x)]
        });
        let (expanded, _) = after(&PASS, g);
        assert_eq!(count(&expanded, "neg"), 100_000, "forward is not needed");
        assert_eq!(values(&expanded).outputs["0"].data, [1.0]);
    }

    #[test]
    fn losses_over_one_large_graph_are_bounded() {
        let g = graph(|b| {
            let x = b.data("x", DType::F32, &[]);
            let large = (0..3000).fold(x, |y, _| -y).detach();
            (0..20).map(|i| (large + i as f32).grad(x)).collect()
        });
        let mut notes = Notes::default();
        notes.options.node_limit = 10_000;
        let error = (PASS.run)(g, &mut notes).expect_err("60,000 nodes are below the losses");
        assert_eq!(error.message, "too many losses share too large a graph");
    }

    #[test]
    fn growth_is_bounded() {
        let g = graph(|b| {
            let x = b.data("x", DType::F32, &[]);
            vec![(0..40).fold((x * x).tanh(), |y, _| y.grad(x))]
        });
        let mut notes = Notes::default();
        notes.options.node_limit = 10_000;
        let error = (PASS.run)(g, &mut notes).expect_err("40 orders are too many");
        assert!(!error.defect);
        assert_eq!(error.message, "gradients need more than 10000 nodes");
    }
}
