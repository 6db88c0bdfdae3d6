//! Loops: bounds, guards, hoisted invariants, vector loops and their remainders.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, StackSlotData, StackSlotKind, Value};
use kiln_loops::{Fold, For, LoopKind, Reg, Scalar, Stmt};
use kiln_tensor::DType;

use super::facts::{self, Changes};
use super::ops::{self, LANES};
use super::{Emitter, Held, Iter, Lanes, Loop, Slot, Sum, Vector};
use crate::wide::{Call, Passed};

/// A run of values of a loop's variable.
#[derive(Clone, Copy)]
struct Span {
    start: Iter,
    stop: Iter,
    step: i64,
    /// The number of turns, if known.
    turns: Option<i64>,
    /// Whether there may be no turn.
    maybe_empty: bool,
}

/// What is known of a loop before it runs.
#[derive(Clone, Copy)]
struct Bounds {
    start: Iter,
    /// `stop - start`, if known.
    length: Option<i64>,
    maybe_empty: bool,
    /// The greatest value of the variable.
    last: i64,
    /// What `start` is a multiple of; 0 if it is 0.
    multiple: i64,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

impl Emitter<'_, '_> {
    /// A loop in a kernel.
    pub(super) fn for_loop(&mut self, f: &For) {
        if f.kind == LoopKind::Parallel {
            return self.parallel_loop(f);
        }
        let Some(bounds) = self.bounds(f) else { return };
        if f.kind == LoopKind::Vector && bounds.length.is_none_or(|n| n >= LANES as i64) {
            return self.vector_loop(f, bounds);
        }
        let step = f.step as i64;
        if let Some(turns) = facts::unrolled(f) {
            for turn in 0..turns as i64 {
                self.turn(f, Iter::Const(turn * step), bounds);
            }
            return;
        }
        let stop = self.stop(f, bounds);
        let turns = bounds.length.map(|n| (n - 1) / step + 1);
        let span = Span { start: bounds.start, stop, step, turns, maybe_empty: bounds.maybe_empty };
        self.turns(f, span, bounds);
    }

    /// A parallel loop, of whose iterations a share runs.
    fn parallel_loop(&mut self, f: &For) {
        let Some(bounds) = self.bounds(f) else { return };
        let (mut first, mut end) = self.share;
        if let Some(inner) = f.parallel() {
            // The turns that hold them.
            let turn = inner.iterations() as i64;
            if turn == 0 {
                return;
            }
            first = self.b.ins().sdiv_imm_s(first, turn);
            end = self.b.ins().iadd_imm_s(end, turn - 1);
            end = self.b.ins().sdiv_imm_s(end, turn);
        }
        let step = f.step as i64;
        let start = Iter::Value(self.b.ins().imul_imm_s(first, step));
        let stop = Iter::Value(self.b.ins().imul_imm_s(end, step));
        let span = Span { start, stop, step, turns: None, maybe_empty: true };
        self.turns(f, span, bounds);
    }

    /// The part of the share that belongs to one turn of a parallel loop, counted from its start, for
    /// the parallel loop in it.
    fn share_of_turn(&mut self, f: &For, value: Iter, inner: &For) -> (Value, Value) {
        let (lo, hi) = self.share;
        let turn = inner.iterations() as i64;
        let value = self.value(value);
        let number = self.b.ins().sdiv_imm_s(value, f.step as i64);
        let before = self.b.ins().imul_imm_s(number, turn);
        let (zero, turn) = (self.b.ins().iconst(I64, 0), self.b.ins().iconst(I64, turn));
        let (lo, hi) = (self.b.ins().isub(lo, before), self.b.ins().isub(hi, before));
        (self.b.ins().smax(lo, zero), self.b.ins().smin(hi, turn))
    }

    /// `None` if the loop has no turn.
    fn bounds(&self, f: &For) -> Option<Bounds> {
        let (extent, end, step) = (f.extent as i64, f.end as i64, f.step as i64);
        if extent == 0 || end == 0 {
            return None;
        }
        let reach = (extent - 1) / step * step;
        let known = |start: i64| {
            let length = extent.min(end - start);
            (length > 0).then(|| Bounds {
                start: Iter::Const(start),
                length: Some(length),
                maybe_empty: false,
                last: start + (length - 1) / step * step,
                multiple: start,
            })
        };
        match f.start {
            None => known(0),
            Some(var) => match self.vars[&var] {
                Loop { value: Iter::Const(start), .. } => known(start),
                Loop { value, last, multiple, .. } => Some(Bounds {
                    start: value,
                    length: (last + extent <= end).then_some(extent),
                    maybe_empty: last >= end,
                    last: (last + reach).min(end - 1),
                    multiple,
                }),
            },
        }
    }

    /// Where the loop stops.
    fn stop(&mut self, f: &For, bounds: Bounds) -> Iter {
        match (bounds.start, bounds.length) {
            (start, Some(length)) => self.plus(start, length),
            (Iter::Const(start), None) => Iter::Const((start + f.extent as i64).min(f.end as i64)),
            (Iter::Value(start), None) => {
                let stop = self.b.ins().iadd_imm_s(start, f.extent as i64);
                let end = self.b.ins().iconst(I64, f.end as i64);
                Iter::Value(self.b.ins().smin(stop, end))
            }
        }
    }

    fn plus(&mut self, iter: Iter, n: i64) -> Iter {
        match iter {
            Iter::Const(c) => Iter::Const(c + n),
            Iter::Value(value) if n == 0 => Iter::Value(value),
            Iter::Value(value) => Iter::Value(self.b.ins().iadd_imm_s(value, n)),
        }
    }

    fn value(&mut self, iter: Iter) -> Value {
        match iter {
            Iter::Const(c) => self.b.ins().iconst(I64, c),
            Iter::Value(value) => value,
        }
    }

    fn less(&mut self, value: Value, than: Iter) -> Value {
        match than {
            Iter::Const(c) => self.b.ins().icmp_imm_s(IntCC::SignedLessThan, value, c),
            Iter::Value(v) => self.b.ins().icmp(IntCC::SignedLessThan, value, v),
        }
    }

    /// The turns of a loop, tested at the bottom.
    fn turns(&mut self, f: &For, span: Span, bounds: Bounds) {
        match span.turns {
            Some(0) => return,
            Some(1) => return self.turn(f, span.start, bounds),
            _ => {}
        }
        let start = self.value(span.start);
        let exit = self.b.create_block();
        if span.maybe_empty {
            let enter = self.b.create_block();
            let some = self.less(start, span.stop);
            self.b.ins().brif(some, enter, &[], exit, &[]);
            self.b.switch_to_block(enter);
            self.b.seal_block(enter);
        }
        let hoisted = self.hoist(f, &Changes::of(&f.body));
        let head = self.b.create_block();
        let value = self.b.append_block_param(head, I64);
        self.b.ins().jump(head, &[BlockArg::Value(start)]);
        self.b.switch_to_block(head);
        self.turn(f, Iter::Value(value), bounds);
        let next = self.b.ins().iadd_imm_s(value, span.step);
        let more = self.less(next, span.stop);
        self.b.ins().brif(more, head, &[BlockArg::Value(next)], exit, &[]);
        self.b.seal_block(head);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        self.release(&hoisted);
    }

    /// One turn, for this value of the variable.
    fn turn(&mut self, f: &For, value: Iter, bounds: Bounds) {
        let multiple = gcd(bounds.multiple, f.step as i64);
        let depth = self.vars.len();
        self.vars.insert(f.var, Loop { depth, value, last: bounds.last, multiple });
        let share = self.share;
        if let Some(inner) = f.parallel() {
            self.share = self.share_of_turn(f, value, inner);
        }
        let mark = self.addresses.mark();
        self.prepare(f.var, &f.body);
        self.statements(&f.body);
        self.addresses.forget(mark);
        self.share = share;
        self.vars.remove(&f.var);
    }

    /// Defines, ahead of a loop that runs at least once, what does not change in it. The caller
    /// passes the result to [`Emitter::release`] behind the loop.
    fn hoist(&mut self, f: &For, changes: &Changes) -> Vec<Reg> {
        let found = facts::invariants(f, changes, &self.hoisted);
        for (reg, inst) in &found {
            self.define(*reg, inst);
            self.hoisted.insert(*reg);
        }
        found.into_iter().map(|(reg, _)| reg).collect()
    }

    /// The registers are defined where they stand again.
    fn release(&mut self, hoisted: &[Reg]) {
        for reg in hoisted {
            self.hoisted.remove(reg);
        }
    }

    /// A loop in vector registers.
    fn vector_loop(&mut self, f: &For, bounds: Bounds) {
        let stop = self.stop(f, bounds);
        let exit = bounds.maybe_empty.then(|| {
            let (enter, exit) = (self.b.create_block(), self.b.create_block());
            let start = self.value(bounds.start);
            let some = self.less(start, stop);
            self.b.ins().brif(some, enter, &[], exit, &[]);
            self.b.switch_to_block(enter);
            self.b.seal_block(enter);
            exit
        });
        let changes = Changes::of(&f.body);
        let hoisted = self.hoist(f, &changes);
        match self.calls.get(&f.var) {
            Some(call) => self.wide_loop(f, bounds, stop, call),
            None => self.narrow_loop(f, bounds, stop, &changes),
        }
        self.release(&hoisted);
        if let Some(exit) = exit {
            self.b.ins().jump(exit, &[]);
            self.b.switch_to_block(exit);
            self.b.seal_block(exit);
        }
    }

    /// A loop in Cranelift's vectors: turns of several vectors, then of one, then of one element.
    fn narrow_loop(&mut self, f: &For, bounds: Bounds, stop: Iter, changes: &Changes) {
        let longest = bounds.length.unwrap_or(f.extent as i64);
        let mut unroll = facts::interleave(&f.body);
        while unroll > 1 && longest < (unroll * LANES) as i64 {
            unroll /= 2;
        }
        let [main, middle, rest] = self.parts(f, bounds, stop, unroll);

        let shadowed = self.splat_operands(&f.body, changes);
        let sums = self.open_sums(&f.body, changes, unroll);
        self.vector = Some(Vector { var: f.var, unroll, sums });
        self.turns(f, main, bounds);
        if let Some(vector) = &mut self.vector {
            vector.unroll = 1;
        }
        self.turns(f, middle, bounds);
        let vector = self.vector.take().expect("set above");
        self.regs.extend(shadowed);
        self.close_sums(vector);
        self.turns(f, rest, bounds);
    }

    /// A loop that is a function of its own.
    fn wide_loop(&mut self, f: &For, bounds: Bounds, stop: Iter, call: &Call) {
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            call.bytes() as u32,
            3,
        ));
        let arguments = self.b.ins().stack_addr(I64, slot, 0);
        let flags = ops::access();
        let (depth, multiple) = (self.vars.len(), bounds.multiple);
        self.vars.insert(f.var, Loop { depth, value: bounds.start, last: bounds.last, multiple });
        let mut offset = 0;
        for (mem, index) in &call.arguments.streams {
            let pointer = self.pointer(*mem, index, 0);
            self.b.ins().store(flags, pointer, arguments, offset);
            offset += 8;
        }
        for passed in &call.arguments.scalars {
            let scalar = match passed {
                Passed::Affine(e) => self.affine(e),
                Passed::Reg(reg) => match self.read(*reg) {
                    (DType::Bool, x) => self.b.ins().uextend(I32, x.get(0)),
                    (_, x) => x.get(0),
                },
            };
            self.b.ins().store(flags, scalar, arguments, offset);
            offset += 8;
        }
        self.vars.remove(&f.var);
        let length = match bounds.length {
            Some(length) => self.b.ins().iconst(I64, length),
            None => {
                let (start, stop) = (self.value(bounds.start), self.value(stop));
                self.b.ins().isub(stop, start)
            }
        };
        self.call(self.link.wide[call.function], &[arguments, length]);
        for (sum, &(reg, fold, dtype)) in call.arguments.sums.iter().enumerate() {
            let at = call.sum(sum) as i32;
            let ty = ops::value_type(dtype, true);
            let quarters =
                (0..4).map(|n| self.b.ins().load(ty, flags, arguments, at + 16 * n)).collect();
            self.close_sum(reg, fold, dtype, quarters);
        }
    }

    /// The turns of `unroll` vectors, of one vector and of one element.
    fn parts(&mut self, f: &For, bounds: Bounds, stop: Iter, unroll: usize) -> [Span; 3] {
        let (vector, block) = (LANES as i64, (unroll * LANES) as i64);
        let start = bounds.start;
        if let Some(length) = bounds.length {
            let first = self.plus(start, length / block * block);
            let second = self.plus(start, length / vector * vector);
            let span = |start, stop, step, turns| Span {
                start,
                stop,
                step,
                turns: Some(turns),
                maybe_empty: false,
            };
            return [
                span(start, first, block, length / block),
                span(first, second, vector, length % block / vector),
                span(second, stop, 1, length % vector),
            ];
        }
        let (start_value, stop_value) = (self.value(start), self.value(stop));
        let length = self.b.ins().isub(stop_value, start_value);
        let mut rounded = |to: i64| {
            let turns = self.b.ins().band_imm_s(length, -to);
            Iter::Value(self.b.ins().iadd(start_value, turns))
        };
        let (first, second) = (rounded(block), rounded(vector));
        let whole =
            |to: i64| [f.extent as i64, f.end as i64, bounds.multiple].iter().all(|n| n % to == 0);
        let span = |start, stop, step, needed: bool| Span {
            start,
            stop,
            step,
            turns: if needed { None } else { Some(0) },
            maybe_empty: true,
        };
        [
            span(start, first, block, true),
            span(first, second, vector, unroll > 1 && !whole(block)),
            span(second, stop, 1, !whole(vector)),
        ]
    }

    /// Brings every scalar that the body reads into all lanes; gives back the scalars.
    fn splat_operands(&mut self, body: &[Stmt], changes: &Changes) -> Vec<(Reg, Slot)> {
        let mut reads = Vec::new();
        facts::reads(body, &mut reads);
        let mut shadowed: HashMap<Reg, Slot> = HashMap::new();
        for reg in reads {
            let outer = !changes.defined.contains(&reg) || self.hoisted.contains(&reg);
            if !outer || shadowed.contains_key(&reg) {
                continue;
            }
            let (dtype, lanes) = self.read(reg);
            let wide = ops::splat(&mut self.b, dtype, lanes.get(0));
            let slot = Slot { dtype, held: Held::Value(Lanes::one(wide)) };
            if let Some(scalar) = self.regs.insert(reg, slot) {
                shadowed.insert(reg, scalar);
            }
        }
        shadowed.into_iter().collect()
    }

    /// Vectors that take the place of the registers that the loop accumulates into.
    fn open_sums(&mut self, body: &[Stmt], changes: &Changes, unroll: usize) -> HashMap<Reg, Sum> {
        let mut sums = HashMap::new();
        for (order, (reg, fold)) in facts::sums(body, changes).into_iter().enumerate() {
            let dtype = self.regs[&reg].dtype;
            let identity = match (fold, dtype) {
                // 0 would turn a sum of -0 into 0.
                (Fold::Add, DType::F32) => Scalar::F32(-0.0),
                _ => fold.identity(dtype),
            };
            let identity = ops::constant(&mut self.b, identity);
            let identity = ops::splat(&mut self.b, dtype, identity);
            let parts = (0..unroll)
                .map(|_| {
                    let part = self.b.declare_var(ops::value_type(dtype, true));
                    self.b.def_var(part, identity);
                    part
                })
                .collect();
            sums.insert(reg, Sum { order, fold, dtype, parts });
        }
        sums
    }

    /// Adds the vectors up, in an order that depends on the loop alone, into their registers.
    fn close_sums(&mut self, vector: Vector) {
        let mut sums: Vec<_> = vector.sums.into_iter().collect();
        sums.sort_unstable_by_key(|s| s.1.order);
        for (reg, sum) in sums {
            let values = sum.parts.iter().map(|&p| self.b.use_var(p)).collect();
            self.close_sum(reg, sum.fold, sum.dtype, values);
        }
    }

    /// Adds vectors up into a register.
    fn close_sum(&mut self, reg: Reg, fold: Fold, dtype: DType, vectors: Vec<Value>) {
        let whole = self.tree(vectors, fold, dtype, true);
        let lanes: Vec<Value> =
            (0..LANES as u8).map(|lane| self.b.ins().extractlane(whole, lane)).collect();
        let total = self.tree(lanes, fold, dtype, false);
        if let Held::Mutable(parts, _) = self.regs[&reg].held {
            let before = self.b.use_var(parts[0]);
            let after = ops::fold(&mut self.b, fold, dtype, false, before, total);
            self.b.def_var(parts[0], after);
        }
    }

    /// Folds neighbours, then neighbouring results; the number of values is a power of two.
    fn tree(&mut self, mut values: Vec<Value>, fold: Fold, dtype: DType, wide: bool) -> Value {
        while values.len() > 1 {
            values = values
                .chunks(2)
                .map(|pair| ops::fold(&mut self.b, fold, dtype, wide, pair[0], pair[1]))
                .collect();
        }
        values[0]
    }
}
