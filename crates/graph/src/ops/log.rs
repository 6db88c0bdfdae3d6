//! `log`.

use kiln_loops::Math;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static LOG: OpDef = OpDef {
    name: "log",
    doc: "Natural logarithm of every element.",
    infer: rules::same_f32,
    grad: Some(|g| vec![Some(g.dy / g.x[0])]),
    lower: Lower::Map(|b, _, x| b.call(Math::Log, x[0])),
    eval: |_, x| rules::map(x, |x| x[0].ln()),
    samples: &[Sample { operands: &[Operand::f32(&[3, 5]).within(0.1, 4.0)], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Natural logarithm of every element.
    pub fn log(self) -> Var<'b> {
        self.unary(&LOG, Attrs::new())
    }
}
