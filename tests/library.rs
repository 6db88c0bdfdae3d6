//! The standard library: every definition has an example in its comment, which runs, whose gradients are right, and
//! which the compiled code and the reference agree on.

use kiln::lang::ast::DefinitionKind;
use kiln::lang::library::{Chapter, Entry, chapters};
use kiln::{Engine, Model, Options, Source, check_gradients, random_inputs};

/// Metrics, which do not follow a small change of the weights.
const FLAT: [&str; 2] = ["accuracy", "top_k_accuracy"];
/// Compiled f32 against the f64 reference, relative to the greatest value.
const TOLERANCE: f32 = 2e-6;

fn entries() -> impl Iterator<Item = (Entry, String)> {
    let all = |c: Chapter| c.entries.into_iter().map(move |e| (c.file, e));
    chapters().into_iter().flat_map(all).map(|(file, entry)| {
        let example = entry.example.clone();
        let example = example.unwrap_or_else(|| panic!("{}: no example in {file}", entry.name));
        (entry, example)
    })
}

/// Examples that are whole models.
fn models() -> impl Iterator<Item = (Entry, String)> {
    entries().filter(|(_, example)| example.starts_with("model"))
}

fn parsed(text: &str, entry: &Entry) -> Model {
    kiln::parse(text, &entry.name).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A model with a loss that depends on every result.
fn trained(entry: &Entry, example: &str) -> Model {
    let network = parsed(example, entry).inference().expect("a network");
    let elaborated = network.elaborate(&Options::default().bind("N", 2));
    let elaborated = elaborated.unwrap_or_else(|e| panic!("{e}\n{example}"));
    let losses = elaborated.outputs.iter().map(|o| format!("mean(sin(3 * {} + 1))", o.name));
    let loss = losses.collect::<Vec<_>>().join(" + ");
    parsed(&format!("{example}\ntrain m {{ loss = {loss} optimizer = sgd(lr=0) }}"), entry)
}

#[test]
fn every_definition_has_a_description_and_an_example_of_its_own() {
    for (entry, example) in entries() {
        assert!(!entry.description.is_empty(), "{}: no description", entry.name);
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut words = example.split(|c| !is_word(c));
        assert!(words.any(|w| w == entry.name), "{}: `{example}` does not use it", entry.name);
        let settles = matches!(
            entry.kind,
            DefinitionKind::Init | DefinitionKind::Optimizer | DefinitionKind::Schedule
        );
        assert_eq!(settles, !example.starts_with("model"), "{}: {example}", entry.name);
    }
}

#[test]
fn the_gradients_of_every_example_are_those_of_finite_differences() {
    for (entry, example) in models() {
        let check = check_gradients(&trained(&entry, &example), &Options::default().threads(2));
        let check = check.unwrap_or_else(|e| panic!("{e}\n{example}"));
        assert!(check.is_right(), "{}: {example}\n{check}", entry.name);
        assert!(!check.rows.is_empty(), "{}: nothing to differentiate by", entry.name);
        let flat = FLAT.contains(&entry.name.as_str());
        let steep = check.rows.iter().any(|row| row.norm > 0.0);
        assert_eq!(steep, !flat, "{}: {example}\n{check}", entry.name);
        for row in &check.rows {
            assert!(row.undecided <= row.compared, "{}: {example}\n{check}", entry.name);
        }
    }
}

#[test]
fn every_example_gives_the_same_compiled() {
    for (entry, example) in models() {
        let model = trained(&entry, &example);
        let options = Options::default().bind("N", 2).gradients(true).threads(2);
        let weights = kiln::initial_values(&model, &options).expect("initial values");
        let mut results = Vec::new();
        for engine in [Engine::Eval, Engine::Jit] {
            let step = model.training().expect("a train section");
            let step = kiln::compile(&step, &options.clone().engine(engine));
            let step = step.unwrap_or_else(|e| panic!("{e}\n{example}"));
            let mut session = step.session().expect("a session");
            session.set_weights(&weights).expect("its own weights");
            for (name, value) in random_inputs(&step, 1).expect("inputs") {
                session.set(&name, &value).expect("its own input");
            }
            session.step().unwrap_or_else(|e| panic!("{e}\n{example}"));
            results.push(session.outputs().expect("outputs"));
        }
        for (name, expected) in results[0].iter() {
            let found = results[1][name].as_f32().expect("f32");
            let expected = expected.as_f32().expect("f32");
            let bound = TOLERANCE * expected.iter().fold(0.1, |m: f32, x| m.max(x.abs()));
            for (a, b) in found.iter().zip(expected) {
                assert!(
                    (a - b).abs() <= bound,
                    "{}: {name}: {found:?} is not {expected:?}",
                    entry.name
                );
            }
        }
    }
}

#[test]
fn every_optimizer_schedule_and_initialiser_trains() {
    for (entry, example) in entries().filter(|(_, example)| !example.starts_with("model")) {
        let optimizer = if example.contains("optimizer") { "" } else { "optimizer = sgd(lr=0.1)" };
        let text = format!(
            "model m(x: f32[N]) {{ param w: f32[O=5, I=4] y = mean(x) * sum((w - 0.75)^2) return y }}\n\
             train m {{ loss = y {example} {optimizer} epochs = 4 }}"
        );
        let model = parsed(&text, &entry);
        let options = Options::default().bind("N", 1).steps_per_epoch(5);
        let step = kiln::compile(&model.training().expect("a train section"), &options);
        let step = step.unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut session = step.session().expect("a session");
        let start = kiln::initial_values(&model, &options).expect("initial values");
        assert!(start["w"].as_f32().expect("f32").iter().all(|w| w.is_finite()), "{example}");
        session.set_weights(&start).expect("its own weights");
        let one = kiln::Tensor::f32(&[1], vec![1.0]).expect("one number");
        session.set("x", &one).expect("its own input");
        let mut losses = Vec::new();
        for _ in 0..20 {
            session.step().expect("a step");
            losses.push(session.get("loss").expect("a loss").as_f32().expect("f32")[0]);
        }
        assert!(losses[19] < 0.5 * losses[0], "{example}: {losses:?}");
    }
}

#[test]
fn initialisers_have_the_spread_of_their_papers() {
    // A weight [48, 32, 3, 3]: 288 inputs of an output, 432 outputs of an input.
    let (fan_in, fan_out) = (288f64, 432f64);
    let cases = [
        ("xavier()", (2.0 / (fan_in + fan_out)).sqrt()),
        ("xavier_normal(gain=2)", 2.0 * (2.0 / (fan_in + fan_out)).sqrt()),
        ("he()", (2.0 / fan_in).sqrt()),
        ("he(mode=\"out\")", (2.0 / fan_out).sqrt()),
        ("he(slope=0.5)", (2.0 / 1.25 / fan_in).sqrt()),
        ("he_uniform()", (2.0 / fan_in).sqrt()),
        ("he_uniform(mode=\"out\")", (2.0 / fan_out).sqrt()),
        // PyTorch's convolutions start between -1 / sqrt(fan_in) and 1 / sqrt(fan_in).
        ("he_uniform(slope=sqrt(5))", (1.0 / 3.0 / fan_in).sqrt()),
        ("normal(std=0.02)", 0.02),
        ("uniform(-0.5, 0.5)", 1.0 / 12f64.sqrt()),
    ];
    for (init, deviation) in cases {
        let text = format!(
            "model m(x: f32[N=1]) {{ param w: f32[O=48, I=32, H=3, W=3] = {init} y = x * sum(w) return y }}"
        );
        let model = kiln::parse(&text, "m.kiln").unwrap_or_else(|e| panic!("{e}"));
        let values = kiln::initial_values(&model, &Options::default());
        let values = values.unwrap_or_else(|e| panic!("{e}"));
        let w: Vec<f64> =
            values["w"].as_f32().expect("f32").iter().map(|x| f64::from(*x)).collect();
        let mean = w.iter().sum::<f64>() / w.len() as f64;
        let found = (w.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / w.len() as f64).sqrt();
        // 13824 values: the mean strays by 0.9 % of the deviation, the deviation by 0.6 %.
        assert!(mean.abs() < 0.04 * deviation, "{init}: the mean is {mean}");
        assert!((found / deviation - 1.0).abs() < 0.025, "{init}: {found} is not {deviation}");
        if init.contains("uniform") || init == "xavier()" {
            let most = w.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let bound = 3f64.sqrt() * deviation;
            assert!(most <= bound * 1.000001 && most > 0.99 * bound, "{init}: up to {most}");
        }
    }
}
