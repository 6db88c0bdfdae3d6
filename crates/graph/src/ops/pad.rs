//! `pad`.

use kiln_tensor::DType;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Piece, Sample};

/// See the record's `doc`.
pub static PAD: OpDef = OpDef {
    name: "pad",
    doc: "The operand with a constant before, after and between its elements along each axis.",
    attrs: &[
        AttrDef { name: "low", kind: AttrKind::Ints, doc: "how many before, for each axis" },
        AttrDef { name: "high", kind: AttrKind::Ints, doc: "how many after, for each axis" },
        AttrDef {
            name: "interior",
            kind: AttrKind::Ints,
            doc: "how many between neighbours, for each axis",
        },
        AttrDef {
            name: "value",
            kind: AttrKind::Float,
            doc: "the constant, exactly representable as f32",
        },
    ],
    infer: |x, attrs| {
        let [low, high, interior] = ["low", "high", "interior"].map(|n| rules::sizes(attrs, n));
        let (low, high, interior) = (low?, high?, interior?);
        let shape = &x[0].shape;
        if [low.len(), high.len(), interior.len()] != [shape.rank(); 3] {
            return Err(format!(
                "`low`, `high` and `interior` need an entry for each axis of {}",
                x[0]
            ));
        }
        let value = attrs.float("value");
        let fits = match x[0].dtype {
            DType::F32 => value.is_nan() || f64::from(value as f32) == value,
            // Whole numbers that f32 holds exactly.
            DType::I32 => value.fract() == 0.0 && value.abs() <= f64::from(1 << 24),
            DType::Bool => value == 0.0 || value == 1.0,
        };
        if !fits {
            return Err(format!("{} cannot be padded with {value}", x[0]));
        }
        let padded = |axis: usize| {
            let gaps = shape[axis].saturating_sub(1).checked_mul(interior[axis])?;
            shape[axis].checked_add(gaps)?.checked_add(low[axis])?.checked_add(high[axis])
        };
        let dims: Option<Vec<usize>> = (0..shape.rank()).map(padded).collect();
        Type::checked(x[0].dtype, dims.ok_or("the result is too large")?)
    },
    grad: Some(|g| {
        let (x, y) = (g.x[0].shape(), g.y.shape());
        let (low, high) = (rules::known(g.attrs, "low"), rules::known(g.attrs, "high"));
        let limit: Vec<usize> = (0..y.rank()).map(|a| y[a] - high[a]).collect();
        // An axis of one element has no gaps, whatever `interior` says.
        let step: Vec<usize> = rules::known(g.attrs, "interior")
            .into_iter()
            .zip(x.iter())
            .map(|(gap, &size)| if size > 1 { gap + 1 } else { 1 })
            .collect();
        vec![Some(g.dy.slice(&low, &limit, &step))]
    }),
    lower: Lower::Place(
        |v| {
            let step =
                rules::known(v.attrs, "interior").into_iter().zip(v.operands[0].shape.iter());
            vec![Piece {
                operand: 0,
                start: rules::known(v.attrs, "low"),
                step: step.map(|(gap, &size)| if size > 1 { gap + 1 } else { 1 }).collect(),
            }]
        },
        |v| Some(v.attrs.float("value") as f32),
    ),
    eval: |v, x| {
        let (low, interior) = (rules::known(v.attrs, "low"), rules::known(v.attrs, "interior"));
        Value::from_fn(&v.ty.shape, |i| {
            let mut index = Vec::with_capacity(i.len());
            for (axis, &i) in i.iter().enumerate() {
                let step = interior[axis].saturating_add(1);
                match i.checked_sub(low[axis]) {
                    Some(d) if d % step == 0 && d / step < x[0].shape[axis] => index.push(d / step),
                    _ => return v.attrs.float("value"),
                }
            }
            x[0].at(&index)
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[3, 5])],
            attrs: || attrs(&[1, 0], &[0, 2], &[0, 0], 0.0),
        },
        Sample {
            operands: &[Operand::f32(&[3, 4])],
            attrs: || attrs(&[0, 1], &[2, 1], &[1, 2], -1.5),
        },
        Sample {
            operands: &[Operand::f32(&[1, 2])],
            attrs: || attrs(&[1, 0], &[1, 0], &[3, 0], f64::NEG_INFINITY),
        },
        Sample { operands: &[Operand::i32(&[4], -9, 9)], attrs: || attrs(&[1], &[1], &[0], 7.0) },
    ],
    ..OpDef::BASE
};

fn attrs(low: &[usize], high: &[usize], interior: &[usize], value: f64) -> Attrs {
    Attrs::new().with("low", low).with("high", high).with("interior", interior).with("value", value)
}

impl<'b> Var<'b> {
    /// Puts `value` before (`low`), after (`high`) and between (`interior`) the elements along each
    /// axis. The value itself if nothing is put.
    pub fn pad(self, low: &[usize], high: &[usize], interior: &[usize], value: f32) -> Var<'b> {
        let none = vec![0; self.shape().rank()];
        if [low, high, interior] == [&none[..]; 3] {
            return self;
        }
        self.unary(&PAD, attrs(low, high, interior, f64::from(value)))
    }
}
