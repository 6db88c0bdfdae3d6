//! `reverse`.

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static REVERSE: OpDef = OpDef {
    name: "reverse",
    doc: "The operand with the elements along some axes in reverse order.",
    attrs: &[AttrDef { name: "axes", kind: AttrKind::Ints, doc: "axes to reverse, ascending" }],
    infer: |x, attrs| {
        rules::axes(attrs, "axes", x[0].shape.rank())?;
        Ok(x[0].clone())
    },
    grad: Some(|g| vec![Some(g.dy.reverse(&rules::known(g.attrs, "axes")))]),
    lower: Lower::View(|v, index| {
        let mut index = index.to_vec();
        for axis in rules::known(v.attrs, "axes") {
            index[axis] = index[axis].times(-1).offset(v.ty.shape[axis] as i64 - 1);
        }
        index
    }),
    eval: |v, x| {
        let axes = rules::known(v.attrs, "axes");
        Value::from_fn(&v.ty.shape, |i| {
            let mut index = i.to_vec();
            axes.iter().for_each(|&a| index[a] = v.ty.shape[a] - 1 - index[a]);
            x[0].at(&index)
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || attrs(&[1]) },
        Sample { operands: &[Operand::f32(&[2, 3, 4])], attrs: || attrs(&[0, 2]) },
    ],
    ..OpDef::BASE
};

fn attrs(axes: &[usize]) -> Attrs {
    Attrs::new().with("axes", axes)
}

impl<'b> Var<'b> {
    /// Reverses the order of the elements along some axes.
    pub fn reverse(self, axes: &[usize]) -> Var<'b> {
        self.unary(&REVERSE, attrs(&rules::sorted(axes)))
    }
}
