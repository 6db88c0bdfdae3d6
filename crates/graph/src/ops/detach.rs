//! `detach`.

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static DETACH: OpDef = OpDef {
    name: "detach",
    doc: "The operand; no gradient passes.",
    infer: rules::same,
    lower: Lower::Map(|_, _, x| x[0]),
    eval: |_, x| x[0].clone(),
    samples: &[
        Sample { operands: &[Operand::i32(&[7], -9, 9)], attrs: Attrs::new },
        Sample { operands: &[Operand::bool(&[7])], attrs: Attrs::new },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The same value, through which no gradient passes.
    pub fn detach(self) -> Var<'b> {
        self.unary(&DETACH, Attrs::new())
    }
}
