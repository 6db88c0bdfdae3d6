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
    let (shallow, few) = show(&deep(&[("depth", 11), ("batch", 32)]));
    let (deep, many) = show(&deep(&[("depth", 111), ("batch", 32)]));
    println!("t(1001) / t(101) = {:.2}", deep.as_secs_f64() / shallow.as_secs_f64());
    println!("\n{:<14} {:>10} {:>10} {:>8}", "least ms of", "101", "1001", "ratio");
    for ((pass, few), (_, many)) in few.iter().zip(&many) {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("{pass:<14} {:>10.2} {:>10.2} {ratio:>8.1}", ms(*few), ms(*many));
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Compiles as often as asked for, prints a line, and gives the least time, of all and of each pass.
fn show(row: &Row) -> (Duration, Vec<(&'static str, Duration)>) {
    let path = format!("{}/../dsl/models/{}.kiln", env!("CARGO_MANIFEST_DIR"), row.model);
    let options = row.set.iter().fold(Options::default(), |o, (key, value)| o.bind(key, value));
    let mut times = Vec::new();
    let mut passes: Vec<(&str, Duration)> = Vec::new();
    let mut kernels = 0;
    for _ in 0..row.repeats {
        let begun = Instant::now();
        let model = kiln::parse_file(&path).unwrap_or_else(|e| panic!("{e}"));
        let network = if row.training { model.training() } else { model.inference() };
        let network = network.unwrap_or_else(|e| panic!("{e}"));
        let exe = kiln::compile(&network, &options).unwrap_or_else(|e| panic!("{e}"));
        times.push(begun.elapsed());
        let report = exe.report();
        kernels = report.kernels;
        let all = report.passes.iter().map(|p| (p.pass, p.time));
        let all = all.chain([("verify", report.verification)]);
        match passes.is_empty() {
            true => passes.extend(all),
            false => passes.iter_mut().zip(all).for_each(|(p, (_, time))| p.1 = p.1.min(time)),
        }
    }
    times.sort_unstable();
    let set: Vec<String> = row.set.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let kind = if row.training { "training" } else { "inference" };
    let graph = format!("{} {kind} {}", row.model, set.join(" "));
    let (least, median) = (times[0], times[times.len() / 2]);
    println!("{graph:<44} {:>10.1} {:>10.1} {kernels:>8}", ms(least), ms(median));
    (least, passes)
}
