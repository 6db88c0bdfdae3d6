//! Bodies to functions.
//!
//! A function takes the address of its arguments and the number of turns: pointers to where streams
//! begin, scalars (each eight bytes wide), and room for a vector of each sum. Its main loop works
//! on several vectors a turn, one after the other or, where loops stand inside, between them; the
//! processor finds what it may do at once. In long bodies, of functions, it would have to look too
//! far ahead for that: there the vectors take steps in turns. What is left runs through the same
//! steps with a mask, a vector a turn, so there is no scalar remainder.

use std::collections::HashMap;
use std::ops::Range;

use kiln_loops::{Fold, Scalar};
use kiln_tensor::DType;

use super::body::{Access, Body, Operand, Product, Step, Stream, Value};
use super::evex::{Assembler, At, Gpr, K, Lanes, Op, Rm, When, Zmm};

/// Elements of a vector.
pub(super) const LANES: usize = 16;
/// Bytes of a vector, and of a sum among the arguments.
pub(super) const VECTOR: i32 = 64;

/// Lanes that there are elements for, in what is left behind the main loop.
const REST: K = K(1);
/// For a moment.
const HERE: K = K(2);
const MASKS: Range<u8> = 3..8;
/// Operands that have no register of their own pass through the first ones.
const VECTORS: Range<u8> = 3..32;

const ARGUMENTS: Gpr = Gpr::RDI;
/// The turns; in the main loop the last index at which a whole turn can begin.
const TURNS: Gpr = Gpr::RSI;
/// Elements done.
const INDEX: Gpr = Gpr::RAX;
const SCRATCH: Gpr = Gpr::RCX;
/// Registers for streams and the counters of loops inside; those from the sixth on belong to the
/// caller and are saved.
const GENERAL: [Gpr; 11] =
    [Gpr(2), Gpr(8), Gpr(9), Gpr(10), Gpr(11), Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
const FREE: usize = 5;

/// Steps beyond which the vectors of a turn take them in turns.
const LONG: usize = 12;
/// Steps by which each vector is then behind the one before, so that what an instruction takes longer
/// for, divisions above all, is not asked for by all at once.
const BEHIND: usize = 4;

/// The function of a body; `None` if there are too few registers.
pub(super) fn assemble(body: &Body, listed: bool) -> Option<Assembler> {
    let inside = body.steps.iter().any(|s| matches!(s, Step::Repeat(_)));
    let abreast = !inside && body.steps.len() > LONG;
    [4, 2, 1].into_iter().find_map(|parts| {
        // Sums keep their registers in what is left.
        let begin = VECTORS.start.checked_add(u8::try_from(body.sums.len() * parts).ok()?)?;
        let main = Schedule::of(body, parts, abreast, begin)?;
        let rest = Schedule::of(body, 1, abreast, begin)?;
        Some(Writer::new(body, parts, listed, main.end.max(rest.end))?.function(&main, &rest))
    })
}

/// The steps in the order they are emitted, and where their values lie.
struct Schedule {
    /// Steps by position, and which of a turn's vectors they work on.
    items: Vec<(usize, usize)>,
    parts: usize,
    /// Registers of the values, for each part.
    registers: Vec<u8>,
    /// The first vector register that no value takes.
    end: u8,
}

impl Schedule {
    /// Values take vector registers from `begin` on.
    fn of(body: &Body, parts: usize, abreast: bool, begin: u8) -> Option<Schedule> {
        let mut items = Vec::new();
        let is_edge = |step: &Step| matches!(step, Step::Repeat(_) | Step::End);
        let mut at = 0;
        for run in body.steps.split_inclusive(is_edge) {
            let edge = run.last().is_some_and(is_edge);
            let plain = at..at + run.len() - usize::from(edge);
            if abreast {
                let times = plain.start..plain.end + BEHIND * (parts - 1);
                let step = |time: usize, part| Some((time.checked_sub(BEHIND * part)?, part));
                let all =
                    times.flat_map(|time| (0..parts).filter_map(move |part| step(time, part)));
                items.extend(all.filter(|(step, _)| plain.contains(step)));
            } else {
                for part in 0..parts {
                    items.extend(plain.clone().map(|step| (step, part)));
                }
            }
            at += run.len();
            if edge {
                items.push((at - 1, 0));
            }
        }
        Schedule { items, parts, registers: Vec::new(), end: begin }.allocate(body)
    }

    fn slot(&self, value: Value, part: usize) -> usize {
        value.0 as usize * self.parts + part
    }

    /// Where each value is needed last: of what loops inside use, but do not define, at their end.
    fn last_uses(&self, body: &Body) -> Vec<usize> {
        let mut ends = HashMap::new();
        let mut open = Vec::new();
        for (position, &(step, _)) in self.items.iter().enumerate() {
            match body.steps[step] {
                Step::Repeat(_) => open.push(position),
                Step::End => drop(open.pop().map(|begin| ends.insert(begin, position))),
                _ => {}
            }
        }
        let slots = body.masks.len() * self.parts;
        let (mut first, mut last) = (vec![usize::MAX; slots], vec![0; slots]);
        for (position, &(step, part)) in self.items.iter().enumerate() {
            let step = &body.steps[step];
            match step {
                Step::Repeat(_) => open.push(position),
                Step::End => drop(open.pop()),
                _ => {}
            }
            let read = step.reads().into_iter().flatten().filter_map(|o| match o {
                Operand::Value(value) => Some(value),
                _ => None,
            });
            for value in read.chain(step.defines()) {
                let slot = self.slot(value, part);
                first[slot] = first[slot].min(position);
                let around = open.iter().find(|&&begin| begin > first[slot]);
                last[slot] = last[slot].max(around.map_or(position, |begin| ends[begin]));
            }
        }
        last
    }

    /// Gives every value a register; `None` if there are too few.
    fn allocate(mut self, body: &Body) -> Option<Schedule> {
        let last = self.last_uses(body);
        let mut ending = vec![Vec::new(); self.items.len()];
        for (slot, &position) in last.iter().enumerate() {
            if let Some(ending) = ending.get_mut(position) {
                ending.push(slot);
            }
        }
        let mut registers: Vec<Option<u8>> = vec![None; last.len()];
        let mut free: [Vec<u8>; 2] =
            [(self.end..VECTORS.end).rev().collect(), MASKS.rev().collect()];
        let is_mask = |slot: usize| body.masks[slot / self.parts];
        let mut end = self.end;
        for (position, (&(step, part), ending)) in self.items.iter().zip(ending).enumerate() {
            let step = &body.steps[step];
            let mut taken = None;
            if let Some(value) = step.defines() {
                let slot = self.slot(value, part);
                if registers[slot].is_none() {
                    // A result goes where an operand was, if nobody needs that any more.
                    let operands = step.replaceable().into_iter().flatten();
                    let mut operands = operands.filter_map(|operand| match operand {
                        Operand::Value(x) => Some(self.slot(x, part)),
                        _ => None,
                    });
                    let ends = |&x: &usize| last[x] == position && is_mask(x) == is_mask(slot);
                    taken = operands.find(ends);
                    let register = match taken {
                        Some(x) => registers[x],
                        None => free[usize::from(is_mask(slot))].pop(),
                    };
                    registers[slot] = Some(register?);
                    if !is_mask(slot) {
                        end = end.max(register? + 1);
                    }
                }
            }
            for slot in ending.into_iter().filter(|&slot| Some(slot) != taken) {
                free[usize::from(is_mask(slot))].extend(registers[slot]);
            }
        }
        self.end = end;
        // What no step touches needs none.
        self.registers = registers.into_iter().map(|r| r.unwrap_or(0)).collect();
        Some(self)
    }
}

/// How a function accumulates: the instruction, whether it loses a NaN of the first operand, and
/// the bits to begin with.
fn accumulation(fold: Fold, dtype: DType) -> (Op, bool, u32) {
    let identity = match fold.identity(dtype) {
        // 0 would turn a sum of -0 into 0.
        Scalar::F32(x) if fold == Fold::Add => (-x).to_bits(),
        Scalar::F32(x) => x.to_bits(),
        Scalar::I32(x) => x as u32,
        Scalar::Bool(x) => x.into(),
    };
    let float = dtype == DType::F32;
    let op = match fold {
        Fold::Add if float => Op::ADD,
        Fold::Add => Op::ADD_I32,
        Fold::Mul if float => Op::MUL,
        Fold::Mul => Op::MUL_I32,
        Fold::Max if float => Op::MAX,
        Fold::Max => Op::MAX_I32,
        Fold::Min if float => Op::MIN,
        Fold::Min => Op::MIN_I32,
    };
    (op, float && matches!(fold, Fold::Max | Fold::Min), identity)
}

/// The predicate that holds where neither is NaN.
const ORDERED: u8 = 7;

struct Writer<'b> {
    code: Assembler,
    body: &'b Body,
    /// Vectors of a turn of the main loop.
    parts: usize,
    /// The registers of the streams; the address of one without lies among the arguments.
    streams: Vec<Option<Gpr>>,
    /// Those of the counters of loops inside, by depth.
    counters: Vec<Gpr>,
    /// Registers to save.
    saved: Vec<Gpr>,
    /// Constants and scalars that have a register.
    resident: HashMap<Operand, Zmm>,
}

impl<'b> Writer<'b> {
    /// `end` is the first vector register that neither values nor sums take.
    fn new(body: &'b Body, parts: usize, listed: bool, end: u8) -> Option<Writer<'b>> {
        let (mut depth, mut deepest) = (0usize, 0);
        for step in &body.steps {
            match step {
                Step::Repeat(_) => depth += 1,
                Step::End => depth -= 1,
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        let mut general = GENERAL.into_iter();
        let counters: Vec<Gpr> = general.by_ref().take(deepest).collect();
        if counters.len() < deepest {
            return None;
        }
        // Streams that move need a register.
        let mut streams = vec![None; body.streams.len()];
        for moves in [true, false] {
            let wanted = streams.iter_mut().zip(&body.streams);
            for (register, _) in wanted.filter(|(_, s)| s.moves.is_empty() != moves) {
                *register = general.next();
                if moves && register.is_none() {
                    return None;
                }
            }
        }
        let taken = GENERAL.len() - general.len();
        let saved = GENERAL[..taken].get(FREE..).unwrap_or_default().to_vec();
        let mut often: Vec<(Operand, usize)> = Vec::new();
        for operand in body.steps.iter().flat_map(|s| s.reads()).flatten() {
            if matches!(operand, Operand::Value(_)) {
                continue;
            }
            match often.iter_mut().find(|o| o.0 == operand) {
                Some(found) => found.1 += 1,
                None => often.push((operand, 1)),
            }
        }
        often.sort_by_key(|o| std::cmp::Reverse(o.1));
        let resident = often.into_iter().zip(end..VECTORS.end).map(|(o, r)| (o.0, Zmm(r)));
        let resident = resident.collect();
        let code = Assembler::new(listed);
        Some(Writer { code, body, parts, streams, counters, saved, resident })
    }

    fn function(mut self, main: &Schedule, rest: &Schedule) -> Assembler {
        for &register in &self.saved {
            self.code.push(register);
        }
        for (stream, register) in self.streams.iter().enumerate() {
            if let Some(register) = *register {
                self.code.load(register, argument(stream));
            }
        }
        let mut resident: Vec<_> = self.resident.iter().map(|(&o, &r)| (o, r)).collect();
        resident.sort_unstable_by_key(|r| r.1.0);
        for (operand, register) in resident {
            self.spread(operand, register);
        }
        for sum in 0..self.body.sums.len() {
            let (fold, dtype) = self.body.sums[sum];
            let identity = Operand::Constant(accumulation(fold, dtype).2);
            self.spread(identity, self.sum(sum, 0));
            for part in 1..self.parts {
                self.copy(self.sum(sum, part), self.sum(sum, 0));
            }
        }
        let block = (LANES * self.parts) as i32;
        self.code.set(INDEX, 0);
        self.code.add_number(TURNS, -block);
        self.code.compare_general(TURNS, INDEX);
        let few = self.code.jump(When::Less);
        let head = self.code.head();
        self.steps(main, None);
        self.advance(self.parts);
        self.code.compare_general(INDEX, TURNS);
        self.code.jump_back(When::LessOrEqual, head);
        self.code.land(few);
        self.code.add_number(TURNS, block);
        self.code.subtract(TURNS, INDEX);
        let none = self.code.jump(When::LessOrEqual);
        let head = self.code.head();
        self.code.set(SCRATCH, u16::MAX.into());
        self.code.low_bits(SCRATCH, SCRATCH, TURNS);
        self.code.mask_of(REST, SCRATCH);
        self.steps(rest, Some(REST));
        self.advance(1);
        self.code.add_number(TURNS, -(LANES as i32));
        self.code.jump_back(When::Greater, head);
        self.code.land(none);
        for sum in 0..self.body.sums.len() {
            self.close(sum);
        }
        if self.body.streams.iter().any(|s| s.passes) {
            self.code.fence();
        }
        self.code.finish();
        for &register in self.saved.iter().rev() {
            self.code.pop(register);
        }
        self.code.ret();
        self.code.place_constants();
        self.code
    }

    /// The accumulator of one of a turn's vectors.
    fn sum(&self, sum: usize, part: usize) -> Zmm {
        Zmm(VECTORS.start + (sum * self.parts + part) as u8)
    }

    /// Adds neighbours, then neighbouring results, and stores the vector.
    fn close(&mut self, sum: usize) {
        let mut apart = 1;
        while apart < self.parts {
            for part in (0..self.parts).step_by(2 * apart) {
                self.accumulate(sum, part, self.sum(sum, part + apart), None);
            }
            apart *= 2;
        }
        let room = argument(self.body.streams.len() + self.body.scalars);
        let at = At { displacement: room.displacement + VECTOR * sum as i32, ..room };
        self.code.vector(Op::STORE, self.sum(sum, 0), Zmm(0), at, Lanes::All);
    }

    fn accumulate(&mut self, sum: usize, part: usize, x: Zmm, mask: Option<K>) {
        let (fold, dtype) = self.body.sums[sum];
        let (op, keeps_nan, _) = accumulation(fold, dtype);
        let to = self.sum(sum, part);
        let mut lanes = mask.map_or(Lanes::All, Lanes::Merge);
        if keeps_nan {
            self.code.compare(Op::COMPARE, HERE, to, to, ORDERED, lanes);
            lanes = Lanes::Merge(HERE);
        }
        self.code.vector(op, to, to, x, lanes);
    }

    /// On to the next vectors.
    fn advance(&mut self, parts: usize) {
        self.code.add_number(INDEX, (LANES * parts) as i32);
        for (stream, register) in self.body.streams.iter().zip(&self.streams) {
            if let Some(register) = *register
                && stream.follows
                && !stream.moves.is_empty()
            {
                let bytes = LANES * parts * usize::from(stream.size);
                self.code.add_number(register, bytes as i32);
            }
        }
    }

    /// Brings a constant or scalar to all lanes.
    fn spread(&mut self, operand: Operand, to: Zmm) {
        match operand {
            Operand::Constant(0) => self.code.vector(Op::XOR, to, to, to, Lanes::All),
            Operand::Constant(bits) => {
                self.code.vector(Op::BROADCAST, to, Zmm(0), Rm::Constant(bits), Lanes::All);
            }
            Operand::Scalar(n) => {
                let at = argument(self.body.streams.len() + n);
                self.code.vector(Op::BROADCAST, to, Zmm(0), at, Lanes::All);
            }
            Operand::Lanes => {
                self.spread(Operand::Constant(0), to);
                for (bit, lanes) in [0xaaaau32, 0xcccc, 0xf0f0, 0xff00].into_iter().enumerate() {
                    self.these(HERE, lanes);
                    let through = Zmm(VECTORS.start - 1);
                    self.spread(Operand::Constant(1 << bit), through);
                    self.code.vector(Op::ADD_I32, to, to, through, Lanes::Merge(HERE));
                }
            }
            Operand::Value(_) => {}
        }
    }

    /// A mask of some lanes.
    fn these(&mut self, to: K, lanes: u32) {
        self.code.set(SCRATCH, lanes);
        self.code.mask_of(to, SCRATCH);
    }

    fn place(&mut self, access: Access, part: usize) -> At {
        let stream = &self.body.streams[access.stream];
        let index = (stream.follows && stream.moves.is_empty()).then_some((INDEX, stream.size));
        let ahead = if stream.follows { LANES * part * usize::from(stream.size) } else { 0 };
        let base = match self.streams[access.stream] {
            Some(register) => register,
            None => {
                self.code.load(SCRATCH, argument(access.stream));
                SCRATCH
            }
        };
        At { base, index, displacement: access.offset + ahead as i32 }
    }

    /// The steps of a turn; with a mask only in its lanes.
    fn steps(&mut self, schedule: &Schedule, mask: Option<K>) {
        let mut open: Vec<(usize, usize, u32)> = Vec::new();
        let mut number = 0;
        for &(step, part) in &schedule.items {
            match self.body.steps[step] {
                Step::Repeat(turns) => {
                    let counter = self.counters[open.len()];
                    self.code.set(counter, turns);
                    open.push((number, self.code.head(), turns));
                    number += 1;
                }
                Step::End => {
                    let Some((number, head, turns)) = open.pop() else { continue };
                    let counter = self.counters[open.len()];
                    self.shift(number, 1);
                    self.code.add_number(counter, -1);
                    self.code.jump_back(When::NotEqual, head);
                    self.shift(number, -i64::from(turns));
                }
                step => self.step(schedule, step, part, mask),
            }
        }
    }

    /// Moves the streams by so many turns of a loop.
    fn shift(&mut self, number: usize, turns: i64) {
        for (stream, register) in self.body.streams.iter().zip(&self.streams) {
            let Some(register) = *register else { continue };
            for &(_, by) in stream.moves.iter().filter(|m| m.0 == number) {
                // Reading checks that this fits.
                self.code.add_number(register, (by * turns) as i32);
            }
        }
    }

    /// The register of an operand; what has none passes through the register `through`.
    fn operand(&mut self, schedule: &Schedule, operand: Operand, part: usize, through: u8) -> Zmm {
        if let Operand::Value(value) = operand {
            return Zmm(schedule.registers[schedule.slot(value, part)]);
        }
        if let Some(&register) = self.resident.get(&operand) {
            return register;
        }
        self.spread(operand, Zmm(through));
        Zmm(through)
    }

    /// The same for an instruction's last operand, which may be a constant in memory.
    fn last(&mut self, schedule: &Schedule, operand: Operand, part: usize, through: u8) -> Rm {
        match operand {
            Operand::Constant(bits) if bits != 0 && !self.resident.contains_key(&operand) => {
                Rm::Constant(bits)
            }
            _ => self.operand(schedule, operand, part, through).into(),
        }
    }

    fn step(&mut self, schedule: &Schedule, step: Step, part: usize, mask: Option<K>) {
        let register = |v: Value| schedule.registers[schedule.slot(v, part)];
        match step {
            Step::Load(v, access) => {
                let at = self.place(access, part);
                let lanes = mask.map_or(Lanes::All, Lanes::Zero);
                let (op, lanes) = match self.body.streams[access.stream] {
                    Stream { follows: false, .. } => (Op::BROADCAST, Lanes::All),
                    Stream { size: 1, .. } => (Op::WIDEN, lanes),
                    _ => (Op::LOAD, lanes),
                };
                self.code.vector(op, Zmm(register(v)), Zmm(0), at, lanes);
            }
            Step::Store(access, x) => {
                let x = self.operand(schedule, x, part, 0);
                let at = self.place(access, part);
                let lanes = mask.map_or(Lanes::All, Lanes::Merge);
                let op = match self.body.streams[access.stream] {
                    Stream { size: 1, .. } => Op::NARROW,
                    Stream { passes: true, .. } if mask.is_none() => Op::STREAM,
                    _ => Op::STORE,
                };
                self.code.vector(op, x, Zmm(0), at, lanes);
            }
            Step::Prefetch(access) => {
                let at = self.place(access, part);
                self.code.prefetch(at);
            }
            Step::Turns(v) => {
                let lanes = self.operand(schedule, Operand::Lanes, part, 0);
                let to = Zmm(register(v));
                self.code.set(SCRATCH, (LANES * part) as u32);
                self.code.add(SCRATCH, INDEX);
                self.code.vector(Op::SPREAD, to, Zmm(0), Rm::Gpr(SCRATCH), Lanes::All);
                self.code.vector(Op::ADD_I32, to, to, lanes, Lanes::All);
            }
            Step::These(v, lanes) => self.these(K(register(v)), lanes.into()),
            Step::Copy(v, x) => {
                let to = Zmm(register(v));
                let x = self.operand(schedule, x, part, to.0);
                self.copy(to, x);
            }
            Step::One(op, v, x) => {
                let x = self.last(schedule, x, part, 0);
                self.code.vector(op, Zmm(register(v)), Zmm(0), x, Lanes::All);
            }
            Step::Number(op, v, x, number) => {
                let x = self.operand(schedule, x, part, 0);
                self.code.with_number(op, Zmm(register(v)), x, number);
            }
            Step::Two(op, v, [x, y]) => {
                let x = self.operand(schedule, x, part, 0);
                let y = match op.takes_constants() {
                    true => self.last(schedule, y, part, 1),
                    false => self.operand(schedule, y, part, 1).into(),
                };
                self.code.vector(op, Zmm(register(v)), x, y, Lanes::All);
            }
            Step::Fma(product, v, operands) => {
                self.fma(schedule, product, Zmm(register(v)), operands, part);
            }
            Step::Ternary(op, v, [x, y], bits, number) => {
                let to = Zmm(register(v));
                let x = self.operand(schedule, x, part, 0);
                let y = self.operand(schedule, y, part, 1);
                self.copy(to, x);
                self.code.ternary(op, to, y, bits, number);
            }
            Step::KeepNan(op, v, [x, y]) => {
                let to = Zmm(register(v));
                let x = self.operand(schedule, x, part, 0);
                let y = self.operand(schedule, y, part, 1);
                self.code.compare(Op::COMPARE, HERE, x, x, ORDERED, Lanes::All);
                self.copy(to, x);
                self.code.vector(op, to, x, y, Lanes::Merge(HERE));
            }
            Step::Compare(op, v, [x, y], predicate) => {
                let x = self.operand(schedule, x, part, 0);
                let y = self.last(schedule, y, part, 1);
                self.code.compare(op, K(register(v)), x, y, predicate, Lanes::All);
            }
            Step::Logic(op, v, [x, y]) => {
                self.code.mask(op, K(register(v)), K(register(x)), K(register(y)));
            }
            Step::Select(v, choice, [x, y]) => {
                let x = self.last(schedule, x, part, 0);
                let y = self.operand(schedule, y, part, 1);
                let lanes = Lanes::Merge(K(register(choice)));
                self.code.vector(Op::BLEND, Zmm(register(v)), y, x, lanes);
            }
            Step::Sum(sum, x) => {
                let x = self.operand(schedule, x, part, 0);
                self.accumulate(sum, part, x, mask);
            }
            Step::Repeat(_) | Step::End => {}
        }
    }

    /// The instruction's result goes where one of its operands is: that one that lies there already,
    /// or a copy of the first.
    fn fma(
        &mut self,
        schedule: &Schedule,
        product: Product,
        to: Zmm,
        [x, y, z]: [Operand; 3],
        part: usize,
    ) {
        let [op_132, op_213, op_231] = match product {
            Product::Added => [Op::FMA_132, Op::FMA_213, Op::FMA_231],
            Product::Subtracted => [Op::FNMA_132, Op::FNMA_213, Op::FNMA_231],
        };
        let is_constant = |o: &Operand| matches!(o, Operand::Constant(_));
        let (x, y) = if is_constant(&x) { (y, x) } else { (x, y) };
        let third = self.last(schedule, z, part, 0);
        if matches!(third, Rm::Zmm(z) if z == to) {
            let x = self.operand(schedule, x, part, 1);
            let y = self.last(schedule, y, part, 2);
            return self.code.vector(op_231, to, x, y, Lanes::All);
        }
        let mut first = self.operand(schedule, x, part, 1);
        let mut second = self.last(schedule, y, part, 2);
        if let Rm::Zmm(y) = second
            && y == to
        {
            (first, second) = (y, first.into());
        }
        self.copy(to, first);
        match (second, third) {
            (Rm::Zmm(y), third) => self.code.vector(op_213, to, y, third, Lanes::All),
            (second, Rm::Zmm(z)) => self.code.vector(op_132, to, z, second, Lanes::All),
            _ => {
                let y = self.operand(schedule, y, part, 2);
                self.code.vector(op_213, to, y, third, Lanes::All);
            }
        }
    }

    fn copy(&mut self, to: Zmm, x: Zmm) {
        if to != x {
            self.code.vector(Op::MOVE, to, Zmm(0), x, Lanes::All);
        }
    }
}

/// Where an argument lies.
fn argument(position: usize) -> At {
    At { base: ARGUMENTS, index: None, displacement: 8 * position as i32 }
}
