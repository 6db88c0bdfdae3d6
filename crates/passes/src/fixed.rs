//! Which values depend on weights alone: they change only when the caller sets weights.

use std::collections::HashSet;

use kiln_graph::{Graph, InputKind, NodeId, ops};

/// For each node whether it depends on weights and states that this graph does not update, on at
/// least one of them, and besides on constants alone.
pub fn fixed(graph: &Graph) -> Vec<bool> {
    let updated: HashSet<NodeId> = graph.updates.iter().map(|u| u.input).collect();
    // Of each node whether it may be read once for all runs, and whether weights are in it.
    let mut known: Vec<(bool, bool)> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        known.push(match graph.input(id) {
            Some((_, InputKind::Data)) => (false, false),
            Some(_) => (!updated.contains(&id), true),
            None => {
                let operands = graph.operands(id);
                let all = operands.iter().all(|o| known[o.index()].0);
                (all && graph[id].op != &ops::GRAD, operands.iter().any(|o| known[o.index()].1))
            }
        });
    }
    known.into_iter().map(|(all, any)| all && any).collect()
}
