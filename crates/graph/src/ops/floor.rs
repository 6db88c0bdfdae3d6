//! `floor`.

use kiln_loops::Unary;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static FLOOR: OpDef = OpDef {
    name: "floor",
    doc: "Greatest integer not above every element. The gradient is 0.",
    infer: rules::same_f32,
    lower: Lower::Map(|b, _, x| b.unary(Unary::Floor, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].floor()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Greatest integer not above every element.
    pub fn floor(self) -> Var<'b> {
        self.unary(&FLOOR, Attrs::new())
    }
}
