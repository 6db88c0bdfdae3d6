//! `kiln step`: training steps on one given batch, for comparison with other frameworks.

use std::path::PathBuf;

use clap::Args;
use kiln::Tensor;
use kiln_train::Weights;

use crate::arguments::{Program, Start, borrowed, file, read_inputs, save_weights};
use crate::failure::Failure;
use crate::output;

/// Do training steps on a given batch
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln step dsl/models/lenet.kiln --weights w.safetensors --input image=x.npy --input label=y.npy \\
      --steps 20 --output-weights after.safetensors --output-loss loss.npy
  kiln step dsl/models/lenet.kiln --init --input image=x.npy --input label=y.npy --no-dropout \\
      --output-grads grads.safetensors

No data set is read, nothing is shuffled. The batch is as large as the inputs; a --set batch=N must
agree. Gradients are those of the last step, before weight decay, named like the weights; losses are
those before each step's update.")]
pub struct Step {
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    start: Start,
    /// The array of an input: those of the model, and what the loss reads, such as label
    #[arg(long, value_name = "NAME=FILE", value_parser = file)]
    input: Vec<(String, PathBuf)>,
    /// How many steps
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps that make an epoch, which learning-rate schedules count in [default: all of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps_per_epoch: Option<u64>,
    /// Let every dropout pass its input through
    #[arg(long)]
    no_dropout: bool,
    /// Write the weights after the last step, a safetensors file
    #[arg(long, value_name = "FILE")]
    output_weights: Option<PathBuf>,
    /// Write the gradients of the last step, a safetensors file
    #[arg(long, value_name = "FILE")]
    output_grads: Option<PathBuf>,
    /// Write the loss of every step, an npy file f32[K]
    #[arg(long, value_name = "FILE")]
    output_loss: Option<PathBuf>,
}

/// What the training graph calls the gradient of a weight: this and the weight's name.
const GRADIENT: &str = "grad.";

impl Step {
    /// Does the steps; writes what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        let files = [&self.output_weights, &self.output_grads, &self.output_loss];
        files.into_iter().flatten().try_for_each(|path| output::check(path))?;
        let names = self.start.names()?;
        let model = self.program.model()?;
        let inputs = read_inputs(&self.input)?;
        let inputs = borrowed(&inputs);
        let mut options = self
            .program
            .options()
            .dropout(!self.no_dropout)
            .gradients(self.output_grads.is_some())
            .steps_per_epoch(self.steps_per_epoch.unwrap_or(self.steps.into()));
        if !options.is_bound("batch") {
            options = model.bind_from(&options, &inputs)?;
        }
        let mut session = kiln::compile(&model.training()?, &options)?.session()?;
        let weights = self.start.weights(&model, &options, &session.weight_types())?;
        session.set_weights(kiln::initial_values(&model, &options)?)?;
        session.set_weights(weights)?;

        let mut losses = Vec::new();
        for step in 1..=self.steps {
            let results = session.run(&inputs)?;
            let mut text = format!("step {step}");
            for (name, tensor) in results.iter().filter(|(name, _)| !name.starts_with(GRADIENT)) {
                let Some(&[value]) = tensor.as_f32() else { continue };
                text.push_str(&format!("  {name} {value:.6}"));
                if name == "loss" {
                    losses.push(value);
                }
            }
            output::line(&text)?;
        }

        if let Some(path) = &self.output_weights {
            save_weights(path, &names, session.weights()?)?;
        }
        if let Some(path) = &self.output_grads {
            let outputs = session.outputs()?;
            let named = outputs.iter().filter_map(|(name, tensor)| {
                Some((name.strip_prefix(GRADIENT)?.to_owned(), tensor.clone()))
            });
            save_weights(path, &names, named.collect::<Weights>())?;
        }
        if let Some(path) = &self.output_loss {
            let tensor = Tensor::f32(&[losses.len()], losses).map_err(kiln::Error::from)?;
            tensor.write_npy(path).map_err(kiln::Error::from)?;
        }
        Ok(())
    }
}
