//! `dot`: the batched matrix product.

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::eval::{Value, each_index};
use crate::graph::Type;
use crate::op::{Access, Arity, AxisAccess, Lower, OpDef, Operand, Sample, Space};
use kiln_tensor::DType;

/// See the record's `doc`.
///
/// Any contraction of two arrays over any axes is transposes and reshapes around it; lowering
/// reads through those views, so they cost nothing.
pub static DOT: OpDef = OpDef {
    name: "dot",
    doc: "Batched matrix product: [B, M, K] times [B, K, N] is [B, M, N].",
    arity: Arity::Exact(2),
    infer: |x, _| {
        let (a, b) = (&x[0].shape, &x[1].shape);
        if x[0].dtype != DType::F32 || x[1].dtype != DType::F32 {
            return Err(format!("multiplies f32, got {} and {}", x[0], x[1]));
        }
        if a.rank() != 3 || b.rank() != 3 || a[0] != b[0] || a[2] != b[1] {
            return Err(format!("needs [B, M, K] and [B, K, N], got {a} and {b}"));
        }
        Type::checked(DType::F32, [a[0], a[1], b[2]])
    },
    grad: Some(|g| {
        let [a, b] = [g.x[0], g.x[1]];
        vec![Some(g.dy.dot(b.transpose(&[0, 2, 1]))), Some(a.transpose(&[0, 2, 1]).dot(g.dy))]
    }),
    lower: Lower::Contract(|v| {
        // Axes of the space: B, M, N, K.
        let access = |axes: [usize; 3]| Access(axes.map(AxisAccess::axis).to_vec());
        Space {
            reduced: vec![v.operands[0].shape[2]],
            operands: vec![access([0, 1, 3]), access([0, 3, 2])],
        }
    }),
    eval: |v, x| {
        let k = x[0].shape[2];
        let mut out = Vec::with_capacity(v.ty.shape.elements());
        each_index(&v.ty.shape, |i| {
            out.push((0..k).map(|k| x[0].at(&[i[0], i[1], k]) * x[1].at(&[i[0], k, i[2]])).sum());
        });
        Value { shape: v.ty.shape.clone(), data: out }
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[1, 3, 4]), Operand::f32(&[1, 4, 5])],
            attrs: Attrs::new,
        },
        Sample {
            operands: &[Operand::f32(&[2, 7, 9]), Operand::f32(&[2, 9, 17])],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Batched matrix product: `[B, M, K]` times `[B, K, N]`.
    pub fn dot(self, other: Var<'b>) -> Var<'b> {
        self.builder().op(&DOT, Attrs::new(), &[self, other])
    }

    /// Matrix product: `[M, K]` times `[K, N]`.
    pub fn matmul(self, other: Var<'b>) -> Var<'b> {
        rules::matmul(self, other)
    }
}
