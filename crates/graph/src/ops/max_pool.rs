//! `max_pool`.

use kiln_loops::Fold;
use kiln_tensor::DType;

use super::rules;
use super::windows::{self, Window};
use crate::builder::Var;
use crate::op::{Lower, OpDef, Operand, Reduction, Sample};

/// See the record's `doc`.
pub static MAX_POOL: OpDef = OpDef {
    name: "max_pool",
    doc: "The greatest element of every window over the last two axes (f32, no padding); NaN if any is NaN. \
          The gradient goes to the first greatest.",
    attrs: windows::ATTRS,
    infer: |x, attrs| windows::reduced(x[0], attrs, DType::F32),
    grad: Some(|g| {
        let (window, shape) = (Window::of(g.attrs), g.x[0].shape());
        let winner = g.x[0].pool_argmax(window.kernel, window.stride, window.dilation);
        let n = shape.rank();
        vec![Some(g.dy.unpool(winner, [shape[n - 2], shape[n - 1]], &window))]
    }),
    lower: Lower::Reduce(windows::space, Reduction::Fold(Fold::Max)),
    eval: |v, x| windows::eval(v, x[0], |x| x.fold(f64::NEG_INFINITY, rules::max)),
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
    /// The greatest element of every window over the last two axes, no padding.
    pub fn max_pool(self, kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Var<'b> {
        self.unary(&MAX_POOL, windows::attrs(kernel, stride, dilation))
    }
}
