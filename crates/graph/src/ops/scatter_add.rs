//! `scatter_add`.

use kiln_loops::{Index, Inst};
use kiln_tensor::DType;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::{Value, each_index};
use crate::graph::Type;
use crate::op::{Arity, AttrDef, Lower, OpDef, Operand, Sample, Scatter};

/// See the record's `doc`.
pub static SCATTER_ADD: OpDef = OpDef {
    name: "scatter_add",
    doc: "Sums of rows: i32 indices [I] and updates [I, rest] give [rows, rest], where each update is added to \
          the row of its index, clamped as in gather.",
    arity: Arity::Exact(2),
    attrs: &[AttrDef { name: "rows", kind: AttrKind::Int, doc: "number of rows of the result" }],
    infer: |x, attrs| {
        let (indices, updates) = (&x[0].shape, &x[1].shape);
        if x[0].dtype != DType::I32 || x[1].dtype == DType::Bool {
            return Err(format!("takes i32 indices and numbers, got {} and {}", x[0], x[1]));
        }
        if !updates.starts_with(indices) {
            return Err(format!("updates {} do not begin with the axes of indices {}", x[1], x[0]));
        }
        let rows = usize::try_from(attrs.int("rows")).map_err(|_| "`rows` is negative")?;
        if rows == 0 && indices.elements() != 0 {
            return Err("there is no row to add to".into());
        }
        rules::fits_i32(rows)?;
        Type::checked(x[1].dtype, [&[rows], &updates[indices.rank()..]].concat())
    },
    grad: Some(|g| vec![None, Some(g.dy.gather(g.x[0]))]),
    lower: Lower::Scatter(Scatter {
        domain: |v| v.operands[1].shape.to_vec(),
        disjoint: |v| (v.operands[0].shape.rank()..v.operands[1].shape.rank()).collect(),
        emit: |p, v, point| {
            let (chosen, rest) = point.split_at(v.operands[0].shape.rank());
            let row = p.operand(0, chosen);
            let row = p.loops().inst(Inst::Clamp(row, v.ty.shape[0]));
            let value = p.operand(1, point);
            ([&[Index::dynamic(row, 1)], rest].concat(), value)
        },
    }),
    eval: |v, x| {
        let mut out = vec![0.0; v.ty.shape.elements()];
        let (rank, strides) = (x[0].shape.rank(), v.ty.shape.strides());
        each_index(&x[1].shape, |i| {
            let (chosen, rest) = i.split_at(rank);
            let row = rules::clamp(x[0].at(chosen), v.ty.shape[0]);
            let column: usize = rest.iter().zip(&strides[1..]).map(|(i, s)| i * s).sum();
            let sum = &mut out[row * strides[0] + column];
            *sum = rules::add(v.ty.dtype, *sum, x[1].at(i));
        });
        Value { shape: v.ty.shape.clone(), data: out }
    },
    samples: &[
        Sample {
            operands: &[Operand::i32(&[2, 4], -2, 9), Operand::f32(&[2, 4, 3])],
            attrs: || attrs(6),
        },
        Sample { operands: &[Operand::i32(&[5], 0, 3), Operand::f32(&[5])], attrs: || attrs(3) },
    ],
};

fn attrs(rows: usize) -> Attrs {
    Attrs::new().with("rows", rows as i64)
}

impl<'b> Var<'b> {
    /// Sums the rows of `updates` that have equal indices (these); the result has `rows` rows.
    pub fn scatter_add(self, updates: Var<'b>, rows: usize) -> Var<'b> {
        self.builder().op(&SCATTER_ADD, attrs(rows), &[self, updates])
    }
}
