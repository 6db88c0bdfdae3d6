//! `sub`.

use kiln_loops::Binary;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static SUB: OpDef = OpDef {
    name: "sub",
    doc: "Difference of two elements (f32 or i32; i32 wraps).",
    arity: Arity::Exact(2),
    infer: rules::same_number,
    grad: Some(|g| vec![Some(rules::sum_to(g.dy, g.x[0])), Some(rules::sum_to(-g.dy, g.x[1]))]),
    lower: Lower::Map(|b, _, x| b.binary(Binary::Sub, x[0], x[1])),
    eval: |v, x| match v.ty.dtype {
        DType::I32 => rules::map_i32(x, |x| x[0].wrapping_sub(x[1])),
        _ => rules::map(x, |x| x[0] - x[1]),
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[])], attrs: Attrs::new },
        Sample { operands: &[Operand::f32(&[]), Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample {
            operands: &[Operand::i32(&[7], -9, 9), Operand::i32(&[7], -9, 9)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

rules::binary_operator!(Sub, sub, SUB);
