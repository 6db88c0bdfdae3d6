//! The arena of every model against the bound of its schedule: `cargo bench -p kiln-benches --bench memory`.

use kiln::Options;

fn main() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../dsl/models/");
    println!("{:<28} {:>14} {:>14} {:>8}", "graph", "arena bytes", "bound bytes", "ratio");
    let mut failed = false;
    let models_and_batches = [
        ("mlp", 128),
        ("digits", 32),
        ("lenet", 64),
        ("alexnet", 16),
        ("googlenet", 8),
        ("inception_bn", 8),
        ("resnet", 8),
        ("vgg", 8),
        ("mobilenet", 8),
        ("cifar_resnet", 32),
        ("preact_resnet", 32),
    ];
    for (name, batch) in models_and_batches {
        for training in [false, true] {
            let model =
                kiln::parse_file(format!("{models}{name}.kiln")).unwrap_or_else(|e| panic!("{e}"));
            let network = if training { model.training() } else { model.inference() };
            let options = Options::default().bind(if training { "batch" } else { "N" }, batch);
            let exe = kiln::compile(&network.unwrap_or_else(|e| panic!("{e}")), &options);
            let exe = exe.unwrap_or_else(|e| panic!("{e}"));
            // Checked by code that shares nothing with the planner.
            let plan = kiln::loops::check_plan(exe.program()).unwrap_or_else(|e| panic!("{e}"));
            let graph =
                format!("{name} {} batch {batch}", if training { "training" } else { "inference" });
            let (arena, bound) = (plan.arena_bytes, plan.bound_bytes);
            println!("{graph:<28} {arena:>14} {bound:>14} {:>8.4}", plan.ratio());
            failed |= plan.ratio() > 1.02;
        }
    }
    assert!(!failed, "a plan is more than 2 % above its bound");
}
