//! `reshape`.

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static RESHAPE: OpDef = OpDef {
    name: "reshape",
    doc: "The operand's elements, in row-major order, under another shape of as many elements.",
    attrs: &[AttrDef { name: "shape", kind: AttrKind::Ints, doc: "sizes of the result" }],
    infer: |x, attrs| {
        let ty = Type::checked(x[0].dtype, rules::sizes(attrs, "shape")?)?;
        if ty.shape.elements() != x[0].shape.elements() {
            return Err(format!(
                "{} has {} elements, {} has {}",
                x[0],
                x[0].shape.elements(),
                ty.shape,
                ty.shape.elements()
            ));
        }
        Ok(ty)
    },
    grad: Some(|g| vec![Some(g.dy.reshape(&g.x[0].shape()))]),
    lower: Lower::Reshape,
    eval: |v, x| Value { shape: v.ty.shape.clone(), data: x[0].data.clone() },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 4])], attrs: || attrs(&[2, 6]) },
        Sample { operands: &[Operand::f32(&[1, 1])], attrs: || attrs(&[]) },
    ],
    ..OpDef::BASE
};

fn attrs(shape: &[usize]) -> Attrs {
    Attrs::new().with("shape", shape)
}

impl<'b> Var<'b> {
    /// The same elements, in row-major order, under another shape. The value itself if the shape
    /// stays.
    pub fn reshape(self, shape: &[usize]) -> Var<'b> {
        if self.shape()[..] == *shape { self } else { self.unary(&RESHAPE, attrs(shape)) }
    }
}
