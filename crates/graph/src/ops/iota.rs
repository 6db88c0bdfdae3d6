//! `iota`.

use kiln_tensor::DType;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::{Builder, Var};
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Arity, AttrDef, Lower, OpDef, Sample};

/// See the record's `doc`.
pub static IOTA: OpDef = OpDef {
    name: "iota",
    doc: "Every element (i32) is its own index along an axis.",
    arity: Arity::Exact(0),
    attrs: &[
        AttrDef { name: "shape", kind: AttrKind::Ints, doc: "sizes of the result" },
        AttrDef { name: "axis", kind: AttrKind::Int, doc: "the axis it counts along" },
    ],
    infer: |_, attrs| {
        let ty = Type::checked(DType::I32, rules::sizes(attrs, "shape")?)?;
        let axis = rules::axis(attrs, ty.shape.rank())?;
        rules::fits_i32(ty.shape[axis])?;
        Ok(ty)
    },
    lower: Lower::Element(|p, v, index| {
        rules::index_value(p.loops(), &index[v.attrs.int("axis") as usize])
    }),
    eval: |v, _| {
        let axis = v.attrs.int("axis") as usize;
        Value::from_fn(&v.ty.shape, |i| i[axis] as f64)
    },
    samples: &[Sample { operands: &[], attrs: || attrs(&[3, 5], 1) }],
    ..OpDef::BASE
};

fn attrs(shape: &[usize], axis: usize) -> Attrs {
    Attrs::new().with("shape", shape).with("axis", axis as i64)
}

impl Builder {
    /// An i32 array whose elements are their own index along an axis.
    pub fn iota(&self, dims: &[usize], axis: usize) -> Var<'_> {
        self.op(&IOTA, attrs(dims, axis), &[])
    }
}
