//! Speed of the block functions on a block that stays in the first cache.
//!
//! `cargo run --release -p kiln-kernels --example functions [ISA]`

use kiln_kernels::{BlockFunction, Isa};
use std::time::Instant;

const BLOCK: usize = 2048;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let isa = match std::env::args().nth(1) {
        Some(name) => Isa::named(&name)?,
        None => Isa::detect()?,
    };
    println!("{}: elements per nanosecond, the fastest of many blocks of {BLOCK}", isa.name());
    let src: Vec<f32> = (0..BLOCK).map(|i| i as f32 / 128.0 - 8.0).collect();
    let mut dst = vec![0.0; BLOCK];
    for &function in BlockFunction::ALL {
        let seconds = (0..2000)
            .map(|_| {
                let start = Instant::now();
                function.apply(isa, &mut dst, &src);
                start.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min);
        println!("{:8} {:6.2}", function.name(), BLOCK as f64 / seconds / 1e9);
    }
    Ok(())
}
