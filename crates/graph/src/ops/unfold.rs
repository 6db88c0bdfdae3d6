//! `unfold`.

use kiln_loops::Index;
use kiln_tensor::DType;

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::Var;
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{AttrDef, Grad, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static UNFOLD: OpDef = OpDef {
    name: "unfold",
    doc: "One axis walked by several: the operand's `axis` becomes axes of `sizes`, and the index [i, j, ...] along \
          them reads the element offset + strides[0] * i + strides[1] * j + ... With two it is a sliding window.",
    attrs: &[
        AttrDef { name: "axis", kind: AttrKind::Int, doc: "the operand's axis" },
        AttrDef { name: "offset", kind: AttrKind::Int, doc: "the element at index 0" },
        AttrDef { name: "sizes", kind: AttrKind::Ints, doc: "sizes of the axes in its place" },
        AttrDef { name: "strides", kind: AttrKind::Ints, doc: "a step along each of them" },
    ],
    infer: |x, attrs| {
        let axis = rules::axis(attrs, x[0].shape.rank())?;
        let (sizes, strides) = (rules::sizes(attrs, "sizes")?, attrs.ints("strides"));
        if sizes.len() != strides.len() {
            return Err(format!("{} sizes and {} strides", sizes.len(), strides.len()));
        }
        let elements = x[0].shape[axis];
        rules::fits_i32(elements)?;
        if !sizes.contains(&0) {
            let reach = |sign: i64| -> Option<i64> {
                let mut end = attrs.int("offset");
                for (&size, &stride) in sizes.iter().zip(strides) {
                    if stride.signum() == sign {
                        let last = i64::try_from(size - 1).ok()?;
                        end = end.checked_add(last.checked_mul(stride)?)?;
                    }
                }
                i32::try_from(end).ok().map(i64::from)
            };
            match (reach(-1), reach(1)) {
                (Some(least), Some(most)) if least >= 0 && most < elements as i64 => {}
                _ => {
                    return Err(format!(
                        "it reads outside of axis {axis}, which has {elements} elements"
                    ));
                }
            }
        }
        Type::checked(x[0].dtype, spliced(&x[0].shape, axis, &sizes))
    },
    grad: Some(|g| vec![Some(fold(g))]),
    lower: Lower::View(|v, index| {
        let (axis, strides) = (v.attrs.int("axis") as usize, v.attrs.ints("strides"));
        let walked = &index[axis..axis + strides.len()];
        let element = walked
            .iter()
            .zip(strides)
            .fold(Index::constant(v.attrs.int("offset")), |sum, (i, &s)| sum.plus(&i.times(s)));
        [&index[..axis], &[element], &index[axis + strides.len()..]].concat()
    }),
    eval: |v, x| {
        let (axis, strides) = (v.attrs.int("axis") as usize, v.attrs.ints("strides"));
        Value::from_fn(&v.ty.shape, |i| {
            let walked = i[axis..axis + strides.len()].iter().zip(strides);
            let element = walked.fold(v.attrs.int("offset"), |sum, (&i, s)| sum + i as i64 * s);
            x[0].at(&[&i[..axis], &[element as usize], &i[axis + strides.len()..]].concat())
        })
    },
    samples: &[
        Sample { operands: &[Operand::f32(&[3, 8])], attrs: || attrs(1, 1, &[3, 3], &[2, 1]) },
        Sample { operands: &[Operand::f32(&[7, 2])], attrs: || attrs(0, 6, &[3, 2], &[-1, -2]) },
        Sample { operands: &[Operand::f32(&[9])], attrs: || attrs(0, 0, &[3], &[4]) },
        Sample { operands: &[Operand::i32(&[2, 3, 2], -9, 9)], attrs: || attrs(1, 2, &[], &[]) },
    ],
    ..OpDef::BASE
};

fn attrs(axis: usize, offset: i64, sizes: &[usize], strides: &[i64]) -> Attrs {
    Attrs::new()
        .with("axis", axis as i64)
        .with("offset", offset)
        .with("sizes", sizes)
        .with("strides", strides)
}

/// The list with `new` in the place of its entry at `axis`.
fn spliced(list: &[usize], axis: usize, new: &[usize]) -> Vec<usize> {
    [&list[..axis], new, &list[axis + 1..]].concat()
}

/// Each element gets the sum of the cotangents of where it was read.
fn fold<'b>(g: &Grad<'b, '_>) -> Var<'b> {
    let (b, shape) = (g.dy.builder(), g.x[0].shape());
    let (axis, sizes) = (g.attrs.int("axis") as usize, rules::known(g.attrs, "sizes"));
    let walked = axis..axis + sizes.len();
    let mut element = b.full(DType::I32, &sizes, g.attrs.int("offset") as f64);
    for (at, &stride) in g.attrs.ints("strides").iter().enumerate() {
        element = element + b.iota(&sizes, at) * b.scalar_of(DType::I32, stride as f64);
    }
    let rank = g.y.shape().rank();
    let first: Vec<usize> =
        walked.clone().chain((0..rank).filter(|a| !walked.contains(a))).collect();
    let sum = element.scatter_add(g.dy.transpose(&first), shape[axis]);
    let back: Vec<usize> = (1..=axis).chain([0]).chain(axis + 1..shape.rank()).collect();
    sum.transpose(&back)
}

impl<'b> Var<'b> {
    /// Walks `axis` by axes of these sizes: index `[i, j, ...]` along them reads the element
    /// `offset + strides[0] * i + strides[1] * j + ...`.
    pub fn unfold(self, axis: usize, offset: i64, sizes: &[usize], strides: &[i64]) -> Var<'b> {
        self.unary(&UNFOLD, attrs(axis, offset, sizes, strides))
    }
}
