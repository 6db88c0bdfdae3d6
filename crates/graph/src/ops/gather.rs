//! `gather`.

use kiln_loops::{Index, Inst};
use kiln_tensor::DType;

use super::rules;
use crate::attrs::Attrs;
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static GATHER: OpDef = OpDef {
    name: "gather",
    doc: "Rows of a table: table [V, rest] and i32 indices [I] (each of any number of axes) give [I, rest]. \
          An index below 0 counts as 0, one above V - 1 as V - 1.",
    arity: Arity::Exact(2),
    infer: |x, _| {
        let (table, indices) = (&x[0].shape, &x[1].shape);
        if x[1].dtype != DType::I32 {
            return Err(format!("indices are i32, got {}", x[1]));
        }
        if table.rank() == 0 {
            return Err(format!("the table {} has no rows", x[0]));
        }
        if table[0] == 0 && indices.elements() != 0 {
            return Err(format!("the table {} has no row to choose", x[0]));
        }
        rules::fits_i32(table[0])?;
        Type::checked(x[0].dtype, [indices, &table[1..]].concat())
    },
    grad: Some(|g| vec![Some(g.x[1].scatter_add(g.dy, g.x[0].shape()[0])), None]),
    lower: Lower::Element(|p, v, index| {
        let (chosen, rest) = index.split_at(v.operands[1].shape.rank());
        let row = p.operand(1, chosen);
        let row = p.loops().inst(Inst::Clamp(row, v.operands[0].shape[0]));
        p.operand(0, &[&[Index::dynamic(row, 1)], rest].concat())
    }),
    eval: |v, x| {
        let rank = x[1].shape.rank();
        Value::from_fn(&v.ty.shape, |i| {
            let (chosen, rest) = i.split_at(rank);
            x[0].at(&[&[rules::clamp(x[1].at(chosen), x[0].shape[0])], rest].concat())
        })
    },
    samples: &[
        Sample {
            operands: &[Operand::f32(&[6, 3]), Operand::i32(&[2, 4], -2, 9)],
            attrs: Attrs::new,
        },
        Sample { operands: &[Operand::f32(&[6]), Operand::i32(&[], 0, 6)], attrs: Attrs::new },
        Sample {
            operands: &[Operand::i32(&[4, 2], -9, 9), Operand::i32(&[5], 0, 4)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

impl<'b> Var<'b> {
    /// The rows of this table at `indices`, along its first axis.
    pub fn gather(self, indices: Var<'b>) -> Var<'b> {
        self.builder().op(&GATHER, Attrs::new(), &[self, indices])
    }
}
