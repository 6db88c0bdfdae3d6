//! Lowering of contractions: the kernels of products whose form is chosen in `form.rs`, how their depth is
//! split, where the epilogue runs.

use std::collections::HashSet;

use kiln_graph::op::{Lower, Space};
use kiln_graph::{Graph, NodeId};
use kiln_loops::{
    Affine, BufferId, Contract, Dim, Epilogue, Fold, Index, LoopKind, Mem, Pack, Residual, Scalar,
    Stmt, Var, packed_elements,
};
use kiln_tensor::DType;

use super::chunks::{TURN_ROWS, is_turn};
use super::epilogue::{Added, Epilogue as Fused, index_at, is_copy};
use super::form::{Axis, Blocks, CHUNKS, FEW_ROWS, Form, MIN_COLS, SMALL, count, peel, volume};
use super::pull::Emit;
use super::{LowerError, Lowering, emit_roots, finish, memory_order, symbolic};
use crate::parallel::are_enough;
use crate::storage::Storage;
use crate::views::{has_buffer, resolve};
use crate::walk::Touched;

/// Depth from which it is worth splitting.
const DEEP: usize = 2048;

/// The contraction that `roots` are the epilogue of.
pub(crate) fn anchor(graph: &Graph, roots: &[NodeId]) -> Option<NodeId> {
    let mut open = roots.to_vec();
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if matches!(graph[id].op.lower, Lower::Contract(_)) {
            return Some(id);
        }
        let inline = graph.operands(id).into_iter().filter(|&o| !has_buffer(graph, o));
        open.extend(inline.filter(|&o| seen.insert(o)));
    }
    None
}

/// The stride of an axis in one of the arrays.
type Stride<'a> = &'a dyn Fn(&Axis) -> i64;

/// How far an index of the stored node's axes moves along this axis.
fn along(flat: &Affine, axis: &Axis) -> i64 {
    axis.result.map_or(0, |(axis, _)| flat.coefficient(Var(axis as u32)))
}

impl Form {
    /// What the micro-kernel can do after the contraction, if that is all there is to do: columns
    /// lie side by side in the result, and in what is added to it.
    fn epilogue(
        &self,
        graph: &Graph,
        storage: &Storage,
        root: NodeId,
        anchor: NodeId,
    ) -> Option<Fused> {
        let [Axis { result: Some((column, 1)), .. }] = self.cols[..] else { return None };
        let column = Var(column as u32);
        let fused = Fused::between(graph, storage, root, anchor, column)?;
        let beside = |added: &Added| added.1.coefficient(column) == 1;
        fused.residual.as_ref().is_none_or(beside).then_some(fused)
    }
}

impl Lowering<'_> {
    /// Emits the kernels of a contraction and its epilogue.
    pub(super) fn contraction(
        &mut self,
        anchor: NodeId,
        roots: &[NodeId],
    ) -> Result<(), LowerError> {
        let graph = self.graph;
        let Lower::Contract(space) = graph[anchor].op.lower else {
            unreachable!("called for contractions")
        };
        let space = graph.with_view(anchor, space);
        let (axes, reads) = axes(graph, &self.storage, anchor, roots[0], &space);
        let form = Form::choose(&axes, [0, 1].map(|i| self.fixed[reads[i].0.index()]));
        let (m, n, k) = (volume(&form.rows), volume(&form.cols), volume(&form.depth));
        let products = volume(&form.batch);
        let work = (m * n).saturating_mul(k).saturating_mul(products);
        let splittable = form.depth.first().is_some_and(|a| divisor(a.extent, 8) >= 4);
        let once = self.fixed[reads[1 - form.first].0.index()];
        // Columns of weights, or of what is read once in any case, can be shared out instead.
        let wide = (once || m <= FEW_ROWS) && n >= 4 * MIN_COLS;
        if k >= DEEP && !wide && splittable && m * n * products * 8 <= 1 << 20 && work > SMALL {
            self.split_depth(anchor, roots, &form, &reads)
        } else {
            self.split_rows(anchor, roots, &form, &reads, work)
        }
    }

    /// Chunks of the depth are summed apart, then together.
    fn split_depth(
        &mut self,
        anchor: NodeId,
        roots: &[NodeId],
        form: &Form,
        reads: &[(NodeId, Affine); 2],
    ) -> Result<(), LowerError> {
        let graph = self.graph;
        let lead = roots[0];
        let count = divisor(
            form.depth[0].extent,
            if volume(&form.rows) * volume(&form.cols) > 8192 { 8 } else { CHUNKS },
        );
        let elements = graph[lead].ty.shape.elements();
        let partial = self.scratch(
            format!("{}.{}.partial", graph[anchor].op.name, anchor.index()),
            &[count, elements],
        )?;

        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let mut depth = Blocks::new(&form.depth[0], count);
        let chunk = emit.loops.open_loop(None, count, count, 1, LoopKind::Parallel);
        depth.var = Some(chunk);
        let mut batch: Vec<Blocks> = form.batch.iter().map(|a| Blocks::new(a, a.extent)).collect();
        for b in &mut batch {
            b.var = Some(emit.loops.open(b.count));
        }
        let base = |position: usize| {
            let stride = |b: &Blocks| b.offset(b.axis.operand[position]);
            batch
                .iter()
                .fold(reads[position].1.plus(&stride(&depth)), |sum, b| sum.plus(&stride(b)))
        };
        let c = batch.iter().fold(Affine::var(chunk).times(elements as i64), |sum, b| {
            sum.plus(&b.offset(b.axis.result.map_or(0, |r| r.1 as i64)))
        });
        let (first, second) = (form.first, 1 - form.first);
        let (a, b) = (emit.mem(reads[first].0), emit.mem(reads[second].0));
        let target = emit.loops.arg(partial, DType::F32);
        let mut inner = form.depth.clone();
        inner[0].extent /= count;
        let to_result = |axis: &Axis| axis.result.map_or(0, |r| r.1 as i64);
        emit.loops.push(Stmt::Contract(Box::new(Contract {
            a: (a, base(first)),
            b: (b, base(second)),
            c: (target, c),
            rows: dims(&form.rows, |x| (x.operand[first], to_result(x))),
            cols: dims(&form.cols, |x| (x.operand[second], to_result(x))),
            depth: dims(&inner, |x| (x.operand[first], x.operand[second])),
            accumulate: false,
            packed: false,
            channelwise: form.channelwise,
            epilogue: Epilogue::default(),
        })));
        batch.iter().for_each(|_| emit.loops.close());
        emit.loops.close();
        self.program.kernels.push(finish(emit, graph, &[anchor]));

        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let (index, opened) = emit.open_nest(&graph[lead].ty.shape, &memory_order(graph, lead));
        let zero = emit.loops.constant(Scalar::F32(0.0));
        let sum = emit.loops.mutable(zero);
        let source = emit.loops.arg(partial, DType::F32);
        let chunk = Index::var(emit.open(count)).times(elements as i64);
        let x = emit.loops.load(source, chunk.plus(&Index::flat(&index, &graph[lead].strides())));
        emit.loops.push(Stmt::Accumulate(sum, Fold::Add, x));
        emit.close();
        emit.known.insert(anchor, sum);
        emit_roots(&mut emit, roots, &index);
        emit.close_nest(opened);
        self.program.kernels.push(finish(emit, graph, roots));
        Ok(())
    }

    /// Chunks of rows (or of columns, where rows are few) are computed apart.
    fn split_rows(
        &mut self,
        anchor: NodeId,
        roots: &[NodeId],
        form: &Form,
        reads: &[(NodeId, Affine); 2],
        work: usize,
    ) -> Result<(), LowerError> {
        let graph = self.graph;
        let lead = roots[0];
        let fused =
            if roots.len() == 1 { form.epilogue(graph, &self.storage, lead, anchor) } else { None };
        let direct = fused.is_some() || is_copy(graph, lead, anchor) && roots.len() == 1;
        let (first, second) = (form.first, 1 - form.first);
        let m = volume(&form.rows);

        let mut blocks: Vec<Blocks> = form.batch.iter().map(|a| Blocks::new(a, a.extent)).collect();
        let once = self.fixed[reads[second].0.index()];
        let turns = if once { self.turns(form, reads[first].0) } else { None };
        let (col_blocks, row_blocks) = match turns {
            Some(turns) => (peel(&form.cols, |_, _| true), peel(&form.rows, |n, _| n >= turns)),
            None => form.chunks(work, direct, once),
        };
        let row_count = count(&row_blocks);
        let packed = ((row_count > 1 || once) && (m > FEW_ROWS || form.channelwise))
            .then(|| self.pack(anchor, form, reads, &col_blocks))
            .transpose()?;

        let inner = |axes: &[Axis], blocks: &[Blocks]| -> Vec<Axis> {
            axes.iter().zip(blocks).map(|(a, b)| Axis { extent: b.block(), ..a.clone() }).collect()
        };
        let cols = inner(&form.cols, &col_blocks);
        let chunk = inner(&form.rows, &row_blocks);
        let strips = match turns {
            None if direct && once => form.strips(&chunk, &cols),
            _ => peel(&chunk, |_, _| true),
        };
        let rows = inner(&chunk, &strips);
        let col_axes = blocks.len()..blocks.len() + col_blocks.len();
        let batch_axes = 0..blocks.len();
        blocks.extend(col_blocks);
        let row_axes = col_axes.end..col_axes.end + row_blocks.len();
        blocks.extend(row_blocks);
        let strip_axes = row_axes.end..row_axes.end + strips.len();
        blocks.extend(strips);

        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        // A thread runs turns that follow each other: around those of a product, the loop over the
        // blocks of the larger operand, of which it then reads only a part. Turns that are given go
        // through all products, one after the other.
        let rows_first = form.first_elements() >= volume(&form.cols) * volume(&form.depth);
        let order: Vec<usize> = match (turns, rows_first) {
            (Some(_), _) => row_axes.chain(batch_axes.clone()).chain(col_axes.clone()).collect(),
            (None, true) => batch_axes.clone().chain(row_axes).chain(col_axes.clone()).collect(),
            (None, false) => batch_axes.clone().chain(col_axes.clone()).chain(row_axes).collect(),
        };
        let order = order.into_iter().chain(strip_axes.clone());
        let order: Vec<usize> = order.filter(|&i| blocks[i].count > 1).collect();
        for (depth, &i) in order.iter().enumerate() {
            let kind = match turns {
                Some(_) if depth > 0 => LoopKind::Serial,
                None if strip_axes.contains(&i) => LoopKind::Serial,
                _ => LoopKind::Parallel,
            };
            let count = blocks[i].count;
            blocks[i].var = Some(emit.loops.open_loop(None, count, count, 1, kind));
        }
        let sum = |start: Affine, stride: &dyn Fn(&Axis) -> i64| {
            blocks.iter().fold(start, |sum, b| sum.plus(&b.offset(stride(&b.axis))))
        };

        // The tile lies in the order of the result, dense.
        let mut tile: Vec<Axis> = rows.iter().chain(&cols).cloned().collect();
        tile.sort_by_key(|a| std::cmp::Reverse(a.result.map_or(0, |r| r.1)));
        let extents: Vec<usize> = tile.iter().map(|a| a.extent).collect();
        let tile_strides = super::pull::strides(&extents);
        let in_tile = |axis: &Axis| {
            let at = tile
                .iter()
                .position(|t| t.result == axis.result)
                .expect("every axis is in the tile");
            tile_strides[at] as i64
        };
        let (owner, offset, strides) = self.storage.lies(graph, lead);
        let in_result = |axis: &Axis| axis.result.map_or(0, |r| strides[r.0] as i64);
        let (target, start, to_c): (Mem, Affine, Stride<'_>) = if direct {
            (emit.mem(owner), sum(Affine::constant(offset as i64), &in_result), &in_result)
        } else {
            (emit.loops.local(DType::F32, extents.iter().product()), Affine::default(), &in_tile)
        };
        let mut epilogue = Epilogue::default();
        if let Some(fused) = fused {
            let mut place = |(node, flat): &Added| {
                let start = Affine::constant(flat.constant);
                (emit.mem(*node), sum(start, &|x| along(flat, x)))
            };
            epilogue.bias = fused.bias.as_ref().map(&mut place);
            epilogue.residual = fused.residual.as_ref().map(|added| Residual {
                at: place(added),
                rows: rows.iter().filter(|a| a.extent != 1).map(|a| along(&added.1, a)).collect(),
            });
            epilogue.relu = fused.relu;
            epilogue.cap = fused.cap.map(Scalar::F32);
        }
        let a = (emit.mem(reads[first].0), sum(reads[first].1.clone(), &|x| x.operand[first]));
        let b = match packed {
            Some((buffer, size)) => {
                let position = block_number(&blocks, batch_axes.chain(col_axes));
                (emit.loops.arg(buffer, DType::F32), position.times(size as i64))
            }
            None => {
                (emit.mem(reads[second].0), sum(reads[second].1.clone(), &|x| x.operand[second]))
            }
        };
        emit.loops.push(Stmt::Contract(Box::new(Contract {
            a,
            b,
            c: (target, start),
            rows: dims(&rows, |x| (x.operand[first], to_c(x))),
            cols: dims(&cols, |x| (x.operand[second], to_c(x))),
            depth: dims(&form.depth, |x| (x.operand[first], x.operand[second])),
            accumulate: false,
            packed: packed.is_some(),
            channelwise: form.channelwise,
            epilogue,
        })));

        if !direct {
            let all: Vec<usize> = (0..tile.len()).collect();
            let (at, opened) = emit.open_nest(&extents, &all);
            let value = emit.loops.load(target, Index::flat(&at, &tile_strides));
            emit.known.insert(anchor, value);
            let mut index = vec![Index::default(); graph[lead].ty.shape.rank()];
            for block in &blocks {
                if let Some((axis, _)) = block.axis.result {
                    index[axis] = index[axis].plus(&block.offset(1).into());
                }
            }
            for (axis, i) in tile.iter().zip(&at) {
                if let Some((axis, _)) = axis.result {
                    index[axis] = index[axis].plus(i);
                }
            }
            emit_roots(&mut emit, roots, &index);
            emit.close_nest(opened);
        }
        order.iter().for_each(|_| emit.loops.close());
        self.program.kernels.push(finish(emit, graph, roots));
        Ok(())
    }

    /// The turns in which products go through their rows, one product after the other, where the kernel
    /// before, which writes the rows, goes through them in such turns: they can be joined then, and what a
    /// turn computes stays in the cache. They are those of its outermost loop; more, by the loop inside it,
    /// where these are large (whole images), or fewer where they have few rows.
    fn turns(&self, form: &Form, operand: NodeId) -> Option<usize> {
        let [rows] = &form.rows[..] else { return None };
        let products = volume(&form.batch);
        let (cols, depth) = (volume(&form.cols), volume(&form.depth));
        if products == 1 || form.channelwise {
            return None;
        }
        let before = self.program.kernels.get(self.before?)?;
        let [Stmt::For(outer)] = &before.body[..] else { return None };
        if !Touched::by(before).writes.contains(&self.buffers[operand.index()]?) {
            return None;
        }
        let inner = match &outer.body[..] {
            [Stmt::For(inner)] => inner.end,
            _ => 1,
        };
        let divisors = |n: usize| (1..=n).filter(move |&d| n.is_multiple_of(d));
        let more = divisors(inner).map(|parts| outer.end * parts);
        let fewer = divisors(outer.end).rev().skip(1);
        let few = rows.extent / outer.end < TURN_ROWS;
        more.chain(fewer.filter(|_| few)).find(|&turns| {
            rows.extent.is_multiple_of(turns)
                && is_turn(products, [rows.extent / turns, cols, depth])
                && are_enough(turns, before)
        })
    }

    /// Emits a kernel that packs the second operand, for every product of the batch and every block
    /// of columns; the buffer and the elements of one pack.
    fn pack(
        &mut self,
        anchor: NodeId,
        form: &Form,
        reads: &[(NodeId, Affine); 2],
        col_blocks: &[Blocks],
    ) -> Result<(BufferId, usize), LowerError> {
        let graph = self.graph;
        let second = 1 - form.first;
        let mut blocks: Vec<Blocks> = form.batch.iter().map(|a| Blocks::new(a, a.extent)).collect();
        blocks.extend(col_blocks.iter().map(|b| Blocks::new(&b.axis, b.count)));
        let count: usize = blocks.iter().map(|b| b.count).product();
        let cols: Vec<Axis> =
            col_blocks.iter().map(|b| Axis { extent: b.block(), ..b.axis.clone() }).collect();
        let too_large =
            || LowerError::Size(format!("the packed operand of `{}`", graph[anchor].op.name));
        let size = packed_elements(volume(&cols), volume(&form.depth)).ok_or_else(too_large)?;
        let label = format!("{}.{}.packed", graph[anchor].op.name, anchor.index());
        let buffer = self.scratch(label, &[count, size])?;

        let mut emit = Emit::new(graph, &self.buffers, &self.storage);
        let mut opened = 0;
        for block in blocks.iter_mut().filter(|b| b.count > 1) {
            let count = block.count;
            block.var = Some(emit.loops.open_loop(None, count, count, 1, LoopKind::Parallel));
            opened += 1;
        }
        let source = emit.mem(reads[second].0);
        let start = blocks
            .iter()
            .fold(reads[second].1.clone(), |sum, b| sum.plus(&b.offset(b.axis.operand[second])));
        let target = emit.loops.arg(buffer, DType::F32);
        let position = block_number(&blocks, 0..blocks.len());
        emit.loops.push(Stmt::Pack(Box::new(Pack {
            src: (source, start),
            dst: (target, position.times(size as i64)),
            cols: dims(&cols, |x| (x.operand[second], 0)),
            depth: dims(&form.depth, |x| (x.operand[form.first], x.operand[second])),
        })));
        (0..opened).for_each(|_| emit.loops.close());
        self.program.kernels.push(emit.loops.finish("pack"));
        Ok((buffer, size))
    }
}

/// The row-major number of the current block among the given block loops.
fn block_number(blocks: &[Blocks], which: impl Iterator<Item = usize>) -> Affine {
    which.fold(Affine::default(), |sum, i| {
        let this = blocks[i].var.map_or_else(Affine::default, Affine::var);
        sum.times(blocks[i].count as i64).plus(&this)
    })
}

/// The divisor of `n` next to `wanted`, the greater of two equally near.
pub(super) fn divisor(n: usize, wanted: usize) -> usize {
    (1..=n.min(4 * wanted))
        .rev()
        .filter(|d| n.is_multiple_of(*d))
        .min_by_key(|d| d.abs_diff(wanted))
        .unwrap_or(1)
}

fn dims(axes: &[Axis], strides: impl Fn(&Axis) -> (i64, i64)) -> Vec<Dim> {
    axes.iter()
        .filter(|a| a.extent != 1)
        .map(|a| {
            let (input, output) = strides(a);
            Dim { extent: a.extent, input, output }
        })
        .collect()
}

/// The axes of extent other than 1, of the stored node and then the reduced ones, and the buffer and
/// start that each operand is read from.
fn axes(
    graph: &Graph,
    storage: &Storage,
    anchor: NodeId,
    lead: NodeId,
    space: &Space,
) -> (Vec<Axis>, [(NodeId, Affine); 2]) {
    let shape = &graph[lead].ty.shape;
    let extents: Vec<usize> = shape.iter().chain(&space.reduced).copied().collect();
    let vars = symbolic(&extents);
    let (stored, reduced) = vars.split_at(shape.rank());
    let mut point =
        index_at(graph, lead, anchor, stored.to_vec()).expect("the anchor is below its epilogue");
    point.extend_from_slice(reduced);
    let operands = graph.operands(anchor);
    let reads = [0, 1].map(|position| {
        let index = space.operands[position].index(&point);
        resolve(graph, storage, operands[position], &index)
            .expect("the fuser stored what a contraction reads")
    });
    let strides = graph[lead].strides();
    let axes = (0..extents.len())
        .filter(|&axis| extents[axis] != 1)
        .map(|axis| {
            let var = Var(axis as u32);
            let result = strides.get(axis).map(|&stride| (axis, stride));
            let operand = [0, 1].map(|i| reads[i].1.affine.coefficient(var));
            Axis { extent: extents[axis], operand, result }
        })
        .collect();
    let start = |i: usize| (reads[i].0, Affine::constant(reads[i].1.affine.constant));
    (axes, [start(0), start(1)])
}
