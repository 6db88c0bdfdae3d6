//! `constant`: an array known at compile time.

use std::sync::Arc;

use kiln_tensor::{DType, Data, Tensor};

use crate::attrs::{AttrKind, Attrs};
use crate::builder::{Builder, Var};
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Arity, AttrDef, Lower, OpDef};

/// See the record's `doc`.
pub static CONSTANT: OpDef = OpDef {
    name: "constant",
    doc: "An array known at compile time.",
    arity: Arity::Exact(0),
    attrs: &[AttrDef { name: "value", kind: AttrKind::Tensor, doc: "the array" }],
    infer: |_, attrs| {
        let value = attrs.tensor("value");
        Ok(Type::new(value.dtype(), value.shape().clone()))
    },
    lower: Lower::Leaf,
    eval: |view, _| Value::from(&**view.attrs.tensor("value")),
    ..OpDef::BASE
};

impl Builder {
    /// An array known at compile time.
    pub fn constant(&self, value: Tensor) -> Var<'_> {
        self.op(&CONSTANT, Attrs::new().with("value", Arc::new(value)), &[])
    }

    /// An f32 of rank 0.
    pub fn scalar(&self, value: f32) -> Var<'_> {
        self.constant(Tensor::scalar(value))
    }

    /// A whole number of rank 0.
    pub fn scalar_i32(&self, value: i32) -> Var<'_> {
        self.constant(Tensor::i32(&[], vec![value]).expect("one element has rank 0"))
    }

    /// A number of rank 0 of the given type (`true` for booleans other than 0).
    pub fn scalar_of(&self, dtype: DType, value: f64) -> Var<'_> {
        match dtype {
            DType::F32 => self.scalar(value as f32),
            DType::I32 => self.scalar_i32(value as i32),
            DType::Bool => {
                let data = Data::Bool(vec![value != 0.0]);
                let shape = kiln_tensor::Shape::scalar();
                self.constant(Tensor::new(shape, data).expect("one element has rank 0"))
            }
        }
    }
}

impl<'b> Var<'b> {
    /// A number of rank 0 of this value's element type.
    pub fn scalar_like(self, value: f64) -> Var<'b> {
        self.builder().scalar_of(self.dtype(), value)
    }
}
