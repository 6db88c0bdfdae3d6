//! `kiln check`: whether a program is right, and what its shapes are.

use std::collections::BTreeMap;

use clap::Args;
use kiln::graph::InputKind;
use kiln::lang::{Elaborated, Interface};
use kiln::{Model, Options, Source};

use crate::arguments::Program;
use crate::failure::Failure;
use crate::output;

/// Check a model file; list its shapes and weights
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln check dsl/models/lenet.kiln
  kiln check dsl/models/lenet.kiln --shapes --set N=32
  kiln check dsl/models/lenet.kiln --grad

Free axes that --set does not bind have size 1, with --grad 2.")]
pub struct Check {
    #[command(flatten)]
    program: Program,
    /// Print the file with the type of every variable as a comment
    #[arg(long)]
    shapes: bool,
    /// Compare the gradient of every weight with finite differences, in f64
    #[arg(long, conflicts_with = "shapes")]
    grad: bool,
}

impl Check {
    /// Prints what was found; fails if something is wrong.
    pub fn run(self) -> Result<(), Failure> {
        let model = self.program.model()?;
        let options = self.program.options();
        if self.grad {
            let check = kiln::check_gradients(&model, &options)?;
            output::line(&check.to_string())?;
            return if check.is_right() { Ok(()) } else { Err(Failure::Reported) };
        }
        let (options, bound) = model.bind_rest(&options, 1)?;
        let inference = model.inference()?.elaborate(&options)?;
        let training = training(&model, &options)?;
        if self.shapes {
            let types = training.as_ref().map_or(&inference.types, |t| &t.types);
            return output::print(&annotated(&model, types)?);
        }
        output::print(&listing(&model, &bound, &inference, training.as_ref()))
    }
}

/// The training graph, if the model has a train section; its other graphs are checked too.
fn training(model: &Model, options: &Options) -> Result<Option<Elaborated>, Failure> {
    if !model.is_trained() {
        return Ok(None);
    }
    let training = model.training()?.elaborate(options)?;
    model.validation()?.elaborate(options)?;
    model.initial()?.elaborate(options)?;
    Ok(Some(training))
}

fn listing(
    model: &Model,
    bound: &[String],
    inference: &Elaborated,
    training: Option<&Elaborated>,
) -> String {
    let mut text = format!("model {}", model.name());
    if !bound.is_empty() {
        text.push_str(&format!(", with {} = 1", bound.join(" = ")));
    }
    text.push('\n');
    let mut section = |title: &str, lines: Vec<String>| {
        for (i, line) in lines.iter().enumerate() {
            text.push_str(&format!("{:<10}{line}\n", if i == 0 { title } else { "" }));
        }
    };
    section("inputs", inference.inputs.iter().map(typed).collect());
    section("outputs", inference.outputs.iter().map(typed).collect());
    let of = |kind| inference.variables.iter().filter(move |v| v.kind == kind);
    section("weights", of(InputKind::Param).map(|v| typed(&v.interface)).collect());
    section("states", of(InputKind::State).map(|v| typed(&v.interface)).collect());
    let size = |i: &Interface| i.axes.iter().map(|(_, size)| *size as u64).product::<u64>();
    let parameters: u64 = of(InputKind::Param).map(|v| size(&v.interface)).sum();
    section("", vec![format!("{} parameters", output::thousands(parameters))]);
    if let Some(training) = training {
        let slots = training.variables.iter().filter(|v| v.kind == InputKind::Slot);
        let slots: u64 = slots.map(|v| size(&v.interface)).sum();
        section("training", training.outputs.iter().map(typed).collect());
        let slots = output::thousands(slots);
        section("", vec![format!("{slots} numbers of the optimizer")]);
    }
    text
}

/// `image: f32[N=1, C=1, H=28, W=28]`.
fn typed(i: &Interface) -> String {
    let axes: Vec<String> = i.axes.iter().map(|(axis, size)| format!("{axis}={size}")).collect();
    match axes.is_empty() {
        true => format!("{}: {}", i.name, i.dtype),
        false => format!("{}: {}[{}]", i.name, i.dtype, axes.join(", ")),
    }
}

/// The file with types as comments, formatted. A variable that a loop assigns again and again has
/// several types: all are told.
fn annotated(model: &Model, types: &[(kiln::lang::Span, String)]) -> Result<String, Failure> {
    let (sources, source) = (model.module().sources(), model.module().source());
    let mut comments: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (span, ty) in types {
        let line = source.line_column(span.start).0;
        let text = format!("{}: {ty}", sources.text(*span));
        let told = comments.entry(line).or_default();
        if !told.contains(&text) {
            told.push(text);
        }
    }
    let mut text = String::new();
    for (number, line) in source.text().lines().enumerate() {
        text.push_str(line);
        if let Some(told) = comments.get(&(number + 1)) {
            text.push_str(if line.contains('#') { "; " } else { "  # " });
            text.push_str(&told.join("; "));
        }
        text.push('\n');
    }
    Ok(kiln::lang::format::format(&text, model.module().path()).map_err(kiln::Error::from)?)
}
