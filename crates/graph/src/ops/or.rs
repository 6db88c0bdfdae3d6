//! `or`.

use kiln_loops::Binary;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static OR: OpDef = OpDef {
    name: "or",
    doc: "The logical or of two bool, the bitwise or of two i32.",
    arity: Arity::Exact(2),
    infer: rules::same_bits,
    lower: Lower::Map(|b, _, x| b.binary(Binary::Or, x[0], x[1])),
    eval: |v, x| match v.ty.dtype {
        DType::I32 => rules::map_i32(x, |x| x[0] | x[1]),
        _ => rules::map(x, |x| x[0].max(x[1])),
    },
    samples: &[
        Sample { operands: &[Operand::bool(&[7]), Operand::bool(&[7])], attrs: Attrs::new },
        Sample { operands: &[Operand::bool(&[7]), Operand::bool(&[])], attrs: Attrs::new },
        Sample {
            operands: &[Operand::i32(&[7], -9, 9), Operand::i32(&[7], -9, 9)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

rules::binary_operator!(BitOr, bitor, OR);
