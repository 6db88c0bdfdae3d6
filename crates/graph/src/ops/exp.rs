//! `exp`.

use kiln_loops::Math;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static EXP: OpDef = OpDef {
    name: "exp",
    doc: "`e` to the power of every element.",
    infer: rules::same_f32,
    grad: Some(|g| vec![Some(g.dy * g.y)]),
    lower: Lower::Map(|b, _, x| b.call(Math::Exp, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].exp()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// `e` to the power of every element.
    pub fn exp(self) -> Var<'b> {
        self.unary(&EXP, Attrs::new())
    }
}
