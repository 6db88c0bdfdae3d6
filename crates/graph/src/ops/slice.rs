//! `slice`.

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static SLICE: OpDef = OpDef {
    name: "slice",
    doc: "A part of the operand: along each axis the elements start, start + step, ... below limit.",
    attrs: &[
        AttrDef { name: "start", kind: AttrKind::Ints, doc: "first element along each axis" },
        AttrDef { name: "limit", kind: AttrKind::Ints, doc: "end along each axis, exclusive" },
        AttrDef { name: "step", kind: AttrKind::Ints, doc: "distance along each axis, at least 1" },
    ],
    infer: |x, attrs| {
        let [start, limit, step] = ["start", "limit", "step"].map(|n| rules::sizes(attrs, n));
        let (start, limit, step) = (start?, limit?, step?);
        let shape = &x[0].shape;
        if [start.len(), limit.len(), step.len()] != [shape.rank(); 3] {
            return Err(format!(
                "`start`, `limit` and `step` need an entry for each axis of {}",
                x[0]
            ));
        }
        let mut dims = Vec::with_capacity(shape.rank());
        for axis in 0..shape.rank() {
            let (from, to, by) = (start[axis], limit[axis], step[axis]);
            if from > to || to > shape[axis] || by == 0 {
                return Err(format!(
                    "{from}..{to} by {by} is no part of axis {axis}, which has {} elements",
                    shape[axis]
                ));
            }
            dims.push((to - from).div_ceil(by));
        }
        Type::checked(x[0].dtype, dims)
    },
    grad: Some(|g| {
        let (x, y) = (g.x[0].shape(), g.y.shape());
        let (start, step) = (rules::known(g.attrs, "start"), rules::known(g.attrs, "step"));
        // Between neighbours only: one element has none, and its step may be huge.
        let inner: Vec<usize> =
            (0..x.rank()).map(|a| if y[a] > 1 { step[a] - 1 } else { 0 }).collect();
        let high: Vec<usize> = (0..x.rank())
            .map(|a| x[a] - start[a] - y[a] - y[a].saturating_sub(1) * inner[a])
            .collect();
        vec![Some(g.dy.pad(&start, &high, &inner, 0.0))]
    }),
    lower: Lower::View(|v, index| {
        let (start, step) = (v.attrs.ints("start"), v.attrs.ints("step"));
        index.iter().zip(start.iter().zip(step)).map(|(i, (&s, &d))| i.times(d).offset(s)).collect()
    }),
    eval: |v, x| {
        let (start, step) = (rules::known(v.attrs, "start"), rules::known(v.attrs, "step"));
        Value::from_fn(&v.ty.shape, |i| {
            let index: Vec<usize> = (0..i.len()).map(|a| start[a] + step[a] * i[a]).collect();
            x[0].at(&index)
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 5])], attrs: || attrs(&[1, 0], &[3, 4], &[1, 2]) },
        Sample { operands: &[Operand::f32(&[4, 7])], attrs: || attrs(&[0, 2], &[4, 7], &[3, 1]) },
        Sample { operands: &[Operand::f32(&[3])], attrs: || attrs(&[2], &[3], &[9]) },
    ],
    ..OpDef::BASE
};

fn attrs(start: &[usize], limit: &[usize], step: &[usize]) -> Attrs {
    Attrs::new().with("start", start).with("limit", limit).with("step", step)
}

impl<'b> Var<'b> {
    /// Along each axis the elements `start`, `start + step`, ... below `limit`. The value itself if
    /// that is all of it.
    pub fn slice(self, start: &[usize], limit: &[usize], step: &[usize]) -> Var<'b> {
        let shape = self.shape();
        let unchanged =
            start == vec![0; shape.rank()] && *limit == shape[..] && step == vec![1; shape.rank()];
        if unchanged { self } else { self.unary(&SLICE, attrs(start, limit, step)) }
    }
}
