//! `winograd_weights`.

use kiln_loops::Index;
use kiln_tensor::{DType, Tensor};

use super::winograd;
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Lower, OpDef, Operand, Sample, Tiles};
use winograd::Form;

/// See the record's `doc`.
pub static WINOGRAD_WEIGHTS: OpDef = OpDef {
    name: "winograd_weights",
    doc: "The factors of weights in Winograd's convolution F(T x T, K x K), T = `tile`, K = `taps`: [O, C, K, K] gives \
          [(T + K - 1)^2, O, C], for each kernel w of K x K taps G w G^T. Computed in f64 and rounded once.",
    attrs: &[winograd::TILE, winograd::TAPS],
    infer: |x, attrs| {
        let (shape, form) = (&x[0].shape, Form::named(attrs)?);
        let taps = form.taps;
        if x[0].dtype != DType::F32 || shape.rank() != 4 || shape[2..] != [taps, taps] {
            return Err(format!("needs f32 [O, C, {taps}, {taps}], got {}", x[0]));
        }
        Type::checked(DType::F32, [form.factors(), shape[0], shape[1]])
    },
    grad: Some(|g| {
        let (shape, form) = (g.x[0].shape(), Form::of(g.attrs));
        let ([o, c], count) = ([shape[0], shape[1]], form.factors());
        let matrix = Tensor::f32(
            &[count, form.taps * form.taps],
            winograd::flat(&winograd::both(form.weights_map().matrix())),
        );
        let matrix = g.dy.builder().constant(matrix.expect("a matrix of as many elements"));
        let dy = g.dy.transpose(&[1, 2, 0]).reshape(&[o * c, count]);
        vec![Some(dy.matmul(matrix).reshape(&shape))]
    }),
    lower: Lower::Tiles(Tiles {
        domain: |v| v.operands[0].shape[..2].to_vec(),
        reads: |v, point| {
            let side = Form::of(v.attrs).taps;
            let tap = |at: usize| [at / side, at % side].map(|i| Index::constant(i as i64));
            let taps = (0..side * side).map(tap);
            taps.map(|[i, j]| vec![point[0].clone(), point[1].clone(), i, j]).collect()
        },
        writes: |v, point| {
            let factor =
                |k: usize| vec![Index::constant(k as i64), point[0].clone(), point[1].clone()];
            (0..Form::of(v.attrs).factors()).map(factor).collect()
        },
        map: |v| Form::of(v.attrs).weights_map(),
    }),
    eval: |v, x| {
        let form = Form::of(v.attrs);
        let (side, matrix) = (form.taps, winograd::both(form.weights_map().matrix()));
        Value::from_fn(&v.ty.shape, |i| {
            let tap = |at: usize| x[0].at(&[i[1], i[2], at / side, at % side]);
            matrix[i[0]].iter().enumerate().map(|(at, g)| g * tap(at)).sum()
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[2, 5, 3, 3])],
            attrs: || Form { tile: 4, taps: 3 }.attrs(),
        },
        Sample {
            operands: &[Operand::f32(&[3, 2, 3, 3])],
            attrs: || Form { tile: 2, taps: 3 }.attrs(),
        },
        Sample {
            operands: &[Operand::f32(&[3, 2, 5, 5])],
            attrs: || Form { tile: 2, taps: 5 }.attrs(),
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The factors of weights `[O, C, K, K]` in Winograd's convolution F(T x T, K x K).
    pub fn winograd_weights(self, form: Form) -> Var<'b> {
        self.unary(&WINOGRAD_WEIGHTS, form.attrs())
    }
}
