//! `cast`.

use kiln_tensor::DType;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static CAST: OpDef = OpDef {
    name: "cast",
    doc: "Every element as another type: f32 to i32 truncates and saturates (NaN gives 0), bool gives 0 or 1, to bool is `not 0`.",
    attrs: &[AttrDef { name: "dtype", kind: AttrKind::DType, doc: "element type of the result" }],
    infer: |x, attrs| Ok(Type::new(attrs.dtype("dtype"), x[0].shape.clone())),
    grad: Some(|g| {
        vec![(g.x[0].dtype() == DType::F32 && g.y.dtype() == DType::F32).then_some(g.dy)]
    }),
    lower: Lower::Map(|b, v, x| b.cast(v.ty.dtype, x[0])),
    eval: |v, x| {
        rules::map(x, |x| match v.ty.dtype {
            DType::F32 => x[0],
            DType::I32 => f64::from(x[0] as i32),
            DType::Bool => f64::from(x[0] != 0.0),
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || to(DType::I32) },
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || to(DType::F32) },
        Sample { operands: &[Operand::i32(&[7], -2, 2)], attrs: || to(DType::F32) },
        Sample { operands: &[Operand::i32(&[7], -2, 2)], attrs: || to(DType::Bool) },
        Sample { operands: &[Operand::bool(&[7])], attrs: || to(DType::F32) },
    ],
    ..OpDef::BASE
};

fn to(dtype: DType) -> Attrs {
    Attrs::new().with("dtype", dtype)
}

impl<'b> Var<'b> {
    /// Every element as another type; the value itself if it has the type already.
    pub fn cast(self, dtype: DType) -> Var<'b> {
        if self.dtype() == dtype { self } else { self.unary(&CAST, to(dtype)) }
    }
}
