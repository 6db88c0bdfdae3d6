//! What a vector loop does, as steps that are about one vector instruction each.

use kiln_loops::{Affine, Fold, Mem, Reg};
use kiln_tensor::DType;

use super::evex::{KOp, Op};

/// A vector or, if it is a truth value, a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Value(pub u32);

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Operand {
    Value(Value),
    /// These bits in every lane.
    Constant(u32),
    /// A scalar that the caller passes, in every lane.
    Scalar(usize),
    /// 0 to 15.
    Lanes,
}

/// Elements that follow each other, or one for all lanes if the stream stays: so many bytes behind
/// where the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Access {
    pub stream: usize,
    pub offset: i32,
}

/// What each turn of loops inside adds, by their numbers; loops that add nothing are left out.
pub(super) type Moves = Vec<(usize, i64)>;

/// A pointer that the caller passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    /// Bytes of an element: 4, or 1 for truth values.
    pub size: u8,
    /// Whether it goes from element to element with the loop's variable.
    pub follows: bool,
    /// Bytes that it moves by in each turn of loops inside, by the loops' numbers.
    pub moves: Moves,
    /// Whether what is written there goes past the caches: the first element's place is a multiple
    /// of 64.
    pub passes: bool,
}

/// What a product is to what it is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Product {
    Added,
    Subtracted,
}

/// About one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Truth values as 0 and 1.
    Load(Value, Access),
    Store(Access, Operand),
    /// Asks for the line of the access, which may lie anywhere.
    Prefetch(Access),
    /// The turns of the loop, from 0 on.
    Turns(Value),
    Copy(Value, Operand),
    One(Op, Value, Operand),
    /// With a number that belongs to the instruction.
    Number(Op, Value, Operand, u8),
    Two(Op, Value, [Operand; 2]),
    /// The third plus or less the product of the first two, rounded once.
    Fma(Product, Value, [Operand; 3]),
    /// An instruction whose result replaces its first operand and whose last are these bits in every
    /// lane; with a number that belongs to it.
    Ternary(Op, Value, [Operand; 2], u32, u8),
    /// The greater or smaller f32 by that instruction, which gives the second operand where the
    /// first is NaN: then the first is taken.
    KeepNan(Op, Value, [Operand; 2]),
    /// A mask: where the predicate holds.
    Compare(Op, Value, [Operand; 2], u8),
    Logic(KOp, Value, [Value; 2]),
    /// A mask of these lanes.
    These(Value, u16),
    /// The first where the mask is set, else the second.
    Select(Value, Value, [Operand; 2]),
    /// The operand is accumulated over the whole loop.
    Sum(usize, Operand),
    /// The steps up to the matching `End` run so often; loops are numbered by their order.
    Repeat(u32),
    End,
}

/// What a loop does, whatever its memory and scalars are: loops with equal bodies share a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Body {
    pub steps: Vec<Step>,
    pub streams: Vec<Stream>,
    pub scalars: usize,
    pub sums: Vec<(Fold, DType)>,
    /// For each value whether it is a mask.
    pub masks: Vec<bool>,
}

/// What the caller passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// Where the streams begin.
    pub streams: Vec<(Mem, Affine)>,
    pub scalars: Vec<Passed>,
    /// What the sums are accumulated to.
    pub sums: Vec<(Reg, Fold, DType)>,
}

/// A scalar that the caller passes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Passed {
    /// A truth value as 0 or 1.
    Reg(Reg),
    /// In the first turn of the loop.
    Affine(Affine),
}

impl Step {
    /// What it gives a value.
    pub fn defines(&self) -> Option<Value> {
        match *self {
            Step::Load(v, _)
            | Step::Copy(v, _)
            | Step::One(_, v, _)
            | Step::Number(_, v, ..)
            | Step::Two(_, v, _)
            | Step::Fma(_, v, _)
            | Step::Ternary(_, v, ..)
            | Step::KeepNan(_, v, _)
            | Step::Compare(_, v, ..)
            | Step::Logic(_, v, _)
            | Step::These(v, _)
            | Step::Turns(v)
            | Step::Select(v, ..) => Some(v),
            Step::Store(..) | Step::Prefetch(_) | Step::Sum(..) | Step::Repeat(_) | Step::End => {
                None
            }
        }
    }

    /// Which of what it reads may lie where the result goes.
    pub fn replaceable(&self) -> [Option<Operand>; 3] {
        match self {
            // The first operand is copied before the second is read.
            Step::KeepNan(_, _, [x, _]) | Step::Ternary(_, _, [x, _], ..) => [Some(*x), None, None],
            _ => self.reads(),
        }
    }

    /// What it reads.
    pub fn reads(&self) -> [Option<Operand>; 3] {
        match *self {
            Step::Store(_, x)
            | Step::Copy(_, x)
            | Step::One(_, _, x)
            | Step::Number(_, _, x, _)
            | Step::Sum(_, x) => [Some(x), None, None],
            Step::Two(_, _, [x, y])
            | Step::Ternary(_, _, [x, y], ..)
            | Step::KeepNan(_, _, [x, y])
            | Step::Compare(_, _, [x, y], _) => [Some(x), Some(y), None],
            Step::Fma(_, _, [x, y, z]) => [Some(x), Some(y), Some(z)],
            Step::Logic(_, _, [x, y]) => [Some(Operand::Value(x)), Some(Operand::Value(y)), None],
            Step::Select(_, mask, [x, y]) => [Some(x), Some(y), Some(Operand::Value(mask))],
            Step::Turns(_) => [Some(Operand::Lanes), None, None],
            Step::Load(..) | Step::Prefetch(_) | Step::These(..) | Step::Repeat(_) | Step::End => {
                [None; 3]
            }
        }
    }
}
