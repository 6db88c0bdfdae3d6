//! `div`.

use kiln_loops::Binary;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static DIV: OpDef = OpDef {
    name: "div",
    doc: "Quotient of two elements (f32 or i32; i32 truncates, wraps, and is 0 where the divisor is 0).",
    arity: Arity::Exact(2),
    infer: rules::same_number,
    grad: Some(|g| {
        let [a, b] = [g.x[0], g.x[1]];
        let da = g.dy / b;
        vec![Some(rules::sum_to(da, a)), Some(rules::sum_to(-(da * g.y), b))]
    }),
    lower: Lower::Map(|b, _, x| b.binary(Binary::Div, x[0], x[1])),
    eval: |v, x| match v.ty.dtype {
        DType::I32 => rules::map_i32(x, |x| if x[1] == 0 { 0 } else { x[0].wrapping_div(x[1]) }),
        _ => rules::map(x, |x| x[0] / x[1]),
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[3, 5]), Operand::f32(&[3, 5]).within(0.5, 2.0)],
            attrs: Attrs::new,
        },
        Sample {
            operands: &[Operand::f32(&[3, 5]), Operand::f32(&[]).within(0.5, 2.0)],
            attrs: Attrs::new,
        },
        Sample {
            operands: &[Operand::f32(&[]), Operand::f32(&[3, 5]).within(-2.0, -0.5)],
            attrs: Attrs::new,
        },
        Sample {
            operands: &[Operand::i32(&[7], -9, 9), Operand::i32(&[7], -9, 9)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

rules::binary_operator!(Div, div, DIV);
