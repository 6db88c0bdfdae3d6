//! The meaning of scalar instructions, as [`crate::ir`] documents them.

use kiln_tensor::DType;

use crate::ir::{Binary, Compare, Math, Scalar, Unary};

const MISTYPED: &str = "verified instructions have the types they take";

/// The value of a unary instruction.
///
/// # Panics
/// If the operand has a type that the verifier refuses; so do the others here.
pub(crate) fn unary(op: Unary, x: Scalar) -> Scalar {
    use Scalar::{Bool, F32, I32};
    match (op, x) {
        (Unary::Neg, F32(x)) => F32(-x),
        (Unary::Neg, I32(x)) => I32(x.wrapping_neg()),
        (Unary::Abs, F32(x)) => F32(x.abs()),
        (Unary::Abs, I32(x)) => I32(x.wrapping_abs()),
        (Unary::Sqrt, F32(x)) => F32(x.sqrt()),
        (Unary::Floor, F32(x)) => F32(x.floor()),
        (Unary::Ceil, F32(x)) => F32(x.ceil()),
        (Unary::Round, F32(x)) => F32(x.round_ties_even()),
        (Unary::Not, I32(x)) => I32(!x),
        (Unary::Not, Bool(x)) => Bool(!x),
        _ => unreachable!("{MISTYPED}"),
    }
}

/// The value of a binary instruction. Of two equal operands `max` and `min` give the second, which
/// tells 0 from -0.
pub(crate) fn binary(op: Binary, a: Scalar, b: Scalar) -> Scalar {
    use Scalar::{Bool, F32, I32};
    match (a, b) {
        (F32(a), F32(b)) => F32(match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max if a > b || a.is_nan() => a,
            Binary::Min if a < b || a.is_nan() => a,
            Binary::Max | Binary::Min => b,
            _ => unreachable!("{MISTYPED}"),
        }),
        (I32(a), I32(b)) => I32(match op {
            Binary::Add => a.wrapping_add(b),
            Binary::Sub => a.wrapping_sub(b),
            Binary::Mul => a.wrapping_mul(b),
            Binary::Div if b == 0 => 0,
            Binary::Div => a.wrapping_div(b),
            Binary::Rem if b == 0 => 0,
            Binary::Rem => a.wrapping_rem(b),
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            Binary::And => a & b,
            Binary::Or => a | b,
            Binary::Xor => a ^ b,
            Binary::Shl => a.wrapping_shl(b as u32),
            Binary::Shr => (a as u32).wrapping_shr(b as u32) as i32,
            Binary::MulHigh => ((u64::from(a as u32) * u64::from(b as u32)) >> 32) as i32,
        }),
        (Bool(a), Bool(b)) => Bool(match op {
            Binary::And => a & b,
            Binary::Or => a | b,
            Binary::Xor => a ^ b,
            _ => unreachable!("{MISTYPED}"),
        }),
        _ => unreachable!("{MISTYPED}"),
    }
}

/// Whether a comparison holds.
pub(crate) fn compare(op: Compare, a: Scalar, b: Scalar) -> bool {
    fn holds<T: PartialOrd>(op: Compare, a: T, b: T) -> bool {
        match op {
            Compare::Eq => a == b,
            Compare::Ne => a != b,
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Gt => a > b,
            Compare::Ge => a >= b,
        }
    }
    match (a, b) {
        (Scalar::F32(a), Scalar::F32(b)) => holds(op, a, b),
        (Scalar::I32(a), Scalar::I32(b)) => holds(op, a, b),
        (Scalar::Bool(a), Scalar::Bool(b)) => holds(op, a, b),
        _ => unreachable!("{MISTYPED}"),
    }
}

/// A conversion.
pub(crate) fn cast(dtype: DType, x: Scalar) -> Scalar {
    match (dtype, x) {
        (DType::F32, Scalar::F32(_)) => x,
        (DType::F32, Scalar::I32(x)) => Scalar::F32(x as f32),
        (DType::F32, Scalar::Bool(x)) => Scalar::F32(f32::from(u8::from(x))),
        (DType::I32, Scalar::F32(x)) => Scalar::I32(x as i32),
        (DType::I32, Scalar::I32(_)) => x,
        (DType::I32, Scalar::Bool(x)) => Scalar::I32(x.into()),
        (DType::Bool, Scalar::F32(x)) => Scalar::Bool(x != 0.0),
        (DType::Bool, Scalar::I32(x)) => Scalar::Bool(x != 0),
        (DType::Bool, Scalar::Bool(_)) => x,
    }
}

/// A transcendental function, in double precision, rounded once.
pub(crate) fn call(function: Math, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match function {
        Math::Exp => x.exp(),
        Math::Log => x.ln(),
        Math::Tanh => x.tanh(),
        Math::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Math::Erf => erf(x),
        Math::Sin => x.sin(),
        Math::Cos => x.cos(),
    };
    y as f32
}

/// The error function by its series of positive terms (Abramowitz and Stegun, 7.1.6); from 4 on
/// the result is 1 in single precision.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() >= 4.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_has_its_tabulated_values() {
        // Abramowitz and Stegun, table 7.1, and A.1 of NIST DLMF 7.
        let table = [(0.0, 0.0), (0.5, 0.5204998778), (1.0, 0.8427007929), (2.0, 0.9953222650)];
        for (x, y) in table {
            assert!((erf(x) - y).abs() < 1e-10, "{x}");
            assert!((erf(-x) + y).abs() < 1e-10, "{x}");
        }
        assert_eq!(call(Math::Erf, 3.999_999_8), 1.0);
        assert_eq!(call(Math::Erf, f32::NEG_INFINITY), -1.0);
        assert_eq!(call(Math::Erf, -0.0).to_bits(), (-0.0f32).to_bits());
        assert!(call(Math::Erf, f32::NAN).is_nan());
        let tiny = call(Math::Erf, 1e-30);
        assert!((tiny / 1e-30 - std::f32::consts::FRAC_2_SQRT_PI).abs() < 1e-6);
    }

    #[test]
    fn corner_cases_are_as_documented() {
        use Scalar::{Bool, F32, I32};
        let i = |op, a, b| binary(op, I32(a), I32(b));
        assert_eq!(i(Binary::Div, 7, 0), I32(0));
        assert_eq!(i(Binary::Rem, 7, 0), I32(0));
        assert_eq!(i(Binary::Div, i32::MIN, -1), I32(i32::MIN));
        assert_eq!(i(Binary::Rem, -7, 3), I32(-1));
        assert_eq!(i(Binary::Add, i32::MAX, 1), I32(i32::MIN));
        assert_eq!(i(Binary::Shl, 1, 33), I32(2));
        assert_eq!(i(Binary::Shr, -1, 28), I32(15));
        assert_eq!(i(Binary::MulHigh, -1, 2), I32(1));
        for op in [Binary::Max, Binary::Min] {
            for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
                assert!(matches!(binary(op, F32(a), F32(b)), F32(x) if x.is_nan()));
            }
            assert_eq!(binary(op, F32(0.0), F32(-0.0)), F32(-0.0));
        }
        assert_eq!(unary(Unary::Round, F32(2.5)), F32(2.0));
        assert_eq!(cast(DType::I32, F32(f32::NAN)), I32(0));
        assert_eq!(cast(DType::I32, F32(3e9)), I32(i32::MAX));
        assert_eq!(cast(DType::I32, F32(-1.9)), I32(-1));
        assert_eq!(cast(DType::Bool, F32(f32::NAN)), Bool(true));
        assert!(!compare(Compare::Eq, F32(f32::NAN), F32(f32::NAN)));
        assert!(compare(Compare::Ne, F32(f32::NAN), F32(f32::NAN)));
    }
}
