//! `tanh`.

use kiln_loops::Math;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static TANH: OpDef = OpDef {
    name: "tanh",
    doc: "Hyperbolic tangent of every element.",
    infer: rules::same_f32,
    grad: Some(|g| vec![Some(g.dy * (1.0 - g.y * g.y))]),
    lower: Lower::Map(|b, _, x| b.call(Math::Tanh, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].tanh()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Hyperbolic tangent of every element.
    pub fn tanh(self) -> Var<'b> {
        self.unary(&TANH, Attrs::new())
    }
}
