//! Data sets, what is done to their examples, and checkpoints: plain data for the trainer.

use std::rc::Rc;

use kiln_tensor::DType;

use super::super::data::{Checkpoint, CheckpointUnit, DataSource, DataStep, Field, Format, Split};
use super::super::value::Value;
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::{Code, Diagnostic};

pub(super) static TABLE: &[Builtin] = &[
    plain("mnist", &["path", "split"], |e, g| {
        let image = [("C", Some(1)), ("H", Some(28)), ("W", Some(28))];
        let fields = vec![Field::known("image", DType::F32, &image), label()];
        finish(e, g, Format::Mnist, Some(fields))
    }),
    plain("digits", &["path", "split"], |e, g| {
        let image = [("C", Some(1)), ("H", Some(8)), ("W", Some(8))];
        let fields = vec![Field::known("image", DType::F32, &image), label()];
        finish(e, g, Format::Digits, Some(fields))
    }),
    plain("cifar10", &["path", "split"], |e, g| cifar(e, g, Format::Cifar10)),
    plain("cifar100", &["path", "split"], |e, g| cifar(e, g, Format::Cifar100)),
    plain("images", &["path", "size?", "split?"], images),
    plain("text", &["path", "length?", "split?"], text),
    plain("csv", &["path", "label?", "target?", "split?"], csv),
    plain("idx", &["...=", "split?"], |e, g| arrays(e, g, Format::Idx)),
    plain("npy", &["...=", "split?"], |e, g| arrays(e, g, Format::Npy)),
    plain("npz", &["path", "split?"], |e, g| finish(e, g, Format::Npz, None)),
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

/// Its paths: the one under no name, or one for each field, `npy(image="x.npy", label="y.npy")`.
fn files<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Vec<(String, String)>> {
    if g.get("path").is_some() {
        return Ok(vec![(String::new(), g.text(e, "path", "")?)]);
    }
    let mut files: Vec<(String, String)> = Vec::new();
    for argument in &g.rest {
        let (Some(name), Value::Text(path)) = (&argument.name, &argument.value) else {
            let kind = argument.value.kind();
            let message = format!("`{}` takes the path of each field, not {kind}", g.name());
            return e.error(Code::Type, argument.span, message, "for example label=\"y.npy\"");
        };
        if files.iter().any(|(field, _)| *field == name.node) {
            let message = format!("the field `{}` is given twice", name.node);
            return e.error(Code::Name, argument.span, message, "the second time");
        }
        files.push((name.node.clone(), path.to_string()));
    }
    if files.is_empty() {
        let message = format!("`{}` needs a file for each field", g.name());
        return e.error(Code::Type, g.span, message, "for example image=\"x.npy\"");
    }
    Ok(files)
}

/// A data set of these fields in these files, and the part of it that the program names.
fn finish<'b>(
    e: &mut Elaborator<'_, 'b>,
    g: &Given<'b>,
    format: Format,
    fields: Option<Vec<Field>>,
) -> Eval<Value<'b>> {
    let files = files(e, g)?;
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
    Ok(Value::Data(Rc::new(DataSource { name, format, files, split, fields, steps, span })))
}

fn cifar<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, format: Format) -> Eval<Value<'b>> {
    let image = [("C", Some(3)), ("H", Some(32)), ("W", Some(32))];
    let fields = vec![Field::known("image", DType::F32, &image), label()];
    finish(e, g, format, Some(fields))
}

/// Grey or in colour, as the model takes them.
fn images<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let size = size(e, g)?;
    let [rows, columns] = [0, 1].map(|at| size.map(|size| size[at]));
    let image = [("C", None), ("H", rows), ("W", columns)];
    let fields = vec![Field::known("image", DType::F32, &image), label()];
    finish(e, g, Format::Images { size }, Some(fields))
}

/// A table: only the file knows how many columns it has.
fn csv<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let mut fields = vec![Field { dtype: Some(DType::F32), ..Field::open("x") }];
    let [label, target] = ["label", "target"].map(|param| match g.get(param) {
        Some(_) => g.text(e, param, "").map(Some),
        None => Ok(None),
    });
    let (label, target) = (label?, target?);
    if label.is_some() {
        fields.push(Field::known("label", DType::I32, &[]));
    }
    if target.is_some() {
        fields.push(Field::known("target", DType::F32, &[]));
    }
    finish(e, g, Format::Csv { label, target }, Some(fields))
}

/// A file for each field, whose types only the files know.
fn arrays<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, format: Format) -> Eval<Value<'b>> {
    let names = g.rest.iter().filter_map(|argument| argument.name.as_ref());
    let fields = names.map(|name| Field::open(&name.node)).collect();
    finish(e, g, format, Some(fields))
}

fn text<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let length = match g.get("length") {
        None => None,
        Some(_) => Some(g.whole(e, "length", 1, 1)?),
    };
    let field = |name| Field::known(name, DType::I32, &[("T", length)]);
    let fields = vec![field("token"), field("label")];
    finish(e, g, Format::Text { length }, Some(fields))
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
    let fields = source.fields.iter_mut().flatten();
    for (axis, known) in fields.flat_map(|field| field.axes.iter_mut().flatten()) {
        let new = size.zip(["H", "W"].iter().position(|name| name == axis));
        let Some((size, at)) = new else { continue };
        if known.is_none() {
            let message = format!("`{}` of images whose size is not given", g.name());
            let d = Diagnostic::new(Code::Value, message)
                .label(g.span, "")
                .label(source.span, "the images")
                .help("images(path, size=[256, 256]) says how large they are before");
            return e.fail(d);
        }
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
