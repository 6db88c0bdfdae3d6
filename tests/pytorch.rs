//! A small LeNet against PyTorch, from the same weights: logits, loss, every gradient, a hundred
//! steps of SGD with momentum. `tests/fixtures/README.md` says how the numbers were made.

use std::path::{Path, PathBuf};

use kiln::train::load_weights;
use kiln::{Engine, Model, Options, Session, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lenet_small").join(name)
}

fn model() -> Model {
    kiln::parse_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lenet_small.kiln"))
        .unwrap_or_else(|e| panic!("{e}"))
}

fn options(engine: Engine) -> Options {
    Options::default().bind("batch", 8).dropout(false).gradients(true).engine(engine).threads(2)
}

/// A session of the training step with PyTorch's initial weights and batch.
fn training(engine: Engine) -> Session {
    let step = model().training().expect("a train section");
    let step = kiln::compile(&step, &options(engine)).unwrap_or_else(|e| panic!("{e}"));
    let mut session = step.session().expect("a session");
    let weights = load_weights(fixture("weights.safetensors")).expect("weights");
    session.set_weights(&weights).expect("weights fit");
    for input in ["image", "label"] {
        let tensor = Tensor::read_npy(fixture(&format!("{input}.npy"))).expect("an array");
        session.set(input, &tensor).expect("it fits");
    }
    session
}

fn values(tensor: &Tensor) -> &[f32] {
    tensor.as_f32().expect("f32")
}

/// The norm of the difference over the norm of what is expected.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    let square = |x: f64| x * x;
    let pairs = values(found).iter().zip(values(expected));
    let difference: f64 = pairs.map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = values(expected).iter().map(|b| square(f64::from(*b))).sum();
    (difference / norm).sqrt()
}

#[test]
fn logits() {
    let expected = Tensor::read_npy(fixture("logits.npy")).expect("an array");
    let image = Tensor::read_npy(fixture("image.npy")).expect("an array");
    for engine in Engine::ALL {
        let options = Options::default().bind("N", 8).engine(engine);
        let network = model().inference().expect("a network");
        let mut session =
            kiln::compile(&network, &options).expect("it compiles").session().expect("a session");
        session.load(fixture("weights.safetensors")).expect("weights");
        let outputs = session.run(&[("image", &image)]).expect("it runs");
        let range = values(&expected).iter().fold(0f32, |m, x| m.max(x.abs()));
        for (a, b) in values(&outputs["logits"]).iter().zip(values(&expected)) {
            assert!((a - b).abs() <= 1e-4 * b.abs() + 1e-5 * range, "{engine:?}: {a} is not {b}");
        }
    }
}

#[test]
fn gradients() {
    let expected = load_weights(fixture("grads.safetensors")).expect("gradients");
    assert_eq!(expected.len(), 8);
    for engine in Engine::ALL {
        let mut session = training(engine);
        session.step().expect("a step");
        let loss = session.get("loss").expect("a loss");
        let exact = Tensor::read_npy(fixture("loss.npy")).expect("an array");
        let (loss, exact) = (values(&loss)[0], values(&exact)[0]);
        assert!((loss - exact).abs() <= 1e-5 * exact, "{engine:?}: loss {loss}, PyTorch {exact}");
        for (name, gradient) in &expected {
            let found = session.get(&format!("grad.{name}")).expect("a gradient");
            let error = relative(&found, gradient);
            assert!(error <= 1e-5, "{engine:?}: the gradient of {name} is off by {error}");
        }
    }
}

#[test]
fn a_hundred_steps() {
    let expected = Tensor::read_npy(fixture("losses.npy")).expect("an array");
    let mut session = training(Engine::Jit);
    for (step, exact) in values(&expected).iter().enumerate() {
        session.step().expect("a step");
        let loss = values(&session.get("loss").expect("a loss"))[0];
        assert!((loss - exact).abs() <= 1e-3 * exact, "step {step}: loss {loss}, PyTorch {exact}");
        if step + 1 == 20 || step + 1 == 100 {
            let file = fixture(&format!("weights_{}.safetensors", step + 1));
            for (name, weight) in load_weights(file).expect("weights") {
                let error = relative(&session.get(&name).expect("a weight"), &weight);
                assert!(error <= 1e-3, "{name} is off by {error} after {} steps", step + 1);
            }
        }
    }
}
