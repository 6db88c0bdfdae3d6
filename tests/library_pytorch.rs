//! The standard library against PyTorch: every model of `fixtures/std.kiln` gives what `fixtures/std.safetensors` says,
//! from the same inputs and weights, in the f64 reference and compiled. `pytorch/std.py` writes both files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln::graph::Graph;
use kiln::graph::eval::{Value, evaluate};
use kiln::lang::ast::{DefinitionKind, Item};
use kiln::passes::{Notes, autodiff};
use kiln::train::{Weights, load_weights};
use kiln::{Model, Network, Options, Source, Tensor};

/// Compiled f32, relative to the greatest value of a result.
const COMPILED: f64 = 1e-5;
/// The reference, relative to the greatest value of a result.
const REFERENCE: f64 = 1e-9;
/// The reference where the definition has a constant that is not exact in f32, which PyTorch's f64 does not round; and
/// of `clip_norm`, where PyTorch adds 1e-6 to the norm.
const ROUNDED: f64 = 1e-7;
const ROUNDS: [&str; 11] = [
    "adam",
    "adam_decay",
    "adamw",
    "batch_norm_training",
    "clip_norm",
    "cosine",
    "gelu",
    "gelu_tanh",
    "lamb",
    "rmsprop",
    "selu",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A case's tensors of one kind, by name.
fn part<'t>(all: &'t Weights, case: &str, kind: &str) -> BTreeMap<&'t str, &'t Tensor> {
    let prefix = format!("{case}/{kind}/");
    let own = all.iter().filter_map(|(key, tensor)| Some((key.strip_prefix(&prefix)?, tensor)));
    own.collect()
}

/// A case's expected results of one kind: f32 and what rounding left, added in f64.
fn expected(all: &Weights, case: &str, kind: &str) -> BTreeMap<String, Value> {
    let stored = part(all, case, kind);
    let mut values = BTreeMap::new();
    for (name, tensor) in stored.iter().filter(|(name, _)| !name.ends_with('+')) {
        let (mut value, rest) = (Value::from(*tensor), Value::from(stored[&*format!("{name}+")]));
        value.data.iter_mut().zip(rest.data).for_each(|(x, rest)| *x += rest);
        values.insert((*name).to_owned(), value);
    }
    values
}

/// What is wrong with `found`, if anything.
fn difference(name: &str, found: &Value, expected: &Value, tolerance: f64) -> Option<String> {
    if found.shape != expected.shape {
        return Some(format!("{name} is {}, not {}", found.shape, expected.shape));
    }
    let bound = tolerance * expected.data.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let worst = found.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0, |m, x| if x <= m { m } else { x });
    (worst > bound || worst.is_nan()).then(|| {
        let relative = worst / bound * tolerance;
        format!("{name} is off by {relative:.1e}: {:?} is not {:?}", found.data, expected.data)
    })
}

/// A model of the file, what it is given, and what PyTorch says.
struct Case {
    name: String,
    network: Network,
    options: Options,
    given: BTreeMap<String, Tensor>,
    steps: usize,
    outputs: BTreeMap<String, Value>,
    updates: BTreeMap<String, Value>,
}

fn cases() -> Vec<Case> {
    let all = load_weights(fixture("std.safetensors")).unwrap_or_else(|e| panic!("{e}"));
    let text = std::fs::read_to_string(fixture("std.kiln")).expect("the models");
    let module = kiln::lang::Module::parse(&text, "std.kiln").unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<String> = module
        .ast()
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Definition(d) if d.node.kind == DefinitionKind::Model => {
                Some(d.node.name.node.clone())
            }
            _ => None,
        })
        .collect();
    let first = Model::of(module, Some(&names[0])).unwrap_or_else(|e| panic!("{e}"));
    let case = |name: String| {
        let model = first.named(&name).expect("a model of the file");
        let options = Options::default().threads(2);
        let network = match model.is_trained() {
            true => model.training(),
            false => model.inference(),
        };
        let mut given = match model.is_trained() {
            true => {
                kiln::initial_values(&model, &options).unwrap_or_else(|e| panic!("{name}: {e}"))
            }
            false => Weights::new(),
        };
        for kind in ["input", "weight"] {
            given.extend(
                part(&all, &name, kind).into_iter().map(|(k, t)| (k.to_owned(), t.clone())),
            );
        }
        let steps =
            all.get(&format!("{name}/steps")).and_then(Tensor::as_i32).map_or(1, |s| s[0] as usize);
        let (outputs, updates) = (expected(&all, &name, "output"), expected(&all, &name, "update"));
        assert!(!outputs.is_empty(), "{name} expects nothing");
        Case { network: network.expect("a network"), name, options, given, steps, outputs, updates }
    };
    names.into_iter().map(case).collect()
}

fn differentiated(graph: Graph, name: &str) -> Graph {
    let graph = kiln::passes::run(&[&autodiff::PASS], graph, &mut Notes::default(), &mut |_, _| {});
    graph.unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_reference_gives_what_pytorch_gives() {
    let mut wrong = Vec::new();
    for case in cases() {
        let name = &case.name;
        let elaborated =
            case.network.elaborate(&case.options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let graph = differentiated(elaborated.graph, name);
        let mut values: BTreeMap<String, Value> =
            case.given.iter().map(|(name, tensor)| (name.clone(), Value::from(tensor))).collect();
        let mut outputs = BTreeMap::new();
        for _ in 0..case.steps {
            let run = evaluate(&graph, &values).unwrap_or_else(|e| panic!("{name}: {e}"));
            outputs = run.outputs;
            values.extend(run.updates);
        }
        let rounds = ROUNDS.iter().any(|rounds| name.strip_prefix("check_") == Some(rounds));
        let tolerance = if rounds { ROUNDED } else { REFERENCE };
        for (expected, found) in [(&case.outputs, &outputs), (&case.updates, &values)] {
            for (key, expected) in expected {
                wrong.extend(difference(
                    &format!("{name}: {key}"),
                    &found[key],
                    expected,
                    tolerance,
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn compiled_code_gives_what_pytorch_gives() {
    let mut wrong = Vec::new();
    for case in cases() {
        let name = &case.name;
        let executable =
            kiln::compile(&case.network, &case.options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut session = executable.session().expect("a session");
        for (key, tensor) in &case.given {
            session.set(key, tensor).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        for _ in 0..case.steps {
            session.step().unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        for (key, expected) in case.outputs.iter().chain(&case.updates) {
            let found = session.get(key).unwrap_or_else(|e| panic!("{name}: {e}"));
            wrong.extend(difference(
                &format!("{name}: {key}"),
                &Value::from(&found),
                expected,
                COMPILED,
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
