//! Transcendental functions as steps of a body.

use kiln_kernels::{BlockFunction, MathOp, MathStep};
use kiln_loops::{Compare, Math};
use kiln_tensor::DType;

use super::body::{Operand, Product, Step, Value};
use super::evex::Op;
use super::read::compare;

/// The steps that give `result` a function of `x`; `None` if numbers differ in what they take. `new`
/// makes values.
pub(super) fn steps(
    function: Math,
    x: Operand,
    result: Value,
    mut new: impl FnMut(DType) -> Value,
) -> Option<Vec<Step>> {
    let from = block_function(function).steps()?;
    let mut places: Vec<Operand> = Vec::with_capacity(from.len());
    let mut steps = Vec::with_capacity(from.len());
    for step in &from {
        let of = |place: &usize| places[*place];
        let mut to = |dtype| if places.len() + 1 == from.len() { result } else { new(dtype) };
        let float = DType::F32;
        let step = match step {
            MathStep::Argument => {
                places.push(x);
                continue;
            }
            MathStep::Constant(bits) => {
                places.push(Operand::Constant(*bits));
                continue;
            }
            MathStep::Two(MathOp::XorSign, a, b) => {
                let sign = 1 << 31;
                Step::Ternary(Op::TERNARY, to(float), [of(a), of(b)], sign, FIRST_XOR_REST_AND)
            }
            MathStep::Two(op, a, b) => Step::Two(two(*op)?, to(float), [of(a), of(b)]),
            MathStep::Fma(a, b, c) => Step::Fma(Product::Added, to(float), [of(a), of(b), of(c)]),
            MathStep::NegatedFma(a, b, c) => {
                Step::Fma(Product::Subtracted, to(float), [of(a), of(b), of(c)])
            }
            // 8: to the nearest, and the inexact flag stays as it is.
            MathStep::Round(a) => Step::Number(Op::ROUND, to(float), of(a), 8),
            MathStep::ToInteger(a) => Step::One(Op::WHOLE_TO_I32, to(float), of(a)),
            MathStep::ToFloat(a) => Step::One(Op::TO_F32, to(float), of(a)),
            MathStep::ShiftLeft(a, n) => Step::Number(Op::SHIFT_LEFT, to(float), of(a), *n),
            MathStep::ShiftRight(a, n) => Step::Number(Op::SHIFT_RIGHT_I32, to(float), of(a), *n),
            MathStep::Less(a, b) => compare(Compare::Lt, float, to(DType::Bool), [of(a), of(b)]),
            MathStep::Select(mask, a, b) => match of(mask) {
                Operand::Value(mask) => Step::Select(to(float), mask, [of(a), of(b)]),
                _ => return None,
            },
        };
        places.extend(step.defines().map(Operand::Value));
        steps.push(step);
    }
    Some(steps)
}

fn block_function(function: Math) -> BlockFunction {
    match function {
        Math::Exp => BlockFunction::Exp,
        Math::Log => BlockFunction::Log,
        Math::Tanh => BlockFunction::Tanh,
        Math::Sigmoid => BlockFunction::Sigmoid,
        Math::Erf => BlockFunction::Erf,
        Math::Sin => BlockFunction::Sin,
        Math::Cos => BlockFunction::Cos,
    }
}

/// What [`Op::TERNARY`] gives for the eight triples of bits: `a ^ (b & c)`.
const FIRST_XOR_REST_AND: u8 = 0b0111_1000;

/// The instruction of an operation that is one on two operands.
fn two(op: MathOp) -> Option<Op> {
    Some(match op {
        MathOp::Add => Op::ADD,
        MathOp::Sub => Op::SUB,
        MathOp::Mul => Op::MUL,
        MathOp::Div => Op::DIV,
        MathOp::Min => Op::MIN,
        MathOp::Max => Op::MAX,
        MathOp::Scale => Op::SCALE,
        MathOp::AddInteger => Op::ADD_I32,
        MathOp::SubInteger => Op::SUB_I32,
        MathOp::And => Op::AND,
        MathOp::Xor => Op::XOR,
        MathOp::XorSign => return None,
    })
}
