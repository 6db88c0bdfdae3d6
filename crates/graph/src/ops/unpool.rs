//! `unpool`.

use kiln_loops::{Compare, Index, Inst};
use kiln_tensor::DType;

use super::rules;
use super::windows::{self, Window};
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::eval::{Value, each_index};
use crate::graph::Type;
use crate::op::{Arity, Lower, OpDef, Operand, Sample, Scatter};

/// See the record's `doc`.
pub static UNPOOL: OpDef = OpDef {
    name: "unpool",
    doc: "The transpose of pool_take: adds each element of the first operand (f32, one for each window over the last \
          two axes of the result) where the position in the second (i32), clamped to the window, says.",
    arity: Arity::Exact(2),
    attrs: windows::ATTRS_AND_SIZE,
    infer: |x, attrs| {
        let (values, positions) = (x[0], x[1]);
        if values.dtype != DType::F32
            || positions.dtype != DType::I32
            || values.shape != positions.shape
        {
            return Err(format!(
                "needs f32 values and i32 positions of one shape, got {values} and {positions}"
            ));
        }
        let size = rules::pair(attrs, "size")?;
        let mut dims = values.shape.to_vec();
        let spatial = dims.len().checked_sub(2).ok_or("works on the last two axes")?;
        dims.truncate(spatial);
        dims.extend(size);
        let places = windows::places(&dims, attrs)?;
        if places[..] != values.shape[..] {
            return Err(format!("{values} is not one value for each of the windows {places:?}"));
        }
        Type::checked(DType::F32, dims)
    },
    grad: Some(|g| vec![Some(g.dy.pool_take(g.x[1], &Window::of(g.attrs))), None]),
    lower: Lower::Scatter(Scatter {
        domain: |v| [&v.operands[0].shape, &Window::of(v.attrs).kernel[..]].concat(),
        disjoint: |v| (0..v.ty.shape.rank() - 2).collect(),
        emit: |p, v, point| {
            let window = Window::of(v.attrs);
            let (place, tap) = point.split_at(v.ty.shape.rank());
            let position = p.operand(1, place);
            let value = p.operand(0, place);
            let b = p.loops();
            let position = b.inst(Inst::Clamp(position, window.taps()));
            let here = rules::index_value(b, &Index::flat(tap, &[window.kernel[1], 1]));
            let (hit, zero) = (b.compare(Compare::Eq, position, here), b.f32(0.0));
            let mut index = place.to_vec();
            for axis in 0..2 {
                let i = &mut index[place.len() - 2 + axis];
                *i = i
                    .times(window.stride[axis] as i64)
                    .plus(&tap[axis].times(window.dilation[axis] as i64));
            }
            (index, b.select(hit, value, zero))
        },
    }),
    eval: |v, x| {
        let (window, strides) = (Window::of(v.attrs), v.ty.shape.strides());
        let mut out = vec![0.0; v.ty.shape.elements()];
        each_index(&x[0].shape, |i| {
            let index = window.tap(i, rules::clamp(x[1].at(i), window.taps()));
            out[index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>()] += x[0].at(i);
        });
        Value { shape: v.ty.shape.clone(), data: out }
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[2, 3, 3, 4]), Operand::i32(&[2, 3, 3, 4], 0, 4)],
            attrs: || attrs([2, 2], [2, 2], [1, 1], [6, 8]),
        },
        Sample {
            operands: &[Operand::f32(&[2, 3, 6]), Operand::i32(&[2, 3, 6], -1, 7)],
            attrs: || attrs([3, 2], [2, 1], [1, 3], [8, 9]),
        },
    ],
};

fn attrs(kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2], size: [usize; 2]) -> Attrs {
    windows::attrs(kernel, stride, dilation).with("size", &size[..])
}

impl<'b> Var<'b> {
    /// Adds each element where its window's position says, in an image of this H and W.
    pub(super) fn unpool(self, position: Var<'b>, size: [usize; 2], window: &Window) -> Var<'b> {
        let attrs = window.attrs().with("size", &size[..]);
        self.builder().op(&UNPOOL, attrs, &[self, position])
    }
}
