//! Rules about where elements stand: views of views, and parts of what was put together.

use kiln_graph::{Var, ops};

use super::{is, list, operand, operands};

pub(super) fn reshape_none(v: Var<'_>) -> Option<Var<'_>> {
    Some(operand(v)).filter(|x| x.shape() == v.shape())
}

pub(super) fn reshape_reshape(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    is(x, &ops::RESHAPE).then(|| operand(x).reshape(&v.shape()))
}

pub(super) fn transpose_transpose(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::TRANSPOSE) {
        return None;
    }
    let inner = list(x, "perm");
    let perm: Vec<usize> = list(v, "perm").into_iter().map(|p| inner[p]).collect();
    Some(operand(x).transpose(&perm))
}

pub(super) fn transpose_units(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    let from = x.shape();
    let wide: Vec<usize> = list(v, "perm").into_iter().filter(|&p| from[p] != 1).collect();
    wide.is_sorted().then(|| x.reshape(&v.shape()))
}

/// `(a b)^T` is `b^T a^T`: the same products, summed in the same order.
pub(super) fn transpose_dot(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    let dot = if is(x, &ops::RESHAPE) { operand(x) } else { x };
    if !is(dot, &ops::DOT) {
        return None;
    }
    // Where rows and columns begin among the axes of what is transposed.
    let (axes, sizes) = (x.shape(), dot.shape());
    let begin = |from: usize, size: usize| {
        let mut product = 1;
        (from..=axes.rank()).find(|&to| {
            product *= if to > from { axes[to - 1] } else { 1 };
            product == size
        })
    };
    let rows = begin(0, sizes[0])?;
    let cols = begin(rows, sizes[1])?;
    let turned: Vec<usize> = (0..rows).chain(cols..axes.rank()).chain(rows..cols).collect();
    let [a, b] = operands(dot)[..] else { return None };
    let product = || b.transpose(&[0, 2, 1]).dot(a.transpose(&[0, 2, 1]));
    (list(v, "perm") == turned).then(|| product().reshape(&v.shape()))
}

pub(super) fn broadcast_broadcast(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::BROADCAST) {
        return None;
    }
    let outer = list(v, "axes");
    let axes: Vec<usize> = list(x, "axes").into_iter().map(|a| outer[a]).collect();
    Some(operand(x).broadcast(&v.shape(), &axes))
}

pub(super) fn broadcast_units(v: Var<'_>) -> Option<Var<'_>> {
    let (shape, axes) = (v.shape(), list(v, "axes"));
    // A number stays a broadcast: other rules look for that.
    let units = (0..shape.rank()).all(|a| axes.contains(&a) || shape[a] == 1);
    (units && !axes.is_empty()).then(|| operand(v).reshape(&shape))
}

pub(super) fn slice_all(v: Var<'_>) -> Option<Var<'_>> {
    let whole = operand(v).shape() == v.shape();
    whole.then(|| operand(v))
}

pub(super) fn slice_slice(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::SLICE) {
        return None;
    }
    let [start, step] = ["start", "step"].map(|n| (list(v, n), list(x, n)));
    let shape = v.shape();
    let (mut from, mut limit, mut by) = (Vec::new(), Vec::new(), Vec::new());
    for axis in 0..shape.rank() {
        let size = shape[axis];
        if size == 0 {
            return None;
        }
        let first = start.1[axis] + start.0[axis] * step.1[axis];
        // The step of a single element does not matter and may be huge.
        let stride = if size == 1 { 1 } else { step.0[axis] * step.1[axis] };
        from.push(first);
        limit.push(first + (size - 1) * stride + 1);
        by.push(stride);
    }
    Some(operand(x).slice(&from, &limit, &by))
}

pub(super) fn slice_pad(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::PAD) || list(x, "interior").iter().any(|&i| i != 0) {
        return None;
    }
    let (low, inner) = (list(x, "low"), operand(x));
    let (start, limit, size) = (list(v, "start"), list(v, "limit"), inner.shape());
    let inside = |a: usize| start[a] >= low[a] && limit[a] <= low[a] + size[a];
    if !(0..size.rank()).all(inside) {
        return None;
    }
    let moved = |x: &[usize]| x.iter().zip(&low).map(|(x, l)| x - l).collect::<Vec<_>>();
    Some(inner.slice(&moved(&start), &moved(&limit), &list(v, "step")))
}

pub(super) fn slice_concat(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::CONCAT) {
        return None;
    }
    let axis = x.builder().inspect(|g| g[x.id()].attrs.int("axis")) as usize;
    let (mut start, mut limit) = (list(v, "start"), list(v, "limit"));
    for part in operands(x) {
        let size = part.shape()[axis];
        if start[axis] < size {
            let inside = limit[axis] <= size;
            return inside.then(|| part.slice(&start, &limit, &list(v, "step")));
        }
        start[axis] -= size;
        limit[axis] -= size;
    }
    None
}

pub(super) fn pad_none(v: Var<'_>) -> Option<Var<'_>> {
    let same = operand(v).shape() == v.shape();
    same.then(|| operand(v))
}

pub(super) fn pad_pad(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::PAD) || list(v, "interior").iter().any(|&i| i != 0) {
        return None;
    }
    let value = |v: Var<'_>| v.builder().inspect(|g| g[v.id()].attrs.float("value"));
    if value(v).to_bits() != value(x).to_bits() {
        return None;
    }
    let both = |name: &str| {
        list(v, name).iter().zip(list(x, name)).map(|(a, b)| a + b).collect::<Vec<_>>()
    };
    // Exactly representable, by the type rule.
    Some(operand(x).pad(&both("low"), &both("high"), &list(x, "interior"), value(v) as f32))
}

pub(super) fn reverse_units(v: Var<'_>) -> Option<Var<'_>> {
    let (axes, shape) = (list(v, "axes"), v.shape());
    let wide: Vec<usize> = axes.iter().copied().filter(|&a| shape[a] > 1).collect();
    if wide.is_empty() {
        return Some(operand(v));
    }
    (wide.len() < axes.len()).then(|| operand(v).reverse(&wide))
}

pub(super) fn reverse_reverse(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::REVERSE) {
        return None;
    }
    let (a, b) = (list(v, "axes"), list(x, "axes"));
    let once = (0..v.shape().rank()).filter(|i| a.contains(i) != b.contains(i));
    Some(operand(x).reverse(&once.collect::<Vec<_>>()))
}

pub(super) fn concat_one(v: Var<'_>) -> Option<Var<'_>> {
    match operands(v)[..] {
        [one] => Some(one),
        _ => None,
    }
}
