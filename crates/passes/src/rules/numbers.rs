//! Rules about elements that are known or all the same, and about what leaves elements as they are.

use kiln_graph::op::Lower;
use kiln_graph::{Var, ops};
use kiln_tensor::{Data, Tensor};

use super::{is, list, operand, operands};

/// The number that every element of the value is: a broadcast value of rank 0.
fn uniform(v: Var<'_>) -> Option<Var<'_>> {
    is(v, &ops::BROADCAST).then(|| operand(v)).filter(|x| x.shape().rank() == 0)
}

/// The elements of a constant of rank 0.
fn known(v: Var<'_>) -> Option<Tensor> {
    let tensor = |g: &kiln_graph::Graph| {
        let node = &g[v.id()];
        (node.op == &ops::CONSTANT && node.ty.shape.rank() == 0)
            .then(|| Tensor::clone(node.attrs.tensor("value")))
    };
    v.builder().inspect(tensor)
}

pub(super) fn select_known(v: Var<'_>) -> Option<Var<'_>> {
    let [condition, yes, no] = operands(v)[..] else { return None };
    let condition = match known(condition)?.data() {
        Data::Bool(c) => c[0],
        _ => return None,
    };
    let chosen = if condition { yes } else { no };
    let shape = v.shape();
    Some(if chosen.shape() == shape { chosen } else { chosen.broadcast(&shape, &[]) })
}

/// Both are the one exact quotient, rounded once.
pub(super) fn div_power_of_2(v: Var<'_>) -> Option<Var<'_>> {
    let [x, divisor] = operands(v)[..] else { return None };
    let divisor = known(divisor)?.as_f32()?[0];
    let power = divisor.is_normal() && divisor.to_bits().trailing_zeros() >= 23;
    (power && divisor.recip().is_normal()).then(|| x * divisor.recip())
}

pub(super) fn cast_none(v: Var<'_>) -> Option<Var<'_>> {
    Some(operand(v)).filter(|x| x.dtype() == v.dtype())
}

/// Whether the node reduces axes of one element only.
fn reduces_units(v: Var<'_>) -> bool {
    let shape = operand(v).shape();
    list(v, "axes").into_iter().all(|a| shape[a] == 1)
}

/// A sum begins at 0, and 0 + -0 is 0.
pub(super) fn sum_units(v: Var<'_>) -> Option<Var<'_>> {
    reduces_units(v).then(|| operand(v).reshape(&v.shape()) + 0.0)
}

pub(super) fn extremum_units(v: Var<'_>) -> Option<Var<'_>> {
    reduces_units(v).then(|| operand(v).reshape(&v.shape()))
}

pub(super) fn constant_uniform(v: Var<'_>) -> Option<Var<'_>> {
    fn first<T: Copy>(v: &[T], same: impl Fn(T, T) -> bool) -> Option<T> {
        let first = *v.first()?;
        v.iter().all(|&x| same(x, first)).then_some(first)
    }
    let shape = v.shape();
    if shape.rank() == 0 {
        return None;
    }
    let tensor = v.builder().inspect(|g| g[v.id()].attrs.tensor("value").clone());
    let number = match tensor.data() {
        Data::F32(v) => Data::F32(vec![first(v, |a, b| a.to_bits() == b.to_bits())?]),
        Data::I32(v) => Data::I32(vec![first(v, |a, b| a == b)?]),
        Data::Bool(v) => Data::Bool(vec![first(v, |a, b| a == b)?]),
    };
    let number = Tensor::new(kiln_tensor::Shape::scalar(), number).ok()?;
    Some(v.builder().constant(number).broadcast(&shape, &[]))
}

/// Operands of element-wise operators may be numbers: what every element is need not be an array.
pub(super) fn map_uniform(v: Var<'_>) -> Option<Var<'_>> {
    let b = v.builder();
    let (op, attrs) = b.inspect(|g| (g[v.id()].op, g[v.id()].attrs.clone()));
    let operands = operands(v);
    if !matches!(op.lower, Lower::Map(_)) || !operands.iter().any(|&x| uniform(x).is_some()) {
        return None;
    }
    let numbers: Vec<Var<'_>> = operands.iter().map(|&x| uniform(x).unwrap_or(x)).collect();
    let result = b.try_op(op, attrs, &numbers).ok()?;
    Some(if result.shape().rank() == 0 { result.broadcast(&v.shape(), &[]) } else { result })
}

pub(super) fn view_uniform(v: Var<'_>) -> Option<Var<'_>> {
    let view =
        v.builder().inspect(|g| matches!(g[v.id()].op.lower, Lower::View(_) | Lower::Reshape));
    if !view {
        return None;
    }
    Some(uniform(operand(v))?.broadcast(&v.shape(), &[]))
}
