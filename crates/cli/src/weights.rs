//! `kiln weights`: what weights a model or a file has; a file's names in another program's.

use std::path::PathBuf;

use clap::Args;
use kiln::graph::InputKind;
use kiln_train::{Direction, Names};
use serde_json::json;

use crate::arguments::{Naming, Program};
use crate::failure::Failure;
use crate::output;

/// List the weights of a model or of a safetensors file, or rename those of a file
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln weights dsl/models/lenet.kiln
  kiln weights lenet.safetensors --json
  kiln weights resnet50.safetensors --names dsl/models/resnet.names --output ours.safetensors
  kiln weights ours.safetensors --output-names dsl/models/resnet.names --output theirs.safetensors

Of a file the list shows Kiln's names, of a model those in a file: --names translates between them.
With --output the tensors are written as they are, under Kiln's names or those of --output-names.
States, such as running means, are listed too; they do not count as parameters of a model. A
safetensors file does not say which of its tensors are states: all count.")]
pub struct Weights {
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    naming: Naming,
    /// Write the tensors of a file, a safetensors file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The tensors get the names in --output that this table gives them
    #[arg(long, value_name = "TABLE", requires = "output")]
    output_names: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A tensor, and whether it counts as parameters.
struct Entry {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    counts: bool,
}

impl Weights {
    /// Prints the list.
    pub fn run(self) -> Result<(), Failure> {
        let is_file = self.program.file.extension().is_some_and(|e| e == "safetensors");
        let names = self.naming.table()?;
        if let Some(path) = &self.output {
            if !is_file {
                let file = self.program.file.display();
                let message = format!("{file} has no tensors to write; kiln init draws them");
                return Err(Failure::input(message));
            }
            output::check(path)?;
            let output_names = match &self.output_names {
                Some(path) => Names::read(path)?,
                None => Names::default(),
            };
            kiln_train::rename_weights(&self.program.file, path, |stored| {
                let ours = names.translate_names(stored, Direction::Load)?;
                let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
                output_names.translate_names(&ours, Direction::Save)
            })?;
        }
        let entries = if is_file { self.of_file(&names)? } else { self.of_model(&names)? };
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

    /// The weights of a model, under the names that its files have by the table.
    fn of_model(&self, names: &Names) -> Result<Vec<Entry>, Failure> {
        let model = self.program.model()?;
        let (options, _) = model.bind_rest(&self.program.options(), 1)?;
        let elaborated = kiln::Source::elaborate(&model.inference()?, &options)?;
        let variables = &elaborated.variables;
        let ours: Vec<&str> = variables.iter().map(|v| v.interface.name.as_str()).collect();
        let called = names.translate_names(&ours, Direction::Save).map_err(Failure::input)?;
        let entry = |(v, name): (&kiln::lang::Variable, String)| Entry {
            name,
            dtype: v.interface.dtype.name().to_owned(),
            shape: v.interface.axes.iter().map(|(_, size)| *size).collect(),
            counts: v.kind == InputKind::Param,
        };
        Ok(variables.iter().zip(called).map(entry).collect())
    }

    /// The tensors of a file, ordered by the names that Kiln gives them by the table.
    fn of_file(&self, names: &Names) -> Result<Vec<Entry>, Failure> {
        let path = &self.program.file;
        let stored = kiln_train::list_weights(path)?;
        let theirs: Vec<&str> = stored.iter().map(|s| s.name.as_str()).collect();
        let ours = names.translate_names(&theirs, Direction::Load);
        let ours = ours.map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
        let entry = |(stored, name): (&kiln_train::Stored, String)| Entry {
            name,
            dtype: stored.dtype.clone(),
            shape: stored.shape.clone(),
            counts: true,
        };
        let mut entries: Vec<Entry> = stored.iter().zip(ours).map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}
