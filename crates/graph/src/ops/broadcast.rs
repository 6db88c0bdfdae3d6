//! `broadcast`.

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::{Builder, Var};
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample};
use kiln_tensor::DType;

/// See the record's `doc`.
pub static BROADCAST: OpDef = OpDef {
    name: "broadcast",
    doc: "The operand repeated along new axes: its axis i is the result's axis axes[i].",
    attrs: &[
        AttrDef { name: "shape", kind: AttrKind::Ints, doc: "sizes of the result" },
        AttrDef {
            name: "axes",
            kind: AttrKind::Ints,
            doc: "where each axis of the operand goes, ascending",
        },
    ],
    infer: |x, attrs| {
        let shape = rules::sizes(attrs, "shape")?;
        let axes = rules::axes(attrs, "axes", shape.len())?;
        if axes.len() != x[0].shape.rank() {
            return Err(format!(
                "{} axes are placed, {} has {}",
                axes.len(),
                x[0],
                x[0].shape.rank()
            ));
        }
        for (i, &axis) in axes.iter().enumerate() {
            if x[0].shape[i] != shape[axis] {
                return Err(format!("axis {i} of {} goes to an axis of {}", x[0], shape[axis]));
            }
        }
        Type::checked(x[0].dtype, shape)
    },
    grad: Some(|g| {
        let kept = rules::known(g.attrs, "axes");
        let summed: Vec<usize> = (0..g.y.shape().rank()).filter(|a| !kept.contains(a)).collect();
        vec![Some(g.dy.sum(&summed))]
    }),
    lower: Lower::View(|v, index| {
        rules::known(v.attrs, "axes").into_iter().map(|a| index[a].clone()).collect()
    }),
    eval: |v, x| {
        let axes = rules::known(v.attrs, "axes");
        Value::from_fn(&v.ty.shape, |i| {
            let index: Vec<usize> = axes.iter().map(|&a| i[a]).collect();
            x[0].at(&index)
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || attrs(&[3, 2, 5, 4], &[0, 2]) },
        Sample { operands: &[Operand::f32(&[])], attrs: || attrs(&[3, 2], &[]) },
        Sample { operands: &[Operand::i32(&[3], -9, 9)], attrs: || attrs(&[2, 3], &[1]) },
    ],
    ..OpDef::BASE
};

fn attrs(shape: &[usize], axes: &[usize]) -> Attrs {
    Attrs::new().with("shape", shape).with("axes", axes)
}

impl<'b> Var<'b> {
    /// Repeats along new axes: axis `i` becomes axis `axes[i]` (ascending) of the result. The value
    /// itself if there is no new axis.
    pub fn broadcast(self, shape: &[usize], axes: &[usize]) -> Var<'b> {
        let unchanged = self.shape()[..] == *shape && axes.iter().copied().eq(0..shape.len());
        if unchanged { self } else { self.unary(&BROADCAST, attrs(shape, axes)) }
    }
}

impl Builder {
    /// An array all of whose elements are one number.
    pub fn full(&self, dtype: DType, dims: &[usize], value: f64) -> Var<'_> {
        self.scalar_of(dtype, value).broadcast(dims, &[])
    }
}
