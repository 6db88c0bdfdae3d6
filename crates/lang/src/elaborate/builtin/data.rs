//! Data sets, what is done to their examples, and checkpoints: plain data for the trainer.

use std::rc::Rc;

use super::super::data::{Checkpoint, CheckpointUnit, DATA_KINDS, DataSource, DataStep};
use super::super::value::Value;
use super::super::{Elaborator, Eval};
use super::{Axes, Builtin, Given};
use crate::diagnostic::Code;

pub(super) static TABLE: &[Builtin] = &[
    Builtin { name: "mnist", params: &["path", "split"], axes: Axes::None, run: source },
    Builtin { name: "digits", params: &["path", "split"], axes: Axes::None, run: source },
    Builtin {
        name: "shuffle",
        params: &["data"],
        axes: Axes::None,
        run: |e, g| step(e, g, DataStep::Shuffle),
    },
    Builtin { name: "scale", params: &["data", "factor"], axes: Axes::None, run: scale },
    Builtin {
        name: "normalize",
        params: &["data", "mean", "std"],
        axes: Axes::None,
        run: normalize,
    },
    Builtin { name: "every", params: &["count", "unit", "keep?"], axes: Axes::None, run: every },
];

fn source<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let path = g.text(e, "path", "")?;
    let split = g.text(e, "split", "train")?;
    if split != "train" && split != "test" {
        let message = format!("`split` is \"train\" or \"test\", not \"{split}\"");
        return e.error(Code::Value, g.span_of("split"), message, "");
    }
    let Some(kind) = DATA_KINDS.iter().find(|k| k.name == g.name()) else {
        return e.error(Code::Name, g.span, format!("no data set `{}`", g.name()), "");
    };
    Ok(Value::Data(Rc::new(DataSource { kind, path, split, steps: Vec::new(), span: g.span })))
}

fn step<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>, step: DataStep) -> Eval<Value<'b>> {
    match g.at("data") {
        (Value::Data(source), _) => {
            let mut source = (*source).clone();
            source.steps.push(step);
            Ok(Value::Data(Rc::new(source)))
        }
        (other, span) => {
            let message = format!("`{}` takes a data set, not {}", g.name(), other.kind());
            e.error(Code::Type, span, message, "for example mnist(\"data/mnist\", split=\"train\")")
        }
    }
}

fn scale<'b>(e: &mut Elaborator<'_, 'b>, g: &Given<'b>) -> Eval<Value<'b>> {
    let factor = g.number(e, "factor")?;
    step(e, g, DataStep::Scale(factor))
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
    step(e, g, DataStep::Normalize { mean, std })
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
