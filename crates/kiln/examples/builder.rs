//! A graph built in Rust, without the language: `cargo run --release --example builder`.
//!
//! Fits a line to points by gradient descent; gradient and update are part of the graph.

use kiln::{Builder, DType, Options, Tensor};

fn main() -> kiln::Result<()> {
    let b = Builder::new();
    let x = b.data("x", DType::F32, &[8]);
    let y = b.data("y", DType::F32, &[8]);
    let (slope, offset) = (b.param("slope", &[]), b.param("offset", &[]));
    let error = x * slope + offset - y;
    let loss = (error * error).mean(&[0]);
    b.output("loss", loss);
    for weight in [slope, offset] {
        b.update(weight, weight - loss.grad(weight) * 0.1);
    }
    let graph = b.finish().map_err(kiln::Error::input)?;

    let mut session = kiln::compile(&graph, &Options::default())?.session()?;
    let xs: Vec<f32> = (0..8).map(|i| i as f32 / 4.0 - 1.0).collect();
    let ys: Vec<f32> = xs.iter().map(|x| 3.0 * x - 0.5).collect();
    let (x, y) = (Tensor::f32(&[8], xs)?, Tensor::f32(&[8], ys)?);
    for step in 1..=100 {
        let out = session.run(&[("x", &x), ("y", &y)])?;
        if step % 20 == 0 {
            println!("step {step}: loss {:?}", out["loss"]);
        }
    }
    println!("slope {:?}, offset {:?}", session.get("slope")?, session.get("offset")?);
    Ok(())
}
