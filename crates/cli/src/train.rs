//! `kiln train`: trains a model by its train section.

use std::path::PathBuf;

use clap::Args;
use kiln::Training;
use kiln_train::{Direction, peak_rss_bytes};
use serde_json::json;

use crate::arguments::{Naming, Program, save_weights};
use crate::failure::Failure;
use crate::output;
use crate::progress::Display;

/// Train a model by its train section
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln train dsl/models/digits.kiln
  kiln train dsl/models/lenet.kiln --data data/mnist --set epochs=12 --output lenet.safetensors
  kiln train dsl/models/digits.kiln --set optimizer='adam(lr=1e-3)' --set seed=2 --json

Data sets: mnist, cifar10, cifar100, digits, images (a folder of PNG and JPEG files for each class),
npy, npz, idx, csv, text; paths are relative to FILE. See \"Data\" in docs/language.md.

With --output, the checkpoints that the train section asks for are written beside it:
lenet.epoch-0001.safetensors and so on. They have Kiln's names, whatever --names says.")]
pub struct Train {
    #[command(flatten)]
    program: Program,
    /// The data set's directory or file, in place of the one that the train section names; where it
    /// names a file for each field, the directory they lie in
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Write the trained weights, a safetensors file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    naming: Naming,
    /// Print the result as one JSON object; everything else goes to standard error
    #[arg(long)]
    json: bool,
}

impl Train {
    /// Trains; saves the weights.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(path) = &self.output {
            output::check(path)?;
        }
        let names = self.naming.table()?;
        let model = self.program.model()?;
        let mut training = Training::new(&model, &self.program.options(), self.data.as_deref())?;
        let mut display = Display::new(self.json);
        let report = training.executable().report().clone();
        let compile_ms = report.time.as_secs_f64() * 1e3;
        let (examples, validation) = training.examples();
        let settings = training.settings();
        let weights = training.weights()?;
        // Better now than after hours of training.
        let called: Vec<&str> = weights.keys().map(String::as_str).collect();
        names.translate_names(&called, Direction::Save).map_err(Failure::input)?;
        let parameters: usize = weights.values().map(|w| w.shape().elements()).sum();
        display.line(&format!(
            "{}: {} weights, {} examples, {} to validate, batches of {}",
            model.name(),
            output::thousands(parameters as u64),
            output::thousands(examples as u64),
            output::thousands(validation as u64),
            settings.batch,
        ));
        if settings.checkpoint.is_some() && self.output.is_none() {
            display.line("no checkpoints are written without --output");
        }
        display.line(&format!("compile {} kernels in {compile_ms:.1} ms", report.kernels));
        display.line(&report.memory.to_string());

        let result = training.fit_saving(self.output.clone(), &mut display);
        display.finish();
        let result = result?;
        if let Some(path) = &self.output {
            save_weights(path, &names, training.weights()?)?;
            display.line(&format!("saved {}", path.display()));
        }
        let peak = peak_rss_bytes();
        if self.json {
            return output::json(&json!({
                "epochs": result.epochs,
                "steps": result.steps,
                "train_loss": result.train_loss,
                "metrics": result.metrics,
                "seconds": result.seconds,
                "images_per_second": result.images_per_second,
                "compile_ms": compile_ms,
                "arena_bytes": report.memory.arena,
                "peak_rss_bytes": peak,
            }));
        }
        let mut text = format!("{} steps in {:.1} s", result.steps, result.seconds);
        text.push_str(&format!(", {:.0} examples/s", result.images_per_second));
        if let Some(loss) = result.train_loss {
            text.push_str(&format!(", loss {loss:.4}"));
        }
        for (name, value) in &result.metrics {
            text.push_str(&format!(", validation {name} {value:.4}"));
        }
        if let Some(peak) = peak {
            text.push_str(&format!(", {} of memory at most", kiln::bytes(peak as usize)));
        }
        output::line(&text)
    }
}
