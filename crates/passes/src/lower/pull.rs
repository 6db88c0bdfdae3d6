//! Emitting the element of a node at an index.

use std::collections::HashMap;

use kiln_graph::op::{Lower, Pull, Reduction, Space};
use kiln_graph::{Graph, NodeId};
use kiln_loops::{
    Binary, BufferId, Builder, Compare, Fold, Index, Inst, Mem, Reg, Scalar, Stmt, Var,
};
use kiln_tensor::{DType, Data};

use crate::storage::Storage;
use crate::views::{has_buffer, reshape_index, resolve};

/// The kernel being emitted.
pub(super) struct Emit<'g> {
    pub graph: &'g Graph,
    pub loops: Builder,
    buffers: &'g [Option<BufferId>],
    pub storage: &'g Storage,
    /// Elements computed already at the index of the kernel's loops.
    pub known: HashMap<NodeId, Reg>,
    /// Elements computed already, for each open loop.
    memo: Vec<HashMap<(NodeId, Vec<Index>), Reg>>,
}

impl<'g> Emit<'g> {
    pub fn new(
        graph: &'g Graph,
        buffers: &'g [Option<BufferId>],
        storage: &'g Storage,
    ) -> Emit<'g> {
        let memo = vec![HashMap::new()];
        Emit { graph, loops: Builder::new(), buffers, storage, known: HashMap::new(), memo }
    }

    /// Opens a serial loop.
    pub fn open(&mut self, extent: usize) -> Var {
        self.memo.push(HashMap::new());
        self.loops.open(extent)
    }

    /// Closes the innermost loop.
    pub fn close(&mut self) {
        self.memo.pop();
        self.loops.close();
    }

    /// Opens a loop for each extent other than 1, in the given order of axes; the index of each
    /// axis and the number of loops opened.
    pub fn open_nest(&mut self, extents: &[usize], order: &[usize]) -> (Vec<Index>, usize) {
        let mut index = vec![Index::default(); extents.len()];
        let mut opened = 0;
        for &axis in order {
            if extents[axis] != 1 {
                index[axis] = Index::var(self.open(extents[axis]));
                opened += 1;
            }
        }
        (index, opened)
    }

    /// Closes that many loops.
    pub fn close_nest(&mut self, opened: usize) {
        (0..opened).for_each(|_| self.close());
    }

    /// The argument for the buffer of a node that has one of its own.
    pub fn mem(&mut self, id: NodeId) -> Mem {
        let buffer =
            self.buffers[id.index()].expect("a node that is read from memory has a buffer");
        self.loops.arg(buffer, self.graph[id].ty.dtype)
    }

    /// Stores an element of a node.
    pub fn store(&mut self, id: NodeId, index: &[Index], value: Reg) {
        let (owner, flat) = self.storage.at(self.graph, id, index);
        let mem = self.mem(owner);
        self.loops.store(mem, flat, value);
    }

    /// The element of a node that this kernel does not store, or has stored already.
    pub fn pull(&mut self, id: NodeId, index: &[Index]) -> Reg {
        if let Some(&reg) = self.known.get(&id) {
            return reg;
        }
        let key = (id, index.to_vec());
        if let Some(&reg) = self.memo.iter().rev().find_map(|m| m.get(&key)) {
            return reg;
        }
        let reg =
            if has_buffer(self.graph, id) { self.load(id, index) } else { self.compute(id, index) };
        self.memo.last_mut().expect("one for the kernel").insert(key, reg);
        reg
    }

    fn load(&mut self, id: NodeId, index: &[Index]) -> Reg {
        let node = &self.graph[id];
        let is_number = node.ty.shape.rank() == 0 && matches!(node.op.lower, Lower::Leaf);
        if is_number && self.graph.input(id).is_none() {
            return self.loops.constant(scalar(node.attrs.tensor("value").data()));
        }
        let (owner, flat) = self.storage.at(self.graph, id, index);
        let mem = self.mem(owner);
        self.loops.load(mem, flat)
    }

    /// The element of a node, from its operands.
    pub fn compute(&mut self, id: NodeId, index: &[Index]) -> Reg {
        let graph = self.graph;
        let operands = graph.operands(id);
        match graph[id].op.lower {
            Lower::Map(f) => {
                let x: Vec<Reg> = operands.iter().map(|&o| self.pull_same(o, index)).collect();
                graph.with_view(id, |v| f(&mut self.loops, v, &x))
            }
            Lower::View(f) => {
                let mapped = graph.with_view(id, |v| f(v, index));
                self.pull(operands[0], &mapped)
            }
            Lower::Reshape => {
                let (from, to) = (&graph[id].ty.shape, &graph[operands[0]].ty.shape);
                match reshape_index(from, to, index) {
                    Some(mapped) => self.pull(operands[0], &mapped),
                    None => {
                        let mem = self.mem(operands[0]);
                        self.loops.load(mem, Index::flat(index, &from.strides()))
                    }
                }
            }
            Lower::Element(f) => graph
                .with_view(id, |v| f(&mut Operands { emit: self, operands: &operands }, v, index)),
            Lower::Reduce(f, reduction) => {
                let space = graph.with_view(id, f);
                self.reduce(operands[0], index, &space, reduction)
            }
            Lower::Leaf
            | Lower::Never
            | Lower::Place(..)
            | Lower::Contract(_)
            | Lower::Scatter(_)
            | Lower::Tiles(_) => {
                unreachable!("`{}` has a buffer or is the anchor of its kernel", graph[id].op.name)
            }
        }
    }

    /// The element of an operand of an element-wise operator.
    fn pull_same(&mut self, id: NodeId, index: &[Index]) -> Reg {
        match self.graph[id].ty.shape.rank() {
            0 => self.pull(id, &[]),
            _ => self.pull(id, index),
        }
    }

    fn reduce(
        &mut self,
        operand: NodeId,
        index: &[Index],
        space: &Space,
        reduction: Reduction,
    ) -> Reg {
        let dtype = self.graph[operand].ty.dtype;
        let order = self.reduction_order(operand, index, space);
        let order: Vec<usize> = order.into_iter().map(|(axis, _)| axis).collect();
        let first = match reduction {
            Reduction::Fold(fold) => self.loops.constant(fold.identity(dtype)),
            Reduction::ArgMax => self.loops.constant(Fold::Max.identity(dtype)),
        };
        let best = self.loops.mutable(first);
        let at = matches!(reduction, Reduction::ArgMax).then(|| {
            let zero = self.loops.i32(0);
            self.loops.mutable(zero)
        });
        let (reduced, opened) = self.open_nest(&space.reduced, &order);
        let point: Vec<Index> = index.iter().chain(&reduced).cloned().collect();
        let x = self.pull(operand, &space.operands[0].index(&point));
        match (reduction, at) {
            (Reduction::Fold(fold), _) => self.loops.push(Stmt::Accumulate(best, fold, x)),
            (Reduction::ArgMax, Some(at)) => {
                let position = Index::flat(&reduced, &strides(&space.reduced));
                let position = self.loops.inst(Inst::Affine(position.affine));
                self.keep_greater(best, at, x, position);
            }
            (Reduction::ArgMax, None) => unreachable!("made above"),
        }
        self.close_nest(opened);
        at.unwrap_or(best)
    }

    /// `if x > best or (x is NaN and best is not) { best = x; at = position }`.
    fn keep_greater(&mut self, best: Reg, at: Reg, x: Reg, position: Reg) {
        let b = &mut self.loops;
        let greater = b.compare(Compare::Gt, x, best);
        let better = if b.dtype(x) == DType::F32 {
            let nan = b.compare(Compare::Ne, x, x);
            let number = b.compare(Compare::Eq, best, best);
            let worse = b.binary(Binary::And, nan, number);
            b.binary(Binary::Or, greater, worse)
        } else {
            greater
        };
        let next = b.select(better, x, best);
        let place = b.select(better, position, at);
        b.push(Stmt::Set(best, next));
        b.push(Stmt::Set(at, place));
    }

    /// The reduced axes in the order in which the operand lies in memory, each with how far apart its
    /// elements are, as far as that can be seen through views (else 0); ArgMax does not care, and sums
    /// get long runs.
    pub fn reduction_order(
        &self,
        operand: NodeId,
        index: &[Index],
        space: &Space,
    ) -> Vec<(usize, u64)> {
        let first = 1 << 30;
        let vars: Vec<Var> = (0..space.reduced.len()).map(|i| Var(first + i as u32)).collect();
        let point: Vec<Index> =
            index.iter().cloned().chain(vars.iter().map(|&v| Index::var(v))).collect();
        let flat = self.first_read(operand, &space.operands[0].index(&point));
        let apart = |v: &Var| flat.as_ref().map_or(0, |f| f.affine.coefficient(*v).unsigned_abs());
        let mut order: Vec<(usize, u64)> = vars.iter().map(apart).enumerate().collect();
        order.sort_by_key(|&(_, apart)| std::cmp::Reverse(apart));
        order
    }

    /// The flat index at which the first buffer below element-wise operators and views is read.
    fn first_read(&self, id: NodeId, index: &[Index]) -> Option<Index> {
        let (mut id, mut index) = (id, index.to_vec());
        loop {
            if let Some((_, flat)) = resolve(self.graph, self.storage, id, &index) {
                return Some(flat);
            }
            let node = &self.graph[id];
            let next = *self.graph.operands(id).iter().find(|&&o| match node.op.lower {
                Lower::Map(_) => self.graph[o].ty.shape == node.ty.shape,
                _ => true,
            })?;
            match node.op.lower {
                Lower::Map(_) => {}
                Lower::View(f) => index = self.graph.with_view(id, |v| f(v, &index)),
                Lower::Reshape => {
                    index = reshape_index(&node.ty.shape, &self.graph[next].ty.shape, &index)?;
                }
                _ => return None,
            }
            id = next;
        }
    }
}

/// What an operator's own lowering sees of the kernel.
pub(super) struct Operands<'e, 'g> {
    pub emit: &'e mut Emit<'g>,
    pub operands: &'e [NodeId],
}

impl Pull for Operands<'_, '_> {
    fn loops(&mut self) -> &mut Builder {
        &mut self.emit.loops
    }

    fn operand(&mut self, position: usize, index: &[Index]) -> Reg {
        self.emit.pull(self.operands[position], index)
    }
}

/// Row-major strides.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis].max(1);
    }
    strides
}

fn scalar(data: &Data) -> Scalar {
    match data {
        Data::F32(v) => Scalar::F32(v[0]),
        Data::I32(v) => Scalar::I32(v[0]),
        Data::Bool(v) => Scalar::Bool(v[0]),
    }
}
