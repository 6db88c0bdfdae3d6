//! The networks of `dsl/models/` against PyTorch, from the same weights: results, every gradient, running statistics,
//! twenty steps of SGD with momentum. Each folder of `fixtures/networks/` is a small form of one, with what PyTorch
//! computed in f64; `fixtures/README.md` describes the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln::train::{Direction, Names};
use kiln::{Model, Options, Session, Source, Tensor};
use kiln_graph::eval::{Value, evaluate};
use kiln_lang::Kind;
use kiln_tensor::Shape;
use safetensors::{Dtype, SafeTensors};

/// Tensors in f64, by Kiln's names.
type Values = BTreeMap<String, Value>;

/// A gradient smaller than this share of all gradients together is compared with that: that of an offset which a later
/// normalisation takes away is 0, and consists of rounding errors.
const FLOOR: f64 = 1e-4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One folder of fixtures.
struct Fixture {
    name: String,
    folder: PathBuf,
    model: Model,
    names: Names,
    manifest: serde_json::Value,
}

impl Fixture {
    fn all() -> Vec<Fixture> {
        let folder = root().join("tests/fixtures/networks");
        let mut folders: Vec<PathBuf> = fs::read_dir(folder)
            .expect("fixtures")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        folders.sort();
        assert!(!folders.is_empty());
        folders.into_iter().map(Fixture::read).collect()
    }

    fn read(folder: PathBuf) -> Fixture {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
        let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let file = |key: &str| manifest[key].as_str().map(|path| root().join(path));
        let model =
            kiln::parse_file(file("model").expect("a model")).unwrap_or_else(|e| panic!("{e}"));
        let names = match file("names") {
            Some(path) => Names::read(path).unwrap_or_else(|e| panic!("{e}")),
            None => Names::default(),
        };
        Fixture { name, folder, model, names, manifest }
    }

    fn list(&self, key: &str) -> Vec<&str> {
        self.manifest[key].as_array().expect("a list").iter().filter_map(|x| x.as_str()).collect()
    }

    fn options(&self, kind: Kind) -> Options {
        let set = self.manifest["set"].as_object().expect("what is set");
        let batch = self.manifest["batch"].as_u64().expect("a batch");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let options =
            set.iter().fold(Options::default().threads(2), |o, (k, v)| o.bind(k, text(v)));
        match kind {
            Kind::Inference => options.bind("N", batch),
            _ => options
                .bind("batch", batch)
                .bind("optimizer", text(&self.manifest["optimizer"]))
                .dropout(false)
                .gradients(true),
        }
    }

    /// The tensors of a file under Kiln's names; none if there is no such file.
    fn values(&self, file: &str) -> Values {
        let Ok(bytes) = fs::read(self.folder.join(file)) else { return Values::new() };
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let values = tensors.tensors().into_iter().map(|(name, view)| {
            let shape = Shape::new(view.shape()).expect("a shape");
            let bytes = view.data();
            let data = match view.dtype() {
                Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                Dtype::F32 => {
                    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
                }
                Dtype::I64 => {
                    bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
                }
                other => panic!("{file}: {name} is {other}"),
            };
            (name, Value { shape, data })
        });
        let named = self.names.translate(values.collect(), Direction::Load);
        named.unwrap_or_else(|e| panic!("{}: {file}: {e}", self.name))
    }

    /// The inputs of the model, or with `label` and the like all that the loss reads.
    fn inputs(&self, kind: Kind) -> Values {
        let takes = self.list("takes");
        let mut inputs = self.values("inputs.safetensors");
        inputs.retain(|name, _| kind != Kind::Inference || takes.contains(&name.as_str()));
        inputs
    }

    /// A compiled session with PyTorch's weights and inputs.
    fn session(&self, kind: Kind) -> Session {
        let network = match kind {
            Kind::Inference => self.model.inference(),
            _ => self.model.training(),
        };
        let network = network.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let executable = kiln::compile(&network, &self.options(kind))
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let mut session = executable.session().expect("a session");
        let weights =
            kiln::train::load_weights(self.folder.join("weights.safetensors")).expect("weights");
        let weights = self
            .names
            .translate(weights, Direction::Load)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        kiln::train::match_weights(&session.weight_types(), &weights)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        session.set_weights(&weights).expect("weights fit");
        let whole = |v: &Value| v.data.iter().all(|x| x.fract() == 0.0 && x.abs() < 1e9);
        for (name, value) in self.inputs(kind) {
            let dtype = executable
                .elaborated()
                .inputs
                .iter()
                .find(|i| i.name == name)
                .expect("an input")
                .dtype;
            assert!(dtype == kiln::DType::F32 || whole(&value));
            session.set(&name, &value.to_tensor(dtype).expect("a tensor")).expect("it fits");
        }
        session
    }

    /// What the reference evaluator computes in f64: results, and the next values of weights and states.
    fn evaluate(&self, kind: Kind) -> (Values, Values) {
        let network = match kind {
            Kind::Inference => self.model.inference(),
            _ => self.model.training(),
        };
        let elaborated = network
            .and_then(|network| network.elaborate(&self.options(kind)))
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let mut notes = kiln_passes::Notes::new(kiln_passes::PassOptions::default());
        let autodiff = [&kiln_passes::autodiff::PASS];
        let graph = kiln_passes::run(&autodiff, elaborated.graph, &mut notes, &mut |_, _| {});
        let graph = graph.expect("gradients");
        let mut values = self.values("weights.safetensors");
        values.extend(self.inputs(kind));
        // Momentum, and the number of the step.
        for v in elaborated
            .variables
            .iter()
            .filter(|v| !values.contains_key(&v.interface.name))
            .collect::<Vec<_>>()
        {
            let dims: Vec<usize> = v.interface.axes.iter().map(|(_, size)| *size).collect();
            let zero = Value::from_fn(&Shape::new(dims).expect("a shape"), |_| 0.0);
            values.insert(v.interface.name.clone(), zero);
        }
        let result = evaluate(&graph, &values).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        (result.outputs, result.updates)
    }
}

fn value(tensor: &Tensor) -> Value {
    Value::from(tensor)
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// Whether a number is near another one; NaN is near none.
fn within(found: f64, expected: f64, limit: f64) -> bool {
    (found - expected).abs() <= limit
}

/// The norm of the difference over that of what is expected, or over `floor` if that is more.
fn relative(found: &Value, expected: &Value, floor: f64) -> f64 {
    assert_eq!(found.shape, expected.shape);
    let difference = norm(found.data.iter().zip(&expected.data).map(|(a, b)| a - b));
    difference / norm(expected.data.iter().copied()).max(floor)
}

/// Compares every tensor that is expected with the one found under its name; gives what is off by more than `limit`.
fn compare(
    fixture: &str,
    found: impl Fn(&str) -> Value,
    expected: &Values,
    floor: f64,
    limit: f64,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, expected) in expected {
        let error = relative(&found(name), expected, floor);
        if error.is_nan() || error > limit {
            wrong.push(format!("{fixture}: {name} is off by {error:.1e}, allowed is {limit:.0e}"));
        }
    }
    wrong
}

/// What a gradient is compared with at least.
fn floor(gradients: &Values) -> f64 {
    FLOOR * norm(gradients.values().flat_map(|g| g.data.iter().copied()))
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Keys and values, as of `--set`.
type Settings = &'static [(&'static str, &'static str)];

/// Model, what is set, and how many weights the paper or torchvision counts.
const COUNTS: &[(&str, Settings, usize)] = &[
    ("lenet", &[], 431_080),
    ("alexnet", &[], 61_100_840),
    ("resnet", &[("unit", "basic"), ("depths", "[2, 2, 2, 2]")], 11_689_512),
    ("resnet", &[("unit", "basic")], 21_797_672),
    ("resnet", &[], 25_557_032),
    ("resnet", &[("depths", "[3, 4, 23, 3]")], 44_549_160),
    ("resnet", &[("depths", "[3, 8, 36, 3]")], 60_192_808),
    ("googlenet", &[("sides", "false")], 6_624_904),
    ("googlenet", &[("sides", "false"), ("paper", "true")], 6_998_552),
    ("googlenet", &[], 13_004_888),
    ("vgg", &[], 138_357_544),
    ("mobilenet", &[], 3_504_872),
];

#[test]
fn weights_are_as_many_as_others_count_and_have_other_names_one_to_one() {
    for (name, set, count) in COUNTS {
        let path = root().join(format!("dsl/models/{name}.kiln"));
        let model = kiln::parse_file(&path).unwrap_or_else(|e| panic!("{e}"));
        let options = set.iter().fold(Options::default().bind("N", 1), |o, (k, v)| o.bind(k, v));
        let elaborated = model.inference().and_then(|network| network.elaborate(&options));
        let variables = elaborated.unwrap_or_else(|e| panic!("{e}")).variables;
        let weights = variables.iter().filter(|v| v.kind == kiln_graph::InputKind::Param);
        let sizes = weights.map(|v| v.interface.axes.iter().map(|a| a.1).product::<usize>());
        assert_eq!(sizes.sum::<usize>(), *count, "{name} {set:?}");
        if let Ok(table) = Names::read(path.with_extension("names")) {
            let names: Vec<&str> = variables.iter().map(|v| v.interface.name.as_str()).collect();
            let translated = table.translate_names(&names, Direction::Save);
            assert_ne!(translated.unwrap_or_else(|e| panic!("{name}: {e}")), names);
        }
    }
}

#[test]
fn results_of_inference() {
    let mut wrong = Vec::new();
    for fixture in Fixture::all() {
        let results = fixture.values("results.safetensors");
        let mut session = fixture.session(Kind::Inference);
        session.step().expect("it runs");
        let (exact, _) = fixture.evaluate(Kind::Inference);
        for name in fixture.list("outputs") {
            let expected = &results[name];
            let range = expected.data.iter().fold(0f64, |m, x| m.max(x.abs()));
            let found = value(&session.get(name).expect("a result"));
            assert_eq!(found.shape, expected.shape, "{}: {name}", fixture.name);
            for (found, expected) in found.data.iter().zip(&expected.data) {
                if !within(*found, *expected, 1e-4 * expected.abs() + 1e-5 * range) {
                    wrong.push(format!("{}: {name}: {found} is not {expected}", fixture.name));
                }
            }
            let expected = Values::from([(name.to_owned(), expected.clone())]);
            wrong.extend(compare(&fixture.name, |name| exact[name].clone(), &expected, 0.0, 1e-9));
        }
    }
    report(&wrong);
}

#[test]
fn gradients_and_running_statistics() {
    let mut wrong = Vec::new();
    for fixture in Fixture::all() {
        let gradients = fixture.values("gradients.safetensors");
        let states = fixture.values("states.safetensors");
        let mut session = fixture.session(Kind::Training);
        assert_eq!(
            session.weight_types().len(),
            gradients.len() + states.len(),
            "{}",
            fixture.name
        );
        session.step().expect("a step");
        let get = |name: &str| value(&session.get(name).expect("a value"));
        let gradient = |name: &str| get(&format!("grad.{name}"));
        wrong.extend(compare(&fixture.name, gradient, &gradients, floor(&gradients), 1e-3));
        wrong.extend(compare(&fixture.name, get, &states, 0.0, 1e-5));
    }
    report(&wrong);
}

#[test]
fn gradients_in_f64() {
    let mut wrong = Vec::new();
    for fixture in Fixture::all() {
        let gradients = fixture.values("gradients.safetensors");
        let states = fixture.values("states.safetensors");
        let (outputs, updates) = fixture.evaluate(Kind::Training);
        let gradient = |name: &str| outputs[&format!("grad.{name}")].clone();
        wrong.extend(compare(&fixture.name, gradient, &gradients, floor(&gradients), 1e-9));
        // The momentum of running statistics is an f32.
        wrong.extend(compare(&fixture.name, |name| updates[name].clone(), &states, 0.0, 1e-7));
    }
    report(&wrong);
}

#[test]
fn twenty_steps() {
    let mut wrong = Vec::new();
    for fixture in Fixture::all() {
        let losses = &fixture.values("results.safetensors")["losses"];
        let mut session = fixture.session(Kind::Training);
        for (step, expected) in losses.data.iter().enumerate() {
            session.step().expect("a step");
            let found = value(&session.get("loss").expect("a loss")).data[0];
            if !within(found, *expected, 1e-3 * expected.abs()) {
                wrong.push(format!(
                    "{}: step {step}: loss {found}, PyTorch {expected}",
                    fixture.name
                ));
                break;
            }
        }
    }
    report(&wrong);
}
