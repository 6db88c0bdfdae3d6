//! Where the elements of stored nodes lie.
//!
//! A node that is stored has a buffer of its own, unless it is an operand of a placement (padding,
//! concatenation) that can be its place: then its kernel writes straight into a part of the
//! placement's buffer, and there is nothing to copy. So the zeros around a padded convolution's
//! image are a property of the buffer that its producer writes.

use std::collections::{HashMap, HashSet};

use kiln_graph::op::{Lower, Piece};
use kiln_graph::{Graph, NodeId, Placement};
use kiln_loops::Index;

use crate::views::reshape_is_affine;

/// A part of another node's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    holder: NodeId,
    owner: NodeId,
    offset: usize,
    strides: Vec<usize>,
}

/// The nodes that lie in another one's buffer.
#[derive(Debug, Default)]
pub struct Storage {
    parts: HashMap<NodeId, Part>,
}

impl Storage {
    /// Every placement holds the operands it can.
    pub fn new(graph: &Graph) -> Storage {
        let mut storage = Storage::default();
        let mut own: HashSet<NodeId> = graph.results().collect();
        let flat = graph.ids().filter(|&id| matches!(graph[id].op.lower, Lower::Reshape));
        let flat = flat.filter(|&id| !reshape_is_affine(graph, id));
        own.extend(flat.map(|id| graph.operands(id)[0]));
        let reads = reads(graph);
        for id in graph.ids().rev() {
            let Lower::Place(pieces, background) = graph[id].op.lower else { continue };
            if !is_stored(graph, id) {
                continue;
            }
            let operands = graph.operands(id);
            let (pieces, background) = graph.with_view(id, |v| (pieces(v), background(v)));
            if background.is_some() && pieces.len() > 1 {
                continue;
            }
            for Piece { operand, start, step } in pieces {
                let operand = operands[operand];
                let once = operands.iter().filter(|&&o| o == operand).count() == 1;
                let fits = is_stored(graph, operand)
                    && once
                    && !own.contains(&operand)
                    && same_order(graph, operand, id)
                    && step.iter().all(|&s| s == 1);
                let (owner, offset, strides) = storage.lies(graph, id);
                if fits
                    && !storage.parts.contains_key(&operand)
                    && storage.is_apart(graph, &reads, operand, (id, owner))
                {
                    let offset = start.iter().zip(&strides).fold(offset, |o, (i, s)| o + i * s);
                    storage.parts.insert(operand, Part { holder: id, owner, offset, strides });
                }
            }
        }
        storage
    }

    /// Whether no kernel that writes to the owner's buffer would read what it writes beside, if
    /// the placement held the operand.
    fn is_apart(
        &self,
        graph: &Graph,
        reads: &HashMap<u32, HashSet<NodeId>>,
        operand: NodeId,
        (placement, owner): (NodeId, NodeId),
    ) -> bool {
        let parts = self.parts.iter().filter(|p| p.1.owner == owner).map(|p| *p.0);
        let reads = |a: NodeId, b: NodeId| match graph[a].placement {
            Placement::Kernel(k) => reads.get(&k).is_some_and(|r| r.contains(&b)),
            _ => false,
        };
        let mut beside = parts.chain([owner]).filter(|&other| other != placement);
        !beside.any(|other| reads(operand, other) || reads(other, operand))
    }

    /// The placement that a node lies in, if it has no buffer of its own.
    pub fn held_by(&self, id: NodeId) -> Option<NodeId> {
        self.parts.get(&id).map(|part| part.holder)
    }

    /// The node whose buffer a stored node lies in, where it begins, and the distance between
    /// neighbours along each axis, in elements.
    pub fn lies(&self, graph: &Graph, id: NodeId) -> (NodeId, usize, Vec<usize>) {
        match self.parts.get(&id) {
            Some(part) => (part.owner, part.offset, part.strides.clone()),
            None => (id, 0, graph[id].strides()),
        }
    }

    /// The node whose buffer holds the element of a stored node at an index, and where in it.
    pub fn at(&self, graph: &Graph, id: NodeId, index: &[Index]) -> (NodeId, Index) {
        let (owner, offset, strides) = self.lies(graph, id);
        (owner, Index::flat(index, &strides).offset(offset as i64))
    }
}

/// For each kernel the stored nodes of other kernels that it reads.
fn reads(graph: &Graph) -> HashMap<u32, HashSet<NodeId>> {
    let mut all: HashMap<u32, HashSet<NodeId>> = HashMap::new();
    for id in graph.ids() {
        let Placement::Kernel(kernel) = graph[id].placement else { continue };
        let reads = all.entry(kernel).or_default();
        let (mut open, mut seen) = (graph.operands(id), HashSet::new());
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            match graph[node].placement {
                Placement::Kernel(k) if k != kernel => drop(reads.insert(node)),
                Placement::Kernel(_) => {}
                _ => open.extend(graph.operands(node)),
            }
        }
    }
    all
}

fn is_stored(graph: &Graph, id: NodeId) -> bool {
    matches!(graph[id].placement, Placement::Kernel(_))
        && !matches!(graph[id].op.lower, Lower::Leaf)
}

/// Whether two nodes of one rank have their axes in the same order in memory, but for those of
/// size 1 in either.
fn same_order(graph: &Graph, a: NodeId, b: NodeId) -> bool {
    let (x, y) = (&graph[a].ty.shape, &graph[b].ty.shape);
    let axes = |id: NodeId| -> Vec<usize> {
        let order = match &graph[id].order[..] {
            [] => (0..x.rank()).collect(),
            order => order.to_vec(),
        };
        order.into_iter().filter(|&axis| x[axis] != 1 && y[axis] != 1).collect()
    };
    x.rank() == y.rank() && axes(a) == axes(b)
}
