//! `maximum`.

use kiln_loops::Binary;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static MAXIMUM: OpDef = OpDef {
    name: "maximum",
    doc: "The greater of two elements (f32 or i32), NaN if either is NaN. Where they are equal the gradient goes to the second operand.",
    arity: Arity::Exact(2),
    infer: rules::same_number,
    grad: Some(|g| {
        let [a, b] = [g.x[0], g.x[1]];
        let (second, zero) = (a.le(b), a.scalar_like(0.0));
        vec![
            Some(rules::sum_to(second.select(zero, g.dy), a)),
            Some(rules::sum_to(second.select(g.dy, zero), b)),
        ]
    }),
    lower: Lower::Map(|b, _, x| b.binary(Binary::Max, x[0], x[1])),
    eval: |_, x| rules::map(x, |x| rules::max(x[0], x[1])),
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample { operands: &[Operand::f32(&[3, 5]), Operand::f32(&[])], attrs: Attrs::new },
        Sample { operands: &[Operand::f32(&[]), Operand::f32(&[3, 5])], attrs: Attrs::new },
        Sample {
            operands: &[Operand::i32(&[7], -9, 9), Operand::i32(&[7], -9, 9)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The greater of two elements, NaN if either is.
    pub fn maximum(self, other: Var<'b>) -> Var<'b> {
        self.builder().op(&MAXIMUM, Attrs::new(), &[self, other])
    }

    /// Rectifier: `maximum(x, 0)`. The gradient at 0 is 0.
    pub fn relu(self) -> Var<'b> {
        self.maximum(self.scalar_like(0.0))
    }
}
