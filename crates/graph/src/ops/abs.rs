//! `abs`.

use kiln_loops::Unary;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static ABS: OpDef = OpDef {
    name: "abs",
    doc: "Magnitude of every element (f32 or i32; i32 wraps). The gradient at 0 is 0.",
    infer: rules::same_number,
    grad: Some(|g| {
        vec![Some({
            let zero = g.x[0].scalar_like(0.0);
            let positive = g.x[0].gt(zero).select(g.dy, zero);
            g.x[0].lt(zero).select(-g.dy, positive)
        })]
    }),
    lower: Lower::Map(|b, _, x| b.unary(Unary::Abs, x[0])),
    eval: |v, x| match v.ty.dtype {
        DType::I32 => rules::map_i32(x, |x| x[0].wrapping_abs()),
        _ => rules::map(x, |x| x[0].abs()),
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample { operands: &[Operand::i32(&[7], -9, 9)], attrs: Attrs::new },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Magnitude of every element.
    pub fn abs(self) -> Var<'b> {
        self.unary(&ABS, Attrs::new())
    }
}
