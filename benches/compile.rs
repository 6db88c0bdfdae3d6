//! Time from text to executable, and how it grows with depth: `cargo bench -p kiln-benches --bench compile`.

use std::time::{Duration, Instant};

use kiln::Options;

/// A network and what is bound of it.
struct Row {
    model: &'static str,
    training: bool,
    set: &'static [(&'static str, u32)],
    repeats: usize,
}

fn main() {
    println!("{:<44} {:>10} {:>10} {:>8}", "graph", "min ms", "median ms", "kernels");
    for model in ["mlp", "digits", "lenet"] {
        show(&Row { model, training: false, set: &[("N", 64)], repeats: 20 });
        show(&Row { model, training: true, set: &[("batch", 64)], repeats: 20 });
    }
    // Three stages of `depth` units of three convolutions: ResNet-101 and ResNet-1001.
    let deep = |set| Row { model: "preact_resnet", training: true, set, repeats: 5 };
    let shallow = show(&deep(&[("depth", 11), ("batch", 32)]));
    let deep = show(&deep(&[("depth", 111), ("batch", 32)]));
    println!("t(1001) / t(101) = {:.2}", deep.as_secs_f64() / shallow.as_secs_f64());
}

/// Compiles as often as asked for, prints a line, and gives the least time.
fn show(row: &Row) -> Duration {
    let path = format!("{}/../dsl/models/{}.kiln", env!("CARGO_MANIFEST_DIR"), row.model);
    let options = row.set.iter().fold(Options::default(), |o, (key, value)| o.bind(key, value));
    let mut times = Vec::new();
    let mut kernels = 0;
    for _ in 0..row.repeats {
        let begun = Instant::now();
        let model = kiln::parse_file(&path).unwrap_or_else(|e| panic!("{e}"));
        let network = if row.training { model.training() } else { model.inference() };
        let network = network.unwrap_or_else(|e| panic!("{e}"));
        let exe = kiln::compile(&network, &options).unwrap_or_else(|e| panic!("{e}"));
        times.push(begun.elapsed());
        kernels = exe.report().kernels;
    }
    times.sort_unstable();
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let set: Vec<String> = row.set.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let kind = if row.training { "training" } else { "inference" };
    let graph = format!("{} {kind} {}", row.model, set.join(" "));
    let (least, median) = (times[0], times[times.len() / 2]);
    println!("{graph:<44} {:>10.1} {:>10.1} {kernels:>8}", ms(least), ms(median));
    least
}
