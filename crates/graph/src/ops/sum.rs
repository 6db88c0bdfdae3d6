//! `sum`.

use kiln_loops::Fold;
use kiln_tensor::DType;

use super::rules;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Reduction, Sample};

/// See the record's `doc`.
pub static SUM: OpDef = OpDef {
    name: "sum",
    doc: "Sum over axes, which the result lacks (f32 or i32; i32 wraps).",
    attrs: rules::REDUCED_AXES,
    infer: rules::reduced,
    grad: Some(|g| vec![Some(rules::unreduce(g.dy, g.x[0], &rules::known(g.attrs, "axes")))]),
    lower: Lower::Reduce(rules::reduce_space, Reduction::Fold(Fold::Add)),
    eval: |v, x| rules::reduce(v, x[0], 0.0, |a, b| rules::add(v.ty.dtype, a, b)),
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || rules::over(&[1]) },
        Sample { operands: &[Operand::f32(&[2, 3, 4])], attrs: || rules::over(&[0, 2]) },
        Sample { operands: &[Operand::f32(&[2, 3])], attrs: || rules::over(&[0, 1]) },
        Sample { operands: &[Operand::i32(&[4, 3], -9, 9)], attrs: || rules::over(&[0]) },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// Sum over axes, which the result lacks; the value itself if there is none.
    pub fn sum(self, axes: &[usize]) -> Var<'b> {
        if axes.is_empty() { self } else { self.unary(&SUM, rules::over(axes)) }
    }

    /// Mean over axes, which the result lacks: the sum divided by the number of elements.
    pub fn mean(self, axes: &[usize]) -> Var<'b> {
        let shape = self.shape();
        let count: usize = axes.iter().filter_map(|&a| shape.get(a)).product();
        let sum = self.sum(axes);
        // Counts are below 2^38; the nearest f32 is within the error of the sum.
        if self.dtype() == DType::F32 {
            sum / count as f32
        } else {
            sum / sum.scalar_like(count as f64)
        }
    }
}
