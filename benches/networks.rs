//! Time of a run: inference and training steps of the models, on one thread and on two.
//! `cargo bench -p kiln-benches --bench networks`; `tests/pytorch/bench_lenet.py` times PyTorch.

use std::time::{Duration, Instant};

use kiln::{DType, Options, Session, Tensor};

fn main() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../dsl/models/");
    println!("{:<28} {:>7} {:>10} {:>10}", "run", "threads", "min ms", "median ms");
    for (name, batch, training) in [
        ("lenet", 1, false),
        ("lenet", 64, false),
        ("lenet", 64, true),
        ("lenet", 128, true),
        ("digits", 32, true),
        ("mlp", 128, true),
    ] {
        for threads in [1, 2] {
            let model =
                kiln::parse_file(format!("{models}{name}.kiln")).unwrap_or_else(|e| panic!("{e}"));
            let network = if training { model.training() } else { model.inference() };
            let key = if training { "batch" } else { "N" };
            let options = Options::default().bind(key, batch).threads(threads);
            let exe = kiln::compile(&network.unwrap_or_else(|e| panic!("{e}")), &options);
            let exe = exe.unwrap_or_else(|e| panic!("{e}"));
            let mut session = exe.session().unwrap_or_else(|e| panic!("{e}"));
            let weights = kiln::initial_weights(&model, &options).unwrap_or_else(|e| panic!("{e}"));
            session.set_weights(&weights).unwrap_or_else(|e| panic!("{e}"));
            inputs(&mut session, &exe.elaborated().inputs);
            let mut times = Vec::new();
            let until = Instant::now() + Duration::from_secs(3);
            while times.len() < 10 || (Instant::now() < until && times.len() < 2000) {
                let begun = Instant::now();
                session.step().unwrap_or_else(|e| panic!("{e}"));
                times.push(begun.elapsed());
            }
            times.sort_unstable();
            let ms = |t: Duration| t.as_secs_f64() * 1e3;
            let run =
                format!("{name} {} batch {batch}", if training { "training" } else { "inference" });
            let median = ms(times[times.len() / 2]);
            println!("{run:<28} {threads:>7} {:>10.3} {median:>10.3}", ms(times[0]));
        }
    }
}

/// Noise for images, whole numbers below 10 for labels.
fn inputs(session: &mut Session, interfaces: &[kiln::lang::Interface]) {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    for interface in interfaces {
        let dims: Vec<usize> = interface.axes.iter().map(|a| a.1).collect();
        let n = dims.iter().product::<usize>();
        let tensor = match interface.dtype {
            DType::F32 => {
                Tensor::f32(&dims, (0..n).map(|_| next() as f32 / (1 << 24) as f32).collect())
            }
            _ => Tensor::i32(&dims, (0..n).map(|_| (next() % 10) as i32).collect()),
        };
        let tensor = tensor.unwrap_or_else(|e| panic!("{e}"));
        session.set(&interface.name, &tensor).unwrap_or_else(|e| panic!("{e}"));
    }
}
