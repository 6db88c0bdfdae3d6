//! Reading a node through the views above it: what fusion decides with and lowering emits with.

use kiln_graph::op::Lower;
use kiln_graph::{Graph, NodeId, Placement};
use kiln_loops::{Index, Var};

use crate::storage::Storage;

/// The index in an array of shape `to` of the element that stands at `index` in shape `from`, both
/// row-major over the same elements. `None` if it is not affine: when an axis of `to` begins or
/// ends inside an axis of `from`.
pub fn reshape_index(from: &[usize], to: &[usize], index: &[Index]) -> Option<Vec<Index>> {
    let mut result = Vec::with_capacity(to.len());
    let mut next = 0;
    for &size in to {
        let (mut extent, mut i) = (1, Index::default());
        while extent < size {
            let &axis = from.get(next)?;
            extent *= axis;
            i = i.times(axis as i64).plus(&index[next]);
            next += 1;
        }
        if extent != size.max(1) {
            return None;
        }
        result.push(i);
    }
    Some(result)
}

/// Whether the elements of a reshape can be read at an affine index of its operand.
pub fn reshape_is_affine(graph: &Graph, reshape: NodeId) -> bool {
    let operand = graph.operands(reshape)[0];
    let (from, to) = (&graph[reshape].ty.shape, &graph[operand].ty.shape);
    reshape_index(from, to, &vec![Index::default(); from.rank()]).is_some()
}

/// The index at which an element-wise operator, or a view that neither leaves out nor repeats an
/// element, reads `operand` when it is computed at `index`; `None` for any other node. What is read
/// in this way can be computed in the loops of its reader.
pub fn one_to_one(
    graph: &Graph,
    id: NodeId,
    operand: NodeId,
    index: &[Index],
) -> Option<Vec<Index>> {
    let (from, to) = (&graph[id].ty.shape, &graph[operand].ty.shape);
    match graph[id].op.lower {
        Lower::Map(_) => (from == to).then(|| index.to_vec()),
        Lower::Reshape => reshape_index(from, to, index),
        Lower::View(_) => permutation(graph, id)
            .map(|axes| axes.into_iter().map(|axis| index[axis].clone()).collect()),
        _ => None,
    }
}

/// For each axis of the operand of a view that only reorders axes, where it stands in the view.
fn permutation(graph: &Graph, id: NodeId) -> Option<Vec<usize>> {
    let Lower::View(view) = graph[id].op.lower else { return None };
    let (shape, operand) = (&graph[id].ty.shape, &graph[graph.operands(id)[0]].ty.shape);
    let vars: Vec<Index> = (0..shape.rank()).map(|a| Index::var(Var(a as u32))).collect();
    let axes = graph
        .with_view(id, |v| view(v, &vars))
        .iter()
        .map(|i| vars.iter().position(|v| v == i))
        .collect::<Option<Vec<usize>>>()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    let whole = sorted.into_iter().eq(0..shape.rank());
    (whole && axes.iter().zip(operand.iter()).all(|(&a, &size)| shape[a] == size)).then_some(axes)
}

/// Whether the node's elements are in memory.
pub fn has_buffer(graph: &Graph, id: NodeId) -> bool {
    match graph[id].placement {
        Placement::Kernel(_) => true,
        _ => matches!(graph[id].op.lower, Lower::Leaf),
    }
}

/// The node in whose buffer `id`, or what it is a view of, lies, and the flat index there of the
/// element at `index`. `None` if something between them computes.
pub fn resolve(
    graph: &Graph,
    storage: &Storage,
    id: NodeId,
    index: &[Index],
) -> Option<(NodeId, Index)> {
    let (mut id, mut index) = (id, index.to_vec());
    loop {
        if has_buffer(graph, id) {
            return Some(storage.at(graph, id, &index));
        }
        let node = &graph[id];
        let operand = *graph.operands(id).first()?;
        match node.op.lower {
            Lower::View(f) => index = graph.with_view(id, |v| f(v, &index)),
            Lower::Reshape => {
                let (from, to) = (&node.ty.shape, &graph[operand].ty.shape);
                match reshape_index(from, to, &index) {
                    Some(mapped) => index = mapped,
                    // Row-major by the fuser's word, and in no other's buffer: the order of the
                    // elements is the same.
                    None if has_buffer(graph, operand) => {
                        return Some((operand, Index::flat(&index, &from.strides())));
                    }
                    None => return None,
                }
            }
            _ => return None,
        }
        id = operand;
    }
}
