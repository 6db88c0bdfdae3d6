//! `conv`: the grouped convolution.
//!
//! Padding is a `pad` before it and is no business of this operator, which makes it closed under
//! differentiation: the gradient with respect to the image is a convolution of the padded, dilated
//! cotangent with the reversed kernel, the gradient with respect to the kernel is a convolution of
//! the image with the cotangent, stride and dilation changing places.

use kiln_tensor::DType;

use super::rules;
use super::windows::{self, Window};
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Access, Arity, AttrDef, AxisAccess, Lower, OpDef, Operand, Sample, Space};

/// See the record's `doc`.
pub static CONV: OpDef = OpDef {
    name: "conv",
    doc: "Grouped 2-d convolution (no padding; kernels are not flipped): image [N, G, C, H, W] and \
          kernel [G, O, C, KH, KW] give [N, G, O, OH, OW] with OH = (H - dilation * (KH - 1) - 1) / stride + 1.",
    arity: Arity::Exact(2),
    attrs: &[
        AttrDef { name: "stride", kind: AttrKind::Ints, doc: "steps of the window in H and W" },
        AttrDef {
            name: "dilation",
            kind: AttrKind::Ints,
            doc: "distance of the kernel's taps in H and W",
        },
    ],
    infer: |x, attrs| {
        let (image, kernel) = (&x[0].shape, &x[1].shape);
        if x[0].dtype != DType::F32 || x[1].dtype != DType::F32 {
            return Err(format!("convolves f32, got {} and {}", x[0], x[1]));
        }
        if image.rank() != 5 || kernel.rank() != 5 {
            return Err(format!(
                "needs [N, G, C, H, W] and [G, O, C, KH, KW], got {image} and {kernel}"
            ));
        }
        if image[1] != kernel[0] || image[2] != kernel[2] {
            return Err(format!("groups and channels differ: image {image}, kernel {kernel}"));
        }
        let (stride, dilation) = (rules::pair(attrs, "stride")?, rules::pair(attrs, "dilation")?);
        let places = |axis: usize| {
            rules::window(image[3 + axis], kernel[3 + axis], stride[axis], dilation[axis])
        };
        let (oh, ow) = (places(0)?, places(1)?);
        Type::checked(DType::F32, [image[0], kernel[0], kernel[1], oh, ow])
    },
    grad: Some(|g| {
        vec![
            Some(grad_image(g.x[0], g.x[1], g.dy, g.attrs)),
            Some(grad_kernel(g.x[0], g.x[1], g.dy, g.attrs)),
        ]
    }),
    lower: Lower::Contract(|v| {
        // Axes of the space: N, G, O, OH, OW, then C, KH, KW.
        let (stride, dilation) = (v.attrs.ints("stride"), v.attrs.ints("dilation"));
        let kernel = &v.operands[1].shape;
        Space {
            reduced: vec![kernel[2], kernel[3], kernel[4]],
            operands: vec![
                Access(vec![
                    AxisAccess::axis(0),
                    AxisAccess::axis(1),
                    AxisAccess::axis(5),
                    AxisAccess::window(3, stride[0], 6, dilation[0]),
                    AxisAccess::window(4, stride[1], 7, dilation[1]),
                ]),
                Access([1, 2, 5, 6, 7].map(AxisAccess::axis).to_vec()),
            ],
        }
    }),
    eval: |v, x| {
        let (stride, dilation) = (v.attrs.ints("stride"), v.attrs.ints("dilation"));
        let [c, kh, kw] = [2, 3, 4].map(|a| x[1].shape[a]);
        let at = |o: usize, axis: usize, k: usize| {
            o * stride[axis] as usize + k * dilation[axis] as usize
        };
        Value::from_fn(&v.ty.shape, |i| {
            let mut sum = 0.0;
            for c in 0..c {
                for h in 0..kh {
                    for w in 0..kw {
                        sum += x[0].at(&[i[0], i[1], c, at(i[3], 0, h), at(i[4], 1, w)])
                            * x[1].at(&[i[1], i[2], c, h, w]);
                    }
                }
            }
            sum
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[2, 1, 3, 6, 7]), Operand::f32(&[1, 4, 3, 3, 2])],
            attrs: || attrs([1, 1], [1, 1]),
        },
        Sample {
            operands: &[Operand::f32(&[2, 2, 2, 9, 8]), Operand::f32(&[2, 3, 2, 3, 3])],
            attrs: || attrs([2, 3], [2, 1]),
        },
    ],
};

pub(super) fn attrs(stride: [usize; 2], dilation: [usize; 2]) -> Attrs {
    Attrs::new().with("stride", &stride[..]).with("dilation", &dilation[..])
}

/// The window that slides over the image.
fn window(kernel: Var<'_>, attrs: &Attrs) -> Window {
    let pair = |name| {
        let x = rules::known(attrs, name);
        [x[0], x[1]]
    };
    let taps = kernel.shape();
    Window { kernel: [taps[3], taps[4]], stride: pair("stride"), dilation: pair("dilation") }
}

/// `dx[h] = sum over k of dy[(h - k * dilation) / stride] * w[k]`: with dy spread out by the stride
/// and padded by the kernel's reach it is a convolution with the kernel reversed and its channel
/// axes exchanged.
pub(super) fn grad_image<'b>(image: Var<'b>, kernel: Var<'b>, dy: Var<'b>, a: &Attrs) -> Var<'b> {
    let window = window(kernel, a);
    let spread = windows::spread(dy, &image.shape(), &window);
    let turned = kernel.reverse(&[3, 4]).transpose(&[0, 2, 1, 3, 4]);
    spread.conv5(turned, [1, 1], window.dilation)
}

/// `dw[k] = sum over images and places p of x[p * stride + k * dilation] * dy[p]`: a convolution
/// over the image's H and W with the cotangent as kernel, images in the role of channels.
fn grad_kernel<'b>(image: Var<'b>, kernel: Var<'b>, dy: Var<'b>, a: &Attrs) -> Var<'b> {
    let window = window(kernel, a);
    let x = image.transpose(&[2, 1, 0, 3, 4]); // [C, G, N, H, W]
    let w = dy.transpose(&[1, 2, 0, 3, 4]); // [G, O, N, OH, OW]
    let all = x.conv5(w, window.dilation, window.stride); // [C, G, O, >= KH, >= KW]
    let mut limit = all.shape().to_vec();
    limit.truncate(3);
    limit.extend(window.kernel);
    let kept = all.slice(&[0; 5], &limit, &[1; 5]);
    kept.transpose(&[1, 2, 0, 3, 4])
}

impl<'b> Var<'b> {
    /// Grouped convolution of `[N, G, C, H, W]` with `[G, O, C, KH, KW]`, no padding.
    pub fn conv5(self, kernel: Var<'b>, stride: [usize; 2], dilation: [usize; 2]) -> Var<'b> {
        self.builder().op(&CONV, attrs(stride, dilation), &[self, kernel])
    }

    /// Convolution of `[N, C, H, W]` with `[O, C / groups, KH, KW]`, as PyTorch lays them out, with
    /// `pad` zeros on every side of H and W.
    pub fn conv(
        self,
        kernel: Var<'b>,
        stride: [usize; 2],
        pad: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
    ) -> Var<'b> {
        let (i, k) = (self.shape(), kernel.shape());
        if i.rank() != 4 || k.rank() != 4 || groups == 0 {
            return self.conv5(kernel, stride, dilation); // reports the ranks
        }
        let padding = [0, 0, pad[0], pad[1]];
        let padded = self.pad(&padding, &padding, &[0; 4], 0.0);
        let p = padded.shape();
        if p.rank() != 4 {
            return padded; // too large
        }
        let x = padded.reshape(&[p[0], groups, p[1] / groups, p[2], p[3]]);
        let w = kernel.reshape(&[groups, k[0] / groups, k[1], k[2], k[3]]);
        let y = x.conv5(w, stride, dilation);
        let s = y.shape();
        if s.rank() != 5 {
            return y;
        }
        y.reshape(&[s[0], s[1] * s[2], s[3], s[4]])
    }
}
