//! `argmax`.

use kiln_tensor::DType;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Access, AttrDef, AxisAccess, Lower, OpDef, Operand, Reduction, Sample, Space};

/// See the record's `doc`.
pub static ARGMAX: OpDef = OpDef {
    name: "argmax",
    doc: "The index (i32) of the first greatest element along an axis, which the result lacks; of the first NaN if any.",
    attrs: &[AttrDef { name: "axis", kind: AttrKind::Int, doc: "the axis it searches" }],
    infer: |x, attrs| {
        let axis = rules::axis(attrs, x[0].shape.rank())?;
        if x[0].dtype == DType::Bool {
            return Err(format!("takes numbers, got {}", x[0]));
        }
        if x[0].shape[axis] == 0 {
            return Err(format!("axis {axis} of {} is empty", x[0]));
        }
        rules::fits_i32(x[0].shape[axis])?;
        let mut dims = x[0].shape.to_vec();
        dims.remove(axis);
        Type::checked(DType::I32, dims)
    },
    lower: Lower::Reduce(
        |v| {
            let (axis, rank) = (v.attrs.int("axis") as usize, v.ty.shape.rank());
            let mut access: Vec<AxisAccess> = (0..rank).map(AxisAccess::axis).collect();
            access.insert(axis, AxisAccess::axis(rank));
            Space { reduced: vec![v.operands[0].shape[axis]], operands: vec![Access(access)] }
        },
        Reduction::ArgMax,
    ),
    eval: |v, x| {
        let axis = v.attrs.int("axis") as usize;
        Value::from_fn(&v.ty.shape, |i| {
            let mut index = i.to_vec();
            index.insert(axis, 0);
            rules::first_greatest((0..x[0].shape[axis]).map(|k| {
                index[axis] = k;
                x[0].at(&index)
            }))
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || attrs(1) },
        Sample { operands: &[Operand::f32(&[4, 3, 2])], attrs: || attrs(0) },
        Sample { operands: &[Operand::i32(&[3, 8], -2, 2)], attrs: || attrs(1) },
    ],
    ..OpDef::BASE
};

fn attrs(axis: usize) -> Attrs {
    Attrs::new().with("axis", axis as i64)
}

impl<'b> Var<'b> {
    /// The index of the first greatest element along an axis, which the result lacks.
    pub fn argmax(self, axis: usize) -> Var<'b> {
        self.unary(&ARGMAX, attrs(axis))
    }
}
