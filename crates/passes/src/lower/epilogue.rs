//! The epilogues that the micro-kernel does itself: `min(max(sum + bias + residual, 0), cap)`, each
//! part of which may be absent. Everything else waits in a tile for generated code.

use std::collections::HashSet;

use kiln_graph::op::Lower;
use kiln_graph::{Graph, NodeId, ops};
use kiln_loops::{Affine, Index, Var};
use kiln_tensor::Data;

use super::symbolic;
use crate::storage::Storage;
use crate::views::{has_buffer, one_to_one, reshape_index, resolve};

/// An array that is added, and where its element for an index of the stored node lies: `Var(i)` is
/// axis `i` of that node.
pub(super) type Added = (NodeId, Affine);

/// What stands between a contraction and the node its kernel stores.
#[derive(Debug, Default)]
pub(super) struct Epilogue {
    /// One value for each column.
    pub bias: Option<Added>,
    /// One for each element.
    pub residual: Option<Added>,
    pub relu: bool,
    /// A positive number.
    pub cap: Option<f32>,
}

impl Epilogue {
    /// What `root` does with the contraction `anchor`, if it is of this form; `column` is the only
    /// axis of `root` along which the columns lie.
    pub fn between(
        graph: &Graph,
        storage: &Storage,
        root: NodeId,
        anchor: NodeId,
        column: Var,
    ) -> Option<Epilogue> {
        let mut epilogue = Epilogue::default();
        let mut at = (root, symbolic(&graph[root].ty.shape));
        skip_reshapes(graph, anchor, &mut at)?;
        if graph[at.0].op == &ops::MINIMUM && at.0 != anchor {
            let [x, cap] = graph.operands(at.0)[..] else { return None };
            epilogue.cap = Some(number(graph, cap).filter(|&cap| cap > 0.0)?);
            at.0 = x;
            skip_reshapes(graph, anchor, &mut at)?;
        }
        if graph[at.0].op == &ops::MAXIMUM && at.0 != anchor {
            let [x, zero] = graph.operands(at.0)[..] else { return None };
            number(graph, zero).filter(|zero| zero.to_bits() == 0)?;
            epilogue.relu = true;
            at.0 = x;
        }
        let mut added = Vec::new();
        loop {
            skip_reshapes(graph, anchor, &mut at)?;
            if at.0 == anchor {
                break;
            }
            if added.len() == 2 {
                return None;
            }
            let (below, other) = addition(graph, anchor, at.0)?;
            let (node, flat) = resolve(graph, storage, other, &at.1)?;
            if !flat.dynamic.is_empty() || graph[other].ty.shape != graph[at.0].ty.shape {
                return None;
            }
            added.push((node, flat.affine));
            at.0 = below;
        }
        let is_bias = |added: &Added| added.1.terms[..] == [(column, 1)];
        // From the outside in; the sum takes the bias first.
        match added.len() {
            0 => {}
            1 if is_bias(&added[0]) => epilogue.bias = added.pop(),
            1 => epilogue.residual = added.pop(),
            2 if is_bias(&added[1]) => {
                epilogue.bias = added.pop();
                epilogue.residual = added.pop();
            }
            _ => return None,
        }
        Some(epilogue)
    }
}

/// Goes down through reshapes without buffers.
fn skip_reshapes(graph: &Graph, anchor: NodeId, at: &mut (NodeId, Vec<Index>)) -> Option<()> {
    while at.0 != anchor && matches!(graph[at.0].op.lower, Lower::Reshape) {
        let below = graph.operands(at.0)[0];
        at.1 = reshape_index(&graph[at.0].ty.shape, &graph[below].ty.shape, &at.1)?;
        at.0 = below;
    }
    Some(())
}

/// The operand of an addition that the contraction is below, and the other one.
fn addition(graph: &Graph, anchor: NodeId, id: NodeId) -> Option<(NodeId, NodeId)> {
    if graph[id].op != &ops::ADD {
        return None;
    }
    let [x, y] = graph.operands(id)[..] else { return None };
    match (leads(graph, x, anchor), leads(graph, y, anchor)) {
        (true, false) => Some((x, y)),
        (false, true) => Some((y, x)),
        _ => None,
    }
}

/// Whether computing `id` computes the contraction, by additions and reshapes; no more of them than
/// an epilogue of this form can hold are looked through.
fn leads(graph: &Graph, id: NodeId, anchor: NodeId) -> bool {
    const REACH: usize = 16;
    let mut open = vec![id];
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if id == anchor {
            return true;
        }
        let sums = graph[id].op == &ops::ADD || matches!(graph[id].op.lower, Lower::Reshape);
        if sums && !has_buffer(graph, id) && seen.len() < REACH && seen.insert(id) {
            open.extend(graph.operands(id));
        }
    }
    false
}

/// The f32 that all elements of a constant are.
fn number(graph: &Graph, id: NodeId) -> Option<f32> {
    if graph[id].op != &ops::CONSTANT {
        return None;
    }
    match graph[id].attrs.tensor("value").data() {
        Data::F32(v) => v.first().copied().filter(|x| v.iter().all(|y| y.to_bits() == x.to_bits())),
        _ => None,
    }
}

/// The index at which computing `from` at `index` reads `to`, which it reads once, through nodes
/// without buffers.
pub(crate) fn index_at(
    graph: &Graph,
    from: NodeId,
    to: NodeId,
    index: Vec<Index>,
) -> Option<Vec<Index>> {
    let mut seen = HashSet::from([from]);
    let mut open = vec![(from, index)];
    while let Some((id, index)) = open.pop() {
        if id == to {
            return Some(index);
        }
        for operand in graph.operands(id) {
            if has_buffer(graph, operand) && operand != to || !seen.insert(operand) {
                continue;
            }
            open.extend(one_to_one(graph, id, operand, &index).map(|index| (operand, index)));
        }
    }
    None
}

/// Whether `id` is `anchor` up to views.
pub(super) fn is_copy(graph: &Graph, mut id: NodeId, anchor: NodeId) -> bool {
    while id != anchor {
        if !matches!(graph[id].op.lower, Lower::Reshape | Lower::View(_)) {
            return false;
        }
        id = graph.operands(id)[0];
    }
    true
}
