//! `winograd_result`.

use kiln_loops::Index;
use kiln_tensor::{DType, Tensor};

use super::{rules, winograd};
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample, Tiles};
use winograd::{TILE, WINDOW};

/// See the record's `doc`.
pub static WINOGRAD_RESULT: OpDef = OpDef {
    name: "winograd_result",
    doc: "The results of Winograd's convolution F(4x4, 3x3) from its products: [36, N * TH * TW, O] gives \
          [N, O, 4 * TH, 4 * TW], for each tile A^T m A of its 6 x 6 products.",
    attrs: &[AttrDef { name: "tiles", kind: AttrKind::Ints, doc: "N, TH and TW" }],
    infer: |x, attrs| {
        let (shape, tiles) = (&x[0].shape, rules::sizes(attrs, "tiles")?);
        let [n, th, tw] = tiles[..] else { return Err("`tiles` needs N, TH and TW".into()) };
        let count = n.checked_mul(th).and_then(|x| x.checked_mul(tw));
        let fits = shape.rank() == 3 && shape[0] == WINDOW * WINDOW && Some(shape[1]) == count;
        if x[0].dtype != DType::F32 || !fits {
            return Err(format!(
                "needs f32 [36, N * TH * TW, O], got {} for tiles {tiles:?}",
                x[0]
            ));
        }
        let side = |n: usize| n.checked_mul(TILE).ok_or("the result is too large");
        Type::checked(DType::F32, [n, shape[2], side(th)?, side(tw)?])
    },
    grad: Some(|g| {
        let [n, th, tw] = tiles(g.attrs);
        let (shape, b) = (g.x[0].shape(), g.dy.builder());
        let (count, o) = (shape[1], shape[2]);
        let dy = g.dy.reshape(&[n, o, th, TILE, tw, TILE]).transpose(&[0, 2, 4, 1, 3, 5]);
        let matrix = Tensor::f32(
            &[TILE * TILE, WINDOW * WINDOW],
            winograd::flat(&winograd::both(&winograd::A)),
        );
        let matrix = b.constant(matrix.expect("a matrix of as many elements"));
        let dx = dy.reshape(&[count * o, TILE * TILE]).matmul(matrix);
        vec![Some(dx.reshape(&[count, o, WINDOW * WINDOW]).transpose(&[2, 0, 1]))]
    }),
    lower: Lower::Tiles(Tiles {
        domain: |v| {
            let [n, th, tw] = tiles(v.attrs);
            vec![n, th, tw, v.ty.shape[1]]
        },
        reads: |v, point| {
            let [_, th, tw] = tiles(v.attrs);
            let tile = winograd::tile(point, [th, tw]);
            let product =
                |k: usize| vec![Index::constant(k as i64), tile.clone(), point[3].clone()];
            (0..WINDOW * WINDOW).map(product).collect()
        },
        writes: |_, point| {
            let [n, h, w, o] = [0, 1, 2, 3].map(|a| point[a].clone());
            let along = |i: &Index, at: usize| i.times(TILE as i64).offset(at as i64);
            let places = (0..TILE * TILE).map(|at| (at / TILE, at % TILE));
            places.map(|(i, j)| vec![n.clone(), o.clone(), along(&h, i), along(&w, j)]).collect()
        },
        emit: |b, x| winograd::square(b, x, winograd::results),
    }),
    eval: |v, x| {
        let [_, th, tw] = tiles(v.attrs);
        let matrix = winograd::both(&winograd::A);
        Value::from_fn(&v.ty.shape, |i| {
            let tile = (i[0] * th + i[2] / TILE) * tw + i[3] / TILE;
            let row = &matrix[i[2] % TILE * TILE + i[3] % TILE];
            row.iter().enumerate().map(|(k, a)| a * x[0].at(&[k, tile, i[1]])).sum()
        })
    },
    samples: &[Sample { operands: &[Operand::f32(&[36, 4, 3])], attrs: || attrs([2, 1, 2]) }],
    ..OpDef::BASE
};

fn attrs(tiles: [usize; 3]) -> Attrs {
    Attrs::new().with("tiles", &tiles[..])
}

/// N, TH and TW of a well-formed node.
fn tiles(attrs: &Attrs) -> [usize; 3] {
    let tiles = rules::known(attrs, "tiles");
    [tiles[0], tiles[1], tiles[2]]
}

impl<'b> Var<'b> {
    /// The results `[N, O, 4 * TH, 4 * TW]` of Winograd's convolution from its products
    /// `[36, N * TH * TW, O]`, for `tiles` = N, TH and TW.
    pub fn winograd_result(self, tiles: [usize; 3]) -> Var<'b> {
        self.unary(&WINOGRAD_RESULT, attrs(tiles))
    }
}
