//! `winograd_weights`.

use kiln_loops::Index;
use kiln_tensor::{DType, Tensor};

use super::winograd;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Lower, OpDef, Operand, Sample, Tiles};
use winograd::{TAPS, tile, window};

/// See the record's `doc`.
pub static WINOGRAD_WEIGHTS: OpDef = OpDef {
    name: "winograd_weights",
    doc: "The factors of weights in Winograd's convolution F(T x T, 3x3), T = `tile`: [O, C, 3, 3] gives \
          [(T + 2)^2, O, C], for each kernel w of 3 x 3 taps G w G^T. Computed in f64 and rounded once.",
    attrs: &[winograd::TILE],
    infer: |x, attrs| {
        let (shape, tile) = (&x[0].shape, winograd::tile_of(attrs)?);
        if x[0].dtype != DType::F32 || shape.rank() != 4 || shape[2..] != [TAPS, TAPS] {
            return Err(format!("needs f32 [O, C, {TAPS}, {TAPS}], got {}", x[0]));
        }
        Type::checked(DType::F32, [window(tile).pow(2), shape[0], shape[1]])
    },
    grad: Some(|g| {
        let (shape, count) = (g.x[0].shape(), window(tile(g.attrs)).pow(2));
        let [o, c] = [shape[0], shape[1]];
        let matrix = Tensor::f32(
            &[count, TAPS * TAPS],
            winograd::flat(&winograd::both(winograd::weights_map(tile(g.attrs)).matrix())),
        );
        let matrix = g.dy.builder().constant(matrix.expect("a matrix of as many elements"));
        let dy = g.dy.transpose(&[1, 2, 0]).reshape(&[o * c, count]);
        vec![Some(dy.matmul(matrix).reshape(&shape))]
    }),
    lower: Lower::Tiles(Tiles {
        domain: |v| v.operands[0].shape[..2].to_vec(),
        reads: |_, point| {
            let tap = |at: usize| [at / TAPS, at % TAPS].map(|i| Index::constant(i as i64));
            let taps = (0..TAPS * TAPS).map(tap);
            taps.map(|[i, j]| vec![point[0].clone(), point[1].clone(), i, j]).collect()
        },
        writes: |v, point| {
            let factor =
                |k: usize| vec![Index::constant(k as i64), point[0].clone(), point[1].clone()];
            (0..window(tile(v.attrs)).pow(2)).map(factor).collect()
        },
        map: |v| winograd::weights_map(tile(v.attrs)),
    }),
    eval: |v, x| {
        let matrix = winograd::both(winograd::weights_map(tile(v.attrs)).matrix());
        Value::from_fn(&v.ty.shape, |i| {
            let tap = |at: usize| x[0].at(&[i[1], i[2], at / TAPS, at % TAPS]);
            matrix[i[0]].iter().enumerate().map(|(at, g)| g * tap(at)).sum()
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[2, 5, 3, 3])], attrs: || attrs(4) },
        Sample { operands: &[Operand::f32(&[3, 2, 3, 3])], attrs: || attrs(2) },
    ],
    ..OpDef::BASE
};

fn attrs(tile: usize) -> Attrs {
    Attrs::new().with("tile", tile as i64)
}

impl<'b> Var<'b> {
    /// The factors of weights `[O, C, 3, 3]` in Winograd's convolution with tiles of `T` x `T` results,
    /// `tile` = T, which is 2 or 4.
    pub fn winograd_weights(self, tile: usize) -> Var<'b> {
        self.unary(&WINOGRAD_WEIGHTS, attrs(tile))
    }
}
