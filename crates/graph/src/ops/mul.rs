//! `mul`.

use kiln_loops::Binary;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static MUL: OpDef = OpDef {
    name: "mul",
    doc: "Product of two elements (f32 or i32; i32 wraps).",
    arity: Arity::Exact(2),
    infer: rules::same_number,
    grad: Some(|g| {
        let [a, b] = [g.x[0], g.x[1]];
        vec![Some(rules::sum_to(g.dy * b, a)), Some(rules::sum_to(g.dy * a, b))]
    }),
    lower: Lower::Map(|b, _, x| b.binary(Binary::Mul, x[0], x[1])),
    eval: |v, x| match v.ty.dtype {
        DType::I32 => rules::map_i32(x, |x| x[0].wrapping_mul(x[1])),
        _ => rules::map(x, |x| x[0] * x[1]),
    },
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

rules::binary_operator!(Mul, mul, MUL);

impl<'b> Var<'b> {
    /// Every element to a whole power, by repeated squaring; negative powers divide.
    pub fn powi(self, n: i32) -> Var<'b> {
        let mut rest = n.unsigned_abs();
        let (mut square, mut power) = (self, None);
        while rest > 0 {
            if rest % 2 == 1 {
                power = Some(power.map_or(square, |p| p * square));
            }
            rest /= 2;
            if rest > 0 {
                square = square * square;
            }
        }
        match power {
            None => self.builder().full(self.dtype(), &self.shape(), 1.0),
            Some(p) if n < 0 => 1.0 / p,
            Some(p) => p,
        }
    }
}
