//! `not`.

use kiln_loops::Unary;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static NOT: OpDef = OpDef {
    name: "not",
    doc: "The logical complement of a bool, the bitwise complement of an i32.",
    infer: rules::same_bits,
    lower: Lower::Map(|b, _, x| b.unary(Unary::Not, x[0])),
    eval: |v, x| match v.ty.dtype {
        DType::I32 => rules::map_i32(x, |x| !x[0]),
        _ => rules::map(x, |x| 1.0 - x[0]),
    },
    samples: &[
        Sample { operands: &[Operand::bool(&[7])], attrs: Attrs::new },
        Sample { operands: &[Operand::i32(&[7], -9, 9)], attrs: Attrs::new },
    ],
    ..OpDef::BASE
};

impl<'b> std::ops::Not for Var<'b> {
    type Output = Var<'b>;

    fn not(self) -> Var<'b> {
        self.unary(&NOT, Attrs::new())
    }
}
