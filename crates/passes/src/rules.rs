//! The rewrite rules of [`crate::simplify`], as data.

use kiln_graph::op::Lower;
use kiln_graph::{Builder, OpDef, Var, ops};
use kiln_tensor::{DType, Data, Tensor};

/// A rewrite that keeps every bit of every result.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub rewrite: Rewrite,
}

/// One side of a pattern: a graph of variables `x` and `y` of one element type, and `c` of bool.
pub type Side = for<'b> fn(Var<'b>, Var<'b>, Var<'b>) -> Var<'b>;

/// A value to try a rule on.
pub type Example = for<'b> fn(&'b Builder) -> Var<'b>;

/// How a rule looks for its left side and what it puts there.
pub enum Rewrite {
    /// Two graphs of element-wise operators that compute the same for arrays of any shape.
    Pattern {
        /// The element types of `x` and `y` it holds for.
        dtypes: &'static [DType],
        /// What it looks for.
        left: Side,
        /// What it puts there.
        right: Side,
    },
    /// A function, for rules that depend on shapes and attributes.
    Node {
        /// The operator it looks at; any if there is none.
        op: Option<&'static OpDef>,
        /// What it puts there, if it applies: a value of the same type.
        apply: for<'b> fn(Var<'b>) -> Option<Var<'b>>,
        /// Values it applies to.
        examples: &'static [Example],
    },
}

const F32: &[DType] = &[DType::F32];
const I32: &[DType] = &[DType::I32];
const NUMBERS: &[DType] = &[DType::F32, DType::I32];
const BITS: &[DType] = &[DType::I32, DType::Bool];
const ALL: &[DType] = &DType::ALL;

const fn pattern(name: &'static str, dtypes: &'static [DType], left: Side, right: Side) -> Rule {
    Rule { name, rewrite: Rewrite::Pattern { dtypes, left, right } }
}

const fn node(
    name: &'static str,
    op: Option<&'static OpDef>,
    apply: for<'b> fn(Var<'b>) -> Option<Var<'b>>,
    examples: &'static [Example],
) -> Rule {
    Rule { name, rewrite: Rewrite::Node { op, apply, examples } }
}

/// Every rule. The first that matches a node is applied; its result is looked at again.
pub static RULES: &[Rule] = &[
    pattern("detach", ALL, |x, _, _| x.detach(), |x, _, _| x),
    pattern("neg-neg", NUMBERS, |x, _, _| -(-x), |x, _, _| x),
    pattern("not-not", BITS, |x, _, _| !!x, |x, _, _| x),
    pattern("abs-abs", NUMBERS, |x, _, _| x.abs().abs(), |x, _, _| x.abs()),
    pattern("abs-neg", NUMBERS, |x, _, _| (-x).abs(), |x, _, _| x.abs()),
    pattern("mul-1", NUMBERS, |x, _, _| x * 1.0, |x, _, _| x),
    pattern("1-mul", NUMBERS, |x, _, _| 1.0 * x, |x, _, _| x),
    pattern("div-1", NUMBERS, |x, _, _| x / 1.0, |x, _, _| x),
    pattern("mul-minus-1", NUMBERS, |x, _, _| x * -1.0, |x, _, _| -x),
    pattern("minus-1-mul", NUMBERS, |x, _, _| -1.0 * x, |x, _, _| -x),
    pattern("div-minus-1", NUMBERS, |x, _, _| x / -1.0, |x, _, _| -x),
    pattern("sub-0", NUMBERS, |x, _, _| x - 0.0, |x, _, _| x),
    pattern("add-minus-0", F32, |x, _, _| x + -0.0, |x, _, _| x),
    pattern("minus-0-add", F32, |x, _, _| -0.0 + x, |x, _, _| x),
    pattern("minus-0-sub", F32, |x, _, _| -0.0 - x, |x, _, _| -x),
    pattern("add-0-whole", I32, |x, _, _| x + 0.0, |x, _, _| x),
    pattern("0-add-whole", I32, |x, _, _| 0.0 + x, |x, _, _| x),
    pattern("0-sub-whole", I32, |x, _, _| 0.0 - x, |x, _, _| -x),
    pattern("add-neg", NUMBERS, |x, y, _| x + -y, |x, y, _| x - y),
    pattern("neg-add", NUMBERS, |x, y, _| -x + y, |x, y, _| y - x),
    pattern("sub-neg", NUMBERS, |x, y, _| x - -y, |x, y, _| x + y),
    pattern("neg-mul-neg", NUMBERS, |x, y, _| -x * -y, |x, y, _| x * y),
    pattern("max-same", NUMBERS, |x, _, _| x.maximum(x), |x, _, _| x),
    pattern("min-same", NUMBERS, |x, _, _| x.minimum(x), |x, _, _| x),
    pattern("max-max", NUMBERS, |x, y, _| x.maximum(y).maximum(y), |x, y, _| x.maximum(y)),
    pattern("min-min", NUMBERS, |x, y, _| x.minimum(y).minimum(y), |x, y, _| x.minimum(y)),
    pattern("and-same", BITS, |x, _, _| x & x, |x, _, _| x),
    pattern("or-same", BITS, |x, _, _| x | x, |x, _, _| x),
    pattern("select-same", ALL, |x, _, c| c.select(x, x), |x, _, _| x),
    pattern("select-not", ALL, |x, y, c| (!c).select(x, y), |x, y, c| c.select(y, x)),
    node(
        "select-known",
        Some(&ops::SELECT),
        select_known,
        &[
            |b| b.scalar_of(DType::Bool, 1.0).select(x(b), y(b)),
            |b| b.scalar_of(DType::Bool, 0.0).select(x(b), b.scalar(3.0)),
        ],
    ),
    node("div-power-of-2", Some(&ops::DIV), div_power_of_2, &[|b| x(b) / 8.0, |b| x(b) / -0.5]),
    node(
        "cast-none",
        Some(&ops::CAST),
        cast_none,
        &[|b| x(b).unary(&ops::CAST, kiln_graph::Attrs::new().with("dtype", DType::F32))],
    ),
    node(
        "reshape-none",
        Some(&ops::RESHAPE),
        reshape_none,
        &[|b| x(b).unary(&ops::RESHAPE, kiln_graph::Attrs::new().with("shape", &[4usize, 6][..]))],
    ),
    node(
        "reshape-reshape",
        Some(&ops::RESHAPE),
        reshape_reshape,
        &[|b| x(b).reshape(&[2, 12]).reshape(&[3, 8]), |b| x(b).reshape(&[24]).reshape(&[4, 6])],
    ),
    node(
        "transpose-transpose",
        Some(&ops::TRANSPOSE),
        transpose_transpose,
        &[
            |b| cube(b).transpose(&[1, 2, 0]).transpose(&[1, 0, 2]),
            |b| cube(b).transpose(&[1, 2, 0]).transpose(&[2, 0, 1]),
        ],
    ),
    // After the rule above: one that keeps the order of the axes that count is a reshape.
    node(
        "transpose-units",
        Some(&ops::TRANSPOSE),
        transpose_units,
        &[
            |b| x(b).reshape(&[4, 1, 6]).transpose(&[1, 0, 2]),
            |b| {
                x(b).unary(&ops::TRANSPOSE, kiln_graph::Attrs::new().with("perm", &[0usize, 1][..]))
            },
        ],
    ),
    node(
        "broadcast-broadcast",
        Some(&ops::BROADCAST),
        broadcast_broadcast,
        &[|b| x(b).broadcast(&[4, 2, 6], &[0, 2]).broadcast(&[3, 4, 2, 6], &[1, 2, 3])],
    ),
    node(
        "broadcast-units",
        Some(&ops::BROADCAST),
        broadcast_units,
        &[|b| x(b).broadcast(&[1, 4, 1, 6], &[1, 3])],
    ),
    node(
        "slice-all",
        Some(&ops::SLICE),
        slice_all,
        &[|b| {
            let attrs = kiln_graph::Attrs::new().with("start", &[0usize, 0][..]);
            x(b).unary(
                &ops::SLICE,
                attrs.with("limit", &[4usize, 6][..]).with("step", &[1usize, 1][..]),
            )
        }],
    ),
    node(
        "slice-slice",
        Some(&ops::SLICE),
        slice_slice,
        &[|b| x(b).slice(&[1, 0], &[4, 6], &[1, 2]).slice(&[0, 1], &[3, 3], &[2, 1])],
    ),
    node(
        "slice-pad",
        Some(&ops::SLICE),
        slice_pad,
        &[
            |b| x(b).pad(&[1, 2], &[0, 3], &[0, 0], 7.0).slice(&[1, 2], &[5, 8], &[1, 1]),
            |b| x(b).pad(&[1, 2], &[0, 3], &[0, 0], 7.0).slice(&[2, 3], &[5, 8], &[2, 3]),
        ],
    ),
    node(
        "slice-concat",
        Some(&ops::SLICE),
        slice_concat,
        &[
            |b| b.concat(&[x(b), y(b)], 1).slice(&[0, 6], &[4, 12], &[1, 1]),
            |b| b.concat(&[x(b), y(b)], 0).slice(&[1, 2], &[3, 6], &[1, 2]),
        ],
    ),
    node(
        "pad-none",
        Some(&ops::PAD),
        pad_none,
        &[|b| {
            let zeros = &[0usize, 0][..];
            let attrs = kiln_graph::Attrs::new().with("low", zeros).with("high", zeros);
            x(b).unary(&ops::PAD, attrs.with("interior", zeros).with("value", 0.0))
        }],
    ),
    node(
        "pad-pad",
        Some(&ops::PAD),
        pad_pad,
        &[
            |b| x(b).pad(&[1, 2], &[0, 3], &[2, 0], -0.0).pad(&[0, 1], &[1, 1], &[0, 0], -0.0),
            |b| x(b).pad(&[0, 0], &[0, 0], &[2, 0], 1.0).pad(&[0, 1], &[1, 1], &[0, 0], 1.0),
        ],
    ),
    node(
        "reverse-units",
        Some(&ops::REVERSE),
        reverse_units,
        &[|b| x(b).reshape(&[4, 1, 6]).reverse(&[1, 2]), |b| x(b).reverse(&[])],
    ),
    node(
        "reverse-reverse",
        Some(&ops::REVERSE),
        reverse_reverse,
        &[
            |b| cube(b).reverse(&[0, 1]).reverse(&[1, 2]),
            |b| cube(b).reverse(&[0, 1]).reverse(&[0, 1]),
        ],
    ),
    node(
        "concat-one",
        Some(&ops::CONCAT),
        concat_one,
        &[|b| x(b).unary(&ops::CONCAT, kiln_graph::Attrs::new().with("axis", 1i64))],
    ),
    node(
        "sum-units",
        Some(&ops::SUM),
        sum_units,
        &[
            |b| x(b).reshape(&[4, 1, 6]).sum(&[1]),
            |b| x(b).cast(DType::I32).reshape(&[4, 1, 6]).sum(&[1]),
            |b| x(b).unary(&ops::SUM, ops::rules::over(&[])),
        ],
    ),
    node(
        "max-units",
        Some(&ops::REDUCE_MAX),
        extremum_units,
        &[|b| x(b).reshape(&[4, 1, 6]).reduce_max(&[1])],
    ),
    node(
        "min-units",
        Some(&ops::REDUCE_MIN),
        extremum_units,
        &[|b| x(b).reshape(&[4, 1, 6]).reduce_min(&[1])],
    ),
    node(
        "constant-uniform",
        Some(&ops::CONSTANT),
        constant_uniform,
        &[|b| b.constant(Tensor::f32(&[2, 2], vec![-0.0; 4]).expect("four elements"))],
    ),
    node(
        "map-uniform",
        None,
        map_uniform,
        &[
            |b| x(b) + b.full(DType::F32, &[4, 6], -2.5),
            |b| s(b).broadcast(&[4, 6], &[]) / b.full(DType::F32, &[4, 6], 0.0),
            |b| (s(b).gt(b.scalar(0.0))).broadcast(&[4, 6], &[]).select(x(b), b.scalar(1.0)),
            |b| s(b).broadcast(&[4, 6], &[]).tanh(),
        ],
    ),
    node(
        "view-uniform",
        None,
        view_uniform,
        &[
            |b| s(b).broadcast(&[4, 6], &[]).transpose(&[1, 0]),
            |b| s(b).broadcast(&[4, 6], &[]).reshape(&[24]),
            |b| s(b).broadcast(&[1, 1], &[]).reshape(&[]),
        ],
    ),
];

fn x(b: &Builder) -> Var<'_> {
    b.data("x", DType::F32, &[4, 6])
}

fn y(b: &Builder) -> Var<'_> {
    b.data("y", DType::F32, &[4, 6])
}

fn s(b: &Builder) -> Var<'_> {
    b.data("s", DType::F32, &[])
}

fn cube(b: &Builder) -> Var<'_> {
    b.data("cube", DType::F32, &[2, 3, 4])
}

fn operands(v: Var<'_>) -> Vec<Var<'_>> {
    let ids = v.builder().inspect(|g| g.operands(v.id()));
    ids.into_iter().map(|id| v.builder().var(id)).collect()
}

fn operand(v: Var<'_>) -> Var<'_> {
    operands(v)[0]
}

fn is(v: Var<'_>, op: &OpDef) -> bool {
    v.builder().inspect(|g| g[v.id()].op == op)
}

/// A list of whole numbers among the attributes.
fn list(v: Var<'_>, name: &str) -> Vec<usize> {
    v.builder().inspect(|g| ops::rules::known(&g[v.id()].attrs, name))
}

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

fn select_known(v: Var<'_>) -> Option<Var<'_>> {
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
fn div_power_of_2(v: Var<'_>) -> Option<Var<'_>> {
    let [x, divisor] = operands(v)[..] else { return None };
    let divisor = known(divisor)?.as_f32()?[0];
    let power = divisor.is_normal() && divisor.to_bits().trailing_zeros() >= 23;
    (power && divisor.recip().is_normal()).then(|| x * divisor.recip())
}

fn cast_none(v: Var<'_>) -> Option<Var<'_>> {
    Some(operand(v)).filter(|x| x.dtype() == v.dtype())
}

fn reshape_none(v: Var<'_>) -> Option<Var<'_>> {
    Some(operand(v)).filter(|x| x.shape() == v.shape())
}

fn reshape_reshape(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    is(x, &ops::RESHAPE).then(|| operand(x).reshape(&v.shape()))
}

fn transpose_transpose(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::TRANSPOSE) {
        return None;
    }
    let inner = list(x, "perm");
    let perm: Vec<usize> = list(v, "perm").into_iter().map(|p| inner[p]).collect();
    Some(operand(x).transpose(&perm))
}

fn transpose_units(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    let from = x.shape();
    let wide: Vec<usize> = list(v, "perm").into_iter().filter(|&p| from[p] != 1).collect();
    wide.is_sorted().then(|| x.reshape(&v.shape()))
}

fn broadcast_broadcast(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::BROADCAST) {
        return None;
    }
    let outer = list(v, "axes");
    let axes: Vec<usize> = list(x, "axes").into_iter().map(|a| outer[a]).collect();
    Some(operand(x).broadcast(&v.shape(), &axes))
}

fn broadcast_units(v: Var<'_>) -> Option<Var<'_>> {
    let (shape, axes) = (v.shape(), list(v, "axes"));
    // A number stays a broadcast: other rules look for that.
    let units = (0..shape.rank()).all(|a| axes.contains(&a) || shape[a] == 1);
    (units && !axes.is_empty()).then(|| operand(v).reshape(&shape))
}

fn slice_all(v: Var<'_>) -> Option<Var<'_>> {
    let whole = operand(v).shape() == v.shape();
    whole.then(|| operand(v))
}

fn slice_slice(v: Var<'_>) -> Option<Var<'_>> {
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

fn slice_pad(v: Var<'_>) -> Option<Var<'_>> {
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

fn slice_concat(v: Var<'_>) -> Option<Var<'_>> {
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

fn pad_none(v: Var<'_>) -> Option<Var<'_>> {
    let same = operand(v).shape() == v.shape();
    same.then(|| operand(v))
}

fn pad_pad(v: Var<'_>) -> Option<Var<'_>> {
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

fn reverse_units(v: Var<'_>) -> Option<Var<'_>> {
    let (axes, shape) = (list(v, "axes"), v.shape());
    let wide: Vec<usize> = axes.iter().copied().filter(|&a| shape[a] > 1).collect();
    if wide.is_empty() {
        return Some(operand(v));
    }
    (wide.len() < axes.len()).then(|| operand(v).reverse(&wide))
}

fn reverse_reverse(v: Var<'_>) -> Option<Var<'_>> {
    let x = operand(v);
    if !is(x, &ops::REVERSE) {
        return None;
    }
    let (a, b) = (list(v, "axes"), list(x, "axes"));
    let once = (0..v.shape().rank()).filter(|i| a.contains(i) != b.contains(i));
    Some(operand(x).reverse(&once.collect::<Vec<_>>()))
}

fn concat_one(v: Var<'_>) -> Option<Var<'_>> {
    match operands(v)[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// Whether the node reduces axes of one element only.
fn reduces_units(v: Var<'_>) -> bool {
    let shape = operand(v).shape();
    list(v, "axes").into_iter().all(|a| shape[a] == 1)
}

/// A sum begins at 0, and 0 + -0 is 0.
fn sum_units(v: Var<'_>) -> Option<Var<'_>> {
    reduces_units(v).then(|| operand(v).reshape(&v.shape()) + 0.0)
}

fn extremum_units(v: Var<'_>) -> Option<Var<'_>> {
    reduces_units(v).then(|| operand(v).reshape(&v.shape()))
}

fn constant_uniform(v: Var<'_>) -> Option<Var<'_>> {
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
fn map_uniform(v: Var<'_>) -> Option<Var<'_>> {
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

fn view_uniform(v: Var<'_>) -> Option<Var<'_>> {
    let view =
        v.builder().inspect(|g| matches!(g[v.id()].op.lower, Lower::View(_) | Lower::Reshape));
    if !view {
        return None;
    }
    Some(uniform(operand(v))?.broadcast(&v.shape(), &[]))
}
