//! `cos`.

use kiln_loops::Math;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static COS: OpDef = OpDef {
    name: "cos",
    doc: "Cosine of every element.",
    infer: rules::same_f32,
    grad: Some(|g| vec![Some(-(g.dy * g.x[0].sin()))]),
    lower: Lower::Map(|b, _, x| b.call(Math::Cos, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].cos()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Cosine of every element.
    pub fn cos(self) -> Var<'b> {
        self.unary(&COS, Attrs::new())
    }
}
