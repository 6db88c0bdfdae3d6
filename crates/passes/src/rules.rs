//! The rewrite rules of [`crate::simplify`], as data.

use kiln_graph::{Attrs, Builder, OpDef, Var, ops};
use kiln_tensor::{DType, Tensor};

mod numbers;
mod views;

use numbers::{
    cast_none, constant_uniform, div_power_of_2, extremum_units, map_uniform, select_known,
    sum_units, view_uniform,
};
use views::{
    broadcast_broadcast, broadcast_units, concat_one, pad_none, pad_pad, reshape_none,
    reshape_reshape, reverse_reverse, reverse_units, slice_all, slice_concat, slice_pad,
    slice_slice, transpose_dot, transpose_transpose, transpose_units,
};

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
#[expect(clippy::eq_op, reason = "some rules are about equal operands")]
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
        &[|b| x(b).unary(&ops::CAST, Attrs::new().with("dtype", DType::F32))],
    ),
    node(
        "reshape-none",
        Some(&ops::RESHAPE),
        reshape_none,
        &[|b| x(b).unary(&ops::RESHAPE, Attrs::new().with("shape", &[4usize, 6][..]))],
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
            |b| x(b).unary(&ops::TRANSPOSE, Attrs::new().with("perm", &[0usize, 1][..])),
        ],
    ),
    // A product that is wanted transposed is computed so: what reads it can join its kernel.
    node(
        "transpose-dot",
        Some(&ops::TRANSPOSE),
        transpose_dot,
        &[
            |b| {
                let other = b.data("other", DType::F32, &[2, 4, 5]);
                cube(b).dot(other).transpose(&[0, 2, 1])
            },
            |b| {
                let dot = cube(b).dot(b.data("other", DType::F32, &[2, 4, 6]));
                dot.reshape(&[2, 3, 2, 3]).transpose(&[0, 2, 3, 1])
            },
            |b| {
                let dot = x(b).reshape(&[1, 4, 6]).dot(y(b).reshape(&[1, 6, 4]));
                dot.reshape(&[2, 2, 4, 1]).transpose(&[2, 3, 0, 1])
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
            let attrs = Attrs::new().with("start", &[0usize, 0][..]);
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
            let attrs = Attrs::new().with("low", zeros).with("high", zeros);
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
        &[|b| x(b).unary(&ops::CONCAT, Attrs::new().with("axis", 1i64))],
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
