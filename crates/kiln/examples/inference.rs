//! Runs LeNet on one image: `cargo run --release --example inference`.
//!
//! With a weight file (`kiln train ... --output lenet.safetensors`) as its argument it uses that,
//! else the initial weights, whose guesses are worth nothing.

use kiln::{Options, Tensor};

fn main() -> kiln::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dsl/models/lenet.kiln");
    let model = kiln::parse_file(path)?;
    let options = Options::default().bind("N", 1);
    let executable = kiln::compile(&model.inference()?, &options)?;
    println!("{}", executable.report());

    let mut session = executable.session()?;
    match std::env::args().nth(1) {
        Some(weights) => session.load(weights)?,
        None => session.set_weights(kiln::initial_weights(&model, &options)?)?,
    }
    // A vertical stroke: a one.
    let stroke = |i: usize| {
        if (4..24).contains(&(i / 28)) && (13..15).contains(&(i % 28)) { 1.0 } else { 0.0 }
    };
    let image = Tensor::f32(&[1, 1, 28, 28], (0..784).map(stroke).collect())?;
    let out = session.run(&[("image", &image)])?;
    let prob = out["prob"].as_f32().unwrap_or_default();
    for (digit, p) in prob.iter().enumerate() {
        println!("{digit}: {:5.1} %", p * 100.0);
    }
    Ok(())
}
