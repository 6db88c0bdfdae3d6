//! `transpose`.

use kiln_loops::Index;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static TRANSPOSE: OpDef = OpDef {
    name: "transpose",
    doc: "The operand with its axes in another order: the result's axis i is the operand's axis perm[i].",
    attrs: &[AttrDef { name: "perm", kind: AttrKind::Ints, doc: "every axis of the operand once" }],
    infer: |x, attrs| {
        let perm = rules::sizes(attrs, "perm")?;
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x[0].shape.rank()) {
            return Err(format!("`perm` {perm:?} does not name every axis of {} once", x[0]));
        }
        let dims: Vec<usize> = perm.iter().map(|&p| x[0].shape[p]).collect();
        Type::checked(x[0].dtype, dims)
    },
    grad: Some(|g| vec![Some(g.dy.transpose(&inverse(&rules::known(g.attrs, "perm"))))]),
    lower: Lower::View(|v, index| {
        let perm = inverse(&rules::known(v.attrs, "perm"));
        perm.iter().map(|&p| index[p].clone()).collect::<Vec<Index>>()
    }),
    eval: |v, x| {
        let perm = inverse(&rules::known(v.attrs, "perm"));
        Value::from_fn(&v.ty.shape, |i| {
            let index: Vec<usize> = perm.iter().map(|&p| i[p]).collect();
            x[0].at(&index)
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || attrs(&[1, 0]) },
        Sample { operands: &[Operand::f32(&[2, 3, 4])], attrs: || attrs(&[1, 2, 0]) },
    ],
    ..OpDef::BASE
};

fn attrs(perm: &[usize]) -> Attrs {
    Attrs::new().with("perm", perm)
}

fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        inverse[p] = i;
    }
    inverse
}

impl<'b> Var<'b> {
    /// Reorders axes: axis `i` of the result is axis `perm[i]` of this. The value itself if the
    /// order stays.
    pub fn transpose(self, perm: &[usize]) -> Var<'b> {
        let unchanged = perm.iter().copied().eq(0..self.shape().rank());
        if unchanged { self } else { self.unary(&TRANSPOSE, attrs(perm)) }
    }
}
