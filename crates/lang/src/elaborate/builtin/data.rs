//! Data sets, what is done to their examples, and checkpoints: plain data for the trainer.

use std::rc::Rc;

use kiln_tensor::DType;

use super::super::data::{Checkpoint, CheckpointUnit, DataSource, DataStep, Field, Format, Split};
use super::super::value::Value;
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::Code;

pub(super) static TABLE: &[Builtin] = &[
    plain("mnist", &["path", "split"], |e, g| {
        let image = [("C", Some(1)), ("H", Some(28)), ("W", Some(28))];
        finish(e, g, Format::Mnist, vec![Field::known("image", DType::F32, &image), label()])
    }),
    plain("digits", &["path", "split"], |e, g| {
        let image = [("C", Some(1)), ("H", Some(8)), ("W", Some(8))];
        finish(e, g, Format::Digits, vec![Field::known("image", DType::F32, &image), label()])
    }),
    plain("text", &["path", "length?", "split?"], text),
    plain("shuffle", &["data"], |e, g| push(e, g, DataStep::Shuffle)),
    plain("scale", &["data", "factor"], scale),
    plain("normalize", &["data", "mean", "std"], normalize),
    plain("crop", &["data", "size"], |e, g| crop(e, g, false)),
    plain("random_crop", &["data", "size?", "pad?"], |e, g| crop(e, g, true)),
    plain("flip", &["data", "p?"], flip),
    plain("every", &["count", "unit", "keep?"], every),
];

type Run = for<'a, 'b> fn(&mut Elaborator<'a, 'b>, &Given<'b>) -> Eval<Value<'b>>;

/// A function without axes.
const fn plain(name: &'static str, params: &'static [&'static str], run: Run) -> Builtin {
    Builtin { name, params, axes: Axes::None, run }
}

fn label() -> Field {
    Field::known("label", DType::I32, &[])
}

/// A data set of these fields at the path, and the part of it, that the program gives.
fn finish<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    format: Format,
    fields: Vec<Field>,
) -> Eval<Value<'b>> {
    let path = g.text(e, "path", "")?;
    let split = match g.get("split") {
        None => None,
        Some(_) => match g.text(e, "split", "")?.as_str() {
            "train" => Some(Split::Train),
            "test" => Some(Split::Test),
            other => {
                let message = format!("`split` is \"train\" or \"test\", not \"{other}\"");
                return e.error(Code::Value, g.span_of("split"), message, "");
            }
        },
    };
    let (name, steps, span) = (g.name(), Vec::new(), g.span);
    Ok(Value::Data(Rc::new(DataSource { name, format, path, split, fields, steps, span })))
}

fn text<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let length = match g.get("length") {
        None => None,
        Some(_) => Some(g.whole(e, "length", 1, 1)?),
    };
    let field = |name| Field::known(name, DType::I32, &[("T", length)]);
    finish(e, g, Format::Text { length }, vec![field("token"), field("label")])
}

/// Rows and columns, if given: one number for both or a list of two.
fn size<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Option<[usize; 2]>> {
    Ok(g.per_axis(e, "size", 2, 1, &[])?.first_chunk().copied())
}

/// The data set that a step is done to.
fn data<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<DataSource> {
    match g.at("data") {
        (Value::Data(source), _) => Ok((*source).clone()),
        (other, span) => {
            let message = format!("`{}` takes a data set, not {}", g.name(), other.kind());
            e.error(Code::Type, span, message, "for example mnist(\"data/mnist\", split=\"train\")")
        }
    }
}

fn push<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, step: DataStep) -> Eval<Value<'b>> {
    let mut source = data(e, g)?;
    source.steps.push(step);
    Ok(Value::Data(Rc::new(source)))
}

fn scale<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let factor = g.number(e, "factor")?;
    push(e, g, DataStep::Scale(factor))
}

fn normalize<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let mut lists = Vec::new();
    for param in ["mean", "std"] {
        let (value, span) = g.at(param);
        let items = match &value {
            Value::List(items) => items.to_vec(),
            other => vec![other.clone()],
        };
        let mut numbers = Vec::new();
        for item in items {
            match item {
                Value::Int(x) => numbers.push(x as f64),
                Value::Float(x) => numbers.push(x),
                other => {
                    let message =
                        format!("`{param}` is a number or a list of them, not {}", other.kind());
                    return e.error(Code::Type, span, message, "");
                }
            }
        }
        if param == "std" && numbers.contains(&0.0) {
            return e.error(Code::Value, span, "a deviation of 0 cannot be divided by", "");
        }
        lists.push(numbers);
    }
    let std = lists.pop().unwrap_or_default();
    let mean = lists.pop().unwrap_or_default();
    if mean.len() != std.len() {
        let message = format!("{} means and {} deviations", mean.len(), std.len());
        return e.error(Code::Value, g.span, message, "");
    }
    push(e, g, DataStep::Normalize { mean, std })
}

/// A window of every image, in the middle or anywhere. The images' axes H and W get its size.
fn crop<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, random: bool) -> Eval<Value<'b>> {
    let pad = if random { g.whole(e, "pad", 0, 0)? } else { 0 };
    let size = size(e, g)?;
    if size.is_none() && pad == 0 {
        let message = format!("`{}` needs a size or a pad", g.name());
        return e.error(Code::Type, g.span, message, "for example random_crop(pad=4)");
    }
    let mut source = data(e, g)?;
    for (axis, known) in source.fields.iter_mut().flat_map(|f| f.axes.iter_mut().flatten()) {
        let new = size.zip(["H", "W"].iter().position(|name| name == axis));
        let Some((size, at)) = new else { continue };
        if let Some(before) = *known
            && size[at] > before.saturating_add(2 * pad)
        {
            let message =
                format!("a window with {axis}={} of images with {axis}={before}", size[at]);
            return e.error(Code::Value, g.span_of("size"), message, "");
        }
        *known = Some(size[at]);
    }
    source.steps.push(DataStep::Crop { size, pad, random });
    Ok(Value::Data(Rc::new(source)))
}

fn flip<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let probability = if g.get("p").is_some() { g.number(e, "p")? } else { 0.5 };
    if !(0.0..=1.0).contains(&probability) {
        let message = format!("`p` is a share between 0 and 1, not {probability}");
        return e.error(Code::Value, g.span_of("p"), message, "");
    }
    push(e, g, DataStep::Flip { probability })
}

fn every<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let every = g.whole(e, "count", 1, 1)? as u64;
    let keep = g.whole(e, "keep", 1, 2)? as u64;
    let unit = match g.text(e, "unit", "")?.as_str() {
        "epoch" => CheckpointUnit::Epoch,
        "step" => CheckpointUnit::Step,
        other => {
            let message =
                format!("checkpoints are counted by \"epoch\" or \"step\", not \"{other}\"");
            return e.error(Code::Value, g.span_of("unit"), message, "");
        }
    };
    Ok(Value::Checkpoint(Checkpoint { every, unit, keep }))
}
