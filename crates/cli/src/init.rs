//! `kiln init`: the weights that training would start from.

use std::path::PathBuf;

use clap::Args;
use kiln_train::save_weights;

use crate::arguments::Program;
use crate::failure::Failure;
use crate::output;

/// Write the initial weights, as training would start from
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln init dsl/models/lenet.kiln --output start.safetensors
  kiln init dsl/models/lenet.kiln --output start.safetensors --set seed=7 --set init='he()'")]
pub struct Init {
    #[command(flatten)]
    program: Program,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

impl Init {
    /// Draws the weights and writes them.
    pub fn run(self) -> Result<(), Failure> {
        output::check(&self.output)?;
        let model = self.program.model()?;
        let (options, _) = model.bind_rest(&self.program.options(), 1)?;
        let weights = kiln::initial_weights(&model, &options)?;
        save_weights(&self.output, &weights)?;
        let parameters: usize = weights.values().map(|w| w.shape().elements()).sum();
        output::line(&format!(
            "{}: {} tensors, {} numbers",
            self.output.display(),
            weights.len(),
            output::thousands(parameters as u64)
        ))
    }
}
