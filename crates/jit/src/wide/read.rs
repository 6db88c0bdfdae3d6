//! Vector loops to bodies.
//!
//! Reading declines whatever [`super::assemble`] has no instructions for; the loop is then emitted
//! by Cranelift. Loops inside are written out where they are short; of those that stay, memory is
//! walked by pointers that move from turn to turn.

use std::collections::{HashMap, HashSet};

use kiln_loops::{
    Affine, Binary, Compare, For, Index, Inst, Kernel, LoopKind, Mem, Reg, Scalar, Stmt, Unary, Var,
};
use kiln_tensor::DType;

use super::body::{Access, Arguments, Body, Moves, Operand, Passed, Step, Stream, Value};
use super::evex::{KOp, Op};
use super::functions;
use super::nest::Nest;
use crate::emit::facts::{self, Changes};

/// Statements that an inner loop may come to when it is written out.
const WRITTEN_OUT: usize = 96;
/// Steps that a body may come to.
const STEPS: usize = 256;

/// The types of a kernel's registers, and which are constants.
#[derive(Default)]
pub(super) struct Registers {
    dtypes: HashMap<Reg, DType>,
    constants: HashMap<Reg, Scalar>,
}

impl Registers {
    pub fn of(kernel: &Kernel, args: &[DType]) -> Registers {
        let mut registers = Registers::default();
        registers.add(kernel, args, &kernel.body);
        registers
    }

    fn add(&mut self, kernel: &Kernel, args: &[DType], body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::For(inner) => self.add(kernel, args, &inner.body),
                Stmt::Mut(reg, init) => drop(self.dtypes.insert(*reg, self.dtypes[init])),
                Stmt::Let(reg, inst) => {
                    let dtype = match inst {
                        Inst::Const(value) => {
                            self.constants.insert(*reg, *value);
                            value.dtype()
                        }
                        Inst::Load(mem, _) => element(kernel, args, *mem),
                        Inst::Affine(_) | Inst::Clamp(..) => DType::I32,
                        Inst::Unary(_, x) | Inst::Binary(_, x, _) | Inst::Select(_, x, _) => {
                            self.dtypes[x]
                        }
                        Inst::Compare(..) => DType::Bool,
                        Inst::Cast(to, _) => *to,
                        Inst::Call(..) => DType::F32,
                    };
                    self.dtypes.insert(*reg, dtype);
                }
                _ => {}
            }
        }
    }
}

fn element(kernel: &Kernel, args: &[DType], mem: Mem) -> DType {
    match mem {
        Mem::Arg(n) => args[n as usize],
        Mem::Local(n) => kernel.locals[n as usize].dtype,
    }
}

/// The value of a loop's variable: a constant, and for each loop that stays what a turn adds.
#[derive(Clone, Default)]
struct Place {
    constant: i64,
    turns: Moves,
    /// The greatest value.
    last: i64,
}

struct Reader<'k> {
    kernel: &'k Kernel,
    args: &'k [DType],
    registers: &'k Registers,
    var: Var,
    /// Registers that do not change in the loop.
    fixed: HashSet<Reg>,
    /// Memory that is written past the caches.
    passes: Vec<Mem>,
    nest: &'k Nest<'k>,
    values: HashMap<Reg, Value>,
    vars: HashMap<Var, Place>,
    /// Turns of the loops inside that stay.
    turns: Vec<i64>,
    /// Streams by memory, terms of the variables outside and whether and how they move.
    streams: HashMap<(Mem, Affine, Stream), usize>,
    body: Body,
    arguments: Arguments,
}

/// The body of a vector loop and what it is called with, if it has one.
pub(super) fn read(
    kernel: &Kernel,
    args: &[DType],
    registers: &Registers,
    nest: &Nest<'_>,
) -> Option<(Body, Arguments)> {
    let f = nest.f;
    let changes = Changes::of(&f.body);
    let fixed = facts::invariants(f, &changes, &HashSet::new());
    let mut passes = Vec::new();
    for stmt in &f.body {
        if let Stmt::Store(mem @ Mem::Arg(_), index, _) = stmt
            && element(kernel, args, *mem) == DType::F32
            && nest.passes(&index.affine)
            && facts::touches(&f.body, *mem) == 1
        {
            passes.push(*mem);
        }
    }
    let mut reader = Reader {
        kernel,
        args,
        registers,
        var: f.var,
        fixed: fixed.into_iter().map(|(reg, _)| reg).collect(),
        passes,
        nest,
        values: HashMap::new(),
        vars: HashMap::new(),
        turns: Vec::new(),
        streams: HashMap::new(),
        body: Body::default(),
        arguments: Arguments::default(),
    };
    for (reg, fold) in facts::sums(&f.body, &changes) {
        let dtype = registers.dtypes[&reg];
        if dtype == DType::Bool {
            return None;
        }
        reader.body.sums.push((fold, dtype));
        reader.arguments.sums.push((reg, fold, dtype));
    }
    reader.statements(&f.body)?;
    Some((reader.body, reader.arguments))
}

impl Reader<'_> {
    fn statements(&mut self, body: &[Stmt]) -> Option<()> {
        body.iter().try_for_each(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Stmt) -> Option<()> {
        if self.body.steps.len() > STEPS {
            return None;
        }
        match stmt {
            Stmt::Let(reg, _) if self.fixed.contains(reg) => {}
            Stmt::Let(reg, inst) => self.define(*reg, inst)?,
            Stmt::Mut(reg, init) => {
                let value = self.value(self.registers.dtypes[reg]);
                self.copy(value, *init)?;
                self.values.insert(*reg, value);
            }
            Stmt::Set(reg, x) => self.copy(*self.values.get(reg)?, *x)?,
            Stmt::Accumulate(reg, fold, x) => {
                let x = self.operand(*x)?;
                let step = match self.values.get(reg) {
                    Some(&value) => {
                        let dtype = self.registers.dtypes[reg];
                        binary(fold.binary(), dtype, value, [Operand::Value(value), x])?
                    }
                    None => {
                        let sums = &self.arguments.sums;
                        let sum = sums.iter().position(|s| s.0 == *reg)?;
                        if sums[sum].1 != *fold {
                            return None;
                        }
                        Step::Sum(sum, x)
                    }
                };
                self.body.steps.push(step);
            }
            Stmt::Store(mem, index, x) => {
                let access = self.access(*mem, index)?;
                let x = match self.registers.dtypes[x] {
                    DType::Bool => {
                        let (choice, value) = (self.mask(*x)?, self.value(DType::I32));
                        let bits = [Operand::Constant(1), Operand::Constant(0)];
                        self.body.steps.push(Step::Select(value, choice, bits));
                        Operand::Value(value)
                    }
                    _ => self.operand(*x)?,
                };
                if !self.body.streams[access.stream].follows {
                    return None;
                }
                self.body.steps.push(Step::Store(access, x));
            }
            Stmt::For(inner) => self.inner(inner)?,
            Stmt::Block(_) | Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Transform(_) => return None,
        }
        Some(())
    }

    fn value(&mut self, dtype: DType) -> Value {
        self.body.masks.push(dtype == DType::Bool);
        Value(self.body.masks.len() as u32 - 1)
    }

    fn copy(&mut self, to: Value, x: Reg) -> Option<()> {
        let step = match self.body.masks[to.0 as usize] {
            true => {
                let x = self.mask(x)?;
                Step::Logic(KOp::OR, to, [x, x])
            }
            false => Step::Copy(to, self.operand(x)?),
        };
        self.body.steps.push(step);
        Some(())
    }

    /// A value that is no truth value.
    fn operand(&mut self, reg: Reg) -> Option<Operand> {
        if let Some(&value) = self.values.get(&reg) {
            return Some(Operand::Value(value));
        }
        Some(match self.registers.constants.get(&reg) {
            Some(Scalar::F32(x)) => Operand::Constant(x.to_bits()),
            Some(Scalar::I32(x)) => Operand::Constant(*x as u32),
            Some(Scalar::Bool(_)) => return None,
            None => self.scalar(Passed::Reg(reg)),
        })
    }

    fn scalar(&mut self, passed: Passed) -> Operand {
        let scalars = &mut self.arguments.scalars;
        let position = scalars.iter().position(|s| *s == passed).unwrap_or_else(|| {
            scalars.push(passed);
            scalars.len() - 1
        });
        self.body.scalars = scalars.len();
        Operand::Scalar(position)
    }

    /// A truth value.
    fn mask(&mut self, reg: Reg) -> Option<Value> {
        if let Some(&value) = self.values.get(&reg) {
            return Some(value);
        }
        let value = self.value(DType::Bool);
        let step = match self.registers.constants.get(&reg) {
            Some(&known) => Step::These(value, if known == Scalar::Bool(true) { !0 } else { 0 }),
            None => {
                let x = self.scalar(Passed::Reg(reg));
                compare(Compare::Ne, DType::I32, value, [x, Operand::Constant(0)])
            }
        };
        self.body.steps.push(step);
        Some(value)
    }

    fn define(&mut self, reg: Reg, inst: &Inst) -> Option<()> {
        let value = self.value(self.registers.dtypes[&reg]);
        let dtype = |reg: &Reg| self.registers.dtypes[reg];
        let step = match inst {
            Inst::Load(mem, index) => {
                let access = self.access(*mem, index)?;
                self.prefetch(*mem, &index.affine, access);
                match self.body.streams[access.stream] {
                    Stream { size: 4, .. } => Step::Load(value, access),
                    Stream { follows: false, .. } => return None,
                    _ => {
                        let bytes = self.value(DType::I32);
                        self.body.steps.push(Step::Load(bytes, access));
                        let operands = [Operand::Value(bytes), Operand::Constant(0)];
                        compare(Compare::Ne, DType::I32, value, operands)
                    }
                }
            }
            Inst::Affine(e) => {
                let x = self.affine(e)?;
                Step::Copy(value, x)
            }
            Inst::Clamp(x, extent) => {
                let (x, positive) = (self.operand(*x)?, self.value(DType::I32));
                self.body.steps.push(Step::Two(Op::MAX_I32, positive, [x, Operand::Constant(0)]));
                let last = i32::try_from(extent.saturating_sub(1)).unwrap_or(i32::MAX);
                let operands = [Operand::Value(positive), Operand::Constant(last as u32)];
                Step::Two(Op::MIN_I32, value, operands)
            }
            Inst::Binary(Binary::MulHigh, x, y) => {
                let (x, y) = (self.operand(*x)?, self.operand(*y)?);
                self.high_product(value, x, y)
            }
            Inst::Unary(Unary::Not, x) if dtype(x) == DType::Bool => {
                let x = self.mask(*x)?;
                Step::Logic(KOp::NOT, value, [x, x])
            }
            Inst::Unary(op, x) => unary(*op, dtype(x), value, self.operand(*x)?)?,
            Inst::Binary(op, x, y) if dtype(x) == DType::Bool => {
                let op = match op {
                    Binary::And => KOp::AND,
                    Binary::Or => KOp::OR,
                    Binary::Xor => KOp::XOR,
                    _ => return None,
                };
                Step::Logic(op, value, [self.mask(*x)?, self.mask(*y)?])
            }
            Inst::Binary(op, x, y) => {
                let dtype = dtype(x);
                binary(*op, dtype, value, [self.operand(*x)?, self.operand(*y)?])?
            }
            Inst::Compare(op, x, y) if dtype(x) == DType::Bool => {
                let op = match op {
                    Compare::Eq => KOp::SAME,
                    Compare::Ne => KOp::XOR,
                    _ => return None,
                };
                Step::Logic(op, value, [self.mask(*x)?, self.mask(*y)?])
            }
            Inst::Compare(op, x, y) => {
                let dtype = dtype(x);
                compare(*op, dtype, value, [self.operand(*x)?, self.operand(*y)?])
            }
            Inst::Select(condition, x, y) if dtype(x) == DType::Bool => {
                let (condition, x, y) = (self.mask(*condition)?, self.mask(*x)?, self.mask(*y)?);
                let [first, not, second] = [(); 3].map(|()| self.value(DType::Bool));
                self.body.steps.extend([
                    Step::Logic(KOp::AND, first, [condition, x]),
                    Step::Logic(KOp::NOT, not, [condition, condition]),
                    Step::Logic(KOp::AND, second, [not, y]),
                ]);
                Step::Logic(KOp::OR, value, [first, second])
            }
            Inst::Select(condition, x, y) => {
                let condition = self.mask(*condition)?;
                Step::Select(value, condition, [self.operand(*x)?, self.operand(*y)?])
            }
            Inst::Cast(to, x) => match (dtype(x), *to) {
                (DType::Bool, DType::Bool) => {
                    let x = self.mask(*x)?;
                    Step::Logic(KOp::OR, value, [x, x])
                }
                (DType::Bool, to) => {
                    let one = if to == DType::F32 { 1.0f32.to_bits() } else { 1 };
                    let choice = [Operand::Constant(one), Operand::Constant(0)];
                    Step::Select(value, self.mask(*x)?, choice)
                }
                (from, DType::Bool) => {
                    compare(Compare::Ne, from, value, [self.operand(*x)?, Operand::Constant(0)])
                }
                (DType::I32, DType::F32) => Step::One(Op::TO_F32, value, self.operand(*x)?),
                (DType::F32, DType::I32) => {
                    let x = self.operand(*x)?;
                    self.truncate(value, x)
                }
                _ => Step::Copy(value, self.operand(*x)?),
            },
            Inst::Call(function, x) => {
                let x = self.operand(*x)?;
                let mut steps = functions::steps(*function, x, value, |dtype| self.value(dtype))?;
                let last = steps.pop()?;
                self.body.steps.append(&mut steps);
                last
            }
            Inst::Const(_) => return None,
        };
        self.body.steps.push(step);
        self.values.insert(reg, value);
        Some(())
    }

    /// The instruction gives the least i32 where there is no answer: beyond the greatest, and NaN.
    fn truncate(&mut self, value: Value, x: Operand) -> Step {
        let [plain, capped] = [(); 2].map(|()| self.value(DType::I32));
        let [above, number] = [(); 2].map(|()| self.value(DType::Bool));
        let beyond = Operand::Constant((i32::MAX as f32).to_bits());
        self.body.steps.extend([
            Step::One(Op::TO_I32, plain, x),
            compare(Compare::Ge, DType::F32, above, [x, beyond]),
            Step::Select(
                capped,
                above,
                [Operand::Constant(i32::MAX as u32), Operand::Value(plain)],
            ),
            compare(Compare::Eq, DType::F32, number, [x, x]),
        ]);
        Step::Select(value, number, [Operand::Value(capped), Operand::Constant(0)])
    }

    /// The high halves of products: two multiplications of every other element.
    fn high_product(&mut self, value: Value, x: Operand, y: Operand) -> Step {
        let mut odd = |operand| match operand {
            Operand::Value(_) => {
                let shifted = self.value(DType::I32);
                self.body.steps.push(Step::Number(Op::SHIFT_PAIRS_RIGHT, shifted, operand, 32));
                Operand::Value(shifted)
            }
            equal => equal, // in all lanes
        };
        let odds = [odd(x), odd(y)];
        let [even, high, products] = [(); 3].map(|()| self.value(DType::I32));
        let choice = self.value(DType::Bool);
        self.body.steps.extend([
            Step::Two(Op::MUL_PAIRS, even, [x, y]),
            Step::Number(Op::SHIFT_PAIRS_RIGHT, high, Operand::Value(even), 32),
            Step::Two(Op::MUL_PAIRS, products, odds),
            Step::These(choice, 0xaaaa),
        ]);
        Step::Select(value, choice, [Operand::Value(products), Operand::Value(high)])
    }

    /// The value of an affine expression.
    fn affine(&mut self, e: &Affine) -> Option<Operand> {
        let (outside, constant, turns) = self.split(e)?;
        if !turns.is_empty() {
            return None;
        }
        if outside.terms.is_empty() {
            return Some(Operand::Constant(constant as u32));
        }
        let step = outside.coefficient(self.var) as i32;
        let begin = self.scalar(Passed::Affine(outside.offset(constant)));
        if step == 0 {
            return Some(begin);
        }
        let [turns, ahead, sum] = [(); 3].map(|()| self.value(DType::I32));
        self.body.steps.extend([
            Step::Turns(turns),
            Step::Two(Op::MUL_I32, ahead, [Operand::Value(turns), Operand::Constant(step as u32)]),
            Step::Two(Op::ADD_I32, sum, [Operand::Value(ahead), begin]),
        ]);
        Some(Operand::Value(sum))
    }

    /// An expression as terms of the variables outside and of the loop's own, a constant, and what
    /// turns of the loops inside add.
    fn split(&self, e: &Affine) -> Option<(Affine, i64, Moves)> {
        let mut outside = e.clone();
        let mut constant = outside.constant;
        outside.constant = 0;
        let mut turns = Moves::new();
        for &(var, coefficient) in &e.terms {
            let Some(place) = self.vars.get(&var) else { continue };
            outside = outside.plus(&Affine::var(var).times(coefficient.checked_neg()?));
            constant = constant.checked_add(coefficient.checked_mul(place.constant)?)?;
            for &(number, by) in &place.turns {
                let by = by.checked_mul(coefficient)?;
                match turns.iter_mut().find(|m| m.0 == number) {
                    Some(m) => m.1 = m.1.checked_add(by)?,
                    None => turns.push((number, by)),
                }
            }
        }
        turns.retain(|m| m.1 != 0);
        turns.sort_unstable();
        Some((outside, constant, turns))
    }

    /// Memory, walked with the loop's variable or not at all.
    fn access(&mut self, mem: Mem, index: &Index) -> Option<Access> {
        if !index.dynamic.is_empty() {
            return None;
        }
        let size = element(self.kernel, self.args, mem).bytes() as i64;
        let (outside, constant, mut moves) = self.split(&index.affine)?;
        for (number, by) in &mut moves {
            *by = by.checked_mul(size)?;
            let reach = by.checked_mul(self.turns[*number])?;
            i32::try_from(reach.checked_abs()?).ok()?;
        }
        let follows = outside.coefficient(self.var) == 1;
        let passes = follows && moves.is_empty() && self.passes.contains(&mem);
        let stream = Stream { size: size as u8, follows, moves, passes };
        let next = self.body.streams.len();
        let key = (mem, outside, stream);
        let position = match self.streams.get(&key) {
            Some(&position) => position,
            None => {
                self.arguments.streams.push((mem, key.1.clone().offset(constant)));
                self.body.streams.push(key.2.clone());
                self.streams.insert(key, next);
                next
            }
        };
        let first = self.arguments.streams[position].1.constant;
        let offset = constant.checked_sub(first)?.checked_mul(size)?;
        // The vectors of a turn lie a little further on.
        let offset = i32::try_from(offset).ok().filter(|o| o.abs() < i32::MAX / 2)?;
        Some(Access { stream: position, offset })
    }

    /// Asks for memory ahead of a load.
    fn prefetch(&mut self, mem: Mem, index: &Affine, Access { stream, offset }: Access) {
        let Stream { size, follows, ref moves, .. } = self.body.streams[stream];
        if size != 4 || !follows || !moves.is_empty() {
            return;
        }
        let ahead = self.nest.ahead(mem, index).and_then(|n| i32::try_from(4 * n).ok());
        let Some(offset) = ahead.and_then(|ahead| offset.checked_add(ahead)) else { return };
        let line = |step: &Step| matches!(step, Step::Prefetch(a) if a.stream == stream && a.offset.abs_diff(offset) < 64);
        if !self.body.steps.iter().any(line) {
            self.body.steps.push(Step::Prefetch(Access { stream, offset }));
        }
    }

    /// A loop inside: written out if that is short.
    fn inner(&mut self, f: &For) -> Option<()> {
        let (extent, end, step) = (f.extent as i64, f.end as i64, f.step as i64);
        if f.kind != LoopKind::Serial {
            return None;
        }
        let start = match f.start {
            None => Place::default(),
            Some(var) => self.vars.get(&var)?.clone(),
        };
        let length = match start.last + extent <= end {
            true => extent,
            false if start.turns.is_empty() => extent.min(end - start.constant),
            false => return None, // its last turns differ
        };
        if length <= 0 {
            return Some(());
        }
        let turns = (length - 1) / step + 1;
        let once = facts::weight(&f.body).max(1);
        if (turns as usize).saturating_mul(once) <= WRITTEN_OUT || turns == 1 {
            return (0..turns).try_for_each(|turn| self.turn(f, &start, turn * step));
        }
        // A last turn that may be shorter than the others is written out.
        let whole = length / step;
        let number = self.turns.len();
        self.turns.push(whole);
        let mut place = start.clone();
        place.turns.push((number, step));
        place.last = place.last.checked_add((whole - 1) * step)?;
        self.vars.insert(f.var, place);
        self.body.steps.push(Step::Repeat(u32::try_from(whole).ok()?));
        self.statements(&f.body)?;
        self.body.steps.push(Step::End);
        self.vars.remove(&f.var);
        if whole < turns {
            self.turn(f, &start, whole * step)?;
        }
        Some(())
    }

    fn turn(&mut self, f: &For, start: &Place, by: i64) -> Option<()> {
        let mut place = start.clone();
        place.constant += by;
        place.last += by;
        self.vars.insert(f.var, place);
        self.statements(&f.body)?;
        self.vars.remove(&f.var);
        Some(())
    }
}

fn unary(op: Unary, dtype: DType, to: Value, x: Operand) -> Option<Step> {
    let sign = 1u32 << 31;
    Some(match (op, dtype) {
        (Unary::Neg, DType::F32) => Step::Two(Op::XOR, to, [x, Operand::Constant(sign)]),
        (Unary::Abs, DType::F32) => Step::Two(Op::AND, to, [x, Operand::Constant(!sign)]),
        (Unary::Sqrt, _) => Step::One(Op::SQRT, to, x),
        // The number's low bits choose the direction, the fourth keeps the inexact flag as it is.
        (Unary::Round, _) => Step::Number(Op::ROUND, to, x, 8),
        (Unary::Floor, _) => Step::Number(Op::ROUND, to, x, 9),
        (Unary::Ceil, _) => Step::Number(Op::ROUND, to, x, 10),
        (Unary::Neg, DType::I32) => Step::Two(Op::SUB_I32, to, [Operand::Constant(0), x]),
        (Unary::Abs, DType::I32) => Step::One(Op::ABS_I32, to, x),
        (Unary::Not, DType::I32) => Step::Two(Op::XOR, to, [x, Operand::Constant(u32::MAX)]),
        _ => return None,
    })
}

fn binary(op: Binary, dtype: DType, to: Value, [x, y]: [Operand; 2]) -> Option<Step> {
    let two = |op| Some(Step::Two(op, to, [x, y]));
    if dtype == DType::I32 {
        return match (op, y) {
            (Binary::Add, _) => two(Op::ADD_I32),
            (Binary::Sub, _) => two(Op::SUB_I32),
            (Binary::Mul, _) => two(Op::MUL_I32),
            (Binary::Max, _) => two(Op::MAX_I32),
            (Binary::Min, _) => two(Op::MIN_I32),
            (Binary::And, _) => two(Op::AND),
            (Binary::Or, _) => two(Op::OR),
            (Binary::Xor, _) => two(Op::XOR),
            (Binary::Shl, Operand::Constant(n)) => {
                Some(Step::Number(Op::SHIFT_LEFT, to, x, n as u8 & 31))
            }
            (Binary::Shr, Operand::Constant(n)) => {
                Some(Step::Number(Op::SHIFT_RIGHT, to, x, n as u8 & 31))
            }
            _ => None,
        };
    }
    match op {
        Binary::Add => two(Op::ADD),
        Binary::Sub => two(Op::SUB),
        Binary::Mul => two(Op::MUL),
        Binary::Div => two(Op::DIV),
        Binary::Max => Some(extremum(Op::MAX, to, [x, y])),
        Binary::Min => Some(extremum(Op::MIN, to, [x, y])),
        _ => None,
    }
}

/// The first operand where it compares so or is NaN, else the second. The instruction gives its
/// second operand where either is NaN or both are equal.
fn extremum(op: Op, to: Value, [x, y]: [Operand; 2]) -> Step {
    let number = |o| match o {
        Operand::Constant(bits) => Some(f32::from_bits(bits)).filter(|c| !c.is_nan()),
        _ => None,
    };
    match (number(x), number(y)) {
        (Some(_), _) => Step::Two(op, to, [x, y]),
        // ReLU: negative numbers and zeros become 0.
        (None, _) if op == Op::MAX && y == Operand::Constant(0) => {
            Step::Ternary(Op::BY_KIND, to, [x, x], 0x0808_0800, 0)
        }
        // Equal numbers other than 0 are the same bits: their order does not matter.
        (None, Some(c)) if c != 0.0 => Step::Two(op, to, [y, x]),
        _ => Step::KeepNan(op, to, [x, y]),
    }
}

pub(super) fn compare(op: Compare, dtype: DType, to: Value, operands: [Operand; 2]) -> Step {
    if dtype == DType::F32 {
        let predicate = match op {
            Compare::Eq => 0x00,
            Compare::Ne => 0x04,
            Compare::Lt => 0x11,
            Compare::Le => 0x12,
            Compare::Gt => 0x1e,
            Compare::Ge => 0x1d,
        };
        return Step::Compare(Op::COMPARE, to, operands, predicate);
    }
    let predicate = match op {
        Compare::Eq => 0,
        Compare::Lt => 1,
        Compare::Le => 2,
        Compare::Ne => 4,
        Compare::Ge => 5,
        Compare::Gt => 6,
    };
    Step::Compare(Op::COMPARE_I32, to, operands, predicate)
}
