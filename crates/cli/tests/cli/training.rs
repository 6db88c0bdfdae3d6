//! Training, steps and weights: the same bits whatever the threads, and PyTorch's numbers.

use std::collections::BTreeMap;
use std::fs;

use kiln::Tensor;
use kiln::train::{Weights, load_weights};

use crate::process::{Folder, file, kiln};

const DIGITS: &str = "dsl/models/digits.kiln";
const SMALL: &str = "tests/fixtures/lenet_small.kiln";
const FIXTURES: &str = "tests/fixtures/lenet_small";

fn fixture(name: &str) -> String {
    file(&format!("{FIXTURES}/{name}"))
}

fn array(path: &str) -> Vec<f32> {
    let tensor = Tensor::read_npy(path).expect("an npy file");
    tensor.as_f32().expect("f32").to_vec()
}

/// The Euclidean norm of the difference, relative to that of `b`.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let norm: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    let off: f64 = a.iter().zip(b).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    (off / norm).sqrt()
}

/// Fails unless two weight files have the same names and shapes, and tensors this close.
#[track_caller]
fn close(ours: &Weights, theirs: &Weights, tolerance: f64) {
    let types = |w: &Weights| -> BTreeMap<String, String> {
        w.iter().map(|(name, t)| (name.clone(), t.shape().to_string())).collect()
    };
    assert_eq!(types(ours), types(theirs));
    for (name, theirs) in theirs {
        let off = difference(ours[name].as_f32().expect("f32"), theirs.as_f32().expect("f32"));
        assert!(off <= tolerance, "{name}: {off:e}");
    }
}

#[test]
fn weights_are_the_same_bytes_for_any_threads_and_on_every_run() {
    let folder = Folder::new();
    let train = |name: &str, threads: &str| {
        let path = folder.path(name);
        kiln(&["train", DIGITS, "--set", "epochs=1", "--threads", threads, "--output", &path])
            .exits(0);
        fs::read(path).expect("a weight file")
    };
    let first = train("a.safetensors", "1");
    assert!(first == train("b.safetensors", "1"), "two runs differ");
    assert!(first == train("c.safetensors", "2"), "two threads differ from one");
    assert!(first == train("d.safetensors", "3"), "three threads differ from one");
    assert_eq!(folder.names().len(), 4, "nothing but the weights is left");
}

#[test]
fn training_starts_from_the_initial_weights() {
    let folder = Folder::new();
    let init = |name: &str, set: &[&str]| {
        let path = folder.path(name);
        kiln(&[&["init", DIGITS, "--output", &path], set].concat()).exits(0);
        fs::read(path).expect("a weight file")
    };
    let first = init("a.safetensors", &[]);
    assert!(first == init("b.safetensors", &["--threads", "1"]));
    assert!(first != init("c.safetensors", &["--set", "seed=9"]));
    let start = load_weights(folder.path("a.safetensors")).expect("weights");
    assert_eq!(start.len(), 10);
    assert!(start["fc2.bias"].as_f32().expect("f32").iter().all(|&x| x == 0.0));

    // A step at rate 0 leaves them as they are, from a file and from --init.
    let x = folder.path("x.npy");
    Tensor::f32(&[2, 1, 8, 8], vec![0.5; 128]).expect("a tensor").write_npy(&x).expect("a file");
    let y = folder.path("y.npy");
    Tensor::i32(&[2], vec![3, 4]).expect("a tensor").write_npy(&y).expect("a file");
    let (image, label) = (format!("image={x}"), format!("label={y}"));
    let path = folder.path("after.safetensors");
    for start in [&["--init"][..], &["--weights", &folder.path("a.safetensors")]] {
        let step = ["step", DIGITS, "--input", &image, "--input", &label, "--set"];
        let rest = ["optimizer=sgd(lr=0)", "--output-weights", &path];
        kiln(&[&step[..], &rest, start].concat()).exits(0);
        assert!(fs::read(&path).expect("a weight file") == first);
    }
}

#[test]
fn checkpoints_lie_beside_the_output() {
    let folder = Folder::new();
    let rule = "checkpoint=every(1, \"epoch\", keep=2)";
    let output = folder.path("w.safetensors");
    kiln(&["train", DIGITS, "--set", "epochs=3", "--set", rule, "--output", &output]).exits(0);
    let expected = ["w.epoch-0002.safetensors", "w.epoch-0003.safetensors", "w.safetensors"];
    assert_eq!(folder.names(), expected);
    let bytes = |name: &str| fs::read(folder.path(name)).expect("a weight file");
    assert!(bytes(expected[1]) == bytes(expected[2]));
    assert!(bytes(expected[0]) != bytes(expected[2]));
}

#[test]
fn steps_are_pytorchs() {
    let folder = Folder::new();
    let weights = fixture("weights.safetensors");
    let image = format!("image={}", fixture("image.npy"));
    let label = format!("label={}", fixture("label.npy"));
    let common = [
        "step",
        SMALL,
        "--weights",
        &weights,
        "--input",
        &image,
        "--input",
        &label,
        "--no-dropout",
    ];
    let (grads, loss) = (folder.path("g.safetensors"), folder.path("loss.npy"));
    let after = folder.path("w.safetensors");
    kiln(&[&common[..], &["--output-grads", &grads, "--output-loss", &loss]].concat()).exits(0);
    let theirs = load_weights(fixture("grads.safetensors")).expect("gradients");
    close(&load_weights(&grads).expect("gradients"), &theirs, 1e-4);
    assert!(difference(&array(&loss), &array(&fixture("loss.npy"))) <= 1e-5);

    let steps = ["--steps", "20", "--output-weights", &after, "--output-loss", &loss];
    let run = kiln(&[&common[..], &steps].concat()).exits(0);
    assert_eq!(run.stdout.lines().count(), 20);
    let theirs = load_weights(fixture("weights_20.safetensors")).expect("weights");
    close(&load_weights(&after).expect("weights"), &theirs, 1e-4);
    let (ours, theirs) = (array(&loss), array(&fixture("losses.npy")));
    assert_eq!(ours.len(), 20);
    for (step, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        assert!((a - b).abs() <= 1e-3 * b, "step {step}: {a} against {b}");
    }
}

#[test]
fn three_engines_give_one_answer() {
    let folder = Folder::new();
    let weights = fixture("weights.safetensors");
    let image = format!("image={}", fixture("image.npy"));
    let (span, mut answers) = (array(&fixture("logits.npy")), Vec::new());
    for engine in ["jit", "loops", "eval"] {
        let (logits, prob) = (folder.path("logits.npy"), folder.path("prob.npy"));
        let (a, b) = (format!("logits={logits}"), format!("prob={prob}"));
        kiln(&[
            "run",
            SMALL,
            "--weights",
            &weights,
            "--input",
            &image,
            "--output",
            &a,
            "--output",
            &b,
            "--engine",
            engine,
        ])
        .exits(0);
        assert!(difference(&array(&logits), &span) <= 1e-5, "{engine}");
        assert!(difference(&array(&prob), &array(&fixture("prob.npy"))) <= 1e-5, "{engine}");
        answers.push(array(&logits));
    }
    assert!(difference(&answers[0], &answers[2]) <= 1e-6);
    let run = kiln(&["run", SMALL, "--weights", &weights, "--input", &image]).exits(0);
    assert!(run.stdout.starts_with("logits: f32[8,10] from "), "{}", run.stdout);
}
