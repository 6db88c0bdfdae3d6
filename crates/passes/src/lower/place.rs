//! Lowering of placements (padding, concatenation) and of scatters.
//!
//! Both write a result in pieces, over a background: a constant for placements, zeros for
//! scatters. The axes along which every piece spans the result one to one become outer loops
//! around background and pieces.

use kiln_graph::NodeId;
use kiln_graph::op::{Lower, Piece, Scatter};
use kiln_loops::{Index, Kernel, Reg, Scalar};
use kiln_tensor::DType;

use super::pull::{Emit, Operands};
use super::{Lowering, finish, memory_order};
use crate::parallel::ENOUGH;

impl Lowering<'_> {
    /// The kernels of a placement; none if all of it is written by the kernels of what it holds. Where
    /// threads would have few turns of the outer loops to share, what is written around a piece in every
    /// run is a kernel of its own, so that the piece is one nest of loops.
    pub(super) fn place(&mut self, id: NodeId) -> Vec<Kernel> {
        let graph = self.graph;
        let Lower::Place(pieces, background) = graph[id].op.lower else {
            unreachable!("called for placements")
        };
        let (pieces, background) = graph.with_view(id, |v| (pieces(v), background(v)));
        let operands = graph.operands(id);
        let shape = &graph[id].ty.shape;
        let held = |p: &Piece| self.holds(id, operands[p.operand]);
        let all_held = pieces.iter().all(held);
        let mut kernels = Vec::new();
        let spans = |axis: usize| {
            pieces.iter().all(|p| {
                p.start[axis] == 0
                    && p.step[axis] == 1
                    && graph[operands[p.operand]].ty.shape[axis] == shape[axis]
            })
        };
        let order = memory_order(graph, id);
        let outer: Vec<usize> = order.iter().copied().take_while(|&a| spans(a)).collect();
        let inner: Vec<usize> = order[outer.len()..].to_vec();
        let few = outer.iter().map(|&axis| shape[axis]).product::<usize>() < ENOUGH;
        let apart = all_held || few && !self.fixed[id.index()];
        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let (mut base, mut opened) = emit.open_nest(shape, &outer);
        if let Some(value) = background {
            let value = constant(&mut emit, graph[id].ty.dtype, f64::from(value));
            let dense = match &pieces[..] {
                [piece] if piece.step.iter().all(|&step| step == 1) => Some(piece),
                _ => None,
            };
            let margins = match dense {
                Some(piece) => {
                    margins(shape, piece, &graph[operands[piece.operand]].ty.shape, &inner)
                }
                None => vec![shape.iter().map(|&d| (0, d)).collect()],
            };
            for margin in margins {
                let extents: Vec<usize> = margin.iter().map(|m| m.1).collect();
                let (rest, opened) = emit.open_nest(&extents, &inner);
                let start = |i: &Index, m: &(usize, usize)| i.offset(m.0 as i64);
                let rest: Vec<Index> = rest.iter().zip(&margin).map(|(i, m)| start(i, m)).collect();
                emit.store(id, &merge(&base, &rest), value);
                emit.close_nest(opened);
            }
            if dense.is_some() && apart {
                emit.close_nest(opened);
                kernels.push(finish(emit, graph, &[id]));
                emit = Emit::new(graph, &self.buffers, &self.storage);
                (base, opened) = emit.open_nest(shape, &outer);
            }
        }
        if all_held {
            return kernels;
        }
        for piece in pieces.iter().filter(|p| !held(p)) {
            let Piece { operand, start, step } = piece;
            let operand = operands[*operand];
            let (rest, opened) = emit.open_nest(&graph[operand].ty.shape, &inner);
            let at = merge(&base, &rest);
            let value = emit.pull(operand, &at);
            let target: Vec<Index> = at
                .iter()
                .zip(start.iter().zip(step))
                .map(|(i, (&start, &step))| i.times(step as i64).offset(start as i64))
                .collect();
            emit.store(id, &target, value);
            emit.close_nest(opened);
        }
        emit.close_nest(opened);
        kernels.push(finish(emit, graph, &[id]));
        kernels
    }

    /// Whether a placement's operand lies where the placement wants it.
    fn holds(&self, placement: NodeId, operand: NodeId) -> bool {
        self.storage.held_by(operand) == Some(placement)
    }

    pub(super) fn scatter(&mut self, id: NodeId, scatter: Scatter) -> Kernel {
        let graph = self.graph;
        let operands = graph.operands(id);
        let shape = &graph[id].ty.shape;
        let (domain, disjoint) =
            graph.with_view(id, |v| ((scatter.domain)(v), (scatter.disjoint)(v)));
        // Which axis of the result each disjoint axis of the domain is, one to one. A dry run tells.
        let mut trial = Emit::new(graph, &self.buffers, &self.storage);
        let all: Vec<usize> = (0..domain.len()).collect();
        let (point, _) = trial.open_nest(&domain, &all);
        let (target, _) = graph.with_view(id, |v| {
            (scatter.emit)(&mut Operands { emit: &mut trial, operands: &operands }, v, &point)
        });
        let spanned: Vec<(usize, usize)> = disjoint
            .iter()
            .filter(|&&axis| domain[axis] != 1)
            .filter_map(|&axis| {
                let to = target.iter().position(|t| *t == point[axis])?;
                (shape[to] == domain[axis]).then_some((axis, to))
            })
            .collect();

        let outer: Vec<usize> = spanned.iter().map(|s| s.0).collect();
        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let (base, opened) = emit.open_nest(&domain, &outer);
        let zero = constant(&mut emit, graph[id].ty.dtype, 0.0);
        let inner: Vec<usize> = memory_order(graph, id)
            .into_iter()
            .filter(|a| spanned.iter().all(|s| s.1 != *a))
            .collect();
        let (mut at, filled) = emit.open_nest(shape, &inner);
        for &(axis, to) in &spanned {
            at[to] = base[axis].clone();
        }
        emit.store(id, &at, zero);
        emit.close_nest(filled);

        let rest: Vec<usize> = all.into_iter().filter(|a| !outer.contains(a)).collect();
        let (inner, added) = emit.open_nest(&domain, &rest);
        let point = merge(&base, &inner);
        let (target, value) = graph.with_view(id, |v| {
            (scatter.emit)(&mut Operands { emit: &mut emit, operands: &operands }, v, &point)
        });
        let (owner, flat) = emit.storage.at(graph, id, &target);
        let mem = emit.mem(owner);
        let before = emit.loops.load(mem, flat.clone());
        let sum = emit.loops.binary(kiln_loops::Binary::Add, before, value);
        emit.loops.store(mem, flat, sum);
        emit.close_nest(added);
        emit.close_nest(opened);
        finish(emit, graph, &[id])
    }
}

/// The boxes around a piece that together with it fill a shape: before and after it along each of
/// the axes `order`, whose other axes span it, outermost first. A box is a start and an extent for
/// each axis; axes beside `order` have 0 and 1.
fn margins(
    shape: &[usize],
    piece: &Piece,
    extents: &[usize],
    order: &[usize],
) -> Vec<Vec<(usize, usize)>> {
    let mut all: Vec<(usize, usize)> = vec![(0, 1); shape.len()];
    order.iter().for_each(|&axis| all[axis] = (0, shape[axis]));
    let mut boxes = Vec::new();
    for &axis in order {
        let (start, end) = (piece.start[axis], piece.start[axis] + extents[axis]);
        for (from, to) in [(0, start), (end, shape[axis])] {
            if from < to {
                let mut margin = all.clone();
                margin[axis] = (from, to - from);
                boxes.push(margin);
            }
        }
        all[axis] = (start, extents[axis]);
    }
    boxes
}

/// An index whose axes are given by one or the other.
fn merge(a: &[Index], b: &[Index]) -> Vec<Index> {
    a.iter().zip(b).map(|(a, b)| a.plus(b)).collect()
}

fn constant(emit: &mut Emit<'_>, dtype: DType, value: f64) -> Reg {
    emit.loops.constant(match dtype {
        DType::F32 => Scalar::F32(value as f32),
        DType::I32 => Scalar::I32(value as i32),
        DType::Bool => Scalar::Bool(value != 0.0),
    })
}
