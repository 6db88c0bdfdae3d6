//! `reduce_max`.

use kiln_loops::Fold;
use kiln_tensor::DType;

use super::rules;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Reduction, Sample};

/// See the record's `doc`.
pub static REDUCE_MAX: OpDef = OpDef {
    name: "reduce_max",
    doc: "The greatest element over axes, which the result lacks (f32 or i32); NaN if any is NaN, -inf or the least i32 \
          if there is none. Equal elements share the gradient evenly.",
    attrs: rules::REDUCED_AXES,
    infer: rules::reduced,
    grad: Some(|g| vec![Some(rules::grad_extremum(g))]),
    lower: Lower::Reduce(rules::reduce_space, Reduction::Fold(Fold::Max)),
    eval: |v, x| {
        let none = if v.ty.dtype == DType::I32 { f64::from(i32::MIN) } else { f64::NEG_INFINITY };
        rules::reduce(v, x[0], none, rules::max)
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || rules::over(&[1]) },
        Sample { operands: &[Operand::f32(&[2, 3, 4])], attrs: || rules::over(&[0, 2]) },
        Sample { operands: &[Operand::i32(&[4, 3], -9, 9)], attrs: || rules::over(&[0]) },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The greatest element over axes, which the result lacks; the value itself if there is none.
    pub fn reduce_max(self, axes: &[usize]) -> Var<'b> {
        if axes.is_empty() { self } else { self.unary(&REDUCE_MAX, rules::over(axes)) }
    }
}
