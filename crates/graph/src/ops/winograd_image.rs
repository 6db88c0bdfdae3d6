//! `winograd_image`.

use kiln_loops::Index;
use kiln_tensor::{DType, Tensor};

use super::{conv, winograd};
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Lower, OpDef, Operand, Sample, Tiles};
use winograd::{TAPS, tile, window};

/// See the record's `doc`.
pub static WINOGRAD_IMAGE: OpDef = OpDef {
    name: "winograd_image",
    doc: "The factors of an image in Winograd's convolution F(T x T, 3x3), T = `tile`: [N, C, T * TH + 2, T * TW + 2] \
          gives [(T + 2)^2, N * TH * TW, C], for each tile of T x T results B^T x B of the elements it depends on.",
    attrs: &[winograd::TILE],
    infer: |x, attrs| {
        let (shape, tile) = (&x[0].shape, winograd::tile_of(attrs)?);
        if x[0].dtype != DType::F32 || shape.rank() != 4 {
            return Err(format!("needs f32 [N, C, H, W], got {}", x[0]));
        }
        let tiles = |size: usize| match size.checked_sub(TAPS - 1) {
            Some(n) if n > 0 && n.is_multiple_of(tile) => Ok(n / tile),
            _ => Err(format!("no number of tiles has {size} elements")),
        };
        let (th, tw) = (tiles(shape[2])?, tiles(shape[3])?);
        let count =
            shape[0].checked_mul(th).and_then(|n| n.checked_mul(tw)).ok_or("too many tiles")?;
        Type::checked(DType::F32, [window(tile).pow(2), count, shape[1]])
    },
    grad: Some(|g| {
        // As a convolution with the transforms as kernels, each channel for itself.
        let shape = g.x[0].shape();
        let [n, c, h, w] = [0, 1, 2, 3].map(|a| shape[a]);
        let tile = tile(g.attrs);
        let (th, tw, side) = (count(h, tile), count(w, tile), window(tile));
        let b = g.dy.builder();
        let factors = side * side;
        let kernel = Tensor::f32(
            &[1, factors, 1, side, side],
            winograd::flat(&winograd::both(winograd::image_map(tile).matrix())),
        );
        let kernel = b.constant(kernel.expect("a matrix of as many elements"));
        let dy = g.dy.reshape(&[factors, n, th, tw, c]).transpose(&[1, 4, 0, 2, 3]);
        let dy = dy.reshape(&[n * c, 1, factors, th, tw]);
        let image = g.x[0].reshape(&[n * c, 1, 1, h, w]);
        let dx = conv::grad_image(image, kernel, dy, &conv::attrs([tile; 2], [1, 1]));
        vec![Some(dx.reshape(&shape))]
    }),
    lower: Lower::Tiles(Tiles {
        domain: |v| {
            let (shape, tile) = (&v.operands[0].shape, tile(v.attrs));
            vec![shape[0], count(shape[2], tile), count(shape[3], tile), shape[1]]
        },
        reads: |v, point| {
            let [n, h, w, c] = [0, 1, 2, 3].map(|a| point[a].clone());
            let (tile, side) = (tile(v.attrs), window(tile(v.attrs)));
            let along = |i: &Index, at: usize| i.times(tile as i64).offset(at as i64);
            let places = (0..side * side).map(|at| (at / side, at % side));
            places.map(|(i, j)| vec![n.clone(), c.clone(), along(&h, i), along(&w, j)]).collect()
        },
        writes: |v, point| {
            let (shape, tile) = (&v.operands[0].shape, tile(v.attrs));
            let number = winograd::number(point, [count(shape[2], tile), count(shape[3], tile)]);
            let factor =
                |k: usize| vec![Index::constant(k as i64), number.clone(), point[3].clone()];
            (0..window(tile).pow(2)).map(factor).collect()
        },
        map: |v| winograd::image_map(tile(v.attrs)),
    }),
    eval: |v, x| {
        let (shape, tile) = (&x[0].shape, tile(v.attrs));
        let (th, tw) = (count(shape[2], tile), count(shape[3], tile));
        let side = window(tile);
        let matrix = winograd::both(winograd::image_map(tile).matrix());
        Value::from_fn(&v.ty.shape, |i| {
            let (n, h, w) = (i[1] / (th * tw), i[1] / tw % th, i[1] % tw);
            let element =
                |at: usize| x[0].at(&[n, i[2], tile * h + at / side, tile * w + at % side]);
            matrix[i[0]].iter().enumerate().map(|(at, b)| b * element(at)).sum()
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[2, 3, 6, 10])], attrs: || attrs(4) },
        Sample { operands: &[Operand::f32(&[2, 5, 6, 4])], attrs: || attrs(2) },
    ],
    ..OpDef::BASE
};

/// The tiles along an axis of so many elements.
fn count(size: usize, tile: usize) -> usize {
    (size - (TAPS - 1)) / tile
}

fn attrs(tile: usize) -> Attrs {
    Attrs::new().with("tile", tile as i64)
}

impl<'b> Var<'b> {
    /// The factors of an image `[N, C, T * TH + 2, T * TW + 2]` in Winograd's convolution with tiles
    /// of `T` x `T` results, `tile` = T, which is 2 or 4.
    pub fn winograd_image(self, tile: usize) -> Var<'b> {
        self.unary(&WINOGRAD_IMAGE, attrs(tile))
    }
}
