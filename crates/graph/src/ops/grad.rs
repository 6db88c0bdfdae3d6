//! `grad`: the user's verb for a gradient; the pass `autodiff` turns it into the backward graph.

use kiln_tensor::DType;

use crate::attrs::Attrs;
use crate::builder::Var;
use crate::op::{Arity, OpDef};

/// See the record's `doc`.
pub static GRAD: OpDef = OpDef {
    name: "grad",
    doc: "The gradient of the first operand, an f32 of rank 0, with respect to the second. Expanded by autodiff.",
    arity: Arity::Exact(2),
    infer: |x, _| {
        if x[0].shape.rank() != 0 || x[0].dtype != DType::F32 {
            return Err(format!("differentiates an f32 of rank 0, got {}", x[0]));
        }
        if x[1].dtype != DType::F32 {
            return Err(format!("differentiates with respect to f32, got {}", x[1]));
        }
        Ok(x[1].clone())
    },
    eval: |_, _| unreachable!("autodiff has expanded every gradient"),
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The gradient of this scalar with respect to `x`.
    pub fn grad(self, x: Var<'b>) -> Var<'b> {
        self.builder().op(&GRAD, Attrs::new(), &[self, x])
    }
}
