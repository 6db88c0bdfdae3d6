//! An assembler for the few x86-64 instructions that wide loops are made of: vectors of 512 bits
//! (the EVEX prefix of AVX-512), masks, and counting in general registers (Intel's Software
//! Developer's Manual, volume 2).

use std::fmt;

/// A vector register, `zmm0` to `zmm31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zmm(pub u8);

/// A mask register, `k0` to `k7`; as a mask `k0` stands for all lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct K(pub u8);

/// A general register of 64 bits, in the machine's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gpr(pub u8);

impl Gpr {
    pub const RAX: Gpr = Gpr(0);
    pub const RCX: Gpr = Gpr(1);
    pub const RSI: Gpr = Gpr(6);
    pub const RDI: Gpr = Gpr(7);

    fn low(self) -> u8 {
        self.0 & 7
    }

    fn high(self) -> u8 {
        self.0 >> 3
    }
}

/// A place in memory: `base + index + displacement`, where the index counts elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub base: Gpr,
    /// The register and the bytes of an element: 1, 2, 4 or 8.
    pub index: Option<(Gpr, u8)>,
    pub displacement: i32,
}

/// The last operand of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rm {
    Zmm(Zmm),
    K(K),
    Gpr(Gpr),
    At(At),
    /// These bits in every lane, from behind the code.
    Constant(u32),
}

impl From<Zmm> for Rm {
    fn from(r: Zmm) -> Rm {
        Rm::Zmm(r)
    }
}

impl From<At> for Rm {
    fn from(at: At) -> Rm {
        Rm::At(at)
    }
}

/// Which lanes an instruction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    All,
    /// The others keep what they hold.
    Merge(K),
    /// The others become 0.
    Zero(K),
}

/// How the operands of an instruction are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// A vector from two.
    Three,
    /// A vector from one.
    Two,
    /// A mask from two vectors.
    Mask,
    /// Memory from a vector.
    Store,
    /// A vector from itself, another one, constants and a number.
    Ternary,
    /// A vector from one and a number; the opcode goes on in the first operand's place.
    Shift(u8),
}

/// An instruction on vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Op {
    name: &'static str,
    form: Form,
    /// Of its opcode: 1 is `0F`, 2 `0F 38`, 3 `0F 3A`.
    map: u8,
    /// 0 is none, 1 is `66`, 2 `F3`, 3 `F2`.
    prefix: u8,
    opcode: u8,
    /// Elements of 64 bits.
    double: bool,
    /// Bytes of a memory operand: what a short displacement counts.
    memory: u8,
}

const fn op(name: &'static str, form: Form, map: u8, prefix: u8, opcode: u8) -> Op {
    Op { name, form, map, prefix, opcode, double: false, memory: 64 }
}

impl Op {
    pub const LOAD: Op = op("vmovups", Form::Two, 1, 0, 0x10);
    pub const STORE: Op = op("vmovups", Form::Store, 1, 0, 0x11);
    /// Past the caches; the place is a multiple of 64.
    pub const STREAM: Op = op("vmovntps", Form::Store, 1, 0, 0x2b);
    pub const MOVE: Op = op("vmovaps", Form::Two, 1, 0, 0x28);
    /// An f32 or i32 in memory to all lanes.
    pub const BROADCAST: Op = Op { memory: 4, ..op("vbroadcastss", Form::Two, 2, 1, 0x18) };
    /// A general register's low half to all lanes.
    pub const SPREAD: Op = op("vpbroadcastd", Form::Two, 2, 1, 0x7c);
    pub const BLEND: Op = op("vblendmps", Form::Three, 2, 1, 0x65);

    pub const ADD: Op = op("vaddps", Form::Three, 1, 0, 0x58);
    pub const MUL: Op = op("vmulps", Form::Three, 1, 0, 0x59);
    pub const SUB: Op = op("vsubps", Form::Three, 1, 0, 0x5c);
    pub const MIN: Op = op("vminps", Form::Three, 1, 0, 0x5d);
    pub const DIV: Op = op("vdivps", Form::Three, 1, 0, 0x5e);
    pub const MAX: Op = op("vmaxps", Form::Three, 1, 0, 0x5f);
    /// The first times 2 to the power of the second.
    pub const SCALE: Op = op("vscalefps", Form::Three, 2, 1, 0x2c);
    /// `first * last + second`, `second * first + last` and `second * last + first`.
    pub const FMA_132: Op = op("vfmadd132ps", Form::Three, 2, 1, 0x98);
    pub const FMA_213: Op = op("vfmadd213ps", Form::Three, 2, 1, 0xa8);
    pub const FMA_231: Op = op("vfmadd231ps", Form::Three, 2, 1, 0xb8);
    /// `second - first * last` and so on.
    pub const FNMA_132: Op = op("vfnmadd132ps", Form::Three, 2, 1, 0x9c);
    pub const FNMA_213: Op = op("vfnmadd213ps", Form::Three, 2, 1, 0xac);
    pub const FNMA_231: Op = op("vfnmadd231ps", Form::Three, 2, 1, 0xbc);
    pub const SQRT: Op = op("vsqrtps", Form::Two, 1, 0, 0x51);
    /// To an integer, as the number behind it says.
    pub const ROUND: Op = op("vrndscaleps", Form::Two, 3, 1, 0x08);
    pub const COMPARE: Op = op("vcmpps", Form::Mask, 1, 0, 0xc2);
    pub const TO_F32: Op = op("vcvtdq2ps", Form::Two, 1, 0, 0x5b);
    pub const TO_I32: Op = op("vcvttps2dq", Form::Two, 1, 2, 0x5b);
    /// Of what is a whole number already.
    pub const WHOLE_TO_I32: Op = op("vcvtps2dq", Form::Two, 1, 1, 0x5b);

    pub const AND: Op = op("vpandd", Form::Three, 1, 1, 0xdb);
    pub const OR: Op = op("vpord", Form::Three, 1, 1, 0xeb);
    pub const XOR: Op = op("vpxord", Form::Three, 1, 1, 0xef);
    /// Any function of three bits: that bit of the number which they are the position of.
    pub const TERNARY: Op = op("vpternlogd", Form::Ternary, 3, 1, 0x25);
    /// What four bits of the last operand say for the kind of number that the second is (0 for NaN,
    /// 2 for zero, 4 for -infinity, 6 for other negative numbers): 0 leaves the first, 8 is 0.
    pub const BY_KIND: Op = op("vfixupimmps", Form::Ternary, 3, 1, 0x54);
    pub const ADD_I32: Op = op("vpaddd", Form::Three, 1, 1, 0xfe);
    pub const SUB_I32: Op = op("vpsubd", Form::Three, 1, 1, 0xfa);
    pub const MUL_I32: Op = op("vpmulld", Form::Three, 2, 1, 0x40);
    pub const MAX_I32: Op = op("vpmaxsd", Form::Three, 2, 1, 0x3d);
    pub const MIN_I32: Op = op("vpminsd", Form::Three, 2, 1, 0x39);
    pub const ABS_I32: Op = op("vpabsd", Form::Two, 2, 1, 0x1e);
    pub const COMPARE_I32: Op = op("vpcmpd", Form::Mask, 3, 1, 0x1f);
    /// Of every other element the product of 64 bits.
    pub const MUL_PAIRS: Op = Op { double: true, ..op("vpmuludq", Form::Three, 1, 1, 0xf4) };
    pub const SHIFT_PAIRS_RIGHT: Op =
        Op { double: true, ..op("vpsrlq", Form::Shift(2), 1, 1, 0x73) };
    /// Bytes to elements of 32 bits, and back.
    pub const WIDEN: Op = Op { memory: 16, ..op("vpmovzxbd", Form::Two, 2, 1, 0x31) };
    pub const NARROW: Op = Op { memory: 16, ..op("vpmovdb", Form::Store, 2, 2, 0x31) };
    pub const SHIFT_LEFT: Op = op("vpslld", Form::Shift(6), 1, 1, 0x72);
    pub const SHIFT_RIGHT: Op = op("vpsrld", Form::Shift(2), 1, 1, 0x72);
    pub const SHIFT_RIGHT_I32: Op = op("vpsrad", Form::Shift(4), 1, 1, 0x72);
}

impl Op {
    /// Whether a memory operand may be a number of 32 bits that stands for all lanes.
    pub fn takes_constants(self) -> bool {
        !self.double && self.memory == 64
    }
}

/// An instruction on masks of three operands; [`KOp::NOT`] has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KOp {
    name: &'static str,
    opcode: u8,
}

impl KOp {
    pub const AND: KOp = KOp { name: "kandw", opcode: 0x41 };
    pub const NOT: KOp = KOp { name: "knotw", opcode: 0x44 };
    pub const OR: KOp = KOp { name: "korw", opcode: 0x45 };
    pub const SAME: KOp = KOp { name: "kxnorw", opcode: 0x46 };
    pub const XOR: KOp = KOp { name: "kxorw", opcode: 0x47 };
}

/// When a jump is taken, after a comparison of signed numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Less,
    LessOrEqual,
    Greater,
    NotEqual,
}

/// A jump whose target comes later.
#[must_use]
pub(super) struct Jump {
    end: usize,
    line: usize,
}

/// Instructions as bytes, and as text if asked for.
pub(super) struct Assembler {
    pub bytes: Vec<u8>,
    /// Instructions with their offsets.
    lines: Option<Vec<(usize, String)>>,
    /// What stands behind the code, each number once, and where instructions refer to it: the
    /// distance's place, the end of the instruction and which number.
    constants: Vec<u32>,
    references: Vec<(usize, usize, usize)>,
}

impl Assembler {
    pub fn new(listed: bool) -> Assembler {
        let lines = listed.then(Vec::new);
        Assembler { bytes: Vec::new(), lines, constants: Vec::new(), references: Vec::new() }
    }

    /// The instructions, one a line, with their offsets.
    pub fn listing(&self) -> String {
        let lines = self.lines.iter().flatten();
        lines.map(|(at, text)| format!("{at:6x}  {text}\n")).collect()
    }

    fn line(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push((self.bytes.len(), text()));
        }
    }

    /// An instruction on vectors: of `first` (what is written; of stores what is read), for those
    /// that take two `second`, and `last`.
    pub fn vector(&mut self, op: Op, first: Zmm, second: Zmm, last: impl Into<Rm>, lanes: Lanes) {
        let last = last.into();
        self.line(|| {
            let to = Lane(lanes);
            match op.form {
                Form::Store => format!("{} {last}{to}, {first}", op.name),
                Form::Two => format!("{} {first}{to}, {last}", op.name),
                _ => format!("{} {first}{to}, {second}, {last}", op.name),
            }
        });
        let second = if op.form == Form::Three { second.0 } else { 0 };
        self.evex(op, first.0, second, last, lanes);
    }

    /// An instruction of one vector and a number.
    pub fn with_number(&mut self, op: Op, to: Zmm, from: Zmm, number: u8) {
        self.line(|| format!("{} {to}, {from}, {number}", op.name));
        match op.form {
            Form::Shift(digit) => self.evex(op, digit, to.0, from.into(), Lanes::All),
            _ => self.evex(op, to.0, 0, from.into(), Lanes::All),
        }
        self.bytes.push(number);
    }

    /// An instruction of three operands, the first of which is what it writes, and a number.
    pub fn ternary(&mut self, op: Op, to: Zmm, second: Zmm, bits: u32, number: u8) {
        let last = Rm::Constant(bits);
        self.line(|| format!("{} {to}, {second}, {last}, {number}", op.name));
        self.evex(op, to.0, second.0, last, Lanes::All);
        self.bytes.push(number);
    }

    /// A comparison, in those lanes of a mask: in the others it fails.
    pub fn compare(
        &mut self,
        op: Op,
        to: K,
        x: Zmm,
        y: impl Into<Rm>,
        predicate: u8,
        lanes: Lanes,
    ) {
        let y = y.into();
        self.line(|| format!("{} {to}{}, {x}, {y}, {predicate}", op.name, Lane(lanes)));
        self.evex(op, to.0, x.0, y, lanes);
        self.bytes.push(predicate);
    }

    fn evex(&mut self, op: Op, first: u8, second: u8, last: Rm, lanes: Lanes) {
        let (b, x) = match last {
            Rm::Zmm(Zmm(r)) => (r >> 3 & 1, r >> 4),
            Rm::K(K(r)) => (r >> 3, 0),
            Rm::Gpr(r) => (r.high(), 0),
            Rm::At(at) => (at.base.high(), at.index.map_or(0, |i| i.0.high())),
            Rm::Constant(_) => (0, 0),
        };
        // One number for all lanes, unless that is what the instruction is about.
        let spread = matches!(last, Rm::Constant(_)) && op.memory != 4;
        let (zero, mask) = match lanes {
            Lanes::All => (0, 0),
            Lanes::Merge(k) => (0, k.0),
            Lanes::Zero(k) => (1, k.0),
        };
        let bit = |set: u8, at: u8| (set & 1 ^ 1) << at; // most are stored inverted
        let lengths = 2 << 5; // 512 bits
        self.bytes.extend([
            0x62,
            bit(first >> 3, 7) | bit(x, 6) | bit(b, 5) | bit(first >> 4, 4) | op.map,
            u8::from(op.double) << 7 | (!second & 15) << 3 | 1 << 2 | op.prefix,
            zero << 7 | lengths | u8::from(spread) << 4 | bit(second >> 4, 3) | mask,
            op.opcode,
        ]);
        if let Rm::Constant(bits) = last {
            let number = matches!(op.form, Form::Mask | Form::Ternary);
            return self.refer(first & 7, bits, number.into());
        }
        self.modrm(first & 7, last, i32::from(op.memory));
    }

    /// The operands of an instruction that `behind` more bytes belong to.
    fn refer(&mut self, register: u8, bits: u32, behind: usize) {
        let known = self.constants.iter().position(|&c| c == bits);
        let number = known.unwrap_or(self.constants.len());
        if known.is_none() {
            self.constants.push(bits);
        }
        self.bytes.push(register << 3 | 5);
        let at = self.bytes.len();
        self.references.push((at, at + 4 + behind, number));
        self.bytes.extend([0; 4]);
    }

    /// Puts the constants behind the code.
    pub fn place_constants(&mut self) {
        if self.constants.is_empty() {
            return;
        }
        // Trap instructions, in cache lines that hold no constants.
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0xcc);
        let begin = self.bytes.len();
        for &(at, end, number) in &self.references {
            let distance = (begin + 4 * number - end) as i32;
            self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        self.bytes.extend(self.constants.iter().flat_map(|c| c.to_le_bytes()));
    }

    /// The byte that names the operands, and what belongs to a place in memory. A displacement in
    /// one byte counts in units of `unit` bytes.
    fn modrm(&mut self, register: u8, last: Rm, unit: i32) {
        let at = match last {
            Rm::Zmm(Zmm(r)) => return self.bytes.push(0xc0 | register << 3 | r & 7),
            Rm::K(K(r)) => return self.bytes.push(0xc0 | register << 3 | r),
            Rm::Gpr(r) => return self.bytes.push(0xc0 | register << 3 | r.low()),
            Rm::At(at) => at,
            Rm::Constant(bits) => return self.refer(register, bits, 0),
        };
        let short = (at.displacement % unit == 0).then(|| i8::try_from(at.displacement / unit));
        let (mode, short) = match short {
            // Without a displacement this base would mean something else.
            Some(Ok(0)) if at.base.low() != 5 => (0, None),
            Some(Ok(n)) => (1, Some(n)),
            _ => (2, None),
        };
        let with_index = at.index.is_some() || at.base.low() == 4;
        let place = if with_index { 4 } else { at.base.low() };
        self.bytes.push(mode << 6 | register << 3 | place);
        if with_index {
            let (index, scale) = match at.index {
                Some((index, size)) => (index.low(), size.trailing_zeros() as u8),
                None => (4, 0), // none
            };
            self.bytes.push(scale << 6 | index << 3 | at.base.low());
        }
        match (mode, short) {
            (1, Some(n)) => self.bytes.push(n as u8),
            (2, _) => self.bytes.extend(at.displacement.to_le_bytes()),
            _ => {}
        }
    }

    /// An instruction on masks; `x` counts for those that take two.
    pub fn mask(&mut self, op: KOp, to: K, x: K, y: K) {
        let takes_two = op != KOp::NOT;
        self.line(|| match takes_two {
            true => format!("{} {to}, {x}, {y}", op.name),
            false => format!("{} {to}, {y}", op.name),
        });
        let (second, length) = if takes_two { (x.0, 1) } else { (0, 0) };
        self.bytes.extend([0xc5, 1 << 7 | (!second & 15) << 3 | length << 2, op.opcode]);
        self.modrm(to.0, Rm::K(y), 1);
    }

    /// The low bits of a register below `rcx`'s number 8 to a mask.
    pub fn mask_of(&mut self, to: K, from: Gpr) {
        self.line(|| format!("kmovw {to}, {}", Half(from)));
        self.bytes.extend([0xc5, 0xf8, 0x92]);
        self.modrm(to.0, Rm::Gpr(from), 1);
    }

    /// The lowest `count` (modulo 256) bits of the low half; all of them from 32 on.
    pub fn low_bits(&mut self, to: Gpr, from: Gpr, count: Gpr) {
        self.line(|| format!("bzhi {}, {}, {}", Half(to), Half(from), Half(count)));
        let high = (to.high() ^ 1) << 7 | 1 << 6 | (from.high() ^ 1) << 5;
        self.bytes.extend([0xc4, high | 2, (!count.0 & 15) << 3, 0xf5]);
        self.modrm(to.low(), Rm::Gpr(from), 1);
    }

    /// A number of 32 bits; the upper half becomes 0.
    pub fn set(&mut self, to: Gpr, value: u32) {
        self.line(|| format!("mov {}, {value:#x}", Half(to)));
        if to.high() != 0 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0xb8 | to.low());
        self.bytes.extend(value.to_le_bytes());
    }

    fn quad(&mut self, opcode: u8, register: Gpr, last: Rm) {
        let (b, x) = match last {
            Rm::Gpr(r) => (r.high(), 0),
            Rm::At(at) => (at.base.high(), at.index.map_or(0, |i| i.0.high())),
            Rm::Zmm(_) | Rm::K(_) | Rm::Constant(_) => (0, 0),
        };
        self.bytes.extend([0x48 | register.high() << 2 | x << 1 | b, opcode]);
        self.modrm(register.low(), last, 1);
    }

    /// A pointer in memory.
    pub fn load(&mut self, to: Gpr, at: At) {
        self.line(|| format!("mov {to}, {}", Rm::At(at)));
        self.quad(0x8b, to, at.into());
    }

    /// Asks for a line of memory; what cannot be read is no fault.
    pub fn prefetch(&mut self, at: At) {
        self.line(|| format!("prefetcht0 {}", Rm::At(at)));
        let x = at.index.map_or(0, |i| i.0.high());
        self.bytes.extend([0x40 | x << 1 | at.base.high(), 0x0f, 0x18]);
        self.modrm(1, Rm::At(at), 1);
    }

    pub fn add(&mut self, to: Gpr, y: Gpr) {
        self.line(|| format!("add {to}, {y}"));
        self.quad(0x01, y, Rm::Gpr(to));
    }

    pub fn subtract(&mut self, to: Gpr, y: Gpr) {
        self.line(|| format!("sub {to}, {y}"));
        self.quad(0x29, y, Rm::Gpr(to));
    }

    pub fn compare_general(&mut self, x: Gpr, y: Gpr) {
        self.line(|| format!("cmp {x}, {y}"));
        self.quad(0x39, y, Rm::Gpr(x));
    }

    pub fn add_number(&mut self, to: Gpr, number: i32) {
        self.line(|| format!("add {to}, {number}"));
        self.quad(0x81, Gpr(0), Rm::Gpr(to));
        self.bytes.extend(number.to_le_bytes());
    }

    pub fn push(&mut self, r: Gpr) {
        self.line(|| format!("push {r}"));
        if r.high() != 0 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0x50 | r.low());
    }

    pub fn pop(&mut self, r: Gpr) {
        self.line(|| format!("pop {r}"));
        if r.high() != 0 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0x58 | r.low());
    }

    /// Forgets the upper parts of the vector registers, which slow older code down, and returns.
    pub fn finish(&mut self) {
        self.line(|| "vzeroupper".to_owned());
        self.bytes.extend([0xc5, 0xf8, 0x77]);
    }

    /// Stores past the caches become visible before what follows.
    pub fn fence(&mut self) {
        self.line(|| "sfence".to_owned());
        self.bytes.extend([0x0f, 0xae, 0xf8]);
    }

    pub fn ret(&mut self) {
        self.line(|| "ret".to_owned());
        self.bytes.push(0xc3);
    }

    /// A place to jump back to, where a fetch of instructions begins.
    pub fn head(&mut self) -> usize {
        const STEP: [&[u8]; 3] = [
            &[0x90],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        loop {
            let missing = self.bytes.len().next_multiple_of(32) - self.bytes.len();
            let Some(step) = STEP.iter().rev().find(|s| s.len() <= missing) else { break };
            self.line(|| "nop".to_owned());
            self.bytes.extend(*step);
        }
        self.bytes.len()
    }

    pub fn jump_back(&mut self, when: When, target: usize) {
        self.line(|| format!("{when} {target:x}"));
        self.bytes.extend([0x0f, when.opcode()]);
        let from = self.bytes.len() as i32 + 4;
        self.bytes.extend((target as i32 - from).to_le_bytes());
    }

    pub fn jump(&mut self, when: When) -> Jump {
        let line = self.lines.as_ref().map_or(0, Vec::len);
        self.line(|| when.to_string());
        self.bytes.extend([0x0f, when.opcode(), 0, 0, 0, 0]);
        Jump { end: self.bytes.len(), line }
    }

    /// The jump leads here.
    pub fn land(&mut self, jump: Jump) {
        let target = self.bytes.len();
        let distance = (target - jump.end) as i32;
        self.bytes[jump.end - 4..jump.end].copy_from_slice(&distance.to_le_bytes());
        if let Some(lines) = &mut self.lines {
            lines[jump.line].1.push_str(&format!(" {target:x}"));
        }
    }
}

impl When {
    fn opcode(self) -> u8 {
        match self {
            When::Less => 0x8c,
            When::LessOrEqual => 0x8e,
            When::Greater => 0x8f,
            When::NotEqual => 0x85,
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            When::Less => "jl",
            When::LessOrEqual => "jle",
            When::Greater => "jg",
            When::NotEqual => "jne",
        })
    }
}

impl fmt::Display for Zmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zmm{}", self.0)
    }
}

impl fmt::Display for K {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

const NAMES: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];

impl fmt::Display for Gpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => write!(f, "r{name}"),
            None => write!(f, "r{}", self.0),
        }
    }
}

/// The low half of a register.
struct Half(Gpr);

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0.0)) {
            Some(name) => write!(f, "e{name}"),
            None => write!(f, "r{}d", self.0.0),
        }
    }
}

impl fmt::Display for Rm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = match self {
            Rm::Zmm(r) => return r.fmt(f),
            Rm::K(r) => return r.fmt(f),
            Rm::Gpr(r) => return Half(*r).fmt(f),
            Rm::At(at) => at,
            Rm::Constant(bits) => return write!(f, "[{bits:#010x}]"),
        };
        write!(f, "[{}", at.base)?;
        if let Some((index, size)) = at.index {
            write!(f, "+{size}*{index}")?;
        }
        match at.displacement {
            0 => f.write_str("]"),
            n => write!(f, "{n:+}]"),
        }
    }
}

/// The lanes that are written, behind what is written.
struct Lane(Lanes);

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Lanes::All => Ok(()),
            Lanes::Merge(k) => write!(f, "{{{k}}}"),
            Lanes::Zero(k) => write!(f, "{{{k}}}{{z}}"),
        }
    }
}
