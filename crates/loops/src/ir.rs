//! The data types of the low IR.
//!
//! A [`Program`] is a list of buffers and a list of kernels that run one after the other. A
//! [`Kernel`] is a tree of statements over loops with static bounds and affine indices, which is
//! what lets [`crate::verify`] prove every access in bounds before any machine code exists.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kiln_tensor::{DType, Shape, Tensor};
use smallvec::SmallVec;

use crate::location::Location;
use crate::tile_map::TileMap;

/// A buffer of a [`Program`], by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);

/// A loop variable of a [`Kernel`]; unique within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub u32);

/// A scalar value of a [`Kernel`]; unique within it, defined once by a [`Stmt::Let`] or declared
/// once by a [`Stmt::Mut`], and visible in the statements after it in its block and in their blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(pub u32);

/// What a kernel's memory access names: an argument of the kernel, or memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mem {
    /// Position in [`Kernel::args`].
    Arg(u32),
    /// Position in [`Kernel::locals`]: scratch of the running thread, undefined at the start of
    /// every iteration of the kernel's parallel loops.
    Local(u32),
}

/// What a buffer holds, as seen from outside the program.
#[derive(Clone, Debug, PartialEq)]
pub enum BufferKind {
    /// Written by the caller before every run.
    Input,
    /// Trained weights: loaded once, live across runs.
    Param,
    /// Values of the model that live across runs (running statistics, the step number).
    State,
    /// Values of the optimiser that live across runs (momentum).
    Slot,
    /// Read by the caller after every run.
    Output,
    /// Known at compile time.
    Const(Tensor),
    /// Computed by the prelude from what lives across runs: packed weights and the like.
    Prepared,
    /// Lives between kernels of one run.
    Temp,
}

/// A dense array that kernels read and write.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Unique, readable: the path of the weight, or the operator's name and number.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// The shape at the boundary; inside, indices are flat, row-major.
    pub shape: Shape,
    /// What it holds.
    pub kind: BufferKind,
    /// Byte offset in the arena, once the plan has been made.
    pub offset: Option<usize>,
}

/// Kernels that run in order over buffers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    /// The buffers; a [`BufferId`] is a position here.
    pub buffers: Vec<Buffer>,
    /// The kernels, in the order they run.
    pub kernels: Vec<Kernel>,
    /// How many kernels at the beginning depend on weights, states and constants alone: they run
    /// once after those were set, not in every run.
    pub prelude: usize,
    /// Bytes of the arena that holds every buffer, once the plan has been made; 0 before.
    pub arena_bytes: usize,
}

/// Scratch memory of a kernel, one copy for each thread that runs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub elements: usize,
}

/// One kernel. Kernels with equal `args.len()`, `locals` and `body` share their machine code.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Readable, after the operators it computes; not unique.
    pub name: String,
    /// The buffers it reads and writes.
    pub args: Vec<BufferId>,
    /// The source text it comes from, that of what it stores first.
    pub locations: Arc<[Location]>,
    /// Its scratch memory.
    pub locals: Vec<Local>,
    /// What it does. Parallel loops stand at its top, each the only statement around the next.
    pub body: Vec<Stmt>,
}

/// `constant + sum of coefficient * variable`, in elements or as a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Affine {
    /// The constant term.
    pub constant: i64,
    /// Coefficients, sorted by variable, none of them 0.
    pub terms: Terms,
}

/// Loop variables and their coefficients. Few expressions have more, so that they are rarely
/// allocated.
pub type Terms = SmallVec<[(Var, i64); 2]>;

/// A flat element index: affine, plus registers times strides for data-dependent parts. Every
/// such register must be defined by [`Inst::Clamp`], which bounds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Index {
    /// The part known from the loop variables.
    pub affine: Affine,
    /// The data-dependent part.
    pub dynamic: Vec<(Reg, i64)>,
}

/// How a loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopKind {
    /// In order.
    Serial,
    /// Iterations are independent and are handed out to threads, with those of the parallel loop
    /// right inside.
    Parallel,
    /// Iterations are independent but for [`Stmt::Accumulate`]; consecutive ones may share vector
    /// registers. The step is 1. The body holds no parallel or vector loop, no loop that starts at
    /// the variable, no block statement, no [`Stmt::Mut`]-[`Stmt::Set`] pair that crosses the loop
    /// and no read of a register that it accumulates; every access is affine with coefficient 0 or
    /// 1 in the variable.
    Vector,
}

/// `for var in start .. min(start + extent, end) step step`.
///
/// A loop over a whole range has `start: None` (that is 0) and `extent == end`. A loop over one
/// chunk of a blocked range has the outer loop's variable as `start`, the block as `extent`, and
/// the whole range's end as `end`: its variable counts over the whole range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct For {
    /// The variable it defines.
    pub var: Var,
    /// Where it starts: 0 or the value of an enclosing loop's variable.
    pub start: Option<Var>,
    /// The greatest length of the range.
    pub extent: usize,
    /// An upper bound of the variable (exclusive).
    pub end: usize,
    /// What the variable grows by (at least 1).
    pub step: usize,
    /// How it runs.
    pub kind: LoopKind,
    /// What it does.
    pub body: Vec<Stmt>,
}

impl For {
    /// The parallel loop right inside of it.
    pub fn parallel(&self) -> Option<&For> {
        parallel(&self.body)
    }

    /// The turns of a loop that starts at 0 and of the parallel loops right inside of it together.
    pub fn iterations(&self) -> usize {
        let turns = self.extent.min(self.end).div_ceil(self.step.max(1));
        turns.saturating_mul(self.parallel().map_or(1, For::iterations))
    }
}

/// The parallel loop that is all there is.
fn parallel(body: &[Stmt]) -> Option<&For> {
    match body {
        [Stmt::For(f)] if f.kind == LoopKind::Parallel => Some(f),
        _ => None,
    }
}

/// Statements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stmt {
    /// A loop.
    For(For),
    /// Defines a register.
    Let(Reg, Inst),
    /// Declares a mutable register with its first value.
    Mut(Reg, Reg),
    /// Gives a mutable register a new value.
    Set(Reg, Reg),
    /// `dst = dst op src` for a mutable register; the order over a vector loop is the compiler's,
    /// fixed at compile time.
    Accumulate(Reg, Fold, Reg),
    /// Writes one element.
    Store(Mem, Index, Reg),
    /// Applies a function to a run of consecutive elements.
    Block(Block),
    /// A sum of products over tiles, done by a precompiled micro-kernel.
    Contract(Box<Contract>),
    /// Brings the second operand of a contraction into the micro-kernel's order.
    Pack(Box<Pack>),
    /// Maps a square of values to another, done by a precompiled function.
    Transform(Box<Transform>),
}

/// `dst[i] = function(src[i])` for `i` in `0..len`, `len` consecutive f32 elements from each
/// index. `dst` and `src` are the same run or do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The function.
    pub function: Math,
    /// First element written.
    pub dst: (Mem, Affine),
    /// First element read.
    pub src: (Mem, Affine),
    /// The greatest number of elements.
    pub len: usize,
    /// The elements end before `end - start` where `start` is the value of this loop variable
    /// (the chunk's remainder); the length is `min(len, end - value)`.
    pub until: Option<(Var, usize)>,
}

/// One dimension of a contraction: its extent, and how far each operand moves along it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dim {
    /// Number of values.
    pub extent: usize,
    /// Stride in the first operand (rows, depth) or in the second (columns).
    pub input: i64,
    /// Stride in the result (rows, columns) or in the second operand (depth).
    pub output: i64,
}

/// `c[row, col] (+)= sum over depth of a[row, depth] * b[depth, col]`, all f32, where row, column
/// and depth are multi-indices and each operand's index is a sum of strides: matrix products and
/// convolutions alike. `c` overlaps neither `a` nor `b`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contract {
    /// The first operand and its index at row 0, depth 0.
    pub a: (Mem, Affine),
    /// The second operand and its index at depth 0, column 0; if `packed`, where its pack begins.
    pub b: (Mem, Affine),
    /// The result and its index at row 0, column 0.
    pub c: (Mem, Affine),
    /// Row dimensions, outermost first: `input` is the stride in `a`, `output` in `c`.
    pub rows: Vec<Dim>,
    /// Column dimensions, outermost first: `input` is the stride in `b`, `output` in `c`.
    pub cols: Vec<Dim>,
    /// Depth dimensions, outermost first: `input` is the stride in `a`, `output` in `b`.
    pub depth: Vec<Dim>,
    /// Whether to add to `c`.
    pub accumulate: bool,
    /// What is done to each sum before it is stored.
    pub epilogue: Epilogue,
    /// Whether `b` was written by a [`Pack`] of equal columns and depth (then the strides in `b`
    /// say what was packed and are not used again).
    pub packed: bool,
    /// Whether `a` moves along the columns too: column `j`, counted over all column dimensions, reads
    /// it `j` elements further on. Then every column is a sum of products of its own, as in a
    /// depthwise convolution.
    pub channelwise: bool,
}

/// What is done to each result of a contraction or of a transform, in this order. Of a transform, the rows
/// and columns of the square are the dimensions of the rows, and its channels are the columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Epilogue {
    /// A value for each column is added: they follow each other from this index.
    pub bias: Option<(Mem, Affine)>,
    /// An array of the result's rows and columns is added.
    pub residual: Option<Residual>,
    /// The maximum with 0 is taken, as [`Binary::Max`] does with 0 as its second operand.
    pub relu: bool,
    /// The minimum with this positive f32 is taken, as [`Binary::Min`] does with it as its second
    /// operand.
    pub cap: Option<Scalar>,
}

/// What is added to the result: it has the result's strides along the columns and
/// its own along the rows. It does not overlap the result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Residual {
    /// Its index at row 0, column 0.
    pub at: (Mem, Affine),
    /// For each dimension of the rows the stride.
    pub rows: Vec<i64>,
}

impl Epilogue {
    /// What it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &(Mem, Affine)> {
        self.bias.iter().chain(self.residual.as_ref().map(|r| &r.at))
    }

    /// Every place in memory it names.
    fn places_mut(&mut self) -> impl Iterator<Item = &mut (Mem, Affine)> {
        self.bias.iter_mut().chain(self.residual.as_mut().map(|r| &mut r.at))
    }

    /// How many things it does.
    pub fn steps(&self) -> usize {
        let steps = [self.bias.is_some(), self.residual.is_some(), self.relu, self.cap.is_some()];
        steps.into_iter().filter(|&step| step).count()
    }
}

impl Contract {
    /// What it reads, but for the result of one that accumulates.
    pub fn inputs(&self) -> impl Iterator<Item = &(Mem, Affine)> {
        [&self.a, &self.b].into_iter().chain(self.epilogue.inputs())
    }

    /// Every place in memory it names.
    pub fn places_mut(&mut self) -> impl Iterator<Item = &mut (Mem, Affine)> {
        [&mut self.a, &mut self.b, &mut self.c].into_iter().chain(self.epilogue.places_mut())
    }
}

/// Writes the second operand of a contraction, seen as `[depth, cols]`, to `dst` in the
/// micro-kernel's order. `dst` has [`packed_elements`] elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pack {
    /// What to pack, at depth 0, column 0.
    pub src: (Mem, Affine),
    /// Where to, its first element.
    pub dst: (Mem, Affine),
    /// As in [`Contract`].
    pub cols: Vec<Dim>,
    /// As in [`Contract`].
    pub depth: Vec<Dim>,
}

/// A linear map of a square of f32 values to another, along its columns and then along its rows, for
/// `len` channels at once. The two do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transform {
    /// The map.
    pub map: TileMap,
    /// The first place of the square that is written, and the distances of rows, of columns and of
    /// channels.
    pub dst: (Mem, Affine),
    /// See there.
    pub dst_strides: [i64; 3],
    /// The first place of the square that is read, and the distances of rows, of columns and of
    /// channels.
    pub src: (Mem, Affine),
    /// See there.
    pub src_strides: [i64; 3],
    /// Channels.
    pub len: usize,
    /// What is done to each value before it is stored.
    pub epilogue: Epilogue,
}

impl Transform {
    /// What it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &(Mem, Affine)> {
        [&self.src].into_iter().chain(self.epilogue.inputs())
    }

    /// Every place in memory it names.
    pub fn places_mut(&mut self) -> impl Iterator<Item = &mut (Mem, Affine)> {
        [&mut self.src, &mut self.dst].into_iter().chain(self.epilogue.places_mut())
    }
}

/// Elements that `depth * cols` values take once packed: columns are padded to whole panels of 32.
pub fn packed_elements(cols: usize, depth: usize) -> Option<usize> {
    cols.checked_next_multiple_of(32)?.checked_mul(depth)
}

/// A constant scalar.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    /// Single precision; equality is of bits, so that NaN equals itself and 0 is not -0.
    F32(f32),
    /// 32-bit integer.
    I32(i32),
    /// Truth value.
    Bool(bool),
}

/// What a [`Stmt::Let`] computes. Operands are registers of one type unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Inst {
    /// A constant.
    Const(Scalar),
    /// Reads one element.
    Load(Mem, Index),
    /// The value of an affine expression, as an i32 (wrapping).
    Affine(Affine),
    /// One operand.
    Unary(Unary, Reg),
    /// Two operands of one type.
    Binary(Binary, Reg, Reg),
    /// Two operands of one type; the result is a truth value.
    Compare(Compare, Reg, Reg),
    /// `if cond { a } else { b }`, both computed.
    Select(Reg, Reg, Reg),
    /// Conversion: f32 to i32 truncates and saturates (NaN gives 0); bool gives 0 or 1; to bool is
    /// "not 0".
    Cast(DType, Reg),
    /// A transcendental function of an f32.
    Call(Math, Reg),
    /// An i32 limited to `0..extent`; what a data-dependent index needs. `extent` is at least 1.
    Clamp(Reg, usize),
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name in every text form.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The value of this name.
            pub fn from_name(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|x| x.name() == name)
            }
        }
    };
}
pub(crate) use names;

names! {
    /// Functions of one operand that cost about one instruction.
    Unary {
        /// `-x`; wraps for integers.
        Neg = "neg",
        /// `|x|`.
        Abs = "abs",
        /// Square root (f32), correctly rounded.
        Sqrt = "sqrt",
        /// Greatest integer not above (f32).
        Floor = "floor",
        /// Least integer not below (f32).
        Ceil = "ceil",
        /// Nearest integer, ties to even (f32).
        Round = "round",
        /// Logical or bitwise complement (bool, i32).
        Not = "not",
    }
}

names! {
    /// Functions of two operands that cost about one instruction.
    Binary {
        /// Sum; wraps for integers.
        Add = "add",
        /// Difference; wraps for integers.
        Sub = "sub",
        /// Product; wraps for integers.
        Mul = "mul",
        /// Quotient; for integers truncated, and 0 where the divisor is 0; `MIN / -1` wraps.
        Div = "div",
        /// Remainder with the sign of the dividend (i32), 0 where the divisor is 0.
        Rem = "rem",
        /// The greater, the second if they are equal (0 and -0); NaN if either is.
        Max = "max",
        /// The smaller, the second if they are equal (0 and -0); NaN if either is.
        Min = "min",
        /// Bitwise (i32) or logical (bool).
        And = "and",
        /// Bitwise (i32) or logical (bool).
        Or = "or",
        /// Bitwise (i32) or logical (bool).
        Xor = "xor",
        /// Left shift by the low five bits (i32).
        Shl = "shl",
        /// Right shift filling with zeros, by the low five bits (i32).
        Shr = "shr",
        /// High half of the 64-bit product of the operands taken as unsigned (i32).
        MulHigh = "mulhigh",
    }
}

names! {
    /// Comparisons. With NaN all are false but `ne`.
    Compare {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
    }
}

names! {
    /// Associative functions that loops accumulate with.
    Fold {
        /// Sum, from 0.
        Add = "add",
        /// Product, from 1.
        Mul = "mul",
        /// The greatest, NaN if any is; from -inf (f32), the least value (i32).
        Max = "max",
        /// The smallest, NaN if any is; from +inf (f32), the greatest value (i32).
        Min = "min",
    }
}

names! {
    /// Transcendental functions of an f32; their errors are bounded in `docs/architecture.md`.
    Math {
        /// `e^x`.
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// `1 / (1 + e^-x)`.
        Sigmoid = "sigmoid",
        /// The error function.
        Erf = "erf",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
    }
}

impl Scalar {
    /// Its type.
    pub const fn dtype(self) -> DType {
        match self {
            Scalar::F32(_) => DType::F32,
            Scalar::I32(_) => DType::I32,
            Scalar::Bool(_) => DType::Bool,
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Scalar) -> bool {
        match (self, other) {
            (Scalar::F32(a), Scalar::F32(b)) => a.to_bits() == b.to_bits(),
            (Scalar::I32(a), Scalar::I32(b)) => a == b,
            (Scalar::Bool(a), Scalar::Bool(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Scalar::F32(x) => (0u8, x.to_bits()).hash(state),
            Scalar::I32(x) => (1u8, x).hash(state),
            Scalar::Bool(x) => (2u8, x).hash(state),
        }
    }
}

impl Fold {
    /// The function it accumulates with.
    pub const fn binary(self) -> Binary {
        match self {
            Fold::Add => Binary::Add,
            Fold::Mul => Binary::Mul,
            Fold::Max => Binary::Max,
            Fold::Min => Binary::Min,
        }
    }

    /// What an empty accumulation gives, for `F32` and `I32`.
    pub const fn identity(self, dtype: DType) -> Scalar {
        match (self, dtype) {
            (Fold::Add, DType::F32) => Scalar::F32(0.0),
            (Fold::Mul, DType::F32) => Scalar::F32(1.0),
            (Fold::Max, DType::F32) => Scalar::F32(f32::NEG_INFINITY),
            (Fold::Min, DType::F32) => Scalar::F32(f32::INFINITY),
            (Fold::Add, _) => Scalar::I32(0),
            (Fold::Mul, _) => Scalar::I32(1),
            (Fold::Max, _) => Scalar::I32(i32::MIN),
            (Fold::Min, _) => Scalar::I32(i32::MAX),
        }
    }
}

impl Buffer {
    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.shape.bytes(self.dtype)
    }
}

impl Kernel {
    /// Its name and where it comes from, for messages: `conv_add at net.kiln:3:18`.
    pub fn describe(&self) -> String {
        match self.locations.first() {
            Some(at) => format!("{} at {at}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether its iterations may be handed out to threads.
    pub fn is_parallel(&self) -> bool {
        parallel(&self.body).is_some()
    }

    /// Its outermost parallel loop.
    pub fn parallel(&self) -> Option<&For> {
        parallel(&self.body)
    }

    /// Iterations that may be handed out to threads; 1 if it has no parallel loop.
    pub fn iterations(&self) -> usize {
        self.parallel().map_or(1, For::iterations)
    }
}

impl Program {
    /// The buffer behind an id.
    ///
    /// # Panics
    /// If the id is not of this program.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }
}
