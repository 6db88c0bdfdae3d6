//! `sum_pool`.

use kiln_loops::Fold;
use kiln_tensor::DType;

use super::windows::{self, Window};
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Reduction, Sample};

/// See the record's `doc`.
pub static SUM_POOL: OpDef = OpDef {
    name: "sum_pool",
    doc: "The sum of every window over the last two axes (f32, no padding).",
    attrs: windows::ATTRS,
    infer: |x, attrs| windows::reduced(x[0], attrs, DType::F32),
    grad: Some(|g| {
        let window = Window::of(g.attrs);
        let spread = windows::spread(g.dy, &g.x[0].shape(), &window);
        vec![Some(spread.sum_pool(window.kernel, [1, 1], window.dilation))]
    }),
    lower: Lower::Reduce(windows::space, Reduction::Fold(Fold::Add)),
    eval: |v, x| windows::eval(v, x[0], |x| x.sum()),
    samples: &[
        Sample {
            operands: &[Operand::f32(&[2, 3, 6, 8])],
            attrs: || windows::attrs([2, 2], [2, 2], [1, 1]),
        },
        Sample {
            operands: &[Operand::f32(&[2, 7, 9])],
            attrs: || windows::attrs([3, 2], [2, 1], [1, 3]),
        },
        Sample {
            operands: &[Operand::f32(&[5, 8])],
            attrs: || windows::attrs([2, 3], [9, 3], [2, 1]),
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The sum of every window over the last two axes, no padding.
    pub fn sum_pool(self, kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Var<'b> {
        self.unary(&SUM_POOL, windows::attrs(kernel, stride, dilation))
    }

    /// The mean of every window over the last two axes, no padding.
    pub fn avg_pool(self, kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Var<'b> {
        let taps = kernel[0] as f32 * kernel[1] as f32;
        self.sum_pool(kernel, stride, dilation) / taps
    }
}
