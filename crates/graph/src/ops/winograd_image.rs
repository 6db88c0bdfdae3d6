//! `winograd_image`.

use kiln_loops::Index;
use kiln_tensor::{DType, Tensor};

use super::{conv, winograd};
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Lower, OpDef, Operand, Sample, Tiles};
use winograd::{TILE, WINDOW};

/// See the record's `doc`.
pub static WINOGRAD_IMAGE: OpDef = OpDef {
    name: "winograd_image",
    doc: "The factors of an image in Winograd's convolution F(4x4, 3x3): [N, C, 4 * TH + 2, 4 * TW + 2] gives \
          [36, N * TH * TW, C], for each tile of 4 x 4 results B^T x B of the 6 x 6 elements it depends on.",
    infer: |x, _| {
        let shape = &x[0].shape;
        if x[0].dtype != DType::F32 || shape.rank() != 4 {
            return Err(format!("needs f32 [N, C, H, W], got {}", x[0]));
        }
        let tiles = |size: usize| match size.checked_sub(WINDOW - TILE) {
            Some(n) if n > 0 && n.is_multiple_of(TILE) => Ok(n / TILE),
            _ => Err(format!("no number of tiles has {size} elements")),
        };
        let (th, tw) = (tiles(shape[2])?, tiles(shape[3])?);
        let count =
            shape[0].checked_mul(th).and_then(|n| n.checked_mul(tw)).ok_or("too many tiles")?;
        Type::checked(DType::F32, [WINDOW * WINDOW, count, shape[1]])
    },
    grad: Some(|g| {
        // As a convolution with the transforms as kernels, each channel for itself.
        let shape = g.x[0].shape();
        let [n, c, h, w] = [0, 1, 2, 3].map(|a| shape[a]);
        let (th, tw) = (h / TILE, w / TILE);
        let b = g.dy.builder();
        let count = WINDOW * WINDOW;
        let kernel = Tensor::f32(
            &[1, count, 1, WINDOW, WINDOW],
            winograd::flat(&winograd::both(&winograd::B)),
        );
        let kernel = b.constant(kernel.expect("a matrix of as many elements"));
        let dy = g.dy.reshape(&[count, n, th, tw, c]).transpose(&[1, 4, 0, 2, 3]);
        let dy = dy.reshape(&[n * c, 1, count, th, tw]);
        let image = g.x[0].reshape(&[n * c, 1, 1, h, w]);
        let dx = conv::grad_image(image, kernel, dy, &conv::attrs([TILE; 2], [1, 1]));
        vec![Some(dx.reshape(&shape))]
    }),
    lower: Lower::Tiles(Tiles {
        domain: |v| {
            let shape = &v.operands[0].shape;
            vec![shape[0], shape[2] / TILE, shape[3] / TILE, shape[1]]
        },
        reads: |_, point| {
            let [n, h, w, c] = [0, 1, 2, 3].map(|a| point[a].clone());
            let along = |i: &Index, at: usize| i.times(TILE as i64).offset(at as i64);
            let places = (0..WINDOW * WINDOW).map(|at| (at / WINDOW, at % WINDOW));
            places.map(|(i, j)| vec![n.clone(), c.clone(), along(&h, i), along(&w, j)]).collect()
        },
        writes: |v, point| {
            let shape = &v.operands[0].shape;
            let tile = winograd::tile(point, [shape[2] / TILE, shape[3] / TILE]);
            let factor = |k: usize| vec![Index::constant(k as i64), tile.clone(), point[3].clone()];
            (0..WINDOW * WINDOW).map(factor).collect()
        },
        emit: |b, x| winograd::square(b, x, winograd::factors),
    }),
    eval: |v, x| {
        let shape = &x[0].shape;
        let (th, tw) = (shape[2] / TILE, shape[3] / TILE);
        let matrix = winograd::both(&winograd::B);
        Value::from_fn(&v.ty.shape, |i| {
            let (n, h, w) = (i[1] / (th * tw), i[1] / tw % th, i[1] % tw);
            let element =
                |at: usize| x[0].at(&[n, i[2], TILE * h + at / WINDOW, TILE * w + at % WINDOW]);
            matrix[i[0]].iter().enumerate().map(|(at, b)| b * element(at)).sum()
        })
    },
    samples: &[Sample { operands: &[Operand::f32(&[2, 3, 6, 10])], attrs: Attrs::new }],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The factors of an image `[N, C, 4 * TH + 2, 4 * TW + 2]` in Winograd's convolution.
    pub fn winograd_image(self) -> Var<'b> {
        self.unary(&WINOGRAD_IMAGE, Attrs::new())
    }
}
