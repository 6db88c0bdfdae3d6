//! Building a changed graph out of an old one: graphs are append-only.

use std::collections::BTreeSet;

use kiln_graph::{Builder, Graph, NodeId, Operands, copy_results, merge, ops, sweep};

use crate::pass::{Notes, PassError};

/// Whether gradients are still to be expanded, in which case a pass that makes different nodes one
/// or reads past a node must leave the graph alone: a value that is differentiated by is more than
/// its elements. Leaves a remark.
pub(crate) fn has_grad(graph: &Graph, notes: &mut Notes) -> bool {
    let grad = graph.ids().find(|&id| graph[id].op == &ops::GRAD);
    if let Some(grad) = grad {
        notes.remark(graph, grad, "declined: autodiff has not run yet");
    }
    grad.is_some()
}

/// What a rewriting step may do with a node: give the node that stands for it, which is of the
/// same type and built of the node's operands, or nothing.
pub(crate) type Step<'a> = dyn FnMut(&Builder, NodeId) -> Option<NodeId> + 'a;

/// A node is replaced at most this often; rules shrink graphs, so only a defect comes near it.
const MAX_STEPS: usize = 1000;

/// Applies `step` to every node, operands first, and again to every node it builds, until it has
/// nothing to say about any.
pub(crate) fn rewrite(graph: &Graph, step: &mut Step<'_>) -> Result<Graph, PassError> {
    let b = Builder::new();
    // For each node of the new graph the one that stands for it.
    let mut stands: Vec<NodeId> = Vec::with_capacity(graph.len());
    let mut new: Vec<NodeId> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let operands: Operands = graph.operands(id).iter().map(|o| new[o.index()]).collect();
        b.locate(graph[id].locations.clone());
        let start = b.modify(|g| g.append(graph[id].clone(), &operands));
        settle(&b, &mut stands, step)?;
        new.push(resolve(&stands, start));
    }
    b.modify(|g| copy_results(graph, g, |id| new[id.index()]));
    Ok(sweep(b.finish()?))
}

/// Rewrites the nodes that `stands` does not know yet.
fn settle(b: &Builder, stands: &mut Vec<NodeId>, step: &mut Step<'_>) -> Result<(), PassError> {
    let mut steps = 0;
    while stands.len() < b.inspect(Graph::len) {
        let id = NodeId::new(stands.len());
        let operands = b.inspect(|g| g.operands(id));
        let settled: Operands = operands.iter().map(|&o| resolve(stands, o)).collect();
        stands.push(id);
        if settled != operands {
            let node = b.inspect(|g| g[id].clone());
            stands[id.index()] = b.modify(|g| g.append(node, &settled));
            continue;
        }
        steps += 1;
        if steps > MAX_STEPS {
            return Err(PassError::defect("rewriting does not end"));
        }
        let known = b.inspect(Graph::len);
        if let Some(other) = step(b, id) {
            if b.inspect(|g| g[id].ty != g[other].ty) {
                let (was, is) = (b.var(id).ty(), b.var(other).ty());
                return Err(PassError::defect(format!("rewrote a value of {was} to one of {is}")));
            }
            // What is made of the node comes from where the node and all it took in come from.
            let (first, made) = (known, b.inspect(Graph::len));
            let at = b.inspect(|g| {
                let read: Vec<NodeId> = match first == made {
                    true => vec![other],
                    false => (first..made).flat_map(|n| g.operands(NodeId::new(n))).collect(),
                };
                let taken = match read.is_empty() {
                    true => g.operands(id).into_vec(), // they were constants
                    false => between(g, id, &read),
                };
                merge(taken.iter().chain([&id]).map(|&n| &g[n].locations))
            });
            b.modify(|g| {
                let new = (first..made).map(NodeId::new);
                new.chain([other]).for_each(|n| g.locate(n, &at));
            });
            stands[id.index()] = other;
        }
    }
    Ok(())
}

/// The nodes that `root` takes in when it becomes a function of the nodes it is to `read`: those
/// on the way from it to them, as far as they are near.
pub(crate) fn between(graph: &Graph, root: NodeId, read: &[NodeId]) -> Vec<NodeId> {
    /// Rules look at few nodes.
    const REACH: usize = 64;
    let mut near = BTreeSet::new();
    let mut open = graph.operands(root).into_vec();
    while let Some(id) = open.pop().filter(|_| near.len() < REACH) {
        if !read.contains(&id) && near.insert(id) {
            open.extend(graph.operands(id));
        }
    }
    let mut taken = Vec::new();
    for id in near {
        if graph.operands(id).iter().any(|o| read.contains(o) || taken.contains(o)) {
            taken.push(id);
        }
    }
    taken
}

/// The node at the end of the chain. A step only ever gives a new node or one that stands for
/// itself, so the chain has an end.
fn resolve(stands: &[NodeId], mut id: NodeId) -> NodeId {
    while let Some(&next) = stands.get(id.index()).filter(|&&next| next != id) {
        id = next;
    }
    id
}
