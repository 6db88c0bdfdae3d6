//! Trains on the bundled digits from Rust: `cargo run --release --example training`.

use std::path::Path;

use kiln::train::{EpochEnd, Progress, Status};
use kiln::{Options, Training};

/// Prints a line for each epoch.
struct Lines;

impl Progress for Lines {
    fn step(&mut self, _: &Status) {}

    fn epoch(&mut self, end: &EpochEnd) {
        let accuracy = end.validation.as_ref().and_then(|v| v.metrics.get("accuracy"));
        let accuracy = accuracy.copied().unwrap_or(f64::NAN);
        println!("epoch {}: loss {:.4}, accuracy {accuracy:.4}", end.epoch, end.train.loss);
    }

    fn saved(&mut self, _: &Path) {}
}

fn main() -> kiln::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dsl/models/digits.kiln");
    let model = kiln::parse_file(path)?;
    let options = Options::default().bind("epochs", 5);
    let mut training = Training::new(&model, &options, None)?;
    println!("{}", training.executable().report().memory);
    let report = training.fit(&mut Lines)?;
    println!("{:.0} images/s", report.images_per_second);
    Ok(())
}
