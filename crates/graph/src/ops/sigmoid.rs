//! `sigmoid`.

use kiln_loops::Math;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static SIGMOID: OpDef = OpDef {
    name: "sigmoid",
    doc: "Logistic function `1 / (1 + e^-x)` of every element.",
    infer: rules::same_f32,
    grad: Some(|g| vec![Some(g.dy * (g.y * (1.0 - g.y)))]),
    lower: Lower::Map(|b, _, x| b.call(Math::Sigmoid, x[0])),
    eval: |_, x| rules::map(x, |x| 1.0 / (1.0 + (-x[0]).exp())),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Logistic function `1 / (1 + e^-x)` of every element.
    pub fn sigmoid(self) -> Var<'b> {
        self.unary(&SIGMOID, Attrs::new())
    }
}
