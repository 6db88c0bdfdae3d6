//! Reductions over named axes, and what counts: `size`, `len`, `pair`, `enumerate`.

use kiln_tensor::DType;

use super::super::value::{Axis, Tensor, Value};
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::{Code, Diagnostic};

pub(super) static TABLE: &[Builtin] = &[
    Builtin { name: "sum", params: &["x"], axes: Axes::Optional, run: reduce },
    Builtin { name: "mean", params: &["x"], axes: Axes::Optional, run: reduce },
    Builtin { name: "max", params: &["x"], axes: Axes::Optional, run: reduce },
    Builtin { name: "min", params: &["x"], axes: Axes::Optional, run: reduce },
    Builtin { name: "argmax", params: &["x"], axes: Axes::Required, run: argmax },
    Builtin { name: "size", params: &["x"], axes: Axes::None, run: size },
    Builtin { name: "len", params: &["list"], axes: Axes::None, run: len },
    Builtin { name: "pair", params: &["x"], axes: Axes::None, run: pair },
    Builtin { name: "enumerate", params: &["list"], axes: Axes::None, run: enumerate },
];

/// The positions of the axes that the brackets name; all without brackets.
pub(super) fn named_axes<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    t: &Tensor<'b>,
) -> Eval<Vec<usize>> {
    let Some(args) = &g.axes else { return Ok((0..t.axes.len()).collect()) };
    if let Some(right) = &args.right {
        let span = right.first().map_or(args.span, |a| a.span);
        return e.error(Code::Type, span, format!("`{}` has no `->`", g.name()), "");
    }
    let mut named = Vec::new();
    for arg in &args.left {
        if arg.size.is_some() {
            return e.error(Code::Type, arg.span, format!("`{}` takes plain axes", g.name()), "");
        }
        match t.position(&arg.axis) {
            Some(p) if named.contains(&p) => {
                return e.error(
                    Code::Name,
                    arg.span,
                    format!("the axis {} occurs twice", arg.axis),
                    "",
                );
            }
            Some(p) => named.push(p),
            // `not A` keeps A; where there is none nothing is kept.
            None => return e.no_axis(t, g.span_of("x"), &arg.axis, arg.span),
        }
    }
    if args.not {
        return Ok((0..t.axes.len()).filter(|p| !named.contains(p)).collect());
    }
    Ok(named)
}

fn without(axes: &[Axis], gone: &[usize]) -> Vec<Axis> {
    axes.iter().enumerate().filter(|(p, _)| !gone.contains(p)).map(|(_, a)| a.clone()).collect()
}

fn reduce<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let over = named_axes(e, g, &t)?;
    // Truth values count as 0 and 1; a mean is a real number.
    let t = if t.dtype == DType::Bool || g.name() == "mean" { e.cast(&t, DType::F32) } else { t };
    let x = t.var;
    let var = match g.name() {
        "sum" => x.sum(&over),
        "mean" => x.mean(&over),
        "max" => x.reduce_max(&over),
        _ => x.reduce_min(&over),
    };
    let axes = without(&t.axes, &over);
    Ok(Value::Tensor(e.tensor(var, axes, g.span)))
}

fn argmax<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let over = named_axes(e, g, &t)?;
    let [axis] = over.as_slice() else {
        return e.error(
            Code::Type,
            g.span,
            "`argmax` searches one axis",
            format!("{} axes", over.len()),
        );
    };
    let t = if t.dtype == DType::Bool { e.cast(&t, DType::I32) } else { t };
    let axes = without(&t.axes, &over);
    Ok(Value::Tensor(e.tensor(t.var.argmax(*axis), axes, g.span)))
}

fn size<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    Ok(Value::Int(g.tensor(e, "x")?.shape.elements() as i64))
}

fn len<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    match g.at("list") {
        (Value::List(items), _) => Ok(Value::Int(items.len() as i64)),
        (Value::Range(a, b), _) => Ok(Value::Int(b.saturating_sub(a).max(0))),
        (other, span) => {
            let d =
                Diagnostic::new(Code::Type, format!("`len` counts a list, not {}", other.kind()));
            e.fail(
                d.label(span, "")
                    .help("size(x) counts a tensor's elements, x.C is the size of an axis"),
            )
        }
    }
}

/// Two values, as a window's sides: a list of two is itself, anything else is both of them.
fn pair<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let (value, span) = g.at("x");
    Ok(Value::List(g.for_each_axis(e, "x", &value, span, 2)?.into()))
}

fn enumerate<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let items: Vec<Value<'b>> = match g.at("list") {
        (Value::List(items), _) => items.to_vec(),
        (other, span) => {
            return e.error(
                Code::Type,
                span,
                format!("`enumerate` numbers a list, not {}", other.kind()),
                "",
            );
        }
    };
    let numbered =
        items.into_iter().enumerate().map(|(i, v)| Value::Tuple([Value::Int(i as i64), v].into()));
    Ok(Value::List(numbered.collect()))
}
