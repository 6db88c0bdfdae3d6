//! Names of weights in files: tables, and `kiln weights`.

use std::fs;

use crate::process::{Folder, kiln};
use crate::refusals::refused;

const SMALL: &str = "tests/fixtures/lenet_small.kiln";
const TABLE: &str = "conv{i} -> features.{2*i-2}\nfc1 -> classifier.0\nfc2 -> classifier.2\n";

/// The names that `kiln weights` lists.
fn listed(arguments: &[&str]) -> Vec<String> {
    let run = kiln(&[&["weights"], arguments, &["--json"]].concat()).exits(0);
    let list: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(list["parameters"], 2432);
    let tensors = list["tensors"].as_array().expect("a list");
    tensors.iter().map(|t| t["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn files_have_the_names_that_a_table_gives() {
    let folder = Folder::new();
    let table = folder.write("small.names", TABLE);
    let [ours, theirs, back, again] =
        ["ours", "theirs", "back", "again"].map(|name| folder.path(&format!("{name}.safetensors")));
    kiln(&["init", SMALL, "--output", &ours]).exits(0);
    kiln(&["init", SMALL, "--output", &theirs, "--names", &table]).exits(0);
    let expected = [
        "classifier.0.bias",
        "classifier.0.weight",
        "classifier.2.bias",
        "classifier.2.weight",
        "features.0.bias",
        "features.0.weight",
        "features.2.bias",
        "features.2.weight",
    ];
    assert_eq!(listed(&[&theirs]), expected);
    assert_eq!(listed(&[&theirs, "--names", &table]), listed(&[&ours]));
    assert_eq!(listed(&[SMALL, "--names", &table])[..2], ["features.0.weight", "features.0.bias"]);

    // There and back, the tensors are the same. (Their order in the file is that of the first one.)
    kiln(&["weights", &theirs, "--names", &table, "--output", &back]).exits(0);
    kiln(&["weights", &back, "--output", &again, "--output-names", &table]).exits(0);
    assert_eq!(fs::read(&again).expect("a file"), fs::read(&theirs).expect("a file"));

    let image =
        format!("image={}", folder.write("x.npy", crate::refusals::f32_npy("1, 1, 28, 28", 784)));
    let run = |weights: &[&str]| {
        kiln(&[&["run", SMALL, "--input", &image, "--weights"], weights].concat()).exits(0).stdout
    };
    assert_eq!(run(&[&ours]), run(&[&back]));
    assert_eq!(run(&[&ours]), run(&[&theirs, "--names", &table]));
    let words = ["missing    conv1.weight", "surplus    features.0.weight", "help:", "--names"];
    refused(&["run", SMALL, "--input", &image, "--weights", &theirs], &words);

    for train in [&[][..], &["--train", "--set", "batch=2"]] {
        let bench = [&["bench", SMALL, "--repeat", "1", "--weights", &theirs], train].concat();
        kiln(&[&bench[..], &["--names", &table]].concat()).exits(0);
        refused(&bench, &words);
    }
}

#[test]
fn tables_that_do_not_fit() {
    let folder = Folder::new();
    let ours = folder.path("ours.safetensors");
    let output = folder.path("out.safetensors");
    kiln(&["init", SMALL, "--output", &ours]).exits(0);
    let wrong = folder.write("wrong.names", "conv1 -> conv2\n");
    let names = ["`conv2.bias`, which stands for `conv1.bias`"];
    refused(&["init", SMALL, "--output", &output, "--names", &wrong], &names);
    let words = ["ours.safetensors", "does not fit"];
    refused(&["weights", &ours, "--output", &output, "--names", &wrong], &words);
    let broken = folder.write("broken.names", "# weights\nconv1 = conv2\n");
    let words = ["broken.names", "line 2", "OURS -> THEIRS"];
    refused(&["weights", &ours, "--names", &broken], &words);
    refused(&["weights", SMALL, "--output", &output], &["kiln init"]);
    refused(&["weights", &ours, "--names", &folder.path("no.names")], &["no.names"]);
    assert!(!folder.names().contains(&"out.safetensors".to_owned()));
    kiln(&["weights", &ours, "--output-names", &wrong]).exits(2);
}
