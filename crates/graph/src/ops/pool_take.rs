//! `pool_take`.

use kiln_loops::{Binary, Index, Inst};
use kiln_tensor::DType;

use super::rules;
use super::windows::{self, Window};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static POOL_TAKE: OpDef = OpDef {
    name: "pool_take",
    doc: "Of every window over the last two axes of the first operand (f32) the element at the row-major position \
          that the second (i32, one for each window) says, clamped to the window. With unpool it is closed under \
          differentiation.",
    arity: Arity::Exact(2),
    attrs: windows::ATTRS,
    infer: |x, attrs| {
        let ty = windows::reduced(x[0], attrs, DType::F32)?;
        if *x[1] != Type::new(DType::I32, ty.shape.clone()) {
            return Err(format!("needs a position i32{} for each window, got {}", ty.shape, x[1]));
        }
        Ok(ty)
    },
    grad: Some(|g| {
        let shape = g.x[0].shape();
        let size = [shape[shape.rank() - 2], shape[shape.rank() - 1]];
        vec![Some(g.dy.unpool(g.x[1], size, &Window::of(g.attrs))), None]
    }),
    lower: Lower::Element(|p, v, place| {
        let window = Window::of(v.attrs);
        let position = p.operand(1, place);
        let b = p.loops();
        let position = b.inst(Inst::Clamp(position, window.taps()));
        let columns = b.i32(window.kernel[1] as i32);
        let mut index = place.to_vec();
        for (axis, part) in [Binary::Div, Binary::Rem].into_iter().enumerate() {
            let tap = b.binary(part, position, columns);
            let tap = b.inst(Inst::Clamp(tap, window.kernel[axis]));
            let i = &mut index[place.len() - 2 + axis];
            *i = i
                .times(window.stride[axis] as i64)
                .plus(&Index::dynamic(tap, window.dilation[axis] as i64));
        }
        p.operand(0, &index)
    }),
    eval: |v, x| {
        let window = Window::of(v.attrs);
        Value::from_fn(&v.ty.shape, |i| {
            x[0].at(&window.tap(i, rules::clamp(x[1].at(i), window.taps())))
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[2, 3, 6, 8]), Operand::i32(&[2, 3, 3, 4], 0, 4)],
            attrs: || windows::attrs([2, 2], [2, 2], [1, 1]),
        },
        Sample {
            operands: &[Operand::f32(&[2, 7, 9]), Operand::i32(&[2, 3, 6], -1, 7)],
            attrs: || windows::attrs([3, 2], [2, 1], [1, 3]),
        },
    ],
};

impl<'b> Var<'b> {
    /// Of every window over the last two axes the element at a row-major position within it.
    pub(super) fn pool_take(self, position: Var<'b>, window: &Window) -> Var<'b> {
        self.builder().op(&POOL_TAKE, window.attrs(), &[self, position])
    }
}
