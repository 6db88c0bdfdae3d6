//! The instructions of the low IR on Cranelift values, for scalars and for vectors of four lanes.
//!
//! Most Cranelift instructions take either; where they differ, `wide` tells which is meant. A
//! truth value is an `i8` of 0 or 1 as a scalar and a lane of all zeros or all ones in a vector.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::Ieee32;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I8X16, I32, I32X4, I64};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use kiln_loops::{Binary, Compare, Fold, Scalar, Unary};
use kiln_tensor::DType;

/// Lanes of a vector.
pub(super) const LANES: usize = 4;

/// The Cranelift type of a value.
pub(super) fn value_type(dtype: DType, wide: bool) -> Type {
    match (dtype, wide) {
        (DType::F32, false) => F32,
        (DType::F32, true) => F32X4,
        (DType::I32, false) => I32,
        (DType::Bool, false) => I8,
        (DType::I32 | DType::Bool, true) => I32X4,
    }
}

/// The same bits as another vector type.
pub(super) fn recast(b: &mut FunctionBuilder<'_>, ty: Type, x: Value) -> Value {
    if b.func.dfg.value_type(x) == ty {
        return x;
    }
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
}

/// A constant, as a scalar.
pub(super) fn constant(b: &mut FunctionBuilder<'_>, value: Scalar) -> Value {
    match value {
        Scalar::F32(x) => b.ins().f32const(Ieee32::with_bits(x.to_bits())),
        Scalar::I32(x) => b.ins().iconst(I32, i64::from(x)),
        Scalar::Bool(x) => b.ins().iconst(I8, i64::from(x)),
    }
}

/// A scalar in every lane.
pub(super) fn splat(b: &mut FunctionBuilder<'_>, dtype: DType, x: Value) -> Value {
    let x = match dtype {
        DType::Bool => {
            let word = b.ins().uextend(I32, x);
            b.ins().ineg(word)
        }
        _ => x,
    };
    b.ins().splat(value_type(dtype, true), x)
}

fn splat_bits(b: &mut FunctionBuilder<'_>, bits: u32) -> Value {
    let word = b.ins().iconst(I32, i64::from(bits as i32));
    b.ins().splat(I32X4, word)
}

/// Four words as a vector.
pub(super) fn words(b: &mut FunctionBuilder<'_>, words: [i32; LANES]) -> Value {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let data = b.func.dfg.constants.insert(ConstantData::from(bytes));
    b.ins().vconst(I32X4, data)
}

/// A function of one operand.
pub(super) fn unary(
    b: &mut FunctionBuilder<'_>,
    op: Unary,
    dtype: DType,
    wide: bool,
    x: Value,
) -> Value {
    match (op, dtype) {
        (Unary::Neg, DType::F32) => b.ins().fneg(x),
        (Unary::Neg, _) => b.ins().ineg(x),
        (Unary::Abs, DType::F32) => b.ins().fabs(x),
        (Unary::Abs, _) => b.ins().iabs(x),
        (Unary::Sqrt, _) => b.ins().sqrt(x),
        (Unary::Floor, _) => b.ins().floor(x),
        (Unary::Ceil, _) => b.ins().ceil(x),
        (Unary::Round, _) => b.ins().nearest(x),
        (Unary::Not, DType::Bool) if !wide => b.ins().bxor_imm_u(x, 1),
        (Unary::Not, _) => b.ins().bnot(x),
    }
}

/// An operand of a binary instruction.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub value: Value,
    /// What it is, if a constant.
    pub known: Option<Scalar>,
    /// Whether all lanes are equal.
    pub uniform: bool,
}

/// A function of two operands.
pub(super) fn binary(
    b: &mut FunctionBuilder<'_>,
    op: Binary,
    dtype: DType,
    wide: bool,
    x: Operand,
    y: Operand,
) -> Value {
    let (xv, yv) = (x.value, y.value);
    match (op, dtype) {
        (Binary::Add, DType::F32) => b.ins().fadd(xv, yv),
        (Binary::Sub, DType::F32) => b.ins().fsub(xv, yv),
        (Binary::Mul, DType::F32) => b.ins().fmul(xv, yv),
        (Binary::Div, DType::F32) => b.ins().fdiv(xv, yv),
        (Binary::Max | Binary::Min, DType::F32) => extremum(b, op, wide, x, y),
        (Binary::Add, _) => b.ins().iadd(xv, yv),
        (Binary::Sub, _) => b.ins().isub(xv, yv),
        (Binary::Mul, _) => b.ins().imul(xv, yv),
        (Binary::Max, _) => b.ins().smax(xv, yv),
        (Binary::Min, _) => b.ins().smin(xv, yv),
        (Binary::And, _) => b.ins().band(xv, yv),
        (Binary::Or, _) => b.ins().bor(xv, yv),
        (Binary::Xor, _) => b.ins().bxor(xv, yv),
        (Binary::Div | Binary::Rem, _) if wide => {
            lanewise(b, xv, yv, |b, x, y| divide(b, op, x, y, None))
        }
        (Binary::Div | Binary::Rem, _) => divide(b, op, xv, yv, y.known),
        (Binary::MulHigh, _) if wide => multiply_high(b, xv, yv),
        (Binary::MulHigh, _) => {
            let (x, y) = (b.ins().uextend(I64, xv), b.ins().uextend(I64, yv));
            let product = b.ins().imul(x, y);
            let high = b.ins().ushr_imm_u(product, 32);
            b.ins().ireduce(I32, high)
        }
        (Binary::Shl | Binary::Shr, _) => match (wide, y.known) {
            (true, Some(Scalar::I32(n))) => {
                let n = b.ins().iconst(I32, i64::from(n & 31));
                shift(b, op, xv, n)
            }
            (true, _) if y.uniform => {
                let n = b.ins().extractlane(yv, 0);
                shift(b, op, xv, n)
            }
            (true, _) => lanewise(b, xv, yv, |b, x, y| shift(b, op, x, y)),
            (false, _) => shift(b, op, xv, yv),
        },
    }
}

/// Cranelift takes the amount modulo the width of a lane, as the low IR does.
fn shift(b: &mut FunctionBuilder<'_>, op: Binary, x: Value, amount: Value) -> Value {
    match op {
        Binary::Shl => b.ins().ishl(x, amount),
        _ => b.ins().ushr(x, amount),
    }
}

/// Applies a scalar function lane by lane.
fn lanewise(
    b: &mut FunctionBuilder<'_>,
    x: Value,
    y: Value,
    mut f: impl FnMut(&mut FunctionBuilder<'_>, Value, Value) -> Value,
) -> Value {
    let mut result = x;
    for lane in 0..LANES as u8 {
        let (xl, yl) = (b.ins().extractlane(x, lane), b.ins().extractlane(y, lane));
        let value = f(b, xl, yl);
        result = b.ins().insertlane(result, value, lane);
    }
    result
}

/// Quotient or remainder of scalars: 0 where the divisor is 0, and wrapping where it is -1. The
/// machine's division faults on both, so it gets another divisor there.
fn divide(
    b: &mut FunctionBuilder<'_>,
    op: Binary,
    x: Value,
    y: Value,
    known: Option<Scalar>,
) -> Value {
    let divide = |b: &mut FunctionBuilder<'_>, y| match op {
        Binary::Div => b.ins().sdiv(x, y),
        _ => b.ins().srem(x, y),
    };
    if let Some(Scalar::I32(n)) = known
        && n != 0
        && n != -1
    {
        return divide(b, y);
    }
    let (zero, one) = (b.ins().iconst(I32, 0), b.ins().iconst(I32, 1));
    let is_zero = b.ins().icmp_imm_s(IntCC::Equal, y, 0);
    let is_minus_one = b.ins().icmp_imm_s(IntCC::Equal, y, -1);
    let special = b.ins().bor(is_zero, is_minus_one);
    let divisor = b.ins().select(special, one, y);
    let result = divide(b, divisor);
    if op == Binary::Rem {
        return result; // a remainder by 1 is 0, which both special divisors want
    }
    let negated = b.ins().ineg(x);
    let result = b.ins().select(is_minus_one, negated, result);
    b.ins().select(is_zero, zero, result)
}

/// High halves of unsigned products: two multiplications of every other lane, then a shuffle.
fn multiply_high(b: &mut FunctionBuilder<'_>, x: Value, y: Value) -> Value {
    let (xl, yl) = (b.ins().uwiden_low(x), b.ins().uwiden_low(y));
    let (xh, yh) = (b.ins().uwiden_high(x), b.ins().uwiden_high(y));
    let (low, high) = (b.ins().imul(xl, yl), b.ins().imul(xh, yh));
    let (low, high) = (recast(b, I8X16, low), recast(b, I8X16, high));
    let odd = [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31u8];
    let mask = b.func.dfg.immediates.push(ConstantData::from(&odd[..]));
    let result = b.ins().shuffle(low, high, mask);
    recast(b, I32X4, result)
}

/// The greater or smaller of two floats: the first where it compares so or is NaN, else the second.
///
/// One machine instruction gives the second operand where either is NaN or both are equal, so only
/// a first operand that may be NaN needs another look.
fn extremum(b: &mut FunctionBuilder<'_>, op: Binary, wide: bool, x: Operand, y: Operand) -> Value {
    let number = |o: &Operand| match o.known {
        Some(Scalar::F32(c)) if !c.is_nan() => Some(c),
        _ => None,
    };
    let pick = |b: &mut FunctionBuilder<'_>, x: Value, y: Value| {
        let (low, high) = if op == Binary::Max { (y, x) } else { (x, y) };
        let chosen = b.ins().fcmp(FloatCC::LessThan, low, high);
        choose(b, wide, chosen, x, y)
    };
    match (number(&x), number(&y)) {
        (Some(_), _) => pick(b, x.value, y.value),
        // Equal numbers other than 0 are the same bits: their order does not matter.
        (None, Some(c)) if c != 0.0 => pick(b, y.value, x.value),
        (None, Some(_)) if wide => {
            let code = match op {
                Binary::Max => FloatCC::LessThanOrEqual,
                _ => FloatCC::GreaterThanOrEqual,
            };
            let zero = b.ins().fcmp(code, x.value, y.value);
            choose(b, wide, zero, y.value, x.value)
        }
        // All bits set are a NaN too: one step instead of a choice.
        _ if wide => {
            let picked = pick(b, x.value, y.value);
            let nan = b.ins().fcmp(FloatCC::Unordered, x.value, x.value);
            let (picked, ty) = (recast(b, I32X4, picked), b.func.dfg.value_type(picked));
            let bits = b.ins().bor(picked, nan);
            recast(b, ty, bits)
        }
        _ => {
            let picked = pick(b, x.value, y.value);
            let nan = b.ins().fcmp(FloatCC::Unordered, x.value, x.value);
            choose(b, wide, nan, x.value, picked)
        }
    }
}

/// A step of an accumulation.
pub(super) fn fold(
    b: &mut FunctionBuilder<'_>,
    fold: Fold,
    dtype: DType,
    wide: bool,
    x: Value,
    y: Value,
) -> Value {
    let operand = |value| Operand { value, known: None, uniform: false };
    binary(b, fold.binary(), dtype, wide, operand(x), operand(y))
}

/// A comparison; its result is a truth value.
pub(super) fn compare(
    b: &mut FunctionBuilder<'_>,
    op: Compare,
    dtype: DType,
    x: Value,
    y: Value,
) -> Value {
    if dtype == DType::F32 {
        let code = match op {
            Compare::Eq => FloatCC::Equal,
            Compare::Ne => FloatCC::NotEqual,
            Compare::Lt => FloatCC::LessThan,
            Compare::Le => FloatCC::LessThanOrEqual,
            Compare::Gt => FloatCC::GreaterThan,
            Compare::Ge => FloatCC::GreaterThanOrEqual,
        };
        return b.ins().fcmp(code, x, y);
    }
    let code = match op {
        Compare::Eq => IntCC::Equal,
        Compare::Ne => IntCC::NotEqual,
        Compare::Lt => IntCC::SignedLessThan,
        Compare::Le => IntCC::SignedLessThanOrEqual,
        Compare::Gt => IntCC::SignedGreaterThan,
        Compare::Ge => IntCC::SignedGreaterThanOrEqual,
    };
    b.ins().icmp(code, x, y)
}

/// `if cond { x } else { y }`, lane by lane.
pub(super) fn choose(
    b: &mut FunctionBuilder<'_>,
    wide: bool,
    cond: Value,
    x: Value,
    y: Value,
) -> Value {
    if !wide {
        return b.ins().select(cond, x, y);
    }
    let ty = b.func.dfg.value_type(x);
    let mask = recast(b, ty, cond);
    b.ins().bitselect(mask, x, y)
}

/// A conversion.
pub(super) fn cast(
    b: &mut FunctionBuilder<'_>,
    to: DType,
    from: DType,
    wide: bool,
    x: Value,
) -> Value {
    match (from, to) {
        (DType::F32, DType::I32) => b.ins().fcvt_to_sint_sat(value_type(DType::I32, wide), x),
        (DType::I32, DType::F32) => b.ins().fcvt_from_sint(value_type(DType::F32, wide), x),
        (DType::Bool, DType::F32) if wide => {
            let one = splat_bits(b, 1.0f32.to_bits());
            let bits = b.ins().band(x, one);
            recast(b, F32X4, bits)
        }
        (DType::Bool, DType::F32) => {
            let word = b.ins().uextend(I32, x);
            b.ins().fcvt_from_sint(F32, word)
        }
        (DType::Bool, DType::I32) if wide => b.ins().ineg(x),
        (DType::Bool, DType::I32) => b.ins().uextend(I32, x),
        (DType::F32, DType::Bool) => {
            let zero = b.ins().f32const(0.0f32);
            let zero = if wide { b.ins().splat(F32X4, zero) } else { zero };
            b.ins().fcmp(FloatCC::NotEqual, x, zero)
        }
        (DType::I32, DType::Bool) if wide => {
            let zero = splat_bits(b, 0);
            b.ins().icmp(IntCC::NotEqual, x, zero)
        }
        (DType::I32, DType::Bool) => b.ins().icmp_imm_s(IntCC::NotEqual, x, 0),
        (DType::F32, DType::F32) | (DType::I32, DType::I32) | (DType::Bool, DType::Bool) => x,
    }
}

/// An i32 limited to `0..extent`.
pub(super) fn clamp(b: &mut FunctionBuilder<'_>, wide: bool, x: Value, extent: usize) -> Value {
    let last = b.ins().iconst(I32, (extent as i64 - 1).min(i64::from(i32::MAX)));
    let zero = b.ins().iconst(I32, 0);
    let (zero, last) = match wide {
        true => (b.ins().splat(I32X4, zero), b.ins().splat(I32X4, last)),
        false => (zero, last),
    };
    let x = b.ins().smax(x, zero);
    b.ins().smin(x, last)
}

/// Accesses to memory never trap, for the verifier has proved them in bounds; vectors need not be
/// aligned to their size.
pub(super) fn access() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Reads an element, or four that follow each other.
pub(super) fn load(
    b: &mut FunctionBuilder<'_>,
    dtype: DType,
    wide: bool,
    at: Value,
    offset: i32,
) -> Value {
    if !(wide && dtype == DType::Bool) {
        return b.ins().load(value_type(dtype, wide), access(), at, offset);
    }
    let word = b.ins().load(I32, access(), at, offset);
    let bytes = b.ins().scalar_to_vector(I32X4, word);
    let bytes = recast(b, I8X16, bytes);
    let halves = b.ins().uwiden_low(bytes);
    let words = b.ins().uwiden_low(halves);
    let zero = splat_bits(b, 0);
    b.ins().icmp(IntCC::NotEqual, words, zero)
}

/// Writes an element, or four that follow each other.
pub(super) fn store(
    b: &mut FunctionBuilder<'_>,
    dtype: DType,
    wide: bool,
    value: Value,
    at: Value,
    offset: i32,
) {
    if !(wide && dtype == DType::Bool) {
        b.ins().store(access(), value, at, offset);
        return;
    }
    let halves = b.ins().snarrow(value, value);
    let bytes = b.ins().snarrow(halves, halves);
    let bytes = recast(b, I32X4, bytes);
    let word = b.ins().extractlane(bytes, 0);
    let word = b.ins().band_imm_u(word, 0x0101_0101);
    b.ins().store(access(), word, at, offset);
}
