//! `eq`.

use kiln_loops::Compare;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static EQ: OpDef = OpDef {
    name: "eq",
    doc: "Whether the first element equals the second (any one type); false with NaN.",
    arity: Arity::Exact(2),
    infer: rules::compare_any,
    lower: Lower::Map(|b, _, x| b.compare(Compare::Eq, x[0], x[1])),
    eval: |_, x| rules::map(x, |x| f64::from(x[0] == x[1])),
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[])], attrs: Attrs::new },
        Sample {
            operands: &[Operand::i32(&[7], -2, 2), Operand::i32(&[7], -2, 2)],
            attrs: Attrs::new,
        },
        Sample { operands: &[Operand::bool(&[7]), Operand::bool(&[7])], attrs: Attrs::new },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Whether the element equals the other.
    pub fn eq(self, other: Var<'b>) -> Var<'b> {
        self.builder().op(&EQ, Attrs::new(), &[self, other])
    }
}
