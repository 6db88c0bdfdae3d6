//! `winograd_image`.

use kiln_loops::Index;
use kiln_tensor::{DType, Tensor};

use super::{conv, winograd};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Lower, OpDef, Operand, Sample, Tiles};
use winograd::Form;

/// See the record's `doc`.
pub static WINOGRAD_IMAGE: OpDef = OpDef {
    name: "winograd_image",
    doc: "The factors of an image in Winograd's convolution F(T x T, K x K), T = `tile`, K = `taps`: \
          [N, C, T * TH + K - 1, T * TW + K - 1] gives [(T + K - 1)^2, N * TH * TW, C], for each tile of T x T results \
          B^T x B of the elements it depends on.",
    attrs: &[winograd::TILE, winograd::TAPS],
    infer: |x, attrs| {
        let (shape, form) = (&x[0].shape, Form::named(attrs)?);
        if x[0].dtype != DType::F32 || shape.rank() != 4 {
            return Err(format!("needs f32 [N, C, H, W], got {}", x[0]));
        }
        let tiles = |size: usize| match size.checked_sub(form.taps - 1) {
            Some(n) if n > 0 && n.is_multiple_of(form.tile) => Ok(n / form.tile),
            _ => Err(format!("no number of tiles has {size} elements")),
        };
        let (th, tw) = (tiles(shape[2])?, tiles(shape[3])?);
        let count =
            shape[0].checked_mul(th).and_then(|n| n.checked_mul(tw)).ok_or("too many tiles")?;
        Type::checked(DType::F32, [form.factors(), count, shape[1]])
    },
    grad: Some(|g| {
        // As a convolution with the transforms as kernels, each channel for itself.
        let shape = g.x[0].shape();
        let [n, c, h, w] = [0, 1, 2, 3].map(|a| shape[a]);
        let form = Form::of(g.attrs);
        let (th, tw, side) = (count(h, form), count(w, form), form.window());
        let (b, factors) = (g.dy.builder(), form.factors());
        let kernel = Tensor::f32(
            &[1, factors, 1, side, side],
            winograd::flat(&winograd::both(form.image_map().matrix())),
        );
        let kernel = b.constant(kernel.expect("a matrix of as many elements"));
        let dy = g.dy.reshape(&[factors, n, th, tw, c]).transpose(&[1, 4, 0, 2, 3]);
        let dy = dy.reshape(&[n * c, 1, factors, th, tw]);
        let image = g.x[0].reshape(&[n * c, 1, 1, h, w]);
        let dx = conv::grad_image(image, kernel, dy, &conv::attrs([form.tile; 2], [1, 1]));
        vec![Some(dx.reshape(&shape))]
    }),
    lower: Lower::Tiles(Tiles {
        domain: |v| {
            let (shape, form) = (&v.operands[0].shape, Form::of(v.attrs));
            vec![shape[0], count(shape[2], form), count(shape[3], form), shape[1]]
        },
        reads: |v, point| {
            let [n, h, w, c] = [0, 1, 2, 3].map(|a| point[a].clone());
            let form = Form::of(v.attrs);
            let side = form.window();
            let along = |i: &Index, at: usize| i.times(form.tile as i64).offset(at as i64);
            let places = (0..side * side).map(|at| (at / side, at % side));
            places.map(|(i, j)| vec![n.clone(), c.clone(), along(&h, i), along(&w, j)]).collect()
        },
        writes: |v, point| {
            let (shape, form) = (&v.operands[0].shape, Form::of(v.attrs));
            let number = winograd::number(point, [count(shape[2], form), count(shape[3], form)]);
            let factor =
                |k: usize| vec![Index::constant(k as i64), number.clone(), point[3].clone()];
            (0..form.factors()).map(factor).collect()
        },
        map: |v| Form::of(v.attrs).image_map(),
    }),
    eval: |v, x| {
        let (shape, form) = (&x[0].shape, Form::of(v.attrs));
        let (th, tw) = (count(shape[2], form), count(shape[3], form));
        let (tile, side) = (form.tile, form.window());
        let matrix = winograd::both(form.image_map().matrix());
        Value::from_fn(&v.ty.shape, |i| {
            let (n, h, w) = (i[1] / (th * tw), i[1] / tw % th, i[1] % tw);
            let element =
                |at: usize| x[0].at(&[n, i[2], tile * h + at / side, tile * w + at % side]);
            matrix[i[0]].iter().enumerate().map(|(at, b)| b * element(at)).sum()
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[2, 3, 6, 10])],
            attrs: || Form { tile: 4, taps: 3 }.attrs(),
        },
        Sample {
            operands: &[Operand::f32(&[2, 5, 6, 4])],
            attrs: || Form { tile: 2, taps: 3 }.attrs(),
        },
        Sample {
            operands: &[Operand::f32(&[2, 5, 6, 8])],
            attrs: || Form { tile: 2, taps: 5 }.attrs(),
        },
    ],
    ..OpDef::BASE
};

/// The tiles along an axis of so many elements.
fn count(size: usize, form: Form) -> usize {
    (size - (form.taps - 1)) / form.tile
}

impl<'b> Var<'b> {
    /// The factors of an image `[N, C, T * TH + K - 1, T * TW + K - 1]` in Winograd's convolution
    /// F(T x T, K x K).
    pub fn winograd_image(self, form: Form) -> Var<'b> {
        self.unary(&WINOGRAD_IMAGE, form.attrs())
    }
}
