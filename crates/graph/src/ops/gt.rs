//! `gt`.

use kiln_loops::Compare;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static GT: OpDef = OpDef {
    name: "gt",
    doc: "Whether the first element is greater than the second (f32 or i32); false with NaN.",
    arity: Arity::Exact(2),
    infer: rules::compare_numbers,
    lower: Lower::Map(|b, _, x| b.compare(Compare::Gt, x[0], x[1])),
    eval: |_, x| rules::map(x, |x| f64::from(x[0] > x[1])),
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[])], attrs: Attrs::new },
        Sample {
            operands: &[Operand::i32(&[7], -2, 2), Operand::i32(&[7], -2, 2)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Whether the element is greater than the other.
    pub fn gt(self, other: Var<'b>) -> Var<'b> {
        self.builder().op(&GT, Attrs::new(), &[self, other])
    }
}
