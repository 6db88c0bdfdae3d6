//! `winograd_result`.

use kiln_loops::Index;
use kiln_tensor::{DType, Tensor};

use super::{rules, winograd};
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample, Tiles};
use winograd::{Form, tiles};

/// See the record's `doc`.
pub static WINOGRAD_RESULT: OpDef = OpDef {
    name: "winograd_result",
    doc: "The results of Winograd's convolution F(T x T, K x K), T = `tile`, K = `taps`, from its products: \
          [(T + K - 1)^2, N * TH * TW, O] gives [N, O, T * TH, T * TW], for each tile A^T m A of its products.",
    attrs: &[
        winograd::TILE,
        winograd::TAPS,
        AttrDef { name: "tiles", kind: AttrKind::Ints, doc: "N, TH and TW" },
    ],
    infer: |x, attrs| {
        let (shape, form) = (&x[0].shape, Form::named(attrs)?);
        let (tiles, factors) = (rules::sizes(attrs, "tiles")?, form.factors());
        let [n, th, tw] = tiles[..] else { return Err("`tiles` needs N, TH and TW".into()) };
        let count = n.checked_mul(th).and_then(|x| x.checked_mul(tw));
        let fits = shape.rank() == 3 && shape[0] == factors && Some(shape[1]) == count;
        if x[0].dtype != DType::F32 || !fits {
            return Err(format!(
                "needs f32 [{factors}, N * TH * TW, O], got {} for tiles {tiles:?}",
                x[0]
            ));
        }
        let side = |n: usize| n.checked_mul(form.tile).ok_or("the result is too large");
        Type::checked(DType::F32, [n, shape[2], side(th)?, side(tw)?])
    },
    grad: Some(|g| {
        let [n, th, tw] = tiles(g.attrs);
        let form = Form::of(g.attrs);
        let (tile, count) = (form.tile, form.factors());
        let (shape, b) = (g.x[0].shape(), g.dy.builder());
        let (all, o) = (shape[1], shape[2]);
        let dy = g.dy.reshape(&[n, o, th, tile, tw, tile]).transpose(&[0, 2, 4, 1, 3, 5]);
        let matrix = Tensor::f32(
            &[tile * tile, count],
            winograd::flat(&winograd::both(form.result_map().matrix())),
        );
        let matrix = b.constant(matrix.expect("a matrix of as many elements"));
        let dx = dy.reshape(&[all * o, tile * tile]).matmul(matrix);
        vec![Some(dx.reshape(&[all, o, count]).transpose(&[2, 0, 1]))]
    }),
    lower: Lower::Tiles(Tiles {
        domain: |v| {
            let [n, th, tw] = tiles(v.attrs);
            vec![n, th, tw, v.ty.shape[1]]
        },
        reads: |v, point| {
            let [_, th, tw] = tiles(v.attrs);
            let number = winograd::number(point, [th, tw]);
            let product =
                |k: usize| vec![Index::constant(k as i64), number.clone(), point[3].clone()];
            (0..Form::of(v.attrs).factors()).map(product).collect()
        },
        writes: |v, point| {
            let tile = Form::of(v.attrs).tile;
            let [n, h, w, o] = [0, 1, 2, 3].map(|a| point[a].clone());
            let along = |i: &Index, at: usize| i.times(tile as i64).offset(at as i64);
            let places = (0..tile * tile).map(|at| (at / tile, at % tile));
            places.map(|(i, j)| vec![n.clone(), o.clone(), along(&h, i), along(&w, j)]).collect()
        },
        map: |v| Form::of(v.attrs).result_map(),
    }),
    eval: |v, x| {
        let ([_, th, tw], form) = (tiles(v.attrs), Form::of(v.attrs));
        let (tile, matrix) = (form.tile, winograd::both(form.result_map().matrix()));
        Value::from_fn(&v.ty.shape, |i| {
            let number = (i[0] * th + i[2] / tile) * tw + i[3] / tile;
            let row = &matrix[i[2] % tile * tile + i[3] % tile];
            row.iter().enumerate().map(|(k, a)| a * x[0].at(&[k, number, i[1]])).sum()
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[36, 4, 3])],
            attrs: || attrs(Form { tile: 4, taps: 3 }, [2, 1, 2]),
        },
        Sample {
            operands: &[Operand::f32(&[16, 6, 2])],
            attrs: || attrs(Form { tile: 2, taps: 3 }, [1, 3, 2]),
        },
        Sample {
            operands: &[Operand::f32(&[36, 6, 2])],
            attrs: || attrs(Form { tile: 2, taps: 5 }, [1, 3, 2]),
        },
    ],
    ..OpDef::BASE
};

fn attrs(form: Form, tiles: [usize; 3]) -> Attrs {
    form.attrs().with("tiles", &tiles[..])
}

impl<'b> Var<'b> {
    /// The results `[N, O, T * TH, T * TW]` of Winograd's convolution from its products
    /// F(T x T, K x K), `[(T + K - 1)^2, N * TH * TW, O]`; `tiles` are N, TH and TW.
    pub fn winograd_result(self, form: Form, tiles: [usize; 3]) -> Var<'b> {
        self.unary(&WINOGRAD_RESULT, attrs(form, tiles))
    }
}
