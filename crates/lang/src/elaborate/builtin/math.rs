//! Functions of single values: numbers are computed here, tensors become nodes.

use kiln_graph::Var;
use kiln_tensor::DType;

use super::super::operator::{dtype_of, widest};
use super::super::value::Value;
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::{Code, Diagnostic};

macro_rules! unary {
    ($name:literal, $number:expr, $tensor:expr) => {
        Builtin {
            name: $name,
            params: &["x"],
            axes: Axes::None,
            run: |e, g| unary(e, g, $number, $tensor),
        }
    };
}

pub(super) static TABLE: &[Builtin] = &[
    unary!("exp", f64::exp, Var::exp),
    unary!("log", f64::ln, Var::log),
    unary!("sqrt", f64::sqrt, Var::sqrt),
    unary!("rsqrt", |x| 1.0 / x.sqrt(), Var::rsqrt),
    unary!("tanh", f64::tanh, Var::tanh),
    unary!("sigmoid", |x| 1.0 / (1.0 + (-x).exp()), Var::sigmoid),
    unary!("sin", f64::sin, Var::sin),
    unary!("cos", f64::cos, Var::cos),
    unary!("abs", f64::abs, Var::abs),
    unary!("floor", f64::floor, Var::floor),
    unary!("ceil", f64::ceil, Var::ceil),
    unary!("round", f64::round_ties_even, Var::round),
    Builtin { name: "erf", params: &["x"], axes: Axes::None, run: erf },
    Builtin {
        name: "maximum",
        params: &["a", "b"],
        axes: Axes::None,
        run: |e, g| pair(e, g, f64::max, Var::maximum),
    },
    Builtin {
        name: "minimum",
        params: &["a", "b"],
        axes: Axes::None,
        run: |e, g| pair(e, g, f64::min, Var::minimum),
    },
    Builtin { name: "mod", params: &["a", "b"], axes: Axes::None, run: remainder },
    Builtin { name: "where", params: &["condition", "yes", "no"], axes: Axes::None, run: choose },
    Builtin { name: "refuse", params: &["message"], axes: Axes::None, run: refuse },
    Builtin { name: "stop_gradient", params: &["x"], axes: Axes::None, run: stop_gradient },
    Builtin {
        name: "float",
        params: &["x"],
        axes: Axes::None,
        run: |e, g| as_type(e, g, DType::F32),
    },
    Builtin {
        name: "int",
        params: &["x"],
        axes: Axes::None,
        run: |e, g| as_type(e, g, DType::I32),
    },
];

/// A number that keeps being whole where it is.
fn number<'b>(x: f64, whole: bool) -> Value<'b> {
    if whole && x.fract() == 0.0 && x.abs() < 9e15 { Value::Int(x as i64) } else { Value::Float(x) }
}

fn unary<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    f: fn(f64) -> f64,
    tensor: fn(Var<'b>) -> Var<'b>,
) -> Eval<Value<'b>> {
    // Rounding gives whole numbers; abs keeps them.
    let rounds = matches!(g.name(), "floor" | "ceil" | "round");
    match g.at("x") {
        (Value::Int(x), _) => Ok(number(f(x as f64), rounds || g.name() == "abs")),
        (Value::Float(x), span) => {
            let y = f(x);
            if y.is_nan() && !x.is_nan() {
                return e.error(
                    Code::Value,
                    span,
                    format!("{}({x}) is not a number", g.name()),
                    "",
                );
            }
            Ok(number(y, rounds))
        }
        (Value::Tensor(t), _) => {
            let keep = t.dtype == DType::I32 && (rounds || g.name() == "abs");
            let t = if keep { t } else { e.cast(&t, DType::F32) };
            let var = if keep && rounds { t.var } else { tensor(t.var) };
            Ok(Value::Tensor(e.same_axes(&t, var, g.span)))
        }
        (other, span) => {
            let message =
                format!("`{}` needs a number or a tensor, not {}", g.name(), other.kind());
            e.error(Code::Type, span, message, "")
        }
    }
}

fn erf<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let t = e.cast(&t, DType::F32);
    Ok(Value::Tensor(e.same_axes(&t, t.var.erf(), g.span)))
}

fn pair<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    f: fn(f64, f64) -> f64,
    tensors: fn(Var<'b>, Var<'b>) -> Var<'b>,
) -> Eval<Value<'b>> {
    let (a, b) = (g.at("a"), g.at("b"));
    match (&a.0, &b.0) {
        (Value::Int(x), Value::Int(y)) => Ok(Value::Int(f(*x as f64, *y as f64) as i64)),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            Ok(Value::Float(f(g.number(e, "a")?, g.number(e, "b")?)))
        }
        _ => {
            let (a, b) = e.pair(a, b, g.span)?;
            let what = format!("`{}`", g.name());
            Ok(Value::Tensor(e.elementwise(&what, &[&a, &b], g.span, |v| tensors(v[0], v[1]))?))
        }
    }
}

/// The remainder of whole numbers that is at least 0.
fn remainder<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let whole = |v: &Value<'b>| matches!(v, Value::Tensor(t) if t.dtype == DType::I32);
    match (g.at("a"), g.at("b")) {
        ((Value::Int(a), _), (Value::Int(b), span)) => match a.checked_rem_euclid(b) {
            Some(r) => Ok(Value::Int(r)),
            None => e.error(Code::Value, span, "division by zero", ""),
        },
        (_, (Value::Int(0), span)) => e.error(Code::Value, span, "division by zero", ""),
        (a, b)
            if whole(&a.0) && (whole(&b.0) || matches!(b.0, Value::Int(_)))
                || whole(&b.0) && matches!(a.0, Value::Int(_)) =>
        {
            let (a, b) = e.pair(a, b, g.span)?;
            let t = e.elementwise("`mod`", &[&a, &b], g.span, |v| {
                let b = v[1].abs();
                (v[0] % b + b) % b
            })?;
            Ok(Value::Tensor(t))
        }
        ((Value::Int(_), _), (other, span)) | ((other, span), _) => e.error(
            Code::Type,
            span,
            format!("`mod` needs whole numbers, not {}", other.kind()),
            "",
        ),
    }
}

/// `where(condition, yes, no)`: element by element, or at compile time if the condition is known.
fn choose<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let (condition, span) = g.at("condition");
    let (yes, no) = (g.at("yes"), g.at("no"));
    let condition = match condition {
        Value::Bool(truth) => return Ok(if truth { yes.0 } else { no.0 }),
        Value::Tensor(t) if t.dtype == DType::Bool => t,
        other => {
            let d = Diagnostic::new(
                Code::Type,
                format!("`where` needs a condition, not {}", other.kind()),
            );
            return e.fail(d.label(span, "").help("compare: where(x > 0, x, 0)"));
        }
    };
    // Numbers alone are real: `where(mask, 1, 0)` is a tensor to compute with.
    let tensors = [&yes.0, &no.0].into_iter().any(|v| matches!(v, Value::Tensor(_)));
    let dtype = if tensors { widest(dtype_of(&yes.0), dtype_of(&no.0)) } else { DType::F32 };
    let yes = e.operand(yes.0, dtype, yes.1)?;
    let no = e.operand(no.0, dtype, no.1)?;
    // The values' axes come first: a mask over T and S leaves scores in the order they had.
    let operands = [&yes, &no, &condition];
    let t = e.elementwise("`where`", &operands, g.span, |v| v[2].select(v[0], v[1]))?;
    Ok(Value::Tensor(t))
}

fn stop_gradient<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    if let (number @ (Value::Int(_) | Value::Float(_)), _) = g.at("x") {
        return Ok(number);
    }
    let t = g.tensor(e, "x")?;
    let var = if t.dtype == DType::F32 { t.var.detach() } else { t.var };
    Ok(Value::Tensor(e.same_axes(&t, var, g.span)))
}

/// Ends compilation: how a definition says that what it was given is wrong.
fn refuse<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let message = g.text(e, "message", "")?;
    e.error(Code::Value, g.span, message, "")
}

/// Another element type; real numbers lose what stands behind the point.
fn as_type<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, dtype: DType) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    Ok(Value::Tensor(e.cast(&t, dtype)))
}
