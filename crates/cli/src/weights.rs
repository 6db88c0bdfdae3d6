//! `kiln weights`: what weights a model or a file has.

use clap::Args;
use kiln::graph::InputKind;
use serde_json::json;

use crate::arguments::Program;
use crate::failure::Failure;
use crate::output;

/// List the weights of a model, or of a safetensors file
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln weights dsl/models/lenet.kiln
  kiln weights lenet.safetensors --json

States, such as running means, are listed too; they do not count as parameters of a model. A
safetensors file does not say which of its tensors are states: all count.")]
pub struct Weights {
    #[command(flatten)]
    program: Program,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A tensor, and whether it counts as parameters.
struct Entry {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    counts: bool,
}

impl Weights {
    /// Prints the list.
    pub fn run(self) -> Result<(), Failure> {
        let entries = match self.program.file.extension() {
            Some(extension) if extension == "safetensors" => self.of_file()?,
            _ => self.of_model()?,
        };
        let size = |e: &Entry| e.shape.iter().product::<usize>() as u64;
        let parameters: u64 = entries.iter().filter(|e| e.counts).map(size).sum();
        if self.json {
            let tensor = |e: &Entry| json!({ "name": e.name, "shape": e.shape, "dtype": e.dtype });
            let tensors: Vec<_> = entries.iter().map(tensor).collect();
            return output::json(&json!({ "tensors": tensors, "parameters": parameters }));
        }
        let width = entries.iter().map(|e| e.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for e in &entries {
            let state = if e.counts { "" } else { "  (state)" };
            let dims: Vec<String> = e.shape.iter().map(usize::to_string).collect();
            let shape = format!("{}[{}]", e.dtype, dims.join(","));
            let size = output::thousands(size(e));
            text.push_str(&format!("{:width$}  {shape:<20} {size:>12}{state}\n", e.name));
        }
        text.push_str(&format!("{} parameters\n", output::thousands(parameters)));
        output::print(&text)
    }

    fn of_model(&self) -> Result<Vec<Entry>, Failure> {
        let model = self.program.model()?;
        let (options, _) = model.bind_rest(&self.program.options(), 1)?;
        let elaborated = kiln::Source::elaborate(&model.inference()?, &options)?;
        let entry = |v: &kiln::lang::Variable| Entry {
            name: v.interface.name.clone(),
            dtype: v.interface.dtype.name(),
            shape: v.interface.axes.iter().map(|(_, size)| *size).collect(),
            counts: v.kind == InputKind::Param,
        };
        Ok(elaborated.variables.iter().map(entry).collect())
    }

    fn of_file(&self) -> Result<Vec<Entry>, Failure> {
        let weights = kiln_train::load_weights(&self.program.file)?;
        let entry = |(name, tensor): (String, kiln::Tensor)| Entry {
            name,
            dtype: tensor.dtype().name(),
            shape: tensor.shape().to_vec(),
            counts: true,
        };
        Ok(weights.into_iter().map(entry).collect())
    }
}
