//! `sqrt`.

use kiln_loops::Unary;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static SQRT: OpDef = OpDef {
    name: "sqrt",
    doc: "Square root of every element, correctly rounded.",
    infer: rules::same_f32,
    grad: Some(|g| vec![Some(g.dy * (0.5 / g.y))]),
    lower: Lower::Map(|b, _, x| b.unary(Unary::Sqrt, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].sqrt()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5]).within(0.1, 4.0)], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Square root of every element.
    pub fn sqrt(self) -> Var<'b> {
        self.unary(&SQRT, Attrs::new())
    }

    /// `1 / sqrt(x)` of every element.
    pub fn rsqrt(self) -> Var<'b> {
        1.0 / self.sqrt()
    }
}
