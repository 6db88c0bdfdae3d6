//! `kiln bench`: how long a run or a training step takes.

use std::time::Instant;

use clap::Args;
use kiln::Profile;
use kiln_train::{peak_rss_bytes, rss_bytes};
use serde_json::json;

use crate::arguments::{Program, Start};
use crate::failure::Failure;
use crate::output;

/// Time a model, or its training step, on random inputs
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln bench dsl/models/lenet.kiln
  kiln bench dsl/models/lenet.kiln --train --set N=64 --threads 2 --repeat 100 --json
  kiln bench dsl/models/lenet.kiln --train --profile

Without --weights they are the initial ones; inputs are random numbers in 0..1, whole numbers 0 and 1. Free axes
that --set does not bind have size 1, the batch of a training step that of the train section.")]
pub struct Bench {
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    start: Start,
    /// The training step: forward, backward and update
    #[arg(long)]
    train: bool,
    /// How many runs are timed
    #[arg(long, value_name = "R", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: u32,
    /// What each kernel takes, in runs where they wait for each other, and which lines of the program it comes from
    #[arg(long)]
    profile: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs before the timed ones: pages are mapped, threads awake, caches as they will be.
const WARM_UP: u32 = 5;

impl Bench {
    /// Runs and prints the times.
    pub fn run(self) -> Result<(), Failure> {
        let model = self.program.model()?;
        let mut options = self.program.options();
        if !self.train {
            options = model.bind_rest(&options, 1)?.0;
        }
        let network = if self.train { model.training()? } else { model.inference()? };
        let executable = kiln::compile(&network, &options)?;
        let mut session = executable.session()?;
        // A file has all weights, but no states of an optimiser.
        if self.train || !self.start.is_file() {
            session.set_weights(kiln::initial_values(&model, &options)?)?;
        }
        if self.start.is_file() {
            session.set_weights(self.start.weights(
                &model,
                &options,
                &session.weight_types(),
            )?)?;
        }
        for (name, tensor) in kiln::random_inputs(&executable, 0)? {
            session.set(&name, &tensor)?;
        }
        session.release_weights();
        let mut times = Vec::new();
        for turn in 0..WARM_UP.min(self.repeat) + self.repeat {
            let begun = Instant::now();
            session.step()?;
            if turn >= WARM_UP.min(self.repeat) {
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        let (rss, peak) = (rss_bytes(), peak_rss_bytes());
        let middle = times.len() / 2;
        let median = match times.len() % 2 {
            0 => (times[middle - 1] + times[middle]) / 2.0,
            _ => times[middle],
        };
        // Timed kernels are a little slower and wait for each other, so they have runs of their own.
        let profile = self.profile.then(|| session.profile(self.repeat)).transpose()?;
        let report = executable.report();
        let compile_ms = report.time.as_secs_f64() * 1e3;
        if self.json {
            let mut object = json!({
                "min_ms": times[0],
                "median_ms": median,
                "compile_ms": compile_ms,
                "arena_bytes": report.memory.arena,
                "bound_bytes": report.memory.bound,
                "released_bytes": report.memory.sources,
                "rss_bytes": rss,
                "peak_rss_bytes": peak,
                "kernels": report.kernels,
            });
            if let Some(profile) = &profile {
                object["profile"] = kernels(profile);
            }
            return output::json(&object);
        }
        let profile = profile.map_or(String::new(), |p| format!("{p}\n"));
        output::print(&format!(
            "{report}\n{profile}min {:.4} ms, median {median:.4} ms of {} runs{}\n",
            times[0],
            times.len(),
            rss.map_or(String::new(), |p| format!(", {} of memory", kiln::bytes(p as usize))),
        ))
    }
}

/// Every kernel, in the order they run.
fn kernels(profile: &Profile) -> serde_json::Value {
    let total = profile.total();
    let kernels = profile.kernels.iter().map(|kernel| {
        let places = kernel.locations.iter().map(ToString::to_string);
        json!({
            "name": kernel.name,
            "locations": places.collect::<Vec<String>>(),
            "min_us": kernel.least.as_secs_f64() * 1e6,
            "share": kernel.share(total),
            "bytes": kernel.bytes(),
            "flops": kernel.cost.flops,
            "functions": kernel.cost.functions,
        })
    });
    kernels.collect()
}
