//! Elaboration: shapes, names, gradients' graph, and every class of mistake.

use kiln_lang::{Elaborated, Kind, Module, Options};

fn model_file(name: &str) -> Module {
    let path = format!("{}/../../dsl/models/{name}.kiln", env!("CARGO_MANIFEST_DIR"));
    Module::parse_file(path).unwrap_or_else(|e| panic!("{e}"))
}

fn elaborate(module: &Module, kind: Kind, options: &Options) -> Elaborated {
    let model = module.model(None).unwrap_or_else(|e| panic!("{e}"));
    model.elaborate(kind, options).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn models_elaborate() {
    for name in ["lenet", "digits", "mlp"] {
        let module = model_file(name);
        for kind in [Kind::Inference, Kind::Training, Kind::Validation, Kind::Init] {
            let t = std::time::Instant::now();
            let e = elaborate(&module, kind, &Options::default().bind("N", 4));
            println!("{name} {kind:?}: {} nodes {:?}", e.graph.len(), t.elapsed());
        }
    }
}
