//! `sin`.

use kiln_loops::Math;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static SIN: OpDef = OpDef {
    name: "sin",
    doc: "Sine of every element.",
    infer: rules::same_f32,
    grad: Some(|g| vec![Some(g.dy * g.x[0].cos())]),
    lower: Lower::Map(|b, _, x| b.call(Math::Sin, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].sin()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Sine of every element.
    pub fn sin(self) -> Var<'b> {
        self.unary(&SIN, Attrs::new())
    }
}
