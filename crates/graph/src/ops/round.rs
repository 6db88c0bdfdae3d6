//! `round`.

use kiln_loops::Unary;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static ROUND: OpDef = OpDef {
    name: "round",
    doc: "Integer nearest to every element, ties to even. The gradient is 0.",
    infer: rules::same_f32,
    lower: Lower::Map(|b, _, x| b.unary(Unary::Round, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].round_ties_even()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Integer nearest to every element, ties to even.
    pub fn round(self) -> Var<'b> {
        self.unary(&ROUND, Attrs::new())
    }
}
