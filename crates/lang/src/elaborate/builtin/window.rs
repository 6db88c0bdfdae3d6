//! Windows that slide over the axes H and W: convolution and pooling.

use kiln_tensor::DType;

use super::super::value::{Axis, Tensor, Value};
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

pub(super) static TABLE: &[Builtin] = &[
    Builtin {
        name: "convolve",
        params: &["x", "weight", "stride?", "pad?", "dilation?", "groups?"],
        axes: Axes::None,
        run: convolve,
    },
    Builtin {
        name: "max_window",
        params: &["x", "size", "stride?", "pad?"],
        axes: Axes::None,
        run: pool,
    },
    Builtin {
        name: "mean_window",
        params: &["x", "size", "stride?", "pad?"],
        axes: Axes::None,
        run: pool,
    },
];

/// The image as [N, C, H, W]: N may be any one other axis, or none.
struct Image<'b> {
    /// As given.
    given: Tensor<'b>,
    /// In that order, of rank 4.
    tensor: Tensor<'b>,
}

fn image<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Image<'b>> {
    let given = g.tensor(e, "x")?;
    let x = e.cast(&given, DType::F32);
    for axis in ["C", "H", "W"] {
        if x.position(axis).is_none() {
            return e.no_axis(&x, g.span_of("x"), axis, g.span);
        }
    }
    let mut order: Vec<Axis> =
        x.axes.iter().filter(|a| !matches!(&***a, "C" | "H" | "W")).cloned().collect();
    if order.len() > 1 {
        let message =
            format!("`{}` takes axes C, H, W and one more, not {}", g.name(), x.type_text());
        return e.error(Code::Shape, g.span_of("x"), message, "");
    }
    let single = order.is_empty();
    order.extend(["C", "H", "W"].map(Axis::from));
    let mut tensor = e.reorder(&x, &order);
    if single {
        let dims = [&[1], &tensor.shape[..]].concat();
        let axes = [&[Axis::from("N")], &order[..]].concat();
        let var = tensor.var.reshape(&dims);
        tensor = e.tensor(var, axes, g.span);
    }
    Ok(Image { given, tensor })
}

impl<'b> Image<'b> {
    /// A result [N, C, H, W] in the axes of the given image.
    fn restore(
        &self,
        e: &mut Elaborator<'_, 'b>,
        var: kiln_graph::Var<'b>,
        span: Span,
    ) -> Tensor<'b> {
        let mut axes = self.tensor.axes.clone();
        let mut var = var;
        if self.given.axes.len() == 3 {
            let dims = var.shape()[1..].to_vec();
            var = var.reshape(&dims);
            axes.remove(0);
        }
        let t = e.tensor(var, axes, span);
        e.reorder(&t, &self.given.axes)
    }
}

/// How a window moves along one axis.
#[derive(Clone, Copy)]
struct Slide {
    low: usize,
    high: usize,
}

/// Checks that a window fits and works out its padding.
#[expect(clippy::too_many_arguments, reason = "the parameters of a window")]
fn slide<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    x: &Tensor<'b>,
    axis: &str,
    taps: usize,
    stride: usize,
    dilation: usize,
    limit: Option<usize>,
) -> Eval<Slide> {
    let size = x.size(axis).unwrap_or(0);
    let reach =
        (taps - 1).checked_mul(dilation).and_then(|r| r.checked_add(1)).unwrap_or(usize::MAX);
    let (low, high) = match g.get("pad").map(|a| &a.value) {
        Some(Value::Text(text)) if &**text == "same" => {
            let places = size.div_ceil(stride);
            let all = ((places - 1) * stride).saturating_add(reach).saturating_sub(size);
            (all / 2, all - all / 2)
        }
        Some(Value::Text(text)) => {
            let message = format!("`pad` is a number or \"same\", not \"{text}\"");
            return e.error(Code::Value, g.span_of("pad"), message, "");
        }
        _ => {
            let pad = g.whole(e, "pad", 0, 0)?;
            (pad, pad)
        }
    };
    if let Some(limit) = limit
        && low.max(high) > limit
    {
        let message = format!(
            "`pad` of {} is more than half the window: a window would see padding alone",
            low.max(high)
        );
        return e.error(Code::Value, g.span_of("pad"), message, "");
    }
    let padded = size.checked_add(low).and_then(|s| s.checked_add(high)).unwrap_or(usize::MAX);
    if reach > padded || padded == usize::MAX {
        let message =
            format!("a window that spans {reach} does not fit axis {axis} of size {padded}");
        let mut d = Diagnostic::new(Code::Shape, message)
            .label(g.span, "")
            .label(x.origin.span, e.origin_text(x));
        if low + high > 0 {
            d = d.note(format!("size {size} and padding {low} + {high}"));
        }
        return e.fail(d.help("use a smaller window, or pad=\"same\""));
    }
    Ok(Slide { low, high })
}

fn padded<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    x: &Tensor<'b>,
    h: Slide,
    w: Slide,
    value: f32,
) -> Eval<kiln_graph::Var<'b>> {
    let mut dims = x.shape.to_vec();
    dims[2] += h.low + h.high;
    dims[3] += w.low + w.high;
    e.shape(&x.axes, &dims, g.span)?;
    Ok(x.var.pad(&[0, 0, h.low, w.low], &[0, 0, h.high, w.high], &[0; 4], value))
}

/// `weight` is [O, I, KH, KW] by position, with I = C / groups; C of the result is O.
fn convolve<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let x = image(e, g)?;
    let weight = g.tensor(e, "weight")?;
    let stride = g.whole(e, "stride", 1, 1)?;
    let dilation = g.whole(e, "dilation", 1, 1)?;
    let groups = g.whole(e, "groups", 1, 1)?;
    let [outputs, inputs, kh, kw] = *weight.shape else {
        let message = format!(
            "a convolution's weight has 4 axes [out, in, kh, kw], not {}",
            weight.type_text()
        );
        return e.error(Code::Shape, g.span_of("weight"), message, "");
    };
    let channels = x.tensor.shape[1];
    if channels % groups != 0 || outputs % groups != 0 {
        let message = format!(
            "{groups} groups divide neither or only one of {channels} inputs and {outputs} outputs"
        );
        return e.error(Code::Shape, g.span_of("groups"), message, "");
    }
    if channels / groups != inputs {
        let d = Diagnostic::new(
            Code::Shape,
            format!("the weight expects {inputs} channels, the image has {}", channels / groups),
        )
        .label(g.span_of("weight"), weight.type_text())
        .label(x.given.origin.span, x.given.type_text());
        return e.fail(d);
    }
    let h = slide(e, g, &x.tensor, "H", kh, stride, dilation, None)?;
    let w = slide(e, g, &x.tensor, "W", kw, stride, dilation, None)?;
    let image = padded(e, g, &x.tensor, h, w, 0.0)?;
    let places = |slid: usize, taps: usize| (slid - (taps - 1) * dilation - 1) / stride + 1;
    let dims =
        [x.tensor.shape[0], outputs, places(image.shape()[2], kh), places(image.shape()[3], kw)];
    e.shape(&x.tensor.axes, &dims, g.span)?;
    let var = image.conv(weight.var, [stride; 2], [0; 2], [dilation; 2], groups);
    Ok(Value::Tensor(x.restore(e, var, g.span)))
}

fn pool<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let x = image(e, g)?;
    let size = g.whole(e, "size", 1, 1)?;
    let stride = g.whole(e, "stride", 1, size)?;
    let h = slide(e, g, &x.tensor, "H", size, stride, 1, Some(size / 2))?;
    let w = slide(e, g, &x.tensor, "W", size, stride, 1, Some(size / 2))?;
    let maximum = g.name() == "max_window";
    let image = padded(e, g, &x.tensor, h, w, if maximum { f32::NEG_INFINITY } else { 0.0 })?;
    let (kernel, stride) = ([size; 2], [stride; 2]);
    let var = if maximum {
        image.max_pool(kernel, stride, [1; 2])
    } else {
        image.avg_pool(kernel, stride, [1; 2])
    };
    Ok(Value::Tensor(x.restore(e, var, g.span)))
}
