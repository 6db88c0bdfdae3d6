//! `select`.

use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::graph::Type;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static SELECT: OpDef = OpDef {
    name: "select",
    doc: "The second operand's element where the first (bool) is true, else the third's.",
    arity: Arity::Exact(3),
    infer: |x, attrs| {
        if x[0].dtype != DType::Bool {
            return Err(format!("chooses by bool, got {}", x[0]));
        }
        let dtype = rules::same_dtype(&x[1..])?;
        let as_bool = |t: &Type| Type::new(DType::Bool, t.shape.clone());
        let shapes = [as_bool(x[0]), as_bool(x[1]), as_bool(x[2])];
        Ok(Type::new(dtype, rules::same(&shapes.each_ref(), attrs)?.shape))
    },
    grad: Some(|g| {
        let zero = g.dy.scalar_like(0.0);
        vec![
            None,
            Some(rules::sum_to(g.x[0].select(g.dy, zero), g.x[1])),
            Some(rules::sum_to(g.x[0].select(zero, g.dy), g.x[2])),
        ]
    }),
    lower: Lower::Map(|b, _, x| b.select(x[0], x[1], x[2])),
    eval: |_, x| rules::map(x, |x| if x[0] != 0.0 { x[1] } else { x[2] }),
    samples: &[
        Sample {
            operands: &[Operand::bool(&[3, 5]), Operand::f32(&[3, 5]), Operand::f32(&[3, 5])],
            attrs: Attrs::new,
        },
        Sample {
            operands: &[Operand::bool(&[3, 5]), Operand::f32(&[]), Operand::f32(&[3, 5])],
            attrs: Attrs::new,
        },
        Sample {
            operands: &[Operand::bool(&[]), Operand::i32(&[7], -9, 9), Operand::i32(&[7], -9, 9)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Where this truth value holds `yes`, else `no`.
    pub fn select(self, yes: Var<'b>, no: Var<'b>) -> Var<'b> {
        self.builder().op(&SELECT, Attrs::new(), &[self, yes, no])
    }
}
