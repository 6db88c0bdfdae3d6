//! Windows that slide: convolution over the axes H and W, pooling over any one or two axes.

use kiln_graph::Var;
use kiln_tensor::{DType, Tensor as Array};

use super::super::value::{Axis, Tensor, Value};
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::{Code, Diagnostic};

pub(super) static TABLE: &[Builtin] = &[
    Builtin {
        name: "convolve",
        params: &["x", "weight", "stride?", "pad?", "dilation?", "groups?"],
        axes: Axes::None,
        run: convolve,
    },
    Builtin {
        name: "max_window",
        params: &["x", "size", "stride?", "pad?", "dilation?", "ceil?"],
        axes: Axes::Optional,
        run: max_window,
    },
    Builtin {
        name: "mean_window",
        params: &["x", "size", "stride?", "pad?", "ceil?", "count_pad?"],
        axes: Axes::Optional,
        run: mean_window,
    },
];

/// How a window moves along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slide {
    taps: usize,
    stride: usize,
    dilation: usize,
    /// Places that are put before and after the axis.
    low: usize,
    high: usize,
    /// What the last window needs beyond them.
    overhang: usize,
    /// How many windows there are.
    places: usize,
}

/// What a call says of a window along one axis.
struct Wanted {
    taps: usize,
    stride: usize,
    dilation: usize,
    /// Nothing keeps the size.
    pad: Option<usize>,
    /// Whether a last window may reach beyond the padding.
    ceil: bool,
}

impl Slide {
    /// A window that stands still on an axis it does not slide over.
    const STILL: Slide =
        Slide { taps: 1, stride: 1, dilation: 1, low: 0, high: 0, overhang: 0, places: 1 };

    /// Places from the first tap to the last.
    fn reach(&self) -> usize {
        (self.taps - 1) * self.dilation + 1
    }

    /// How many taps of each window lie in `from..to`, where the padded axis starts at 0.
    fn counts(&self, from: usize, to: usize) -> Vec<f32> {
        let taps = |place: usize| {
            (0..self.taps)
                .filter(move |t| (from..to).contains(&(place * self.stride + t * self.dilation)))
        };
        (0..self.places).map(|place| taps(place).count() as f32).collect()
    }
}

/// Checks that a window fits an axis, and works out its padding and its places.
fn slide<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    x: &Tensor<'b>,
    axis: &str,
    wanted: &Wanted,
) -> Eval<Slide> {
    let Wanted { taps, stride, dilation, .. } = *wanted;
    let size = x.size(axis).unwrap_or(0);
    let reach = (taps - 1).checked_mul(dilation).and_then(|r| r.checked_add(1));
    let reach = reach.unwrap_or(usize::MAX);
    let (low, high) = match wanted.pad {
        Some(pad) => (pad, pad),
        None => {
            let places = size.div_ceil(stride);
            let all = ((places - 1) * stride).saturating_add(reach).saturating_sub(size);
            (all / 2, all - all / 2)
        }
    };
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
    let mut places = (padded - reach) / stride + 1;
    // A further window must start before the padding at the end.
    if wanted.ceil && !(padded - reach).is_multiple_of(stride) && places * stride < size + low {
        places += 1;
    }
    let overhang = ((places - 1) * stride + reach).saturating_sub(padded);
    Ok(Slide { taps, stride, dilation, low, high, overhang, places })
}

/// The `pad` of each of `count` axes: a number, or nothing for "same".
fn pads<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, count: usize) -> Eval<Vec<Option<usize>>> {
    let (value, span) = match g.get("pad") {
        None => (Value::Int(0), g.span),
        Some(argument) => (argument.value.clone(), argument.span),
    };
    let mut pads = Vec::with_capacity(count);
    for item in g.for_each_axis(e, "pad", &value, span, count)? {
        pads.push(match item {
            Value::Text(text) if &*text == "same" => None,
            Value::Text(text) => {
                let message = format!("`pad` is a number or \"same\", not \"{text}\"");
                return e.error(Code::Value, span, message, "");
            }
            other => Some(g.whole_value(e, "pad", &other, span, 0)?),
        });
    }
    Ok(pads)
}

/// `x` with what a window needs at both ends of its last two axes.
fn padded<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    x: &Tensor<'b>,
    slides: [Slide; 2],
    value: f32,
) -> Eval<Var<'b>> {
    let rank = x.shape.rank();
    let (mut dims, mut low, mut high) = (x.shape.to_vec(), vec![0; rank], vec![0; rank]);
    for (axis, slide) in slides.iter().enumerate() {
        let at = rank - 2 + axis;
        (low[at], high[at]) = (slide.low, slide.high + slide.overhang);
        dims[at] += low[at] + high[at];
    }
    e.shape(&x.axes, &dims, g.span)?;
    Ok(x.var.pad(&low, &high, &vec![0; rank], value))
}

/// `weight` is [O, I, KH, KW] by position, with I = C / groups; C of the result is O. The image has C, H and W, and may
/// have one more axis.
fn convolve<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
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
    let mut x = e.reorder(&x, &order);
    if single {
        let dims = [&[1], &x.shape[..]].concat();
        let axes = [&[Axis::from("N")], &order[..]].concat();
        let var = x.var.reshape(&dims);
        x = Tensor { origin: x.origin, ..e.tensor(var, axes, g.span) };
    }
    let weight = g.tensor(e, "weight")?;
    let strides = g.per_axis(e, "stride", 2, 1, &[1, 1])?;
    let dilations = g.per_axis(e, "dilation", 2, 1, &[1, 1])?;
    let pads = pads(e, g, 2)?;
    let groups = g.whole(e, "groups", 1, 1)?;
    let [outputs, inputs, kh, kw] = *weight.shape else {
        let message = format!(
            "a convolution's weight has 4 axes [out, in, kh, kw], not {}",
            weight.type_text()
        );
        return e.error(Code::Shape, g.span_of("weight"), message, "");
    };
    let channels = x.shape[1];
    if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
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
        .label(given.origin.span, given.type_text());
        return e.fail(d);
    }
    let mut slides = [Slide::STILL; 2];
    for (at, (axis, taps)) in [("H", kh), ("W", kw)].into_iter().enumerate() {
        let (stride, dilation, pad) = (strides[at], dilations[at], pads[at]);
        slides[at] = slide(e, g, &x, axis, &Wanted { taps, stride, dilation, pad, ceil: false })?;
    }
    let image = padded(e, g, &x, slides, 0.0)?;
    let dims = [x.shape[0], outputs, slides[0].places, slides[1].places];
    e.shape(&x.axes, &dims, g.span)?;
    let (stride, dilation) = (slides.map(|s| s.stride), slides.map(|s| s.dilation));
    let mut var = image.conv(weight.var, stride, [0; 2], dilation, groups);
    let mut axes = x.axes.clone();
    if single {
        var = var.reshape(&dims[1..]);
        axes.remove(0);
    }
    let y = e.tensor(var, axes, g.span);
    Ok(Value::Tensor(e.reorder(&y, &given.axes)))
}

/// What slides over one or two axes: H and W unless the brackets name others.
struct Pool<'b> {
    given: Tensor<'b>,
    /// f32, with those axes last.
    x: Tensor<'b>,
    slides: [Slide; 2],
}

fn pool<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Pool<'b>> {
    let given = g.tensor(e, "x")?;
    let over = match &g.axes {
        Some(_) => super::reduce::named_axes(e, g, &given)?,
        None => {
            let mut over = Vec::new();
            for axis in ["H", "W"] {
                match given.position(axis) {
                    Some(position) => over.push(position),
                    None => return e.no_axis(&given, g.span_of("x"), axis, g.span),
                }
            }
            over
        }
    };
    if !(1..=2).contains(&over.len()) {
        let message = format!("a window slides over one or two axes, not {}", over.len());
        return e.error(Code::Type, g.span, message, "");
    }
    let count = over.len();
    let axes: Vec<Axis> = over.iter().map(|&p| given.axes[p].clone()).collect();
    let sizes = g.per_axis(e, "size", count, 1, &[])?;
    let strides = g.per_axis(e, "stride", count, 1, &sizes)?;
    // Not every window has a dilation.
    let dilations = g.per_axis(e, "dilation", count, 1, &vec![1; count])?;
    let (pads, ceil) = (pads(e, g, count)?, g.flag(e, "ceil", false)?);
    let mut slides = [Slide::STILL; 2];
    for at in 0..count {
        let (taps, stride, dilation) = (sizes[at], strides[at], dilations[at]);
        let wanted = Wanted { taps, stride, dilation, pad: pads[at], ceil };
        let slide = slide(e, g, &given, &axes[at], &wanted)?;
        if slide.low.max(slide.high) > slide.reach() / 2 {
            let message = format!(
                "`pad` of {} is more than half the window: a window would see padding alone",
                slide.low.max(slide.high)
            );
            return e.error(Code::Value, g.span_of("pad"), message, "");
        }
        // A single axis is the second of the two that the graph's windows slide over.
        slides[at + 2 - count] = slide;
    }
    let mut order: Vec<Axis> = given.axes.iter().filter(|a| !axes.contains(a)).cloned().collect();
    order.extend(axes);
    let x = e.cast(&given, DType::F32);
    let mut x = e.reorder(&x, &order);
    if count == 1 {
        let mut dims = x.shape.to_vec();
        dims.insert(dims.len() - 1, 1);
        x.axes.insert(x.axes.len() - 1, Axis::from(""));
        x.var = x.var.reshape(&dims);
        x.shape = x.var.shape();
    }
    Ok(Pool { given, x, slides })
}

impl<'b> Pool<'b> {
    /// A result, in the axes of what was given.
    fn restore(
        self,
        e: &mut Elaborator<'_, 'b>,
        g: &Given<'b>,
        mut var: Var<'b>,
    ) -> Eval<Value<'b>> {
        // What stands in for a window that the graph refused has no axes.
        e.take_graph_error(g.span)?;
        let mut axes = self.x.axes;
        if let Some(at) = axes.iter().position(|a| a.is_empty()) {
            let mut dims = var.shape().to_vec();
            dims.remove(at);
            axes.remove(at);
            var = var.reshape(&dims);
        }
        let y = e.tensor(var, axes, g.span);
        Ok(Value::Tensor(e.reorder(&y, &self.given.axes)))
    }
}

fn max_window<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let pool = pool(e, g)?;
    let [h, w] = pool.slides;
    let image = padded(e, g, &pool.x, pool.slides, f32::NEG_INFINITY)?;
    let var = image.max_pool([h.taps, w.taps], [h.stride, w.stride], [h.dilation, w.dilation]);
    pool.restore(e, g, var)
}

/// The sum over the number of values in the window; padding counts as values of 0 unless `count_pad` is false, what
/// lies beyond it never does.
fn mean_window<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let pool = pool(e, g)?;
    let count_pad = g.flag(e, "count_pad", true)?;
    let [h, w] = pool.slides;
    let sums = padded(e, g, &pool.x, pool.slides, 0.0)?.sum_pool(
        [h.taps, w.taps],
        [h.stride, w.stride],
        [1; 2],
    );
    let rank = pool.x.shape.rank();
    let counts = |s: Slide, size: usize| match count_pad {
        true => s.counts(0, s.low + size + s.high),
        false => s.counts(s.low, s.low + size),
    };
    let (rows, columns) = (counts(h, pool.x.shape[rank - 2]), counts(w, pool.x.shape[rank - 1]));
    let counts: Vec<f32> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect();
    let var = if counts.iter().all(|c| *c == counts[0]) {
        sums / counts[0]
    } else {
        match Array::f32(&[h.places, w.places], counts) {
            Ok(counts) => {
                let counts = e.builder.constant(counts);
                sums / counts.broadcast(&sums.shape(), &[rank - 2, rank - 1])
            }
            Err(error) => return e.error(Code::Limit, g.span, error.to_string(), ""),
        }
    };
    pool.restore(e, g, var)
}
