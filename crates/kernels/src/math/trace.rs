//! Functions as the steps they take.
//!
//! What [`super`] computes on vectors of some instruction set is written down here instead, so that
//! whoever assembles a loop has a function's steps among the loop's own: one definition, the same
//! bits.

use std::cell::RefCell;

use crate::simd::Simd;

/// The position of a step, whose result is meant.
pub type Place = usize;

/// A step of a function of one f32: an operation on all bits of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MathStep {
    /// What the function is applied to; the first step, and no other.
    Argument,
    /// These bits.
    Constant(u32),
    /// An operation on two results.
    Two(MathOp, Place, Place),
    /// `a * b + c`, rounded once.
    Fma(Place, Place, Place),
    /// `c - a * b`, rounded once.
    NegatedFma(Place, Place, Place),
    /// To the nearest integer, ties to even.
    Round(Place),
    /// The i32 that an f32 holds exactly.
    ToInteger(Place),
    /// The f32 nearest to an i32.
    ToFloat(Place),
    /// The bits moved to the left, filling with zeros.
    ShiftLeft(Place, u8),
    /// The bits moved to the right, filling with the sign.
    ShiftRight(Place, u8),
    /// A truth value: whether the first is less; false where either is NaN.
    Less(Place, Place),
    /// Where the first, a truth value, holds the second, else the third.
    Select(Place, Place, Place),
}

/// Operations on two results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MathOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// The first if it is less, else the second.
    Min,
    /// The first if it is greater, else the second.
    Max,
    /// The first times 2 to the power of the second, a whole number, rounded once.
    Scale,
    /// Sum of i32, wrapping.
    AddInteger,
    /// Difference of i32, wrapping.
    SubInteger,
    /// Bitwise and.
    And,
    /// Bitwise exclusive or.
    Xor,
    /// The first, negated where the sign of the second is set.
    XorSign,
}

/// The steps of a function that takes the same ones for all numbers and touches no memory; the last
/// is its result.
pub(super) fn steps(function: impl FnOnce(Trace<'_>, Place) -> Place) -> Vec<MathStep> {
    let steps = RefCell::new(vec![MathStep::Argument]);
    let result = function(Trace(&steps), 0);
    let steps = steps.into_inner();
    let mut needed = vec![false; steps.len()];
    (needed[0], needed[result]) = (true, true);
    for (place, step) in steps.iter().enumerate().rev() {
        if needed[place] {
            step.map(|operand| {
                needed[operand] = true;
                operand
            });
        }
    }
    let before = |place: Place| needed[..place].iter().filter(|&&n| n).count();
    let kept = steps.iter().zip(&needed).filter(|(_, needed)| **needed);
    kept.map(|(step, _)| step.map(before)).collect()
}

impl MathStep {
    /// The same step of other results.
    fn map(self, mut f: impl FnMut(Place) -> Place) -> MathStep {
        use MathStep::*;
        match self {
            Argument | Constant(_) => self,
            Two(op, a, b) => Two(op, f(a), f(b)),
            Fma(a, b, c) => Fma(f(a), f(b), f(c)),
            NegatedFma(a, b, c) => NegatedFma(f(a), f(b), f(c)),
            Round(a) => Round(f(a)),
            ToInteger(a) => ToInteger(f(a)),
            ToFloat(a) => ToFloat(f(a)),
            ShiftLeft(a, n) => ShiftLeft(f(a), n),
            ShiftRight(a, n) => ShiftRight(f(a), n),
            Less(a, b) => Less(f(a), f(b)),
            Select(m, a, b) => Select(f(m), f(a), f(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_written_once_and_only_if_needed() {
        let steps = steps(|t, x| {
            let one = t.splat(1.0);
            let more = t.add(x, one);
            let unused = t.sub(more, one);
            let _ = t.mul(unused, unused);
            t.fma(more, t.splat(1.0), t.add(x, one))
        });
        let two = MathStep::Two(MathOp::Add, 0, 1);
        let one = MathStep::Constant(1.0f32.to_bits());
        assert_eq!(steps, [MathStep::Argument, one, two, MathStep::Fma(2, 1, 2)]);
    }
}

/// A vector unit that writes down what it is asked to do.
#[derive(Clone, Copy)]
pub(super) struct Trace<'s>(&'s RefCell<Vec<MathStep>>);

impl Trace<'_> {
    /// Equal steps are one.
    fn step(self, step: MathStep) -> Place {
        let mut steps = self.0.borrow_mut();
        steps.iter().position(|s| *s == step).unwrap_or_else(|| {
            steps.push(step);
            steps.len() - 1
        })
    }
}

macro_rules! two {
    ($(fn $name:ident = $op:ident;)*) => {$(
        fn $name(self, a: Place, b: Place) -> Place {
            self.step(MathStep::Two(MathOp::$op, a, b))
        }
    )*};
}

impl Simd for Trace<'_> {
    const LANES: usize = 1;
    type F = Place;
    type I = Place;
    type M = Place;

    unsafe fn assume() -> Self {
        unreachable!("a trace is made by `steps`")
    }
    unsafe fn load(self, _: *const f32) -> Place {
        unreachable!("a traced function reads no memory")
    }
    unsafe fn load_first(self, _: *const f32, _: usize) -> Place {
        unreachable!("a traced function reads no memory")
    }
    unsafe fn store(self, _: *mut f32, _: Place) {
        unreachable!("a traced function writes no memory")
    }
    unsafe fn store_first(self, _: *mut f32, _: Place, _: usize) {
        unreachable!("a traced function writes no memory")
    }
    fn any(self, _: Place) -> bool {
        unreachable!("a traced function does not branch")
    }

    two! {
        fn add = Add;
        fn sub = Sub;
        fn mul = Mul;
        fn div = Div;
        fn min = Min;
        fn max = Max;
        fn scale = Scale;
        fn add_i = AddInteger;
        fn sub_i = SubInteger;
        fn and_i = And;
        fn xor_i = Xor;
        fn xor_sign = XorSign;
    }

    fn splat(self, x: f32) -> Place {
        self.step(MathStep::Constant(x.to_bits()))
    }
    fn splat_i(self, x: i32) -> Place {
        self.step(MathStep::Constant(x as u32))
    }
    fn fma(self, a: Place, b: Place, c: Place) -> Place {
        self.step(MathStep::Fma(a, b, c))
    }
    fn fnma(self, a: Place, b: Place, c: Place) -> Place {
        self.step(MathStep::NegatedFma(a, b, c))
    }
    fn mul_add(self, a: Place, b: Place, c: Place) -> Place {
        self.fma(a, b, c)
    }
    fn round(self, a: Place) -> Place {
        self.step(MathStep::Round(a))
    }
    fn lt(self, a: Place, b: Place) -> Place {
        self.step(MathStep::Less(a, b))
    }
    fn select(self, m: Place, a: Place, b: Place) -> Place {
        self.step(MathStep::Select(m, a, b))
    }
    fn bits(self, a: Place) -> Place {
        a
    }
    fn with_bits(self, a: Place) -> Place {
        a
    }
    fn to_int(self, a: Place) -> Place {
        self.step(MathStep::ToInteger(a))
    }
    fn to_float(self, a: Place) -> Place {
        self.step(MathStep::ToFloat(a))
    }
    fn shl_i<const N: u32>(self, a: Place) -> Place {
        self.step(MathStep::ShiftLeft(a, N as u8))
    }
    fn sar_i<const N: u32>(self, a: Place) -> Place {
        self.step(MathStep::ShiftRight(a, N as u8))
    }
}
