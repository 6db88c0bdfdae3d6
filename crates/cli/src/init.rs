//! `kiln init`: the weights that training would start from.

use std::path::PathBuf;

use crate::arguments::{Naming, Program, save_weights};
use crate::failure::Failure;
use crate::output;
use clap::Args;

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
    #[command(flatten)]
    naming: Naming,
}

impl Init {
    /// Draws the weights and writes them.
    pub fn run(self) -> Result<(), Failure> {
        output::check(&self.output)?;
        let names = self.naming.table()?;
        let model = self.program.model()?;
        let (options, _) = model.bind_rest(&self.program.options(), 1)?;
        let weights = kiln::initial_weights(&model, &options)?;
        let parameters: usize = weights.values().map(|w| w.shape().elements()).sum();
        let tensors = weights.len();
        save_weights(&self.output, &names, weights)?;
        output::line(&format!(
            "{}: {tensors} tensors, {} numbers",
            self.output.display(),
            output::thousands(parameters as u64)
        ))
    }
}
