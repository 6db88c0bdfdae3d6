//! `neg`.

use kiln_loops::Unary;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static NEG: OpDef = OpDef {
    name: "neg",
    doc: "Every element negated (f32 or i32; i32 wraps).",
    infer: rules::same_number,
    grad: Some(|g| vec![Some(-g.dy)]),
    lower: Lower::Map(|b, _, x| b.unary(Unary::Neg, x[0])),
    eval: |v, x| match v.ty.dtype {
        DType::I32 => rules::map_i32(x, |x| x[0].wrapping_neg()),
        _ => rules::map(x, |x| -x[0]),
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample { operands: &[Operand::i32(&[7], -9, 9)], attrs: Attrs::new },
    ],
    ..OpDef::BASE
};

impl<'b> std::ops::Neg for Var<'b> {
    type Output = Var<'b>;

    fn neg(self) -> Var<'b> {
        self.unary(&NEG, Attrs::new())
    }
}
