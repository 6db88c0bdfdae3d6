//! Lowering of long reductions to few elements: chunks are folded apart, then together.
//!
//! A sum over a whole batch to one value a channel leaves the threads nothing to share out among
//! the results, so the longest reduced axis is cut into a number of chunks that depends on its
//! extent alone.

use std::collections::HashSet;

use kiln_graph::op::{Lower, Reduction};
use kiln_graph::{Graph, NodeId};
use kiln_loops::{Fold, Index, LoopKind, Stmt};

use super::contract::divisor;
use super::pull::Emit;
use super::{LowerError, Lowering, emit_roots, finish, memory_order};
use crate::views::has_buffer;

/// Terms of all sums together from which a reduction is cut.
const LONG: usize = 1 << 15;
/// Results beyond which the threads share those out instead, as they do where each has fewer terms
/// than there are results.
const FEW: usize = 1024;
/// The same where terms lie side by side, so that threads do not share lines: rows stay whole, and
/// what else goes through them can go with the reduction.
const ROWS: usize = 64;
/// Chunks it is cut into.
const CHUNKS: usize = 16;

/// The only reduction that `roots` compute, if it is worth cutting.
pub(super) fn anchor(graph: &Graph, roots: &[NodeId]) -> Option<(NodeId, Fold)> {
    let mut found = None;
    let mut open = roots.to_vec();
    let mut seen: HashSet<NodeId> = roots.iter().copied().collect();
    while let Some(id) = open.pop() {
        if let Lower::Reduce(_, reduction) = graph[id].op.lower {
            let Reduction::Fold(fold) = reduction else { return None };
            if found.replace((id, fold)).is_some() {
                return None;
            }
            continue; // what it reads is inside
        }
        let inline = graph.operands(id).into_iter().filter(|&o| !has_buffer(graph, o));
        open.extend(inline.filter(|&o| seen.insert(o)));
    }
    let (id, fold) = found?;
    let Lower::Reduce(space, _) = graph[id].op.lower else { return None };
    let reduced: usize = graph.with_view(id, space).reduced.iter().product();
    let results = graph[id].ty.shape.elements();
    let same = graph[roots[0]].ty.shape.elements() == results;
    let few = results <= FEW.min(reduced);
    (same && few && results * reduced >= LONG).then_some((id, fold))
}

impl Lowering<'_> {
    /// Emits both kernels of a long reduction; `false` if its axes cannot be cut evenly or should
    /// not be cut.
    pub(super) fn long_reduction(
        &mut self,
        (anchor, fold): (NodeId, Fold),
        roots: &[NodeId],
    ) -> Result<bool, LowerError> {
        let graph = self.graph;
        let Lower::Reduce(space, _) = graph[anchor].op.lower else { return Ok(false) };
        let space = graph.with_view(anchor, space);
        let operand = graph.operands(anchor)[0];
        let shape = graph[anchor].ty.shape.clone();
        let symbolic = super::symbolic(&shape);
        let order = Emit::new(graph, &self.buffers, &self.storage)
            .reduction_order(operand, &symbolic, &space);
        // The outermost axis that gives enough chunks.
        let cut = order.iter().copied().find(|&(a, _)| divisor(space.reduced[a], CHUNKS) >= 4);
        let Some((cut, apart)) = cut else { return Ok(false) };
        let elements = shape.elements();
        if apart == 1 && elements >= ROWS {
            return Ok(false);
        }
        let order: Vec<usize> = order.into_iter().map(|(axis, _)| axis).collect();
        let count = divisor(space.reduced[cut], CHUNKS);
        let block = space.reduced[cut] / count;
        let label = format!("{}.{}.partial", graph[anchor].op.name, anchor.index());
        let dtype = graph[anchor].ty.dtype;
        let dims = kiln_tensor::Shape::new([count, elements])
            .map_err(|e| LowerError::Size(e.to_string()))?;
        let partial = self.buffer(label, dtype, dims, kiln_loops::BufferKind::Temp);

        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let chunk = Index::var(emit.open_parallel(count));
        let all: Vec<usize> = (0..shape.rank()).collect();
        let (at, outer) = emit.open_nest(&shape, &all);
        let identity = emit.loops.constant(fold.identity(dtype));
        let acc = emit.loops.mutable(identity);
        let extents: Vec<usize> = (0..space.reduced.len())
            .map(|a| if a == cut { block } else { space.reduced[a] })
            .collect();
        let (mut reduced, inner) = emit.open_nest(&extents, &order);
        reduced[cut] = reduced[cut].plus(&chunk.times(block as i64));
        let point: Vec<Index> = at.iter().chain(&reduced).cloned().collect();
        let x = emit.pull(operand, &space.operands[0].index(&point));
        emit.loops.push(Stmt::Accumulate(acc, fold, x));
        emit.close_nest(inner);
        let target = emit.loops.arg(partial, dtype);
        let flat = Index::flat(&at, &shape.strides());
        emit.loops.store(target, chunk.times(elements as i64).plus(&flat), acc);
        emit.close_nest(outer);
        emit.close();
        self.program.kernels.push(finish(emit, graph, &[anchor]));

        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let lead = roots[0];
        let (index, opened) = emit.open_nest(&graph[lead].ty.shape, &memory_order(graph, lead));
        let identity = emit.loops.constant(fold.identity(dtype));
        let acc = emit.loops.mutable(identity);
        let source = emit.loops.arg(partial, dtype);
        let chunk = Index::var(emit.open(count)).times(elements as i64);
        let at = super::index_at(graph, lead, anchor, index.clone())
            .expect("the reduction is below its epilogue");
        let flat = Index::flat(&at, &shape.strides());
        let x = emit.loops.load(source, chunk.plus(&flat));
        emit.loops.push(Stmt::Accumulate(acc, fold, x));
        emit.close();
        emit.known.insert(anchor, acc);
        emit_roots(&mut emit, roots, &index);
        emit.close_nest(opened);
        self.program.kernels.push(finish(emit, graph, roots));
        Ok(true)
    }
}

impl Emit<'_> {
    /// Opens the kernel's parallel loop.
    fn open_parallel(&mut self, extent: usize) -> kiln_loops::Var {
        let var = self.open(extent);
        self.loops.set_kind(LoopKind::Parallel);
        var
    }
}
