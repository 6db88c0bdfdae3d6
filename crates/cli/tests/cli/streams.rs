//! What goes to which stream, and exit codes.

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::process::{Folder, command, finish, kiln};

const DIGITS: &str = "dsl/models/digits.kiln";

/// The keys of the one JSON object that standard output must be.
#[track_caller]
fn keys(stdout: &str) -> BTreeSet<String> {
    let value: serde_json::Value = serde_json::from_str(stdout).expect("one JSON value");
    value.as_object().expect("an object").keys().cloned().collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&n| n.to_owned()).collect()
}

#[test]
fn json_is_all_that_standard_output_gets() {
    let run = kiln(&["train", DIGITS, "--set", "epochs=1", "--json"]).exits(0);
    let expected = [
        "epochs",
        "steps",
        "train_loss",
        "metrics",
        "seconds",
        "images_per_second",
        "compile_ms",
        "arena_bytes",
        "peak_rss_bytes",
    ];
    assert_eq!(keys(&run.stdout), names(&expected));
    let result: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&result["epochs"], &result["steps"]), (&1.into(), &44.into()));
    let accuracy = result["metrics"]["accuracy"].as_f64().expect("a number");
    assert!((0.3..=1.0).contains(&accuracy), "{accuracy}");
    assert!(run.stderr.contains("memory  arena "), "{}", run.stderr);
    assert!(run.stderr.contains("epoch 1/1"), "{}", run.stderr);

    for train in [&[][..], &["--train", "--set", "batch=2"]] {
        let run = kiln(&[&["bench", DIGITS, "--repeat", "3", "--json"], train].concat()).exits(0);
        let mut expected = vec!["min_ms", "median_ms", "compile_ms", "arena_bytes", "bound_bytes"];
        expected.extend(["released_bytes", "rss_bytes", "peak_rss_bytes", "kernels"]);
        assert_eq!(keys(&run.stdout), names(&expected));
        assert_eq!(run.stderr, "");

        // Enough runs that a busy machine delays no kernel in all of them.
        let bench = [&["bench", DIGITS, "--repeat", "20", "--profile"], train].concat();
        let run = kiln(&[&bench[..], &["--json"]].concat()).exits(0);
        let result: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        let kernels = result["profile"].as_array().expect("a list");
        assert_eq!(result["kernels"], kernels.len());
        for kernel in kernels {
            let at = kernel["locations"][0].as_str().expect("a place");
            assert!(at.starts_with("dsl/models/digits.kiln:"), "{kernel}");
        }
        let share: f64 = kernels.iter().filter_map(|k| k["share"].as_f64()).sum();
        assert!((share - 1.0).abs() < 1e-6, "{share}");
        let run = kiln(&bench).exits(0);
        assert!(run.stdout.contains("conv") && run.stdout.contains(" dsl/models/digits.kiln:3:"));
    }

    let run = kiln(&["weights", "dsl/models/lenet.kiln", "--json"]).exits(0);
    let result: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(keys(&run.stdout), names(&["tensors", "parameters"]));
    assert_eq!(result["parameters"], 431_080);
    let first = serde_json::json!({"name": "conv1.weight", "shape": [20, 1, 5, 5], "dtype": "f32"});
    assert_eq!(result["tensors"][0], first);
    assert_eq!(run.stderr, "");

    let run = kiln(&["train", DIGITS, "--set", "epochs=x", "--json"]).exits(1);
    assert_eq!(run.stdout, "");
}

#[test]
fn without_json_results_go_to_standard_output() {
    let run = kiln(&["train", DIGITS, "--set", "epochs=1"]).exits(0);
    for words in ["memory  arena ", "epoch 1/1  loss ", "validation loss ", "44 steps in "] {
        assert!(run.stdout.contains(words), "no `{words}` in:\n{}", run.stdout);
    }
    assert_eq!(run.stderr, "");
}

#[test]
fn exit_codes_tell_whose_mistake_it_was() {
    for arguments in [&["--help"][..], &["help", "train"], &["--version"], &["step", "--help"]] {
        let run = kiln(arguments).exits(0);
        assert!(!run.stdout.is_empty() && run.stderr.is_empty(), "{arguments:?}");
    }
    let usage: [&[&str]; 9] = [
        &[],
        &["trane"],
        &["train"],
        &["train", DIGITS, "--set", "epochs"],
        &["train", DIGITS, "--threads", "0"],
        &["run", DIGITS, "--engine", "gpu"],
        &["run", DIGITS, "--weights", "w", "--init"],
        &["step", DIGITS, "--steps", "0"],
        &["dump", DIGITS, "--stage", "ast"],
    ];
    for arguments in usage {
        let run = kiln(arguments).exits(2);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{arguments:?}");
    }
    kiln(&["check", "nowhere.kiln"]).exits(1);
}

#[test]
fn every_verb_has_help_with_examples() {
    let help = kiln(&["--help"]).exits(0).stdout;
    let verbs =
        ["train", "init", "run", "step", "check", "dump", "opt", "fmt", "ops", "bench", "weights"];
    for verb in verbs {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} is not listed:\n{help}");
        let help = kiln(&[verb, "--help"]).exits(0).stdout;
        assert!(help.contains(&format!("Examples:\n  kiln {verb} ")) || verb == "opt", "{help}");
    }
}

#[test]
fn nobody_reading_is_no_error() {
    let mut command = command(&["dump", "dsl/models/lenet.kiln", "--train"]);
    command.stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    drop(child.stdout.take());
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("a pipe"), &mut stderr)
        .expect("text");
    assert_eq!((child.wait().expect("an end").code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = std::fs::File::create("/dev/full") else { return };
    let mut command = command(&["ops"]);
    command.stdout(Stdio::from(full));
    let run = finish(command).exits(1);
    assert!(run.stderr.contains("standard output"), "{}", run.stderr);
    if cfg!(target_os = "linux") {
        let folder = Folder::new();
        let run = kiln(&["init", "dsl/models/digits.kiln", "--output", "/dev/full"]).exits(1);
        assert!(run.stderr.contains("/dev/full"), "{}", run.stderr);
        assert_eq!(folder.names(), [""; 0]);
    }
}
