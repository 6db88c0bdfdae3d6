//! Lowering of operators that compute tiles of their result from tiles of their operand.

use std::collections::HashSet;

use kiln_graph::op::Lower;
use kiln_graph::{Graph, NodeId};
use kiln_loops::Kernel;

use super::pull::Emit;
use super::{Lowering, emit_roots, finish};
use crate::views::{has_buffer, reshape_index};

/// The operator of this class that `roots` are the epilogue of.
pub(crate) fn anchor(graph: &Graph, roots: &[NodeId]) -> Option<NodeId> {
    let mut open = roots.to_vec();
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if matches!(graph[id].op.lower, Lower::Tiles(_)) {
            return Some(id);
        }
        let inline = graph.operands(id).into_iter().filter(|&o| !has_buffer(graph, o));
        open.extend(inline.filter(|&o| seen.insert(o)));
    }
    None
}

impl Lowering<'_> {
    /// Loops over the tiles; each is computed at once and its elements stored, with their epilogue.
    pub(super) fn tiles(&mut self, anchor: NodeId, roots: &[NodeId]) -> Kernel {
        let graph = self.graph;
        let Lower::Tiles(tiles) = graph[anchor].op.lower else { unreachable!("called for tiles") };
        let domain = graph.with_view(anchor, |v| (tiles.domain)(v));
        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let all: Vec<usize> = (0..domain.len()).collect();
        let (point, opened) = emit.open_nest(&domain, &all);
        let operand = graph.operands(anchor)[0];
        let reads = graph.with_view(anchor, |v| (tiles.reads)(v, &point));
        let x: Vec<_> = reads.iter().map(|index| emit.pull(operand, index)).collect();
        let y = (tiles.emit)(&mut emit.loops, &x);
        let writes = graph.with_view(anchor, |v| (tiles.writes)(v, &point));
        for (index, value) in writes.iter().zip(y) {
            emit.known.insert(anchor, value);
            let (from, to) = (&graph[anchor].ty.shape, &graph[roots[0]].ty.shape);
            let index = reshape_index(from, to, index).expect("an epilogue keeps axes");
            emit_roots(&mut emit, roots, &index);
        }
        emit.close_nest(opened);
        finish(emit, graph, roots)
    }
}
