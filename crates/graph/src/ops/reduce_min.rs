//! `reduce_min`.

use kiln_loops::Fold;
use kiln_tensor::DType;

use super::rules;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Reduction, Sample};

/// See the record's `doc`.
pub static REDUCE_MIN: OpDef = OpDef {
    name: "reduce_min",
    doc: "The least element over axes, which the result lacks (f32 or i32); NaN if any is NaN, inf or the greatest i32 \
          if there is none. Equal elements share the gradient evenly.",
    attrs: rules::REDUCED_AXES,
    infer: rules::reduced,
    grad: Some(|g| vec![Some(rules::grad_extremum(g))]),
    lower: Lower::Reduce(rules::reduce_space, Reduction::Fold(Fold::Min)),
    eval: |v, x| {
        let none = if v.ty.dtype == DType::I32 { f64::from(i32::MAX) } else { f64::INFINITY };
        rules::reduce(v, x[0], none, rules::min)
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || rules::over(&[1]) },
        Sample { operands: &[Operand::f32(&[2, 3, 4])], attrs: || rules::over(&[0, 2]) },
        Sample { operands: &[Operand::i32(&[4, 3], -9, 9)], attrs: || rules::over(&[0]) },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The least element over axes, which the result lacks; the value itself if there is none.
    pub fn reduce_min(self, axes: &[usize]) -> Var<'b> {
        if axes.is_empty() { self } else { self.unary(&REDUCE_MIN, rules::over(axes)) }
    }
}
