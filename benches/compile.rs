//! Time from text to executable, and per pass: `cargo bench -p kiln-benches --bench compile`.

use std::time::{Duration, Instant};

use kiln::Options;

fn main() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../dsl/models/");
    println!("{:<22} {:>10} {:>10} {:>8}", "graph", "min ms", "median ms", "kernels");
    for name in ["mlp", "digits", "lenet"] {
        let path = format!("{models}{name}.kiln");
        for training in [false, true] {
            let mut times = Vec::new();
            let mut kernels = 0;
            for _ in 0..20 {
                let begun = Instant::now();
                let model = kiln::parse_file(&path).unwrap_or_else(|e| panic!("{e}"));
                let network = if training { model.training() } else { model.inference() };
                let network = network.unwrap_or_else(|e| panic!("{e}"));
                let options = Options::default().bind(if training { "batch" } else { "N" }, 64);
                let exe = kiln::compile(&network, &options).unwrap_or_else(|e| panic!("{e}"));
                times.push(begun.elapsed());
                kernels = exe.report().kernels;
            }
            times.sort_unstable();
            let ms = |t: Duration| t.as_secs_f64() * 1e3;
            let graph = format!("{name} {}", if training { "training" } else { "inference" });
            println!(
                "{graph:<22} {:>10.1} {:>10.1} {kernels:>8}",
                ms(times[0]),
                ms(times[times.len() / 2])
            );
        }
    }
}
