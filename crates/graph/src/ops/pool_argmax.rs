//! `pool_argmax`.

use kiln_tensor::DType;

use super::rules;
use super::windows;
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Reduction, Sample};

/// See the record's `doc`.
pub static POOL_ARGMAX: OpDef = OpDef {
    name: "pool_argmax",
    doc: "The row-major position (i32), within every window over the last two axes, of its first greatest element; \
          of the first NaN if any.",
    attrs: windows::ATTRS,
    infer: |x, attrs| windows::reduced(x[0], attrs, DType::I32),
    lower: Lower::Reduce(windows::space, Reduction::ArgMax),
    eval: |v, x| windows::eval(v, x[0], |x| rules::first_greatest(x)),
    samples: &[
        Sample {
            operands: &[Operand::f32(&[2, 3, 6, 8])],
            attrs: || windows::attrs([2, 2], [2, 2], [1, 1]),
        },
        Sample {
            operands: &[Operand::f32(&[2, 7, 9])],
            attrs: || windows::attrs([3, 2], [2, 1], [1, 3]),
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The position of the first greatest element within every window over the last two axes.
    pub fn pool_argmax(
        self,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Var<'b> {
        self.unary(&POOL_ARGMAX, windows::attrs(kernel, stride, dilation))
    }
}
