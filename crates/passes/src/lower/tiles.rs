//! Lowering of operators that compute tiles of their result from tiles of their operand.

use std::collections::HashSet;

use kiln_graph::op::Lower;
use kiln_graph::{Graph, NodeId};
use kiln_loops::{Affine, Epilogue, Index, Kernel, Residual, Scalar, Stmt, Transform, Var};
use kiln_tensor::DType;

use super::epilogue::{Added, Epilogue as Fused, is_copy};
use super::pull::Emit;
use super::{Lowering, emit_roots, finish, symbolic};
use crate::views::{has_buffer, reshape_index, resolve};

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
    /// Loops over the tiles; the channels of each are computed at once, and stored with their epilogue.
    pub(super) fn tiles(&mut self, anchor: NodeId, roots: &[NodeId]) -> Kernel {
        let graph = self.graph;
        let Lower::Tiles(tiles) = graph[anchor].op.lower else { unreachable!("called for tiles") };
        let domain = graph.with_view(anchor, |v| (tiles.domain)(v));
        let map = graph.with_view(anchor, |v| (tiles.map)(v));
        let [side, written] = map.sides();
        let operand = graph.operands(anchor)[0];
        let (from, to) = (&graph[anchor].ty.shape, &graph[roots[0]].ty.shape);
        // The places of a tile in the operand and in the first root, and where those lie.
        let reads = |point: &[Index]| -> Vec<(NodeId, Index)> {
            let indices = graph.with_view(anchor, |v| (tiles.reads)(v, point));
            let place = |i: &Vec<Index>| resolve(graph, &self.storage, operand, i);
            indices.iter().map(|i| place(i).expect("the fuser stored what tiles read")).collect()
        };
        let writes = |point: &[Index]| -> Vec<Vec<Index>> {
            let indices = graph.with_view(anchor, |v| (tiles.writes)(v, point));
            let index = |i: &Vec<Index>| reshape_index(from, to, i);
            indices.iter().map(|i| index(i).expect("an epilogue keeps axes")).collect()
        };
        let lies = |index: &Vec<Index>| self.storage.at(graph, roots[0], index);
        // One statement computes all channels. How far they lie apart:
        let channel = domain.len() - 1;
        let (len, vars) = (domain[channel], symbolic(&domain));
        let apart = |i: &Index| i.affine.coefficient(Var(channel as u32));
        let to_channels = apart(&lies(&writes(&vars)[0]).1);
        let fused = match roots {
            [root] => self.finished(*root, anchor, &writes(&vars)[0], channel, to_channels),
            _ => None,
        };
        let direct = fused.is_some() || roots.len() == 1 && is_copy(graph, roots[0], anchor);

        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let outer: Vec<usize> = (0..channel).collect();
        let (mut point, opened) = emit.open_nest(&domain, &outer);
        // Rows and columns of a square are places whose indices differ by constants.
        let strides = |places: &[(NodeId, Index)], side: usize, channel: i64| -> [i64; 3] {
            let constant = |at: usize| places[at].1.affine.constant;
            [constant(side) - constant(0), constant(1) - constant(0), channel]
        };
        let from = reads(&point);
        let src = (emit.mem(from[0].0), from[0].1.affine.clone());
        let src_strides = strides(&from, side, apart(&reads(&vars)[0].1));
        let (dst, dst_strides) = if direct {
            let to: Vec<_> = writes(&point).iter().map(lies).collect();
            let first = (emit.mem(to[0].0), to[0].1.affine.clone());
            (first, strides(&to, written, to_channels))
        } else {
            let tile = emit.loops.local(DType::F32, written * written * len);
            ((tile, Affine::default()), [(written * len) as i64, len as i64, 1])
        };
        let tile = dst.0;
        let mut epilogue = Epilogue::default();
        if let Some(fused) = fused {
            // Where what is added lies for a place of the first root.
            let added = |(node, flat): &Added, place: &[Index]| -> (NodeId, Index) {
                let start = Affine::constant(flat.constant);
                let axes = flat.terms.iter();
                let at = axes.fold(start, |sum, &(axis, stride)| {
                    sum.plus(&place[axis.0 as usize].affine.times(stride))
                });
                (*node, at.into())
            };
            let places = writes(&point);
            epilogue.bias = fused.bias.as_ref().map(|bias| {
                let (node, at) = added(bias, &places[0]);
                (emit.mem(node), at.affine)
            });
            epilogue.residual = fused.residual.as_ref().map(|residual| {
                let at: Vec<_> = places.iter().map(|place| added(residual, place)).collect();
                let [row, column, _] = strides(&at, written, to_channels);
                let first = (emit.mem(at[0].0), at[0].1.affine.clone());
                Residual { at: first, rows: vec![row, column] }
            });
            (epilogue.relu, epilogue.cap) = (fused.relu, fused.cap.map(Scalar::F32));
        }
        let transform = Transform { map, dst, dst_strides, src, src_strides, len, epilogue };
        emit.loops.push(Stmt::Transform(Box::new(transform)));
        if !direct {
            let (at, opened) = emit.open_nest(&[len], &[0]);
            point[channel] = at[0].clone();
            for (k, index) in writes(&point).iter().enumerate() {
                let value = emit.loops.load(tile, at[0].offset((k * len) as i64));
                emit.known.insert(anchor, value);
                emit_roots(&mut emit, roots, index);
            }
            emit.close_nest(opened);
        }
        emit.close_nest(opened);
        finish(emit, graph, roots)
    }

    /// What the transform can do itself between the anchor and the only root, if that is all there is to do:
    /// the channels, which lie along one axis of the root, are in what is added as far apart as in the root.
    fn finished(
        &self,
        root: NodeId,
        anchor: NodeId,
        place: &[Index],
        channel: usize,
        apart: i64,
    ) -> Option<Fused> {
        let graph = self.graph;
        let along = |i: &Index| i.affine.coefficient(Var(channel as u32));
        let axis = place.iter().position(|i| along(i) == 1)?;
        let column = Var(axis as u32);
        let plain = place.iter().all(|i| i.dynamic.is_empty());
        let once = place.iter().filter(|i| along(i) != 0).count() == 1;
        let fused = Fused::between(graph, &self.storage, root, anchor, column)?;
        let beside = |added: &Added| added.1.coefficient(column) == apart;
        (plain && once && fused.residual.as_ref().is_none_or(beside)).then_some(fused)
    }
}
