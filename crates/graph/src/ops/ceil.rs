//! `ceil`.

use kiln_loops::Unary;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static CEIL: OpDef = OpDef {
    name: "ceil",
    doc: "Least integer not below every element. The gradient is 0.",
    infer: rules::same_f32,
    lower: Lower::Map(|b, _, x| b.unary(Unary::Ceil, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].ceil()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Least integer not below every element.
    pub fn ceil(self) -> Var<'b> {
        self.unary(&CEIL, Attrs::new())
    }
}
