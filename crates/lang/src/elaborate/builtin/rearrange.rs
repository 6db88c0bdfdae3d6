//! Functions that move values and compute nothing: reshape, rename, split, concat, order, repeat, pad, reverse, index.

use kiln_tensor::DType;

use super::super::value::Axis;
use super::super::value::{AxisArg, Tensor, Value};
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

pub(super) static TABLE: &[Builtin] = &[
    Builtin { name: "reshape", params: &["x"], axes: Axes::Required, run: reshape },
    Builtin { name: "rename", params: &["x"], axes: Axes::Required, run: rename },
    Builtin { name: "split", params: &["x", "parts"], axes: Axes::Required, run: split },
    Builtin { name: "concat", params: &["..."], axes: Axes::Required, run: concat },
    Builtin { name: "order", params: &["x"], axes: Axes::Required, run: order },
    Builtin { name: "repeat", params: &["x"], axes: Axes::Required, run: repeat },
    Builtin {
        name: "pad",
        params: &["x", "low", "high?", "value?", "between?"],
        axes: Axes::Required,
        run: pad,
    },
    Builtin { name: "reverse", params: &["x"], axes: Axes::Required, run: reverse },
    Builtin { name: "index", params: &["axis", "size?"], axes: Axes::None, run: index },
];

/// The two sides of `[left -> right]`.
fn sides<'g>(
    e: &mut Elaborator<'_, '_>,
    g: &'g Given<'_>,
    example: &str,
) -> Eval<(&'g [AxisArg], &'g [AxisArg], Span)> {
    match g.axes.as_deref() {
        Some(args) if args.right.is_some() => {
            Ok((&args.left, args.right.as_deref().unwrap_or_default(), args.span))
        }
        _ => {
            let d =
                Diagnostic::new(Code::Type, format!("`{}` needs `->` in its brackets", g.name()));
            e.fail(d.label(g.span, "").help(format!("for example {example}")))
        }
    }
}

/// Positions of `axes` in `t`.
fn positions<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    t: &Tensor<'b>,
    axes: &[AxisArg],
) -> Eval<Vec<usize>> {
    let mut found = Vec::new();
    for arg in axes {
        match t.position(&arg.axis) {
            Some(p) if !found.contains(&p) => found.push(p),
            Some(_) => {
                return e.error(
                    Code::Name,
                    arg.span,
                    format!("the axis {} occurs twice", arg.axis),
                    "",
                );
            }
            None => return e.no_axis(t, g.span_of("x"), &arg.axis, arg.span),
        }
    }
    Ok(found)
}

/// Refuses axes of the result that occur twice.
fn distinct(e: &mut Elaborator<'_, '_>, axes: &[Axis], span: Span) -> Eval<()> {
    match axes.iter().enumerate().find(|(i, a)| axes[..*i].contains(a)) {
        Some((_, axis)) => {
            e.error(Code::Name, span, format!("the result would have the axis {axis} twice"), "")
        }
        None => Ok(()),
    }
}

/// `reshape[E -> H=heads, D]`, `reshape[H, D -> E]`, `reshape[not N -> C]`: the axes on the left, in that order,
/// become those on the right, where the first of them stood. One size on the right may be left out.
fn reshape<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let (left, right, span) = sides(e, g, "reshape[E -> H=8, D]")?;
    let mut from = positions(e, g, &t, left)?;
    if g.axes.as_deref().is_some_and(|a| a.not) {
        from = (0..t.axes.len()).filter(|p| !from.contains(p)).collect();
    }
    let total: usize = from.iter().map(|&p| t.shape[p]).product();
    for (arg, &p) in left.iter().zip(&from) {
        if arg.size.is_some_and(|s| s != t.shape[p]) {
            let message = format!("axis {} has size {}", arg.axis, t.shape[p]);
            return e.error(Code::Shape, arg.span, message, "");
        }
    }
    let known = right
        .iter()
        .filter_map(|a| a.size)
        .try_fold(1usize, usize::checked_mul)
        .unwrap_or(usize::MAX);
    let open = right.iter().filter(|a| a.size.is_none()).count();
    let fits = match open {
        0 => known == total,
        1 => known <= total && total.is_multiple_of(known.max(1)),
        _ => false,
    };
    if !fits {
        let sizes: Vec<String> =
            from.iter().map(|&p| format!("{}={}", t.axes[p], t.shape[p])).collect();
        let why = match open {
            0 => format!("the right side has {known}"),
            1 => format!("{known} does not divide it"),
            _ => "one size at most may be left open".to_string(),
        };
        let message = format!("cannot reshape {} ({total} values): {why}", sizes.join(", "));
        let d = Diagnostic::new(Code::Shape, message).label(span, "");
        return e.fail(d.label(t.origin.span, e.origin_text(&t)));
    }
    let place = from.first().copied().unwrap_or(t.axes.len());
    let mut order: Vec<usize> = Vec::new();
    let (mut axes, mut dims) = (Vec::new(), Vec::new());
    for p in 0..=t.axes.len() {
        if p == place {
            order.extend(&from);
            axes.extend(right.iter().map(|a| a.axis.clone()));
            dims.extend(right.iter().map(|a| a.size.unwrap_or(total / known.max(1))));
        }
        if p < t.axes.len() && !from.contains(&p) {
            order.push(p);
            axes.push(t.axes[p].clone());
            dims.push(t.shape[p]);
        }
    }
    distinct(e, &axes, span)?;
    let var = t.var.transpose(&order).reshape(&dims);
    Ok(Value::Tensor(e.tensor(var, axes, g.span)))
}

fn rename<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let mut t = g.tensor(e, "x")?;
    let (left, right, span) = sides(e, g, "rename[T -> S]")?;
    let from = positions(e, g, &t, left)?;
    if left.len() != right.len() {
        return e.error(
            Code::Type,
            span,
            format!("{} axes become {}", left.len(), right.len()),
            "",
        );
    }
    for (p, arg) in from.into_iter().zip(right) {
        t.axes[p] = arg.axis.clone();
    }
    distinct(e, &t.axes, span)?;
    Ok(Value::Tensor(t))
}

fn split<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let over = super::reduce::named_axes(e, g, &t)?;
    let [axis] = over.as_slice() else {
        return e.error(Code::Type, g.span, "`split` divides one axis", "");
    };
    let parts = g.whole(e, "parts", 1, 1)?;
    let size = t.shape[*axis];
    if size % parts != 0 {
        let message = format!(
            "axis {} of size {size} does not split into {parts} equal parts",
            t.axes[*axis]
        );
        let d = Diagnostic::new(Code::Shape, message).label(g.span, "");
        return e.fail(d.label(t.origin.span, e.origin_text(&t)));
    }
    let step = size / parts;
    let mut values = Vec::with_capacity(parts);
    for part in 0..parts {
        let (mut start, mut limit) = (vec![0; t.shape.rank()], t.shape.to_vec());
        (start[*axis], limit[*axis]) = (part * step, (part + 1) * step);
        let var = t.var.slice(&start, &limit, &vec![1; t.shape.rank()]);
        values.push(Value::Tensor(e.same_axes(&t, var, g.span)));
    }
    Ok(Value::Tuple(values.into()))
}

fn concat<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let mut tensors: Vec<(Tensor<'b>, Span)> = Vec::new();
    for arg in &g.rest {
        match &arg.value {
            Value::Tensor(t) => tensors.push((t.clone(), arg.span)),
            Value::List(items) => {
                for item in items.iter() {
                    if let Value::Tensor(t) = item {
                        tensors.push((t.clone(), arg.span));
                    } else {
                        return e.error(
                            Code::Type,
                            arg.span,
                            format!("`concat` joins tensors, not {}", item.kind()),
                            "",
                        );
                    }
                }
            }
            other => {
                let message = format!("`concat` joins tensors, not {}", other.kind());
                return e.error(Code::Type, arg.span, message, "");
            }
        }
    }
    let Some((first, first_span)) = tensors.first().cloned() else {
        return e.error(Code::Type, g.span, "`concat` needs tensors", "");
    };
    let over = super::reduce::named_axes(e, g, &first)?;
    let [axis] = over.as_slice() else {
        return e.error(Code::Type, g.span, "`concat` joins along one axis", "");
    };
    let mut vars = Vec::new();
    for (t, span) in &tensors {
        let t = e.cast(t, first.dtype);
        let same = t.axes.len() == first.axes.len()
            && first.axes.iter().enumerate().all(|(p, a)| match t.size(a) {
                Some(size) => p == *axis || size == first.shape[p],
                None => false,
            });
        if !same {
            let message =
                format!("`concat` along {} needs equal sizes on the other axes", first.axes[*axis]);
            let d = Diagnostic::new(Code::Shape, message)
                .label(*span, t.type_text())
                .label(first_span, first.type_text());
            return e.fail(d);
        }
        vars.push(e.reorder(&t, &first.axes).var);
    }
    let mut dims = first.shape.to_vec();
    dims[*axis] = tensors.iter().filter_map(|(t, _)| t.size(&first.axes[*axis])).sum();
    e.shape(&first.axes, &dims, g.span)?;
    let var = e.builder.concat(&vars, *axis);
    Ok(Value::Tensor(e.same_axes(&first, var, g.span)))
}

/// `order[N, H, W, C](x)`: the same values with the axes in this order.
fn order<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let order = super::reduce::named_axes(e, g, &t)?;
    if order.len() != t.axes.len() {
        let message = format!("`order` names all axes of {}", t.type_text());
        return e.error(Code::Type, g.span, message, "");
    }
    let axes: Vec<Axis> = order.iter().map(|&p| t.axes[p].clone()).collect();
    Ok(Value::Tensor(e.reorder(&t, &axes)))
}

/// `repeat[S=4](x)`: along new axes.
fn repeat<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = match g.at("x") {
        (value @ (Value::Int(_) | Value::Float(_)), span) => e.operand(value, DType::F32, span)?,
        _ => g.tensor(e, "x")?,
    };
    let args: &[AxisArg] = g.axes.as_deref().map_or(&[], |a| &a.left);
    let (mut axes, mut dims) = (t.axes.clone(), t.shape.to_vec());
    for arg in args {
        let Some(size) = arg.size else {
            return e.error(Code::Type, arg.span, "`repeat` needs sizes: repeat[S=4](x)", "");
        };
        axes.push(arg.axis.clone());
        dims.push(size);
    }
    distinct(e, &axes, g.span)?;
    let shape = e.shape(&axes, &dims, g.span)?;
    let var = e.expand(&t, &axes, &shape);
    Ok(Value::Tensor(e.tensor(var, axes, g.span)))
}

/// `pad[H, W](x, 1)`: puts `low` values before, `high` (unless given as many) after and `between` between those of these
/// axes; each is a number, or a list of one an axis. Negative numbers cut off.
fn pad<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let over = super::reduce::named_axes(e, g, &t)?;
    let between = g.per_axis(e, "between", over.len(), 0, &vec![0; over.len()])?;
    let high = if g.get("high").is_some() { "high" } else { "low" };
    let (lows, highs) = (ends(e, g, "low", over.len())?, ends(e, g, high, over.len())?);
    let value = if g.get("value").is_some() { g.number(e, "value")? } else { 0.0 };
    let t = if t.dtype == DType::F32 { t } else { e.cast(&t, DType::F32) };
    let (rank, mut dims) = (t.shape.rank(), t.shape.to_vec());
    let (mut low, mut high, mut inner) = (vec![0; rank], vec![0; rank], vec![0; rank]);
    let (mut start, mut cut) = (vec![0; rank], vec![0; rank]);
    for (i, &axis) in over.iter().enumerate() {
        (low[axis], start[axis]) =
            (lows[i].max(0) as usize, lows[i].min(0).unsigned_abs() as usize);
        (high[axis], cut[axis]) =
            (highs[i].max(0) as usize, highs[i].min(0).unsigned_abs() as usize);
        inner[axis] = if t.shape[axis] > 1 { between[i] } else { 0 };
        let spread = (t.shape[axis].max(1) - 1).checked_mul(inner[axis]);
        let size = spread.and_then(|s| s.checked_add(t.shape[axis] + low[axis] + high[axis]));
        dims[axis] = size.unwrap_or(usize::MAX);
        if start[axis].saturating_add(cut[axis]) >= dims[axis] {
            let message = format!(
                "nothing is left of axis {}, which has size {}",
                t.axes[axis], t.shape[axis]
            );
            let d = Diagnostic::new(Code::Shape, message).label(g.span, "");
            return e.fail(d.label(t.origin.span, e.origin_text(&t)));
        }
    }
    e.shape(&t.axes, &dims, g.span)?;
    let padded = t.var.pad(&low, &high, &inner, value as f32);
    let limit: Vec<usize> = (0..rank).map(|axis| dims[axis] - cut[axis]).collect();
    let var = padded.slice(&start, &limit, &vec![1; rank]);
    Ok(Value::Tensor(e.same_axes(&t, var, g.span)))
}

/// Whole numbers for each of `count` axes, which may be negative.
fn ends<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    param: &str,
    count: usize,
) -> Eval<Vec<i64>> {
    let (value, span) = g.at(param);
    let mut ends = Vec::with_capacity(count);
    for item in g.for_each_axis(e, param, &value, span, count)? {
        match item {
            Value::Int(x) if x.unsigned_abs() <= 1 << 40 => ends.push(x),
            other => {
                let message = format!("`{param}` of `pad` is a whole number, not {}", other.text());
                return e.error(Code::Value, span, message, "");
            }
        }
    }
    Ok(ends)
}

/// `reverse[H, W](x)`: the last comes first.
fn reverse<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let t = g.tensor(e, "x")?;
    let over = super::reduce::named_axes(e, g, &t)?;
    Ok(Value::Tensor(e.same_axes(&t, t.var.reverse(&over), g.span)))
}

/// `index(S)`: 0, 1, 2 ... along an axis, whose size is that of the values in scope.
fn index<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let axis = Axis::from(g.text(e, "axis", "")?);
    let size = match g.get("size") {
        Some(_) => g.whole(e, "size", 1, 1)?,
        None => match e.sizes_in_scope(&axis).as_slice() {
            [size] => *size,
            [] => {
                let d = Diagnostic::new(Code::Name, format!("no value here has the axis {axis}"))
                    .label(g.span, "");
                return e.fail(d.help(format!("give its size: index({axis}, 10)")));
            }
            several => {
                let sizes: Vec<String> = several.iter().map(usize::to_string).collect();
                let message =
                    format!("the axis {axis} has several sizes here: {}", sizes.join(", "));
                let d = Diagnostic::new(Code::Shape, message).label(g.span, "");
                return e.fail(d.help(format!("say which: index({axis}, x.{axis})")));
            }
        },
    };
    if i32::try_from(size).is_err() {
        return e.error(
            Code::Limit,
            g.span,
            format!("axis {axis} of size {size} is too long to count"),
            "",
        );
    }
    let var = e.builder.iota(&[size], 0);
    Ok(Value::Tensor(e.tensor(var, vec![axis], g.span)))
}
