//! Building a changed graph out of an old one: graphs are append-only.

use std::sync::Arc;

use kiln_graph::{Builder, Graph, GraphError, Location, NodeId, Update, ops};

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

/// Appends a copy of node `id` of `from`, placement and axis order included, on new operands.
pub(crate) fn copy(
    from: &Graph,
    id: NodeId,
    to: &mut Graph,
    operands: &[NodeId],
    locations: Arc<[Location]>,
) -> Result<NodeId, GraphError> {
    let node = &from[id];
    let new = to.add(node.op, node.attrs.clone(), operands, locations)?;
    to.place(new, node.placement);
    to.order(new, node.order.clone());
    Ok(new)
}

/// Gives `to` the outputs and updates of `from`, in order; `map` says what became of a node.
pub(crate) fn copy_results(from: &Graph, to: &mut Graph, map: impl Fn(NodeId) -> NodeId) {
    to.outputs = from.outputs.iter().map(|(name, id)| (name.clone(), map(*id))).collect();
    to.updates =
        from.updates.iter().map(|u| Update { input: map(u.input), value: map(u.value) }).collect();
}

/// The graph without the nodes that no result needs.
pub(crate) fn sweep(graph: &Graph) -> Result<Graph, PassError> {
    Ok(kiln_graph::rebuild(graph, |_, _, _, _| None)?)
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
        let operands: Vec<NodeId> = graph.operands(id).iter().map(|o| new[o.index()]).collect();
        b.locate(graph[id].locations.clone());
        let start = b.modify(|g| copy(graph, id, g, &operands, b.locations()))?;
        settle(&b, &mut stands, step)?;
        new.push(resolve(&stands, start));
    }
    b.modify(|g| copy_results(graph, g, |id| new[id.index()]));
    sweep(&b.finish()?)
}

/// Rewrites the nodes that `stands` does not know yet.
fn settle(b: &Builder, stands: &mut Vec<NodeId>, step: &mut Step<'_>) -> Result<(), PassError> {
    let mut steps = 0;
    while stands.len() < b.inspect(Graph::len) {
        let id = NodeId::new(stands.len());
        let operands = b.inspect(|g| g.operands(id));
        let settled: Vec<NodeId> = operands.iter().map(|&o| resolve(stands, o)).collect();
        stands.push(id);
        if settled != operands {
            let (op, attrs) = b.inspect(|g| (g[id].op, g[id].attrs.clone()));
            stands[id.index()] = b.modify(|g| g.add(op, attrs, &settled, b.locations()))?;
            continue;
        }
        steps += 1;
        if steps > MAX_STEPS {
            return Err(PassError::defect("rewriting does not end"));
        }
        if let Some(other) = step(b, id) {
            let (was, is) = b.inspect(|g| (g[id].ty.clone(), g[other].ty.clone()));
            if was != is {
                return Err(PassError::defect(format!("rewrote a value of {was} to one of {is}")));
            }
            stands[id.index()] = other;
        }
    }
    Ok(())
}

/// The node at the end of the chain. A step only ever gives a new node or one that stands for
/// itself, so the chain has an end.
fn resolve(stands: &[NodeId], mut id: NodeId) -> NodeId {
    while let Some(&next) = stands.get(id.index()).filter(|&&next| next != id) {
        id = next;
    }
    id
}
