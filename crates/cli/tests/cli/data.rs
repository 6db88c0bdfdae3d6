//! Data sets of every kind, written by the test, and what is wrong with them.

use std::fs;

use serde_json::Value;

use crate::process::{Folder, kiln};
use crate::refusals::refused;

/// Says which byte follows a byte, or which pair; with 256 rows of a table, learned from text.
const BIGRAM: &str = "
model bigram(classes=256)(token: i32[N, T=8]) {
    logits = token |> embedding(classes, classes) |> rename[E -> C]
    return logits
}

train bigram {
    data      = text(\"t.txt\", split=\"train\") |> shuffle()
    validate  = text(\"t.txt\", split=\"test\")
    loss      = cross_entropy(logits, data.label)
    metrics   = [accuracy(logits, data.label)]
    optimizer = adam(lr=0.1)
    batch     = 4
    epochs    = 6
}
";

#[test]
fn text_is_learned_byte_by_byte() {
    let folder = Folder::new();
    let model = folder.write("m.kiln", BIGRAM);
    folder.write("t.txt", "the cat sat on the mat. ".repeat(100));
    let train = |threads: &str, set: &[&str]| {
        let path = folder.path("w.safetensors");
        let run = kiln(
            &[&["train", &model, "--threads", threads, "--output", &path, "--json"], set].concat(),
        )
        .exits(0);
        let report: Value = serde_json::from_str(&run.stdout).expect("one JSON object");
        (report, fs::read(path).expect("a weight file"))
    };
    let (report, weights) = train("1", &[]);
    // 2160 of 2400 bytes make 269 windows, 67 batches.
    assert_eq!(report["steps"], 6 * 67);
    let accuracy = report["metrics"]["accuracy"].as_f64().expect("a number");
    assert!(accuracy > 0.6, "{report}");
    assert!(weights == train("2", &[]).1, "two threads differ from one");
    assert!(weights != train("1", &["--set", "seed=1"]).1);
    // Windows are as long as the model takes them.
    assert_eq!(train("1", &["--set", "T=16", "--set", "epochs=1"]).0["steps"], 33);
}

#[test]
fn what_is_wrong_with_a_text_is_told() {
    let folder = Folder::new();
    let model = folder.write("m.kiln", BIGRAM);
    let refused = |set: &[&str], words: &[&str]| {
        refused(&[&["train", &model], set].concat(), words);
    };
    kiln(&["check", &model]).exits(0);
    refused(&[], &["cannot read", "t.txt"]);
    folder.write("t.txt", "too short");
    refused(&[], &["t.txt", "its last tenth"]);
    folder.write("t.txt", "caf\u{e9} ".repeat(100));
    refused(&["--set", "classes=128"], &["t.txt", "byte 3 is 195", "128 classes of `token`"]);
    let length = "data=text(\"t.txt\", length=9)";
    refused(&["--set", length], &["`text` gives token: i32[N, T=9]", "T=8]"]);
    let scaled = "data=text(\"t.txt\") |> scale(2)";
    refused(&["--set", scaled], &["no real numbers"]);
}
