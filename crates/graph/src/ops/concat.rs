//! `concat`.

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::{Builder, Var};
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Arity, AttrDef, Lower, OpDef, OpView, Operand, Piece, Sample};

/// See the record's `doc`.
pub static CONCAT: OpDef = OpDef {
    name: "concat",
    doc: "The operands one after the other along an axis; the other axes are equal.",
    arity: Arity::AtLeast(1),
    attrs: &[AttrDef {
        name: "axis",
        kind: AttrKind::Int,
        doc: "the axis they follow each other on",
    }],
    infer: |x, attrs| {
        let dtype = rules::same_dtype(x)?;
        let axis = rules::axis(attrs, x[0].shape.rank())?;
        let mut dims = x[0].shape.to_vec();
        for t in &x[1..] {
            let fits = t.shape.rank() == dims.len()
                && (0..dims.len()).all(|a| a == axis || t.shape[a] == dims[a]);
            if !fits {
                return Err(format!("{} and {t} differ on an axis other than {axis}", x[0]));
            }
            dims[axis] = dims[axis].checked_add(t.shape[axis]).ok_or("the result is too large")?;
        }
        Type::checked(dtype, dims)
    },
    grad: Some(|g| {
        let axis = g.attrs.int("axis") as usize;
        let mut start = vec![0; g.y.shape().rank()];
        let step = vec![1; start.len()];
        let part = |x: &Var<'_>| {
            let mut limit = x.shape().to_vec();
            limit[axis] += start[axis];
            let part = g.dy.slice(&start, &limit, &step);
            start[axis] = limit[axis];
            Some(part)
        };
        g.x.iter().map(part).collect()
    }),
    lower: Lower::Place(pieces, |_| None),
    eval: |v, x| {
        let axis = v.attrs.int("axis") as usize;
        Value::from_fn(&v.ty.shape, |i| {
            let mut index = i.to_vec();
            for x in x {
                if index[axis] < x.shape[axis] {
                    return x.at(&index);
                }
                index[axis] -= x.shape[axis];
            }
            unreachable!("the result is as long as its parts")
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[3, 5]), Operand::f32(&[3, 2]), Operand::f32(&[3, 1])],
            attrs: || attrs(1),
        },
        Sample {
            operands: &[Operand::i32(&[2, 3], -9, 9), Operand::i32(&[4, 3], -9, 9)],
            attrs: || attrs(0),
        },
    ],
};

fn attrs(axis: usize) -> Attrs {
    Attrs::new().with("axis", axis as i64)
}

fn pieces(v: &OpView<'_>) -> Vec<Piece> {
    let axis = v.attrs.int("axis") as usize;
    let mut start = vec![0; v.ty.shape.rank()];
    let step = vec![1; start.len()];
    let mut pieces = Vec::with_capacity(v.operands.len());
    for (operand, ty) in v.operands.iter().enumerate() {
        pieces.push(Piece { operand, start: start.clone(), step: step.clone() });
        start[axis] += ty.shape[axis];
    }
    pieces
}

impl Builder {
    /// Values one after the other along an axis; a single one is itself.
    pub fn concat(&self, values: &[Var<'_>], axis: usize) -> Var<'_> {
        match values {
            [one] => self.var(one.id()),
            _ => self.op(&CONCAT, attrs(axis), values),
        }
    }
}
