//! Bad input: a message that names the thing, exit code 1, soon, in little memory, and nothing
//! written.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::process::{Folder, command, file, finish, kiln};

/// Processor time and memory that a refusal may take, beyond the size of what it refuses.
const SECONDS: f64 = 2.0;
const BYTES: u64 = 64 << 20;

/// Fails unless the command refuses, with a message that has each of these words.
#[track_caller]
pub fn refused(arguments: &[&str], words: &[&str]) {
    let run = kiln(arguments).exits(1);
    assert_eq!(run.stdout, "", "standard output is for results");
    assert!(run.stderr.starts_with("error"), "{}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
    }
    let sizes = arguments.iter().filter_map(|a| fs::metadata(a.rsplit('=').next()?).ok());
    let size: u64 = sizes.map(|m| m.len()).sum();
    assert!(run.cpu_seconds <= SECONDS, "{} s for: {}", run.cpu_seconds, run.stderr);
    assert!(run.peak_bytes <= BYTES + size, "{} bytes for: {}", run.peak_bytes, run.stderr);
}

const LENET: &str = "dsl/models/lenet.kiln";
const SMALL: &str = "tests/fixtures/lenet_small.kiln";

/// An npy file with this header and this many zeros after it.
fn npy(header: &str, bytes: usize) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16 + 1).to_le_bytes());
    file.extend(header.as_bytes());
    file.push(b'\n');
    file.resize(file.len() + bytes, 0);
    file
}

pub fn f32_npy(shape: &str, elements: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape})}}");
    npy(&header, elements * 4)
}

/// A safetensors file of zeros.
fn safetensors(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let (mut header, mut offset) = (Vec::new(), 0);
    for (name, shape) in tensors {
        let end = offset + 4 * shape.iter().product::<usize>();
        header.push(format!(
            "\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{offset},{end}]}}"
        ));
        offset = end;
    }
    let header = format!("{{{}}}", header.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + offset, 0);
    file
}

#[test]
fn programs_with_mistakes() {
    let folder = Folder::new();
    let unclosed = folder.write(
        "unclosed.kiln",
        "model m(x: f32[N, C=3]) {\n    y = relu(x\n    z = y + 1\n    return z\n}\n",
    );
    refused(&["check", &unclosed], &["error[syntax]", "unclosed.kiln:2", "`(`"]);
    let unknown =
        folder.write("unknown.kiln", "model m(x: f32[N, C=3]) {\n    return rellu(x)\n}\n");
    refused(&["check", &unknown], &["error[name]", "unknown.kiln:2", "`rellu`", "`relu`"]);
    let unequal = folder
        .write("unequal.kiln", "model m(x: f32[N, C=3], y: f32[N, C=4]) {\n    return x + y\n}\n");
    refused(&["check", &unequal], &["error[shape]", "unequal.kiln:2", "C 3 against 4"]);
    refused(&["run", &unequal, "--set", "N=1"], &["error[shape]"]);
    let model = folder.path("missing.kiln");
    refused(&["check", &model], &["missing.kiln"]);
    refused(&["check", &folder.path("")], &["not a regular file"]);
    let binary = folder.write("binary.kiln", [0xFF, 0xFE, 0, 1]);
    refused(&["check", &binary], &["binary.kiln", "UTF-8"]);
    refused(&["train", &folder.write("m.kiln", "model m(x: f32[N]) = x")], &["no train section"]);
    refused(&["check", LENET, "--model", "alexnet"], &["`alexnet`", "`lenet`"]);
}

#[test]
fn a_million_parentheses() {
    let folder = Folder::new();
    for (open, close) in [("(", ")"), ("[", "]"), ("(", "")] {
        let nest = format!("{}x{}", open.repeat(1_000_000), close.repeat(1_000_000));
        let text = format!("model m(x: f32[N]) {{\n    y = {nest}\n    return y\n}}\n");
        let path = folder.write("nest.kiln", text);
        for verb in ["check", "fmt"] {
            refused(&[verb, &path], &["nest.kiln:2"]);
        }
    }
    let graph =
        folder.write("nest.graph", format!("graph {{ %0: f32[] = neg({}", "(".repeat(1_000_000)));
    refused(&["opt", &graph], &["nest.graph: line 1"]);
}

#[test]
fn sizes_that_make_no_sense() {
    for n in ["0", "-1", "1000000000000", "99999999999999999999", "1.5", "\"x\"", ""] {
        let set = format!("N={n}");
        for verb in ["check", "run", "dump", "bench", "weights"] {
            refused(&[verb, LENET, "--set", &set], &["N"]);
        }
        let set = format!("batch={n}");
        refused(&["train", "dsl/models/digits.kiln", "--set", &set], &["batch"]);
    }
    refused(&["check", LENET, "--set", "M=3"], &["`M`", "N"]);
    refused(&["train", "dsl/models/digits.kiln", "--set", "epoch=3"], &["`epoch`", "`epochs`"]);
    refused(
        &["train", "dsl/models/digits.kiln", "--set", "batch=100000"],
        &["100000", "there are"],
    );
    refused(&["train", "dsl/models/digits.kiln", "--set", "memory=1KiB"], &["at least", "1.0 KiB"]);
}

#[test]
fn data_sets_that_are_not() {
    let folder = Folder::new();
    refused(&["train", LENET, "--data", "/nowhere/mnist"], &["/nowhere/mnist"]);
    refused(&["train", LENET], &["dsl/models/data/mnist"]);
    let absolute = fs::read_to_string(file(LENET)).expect("a model");
    let absolute = folder.write("a.kiln", absolute.replace("data/mnist", "/etc"));
    refused(&["train", &absolute], &["a.kiln:13", "/etc", "--data"]);

    let header = |magic: u8, dims: &[u32]| {
        let mut bytes = vec![0, 0, 8, magic];
        dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes
    };
    let data = folder.path("");
    let mut images = header(3, &[1000, 28, 28]);
    images.resize(images.len() + 1000, 7);
    folder.write("train-images-idx3-ubyte", &images);
    let mut labels = header(1, &[1000]);
    labels.resize(labels.len() + 1000, 1);
    folder.write("train-labels-idx1-ubyte", &labels);
    refused(&["train", LENET, "--data", &data], &["train-images-idx3-ubyte", "784000", "1000"]);

    // 128 MiB of zeros in a gz file that declares ten images, then one that declares 2^32 - 1.
    fs::remove_file(folder.path("train-images-idx3-ubyte")).expect("a file");
    for declared in [10, u32::MAX] {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&header(3, &[declared, 28, 28])).expect("memory");
        (0..128).for_each(|_| gz.write_all(&[0; 1 << 20]).expect("memory"));
        folder.write("train-images-idx3-ubyte.gz", gz.finish().expect("memory"));
        refused(&["train", LENET, "--data", &data], &["train-images-idx3-ubyte.gz"]);
    }
}

#[test]
fn arrays_that_do_not_fit() {
    let folder = Folder::new();
    let before = |path: &str| format!("image={path}");
    let run = |file: &str, words: &[&str]| {
        refused(&["run", LENET, "--init", "--input", &before(file)], words);
    };
    run(
        &folder.write("shape.npy", f32_npy("1, 3, 28, 28", 2352)),
        &["`image`", "[1,1,28,28]", "[1,3,28,28]"],
    );
    run(&folder.write("rank.npy", f32_npy("28, 28", 784)), &["`image`", "[N, C, H, W]", "[28,28]"]);
    run(&folder.write("empty.npy", f32_npy("0, 1, 28, 28", 0)), &["N"]);
    run(&folder.write("short.npy", f32_npy("1, 1, 28, 28", 783)), &["short.npy", "3136", "3132"]);
    run(&folder.write("large.npy", f32_npy("1000000000000, 1, 28, 28", 0)), &["large.npy"]);
    let pickled = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 100);
    run(&folder.write("pickled.npy", pickled), &["pickled.npy", "pickled"]);
    run(&folder.write("text.npy", "1, 2, 3"), &["text.npy", "not an npy file"]);
    run(&folder.path("missing.npy"), &["missing.npy"]);
    let good = before(&folder.write("good.npy", f32_npy("1, 1, 28, 28", 784)));
    refused(&["run", LENET, "--init", "--input", &good, "--input", &good], &["`image`", "twice"]);
    refused(&["run", LENET, "--init", "--set", "N=1"], &["`image` is not given"]);
    let other = good.replace("image", "imge");
    refused(&["run", LENET, "--init", "--set", "N=1", "--input", &other], &["`imge`", "`image`"]);
    refused(&["run", LENET, "--input", &good], &["8 weights", "--weights", "--init"]);
    let output = format!("probs={}", folder.path("p.npy"));
    refused(&["run", LENET, "--init", "--input", &good, "--output", &output], &["`probs`", "prob"]);
    let label = format!("label={}", folder.write("label.npy", f32_npy("2,", 2)));
    let step = ["step", LENET, "--init", "--input", &good, "--input", &label];
    refused(&step, &["`label`", "[1]", "[2]"]);
    let names = folder.names();
    assert!(!names.contains(&"p.npy".to_owned()), "{names:?}");
}

#[test]
fn weights_that_are_not_the_models() {
    let folder = Folder::new();
    let image = format!("image={}", folder.write("x.npy", f32_npy("1, 1, 28, 28", 784)));
    let run = |file: &str, words: &[&str]| {
        refused(&["run", SMALL, "--weights", file, "--input", &image], words);
    };
    let mut tensors: Vec<(&str, &[usize])> = vec![
        ("conv1.weight", &[4, 1, 5, 5]),
        ("conv1.bias", &[4]),
        ("conv2.weight", &[6, 4, 5, 5]),
        ("conv2.bias", &[6]),
        ("fc1.weight", &[16, 96]),
        ("fc1.bias", &[16]),
        ("fc2.weight", &[10, 16]),
        ("fc2.bias", &[10]),
    ];
    let good = folder.write("good.safetensors", safetensors(&tensors));
    kiln(&["run", SMALL, "--weights", &good, "--input", &image]).exits(0);
    tensors[4].1 = &[96, 16];
    tensors[7] = ("head.bias", &[10]);
    let bad = folder.write("bad.safetensors", safetensors(&tensors));
    let all = [
        "missing    fc2.bias: f32[10]",
        "misshaped  fc1.weight: f32[16,96]",
        "surplus    head.bias",
    ];
    run(&bad, &all);
    run(&bad, &["bad.safetensors"]);
    run(
        &folder.write("cut.safetensors", &fs::read(&good).expect("a file")[..200]),
        &["cut.safetensors"],
    );
    run(&folder.write("huge.safetensors", u64::MAX.to_le_bytes()), &["huge.safetensors"]);
    run(&folder.path("missing.safetensors"), &["missing.safetensors"]);
    refused(&["weights", &folder.write("x.safetensors", "nothing")], &["x.safetensors"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = Folder::new();
    let x = folder.write("x.npy", f32_npy("1, 1, 28, 28", 784));
    let image = format!("image={x}");
    let directory = folder.path("");
    let nowhere = folder.path("no/such/folder/out");
    for path in [&directory, &nowhere] {
        let named = format!("prob={path}");
        let words = ["cannot write", path.as_str()];
        refused(&["train", "dsl/models/digits.kiln", "--output", path], &words);
        refused(&["init", LENET, "--output", path], &words);
        refused(&["run", LENET, "--init", "--input", &image, "--output", &named], &words);
        for option in ["--output-weights", "--output-grads", "--output-loss"] {
            refused(&["step", LENET, "--init", "--input", &image, option, path], &words);
        }
    }
    assert_eq!(folder.names(), ["x.npy"]);
}

#[test]
fn graphs_passes_and_operators_that_are_not() {
    let folder = Folder::new();
    let graph = folder.write("g.graph", "graph {\n  %0: f32[2] = relux(%1)\n}\n");
    refused(&["opt", &graph], &["g.graph: line 2", "relux"]);
    let program =
        folder.write("p.loops", "program arena 0 {\n  buffer b0 \"x\": f32[2] nothing\n}\n");
    refused(&["opt", &program], &["p.loops: line 2"]);
    let empty = folder.write("e.graph", "graph {\n}\n");
    refused(&["opt", &empty, "-p", "csee"], &["`csee`", "`cse`"]);
    refused(&["opt", &empty, "-p", "lower,lower"], &["`lower`"]);
    refused(&["dump", LENET, "--after", "fusion"], &["`fusion`", "fuse"]);
    refused(&["dump", LENET, "--stage", "plan", "--format", "dot"], &["plan", "dot"]);
    refused(&["ops", "tan"], &["`tan`", "`tanh`"]);
}

#[test]
fn limits_guard_the_compiler_and_can_be_moved() {
    refused(&["check", LENET, "--limit", "statements=3"], &["error[limit]", "--limit statements"]);
    refused(&["check", LENET, "--limit", "nodes=10"], &["error[limit]", "--limit nodes"]);
    refused(&["check", LENET, "--limit", "calls=1"], &["error[limit]", "calls nest deeper than 1"]);
    refused(&["check", LENET, "--limit", "bytes=1MiB"], &["error[limit]", "weights", "1048576"]);
    let many = ["bench", LENET, "--set", "N=100000"];
    refused(
        &[&many[..], &["--limit", "bytes=512MiB"]].concat(),
        &["the arena takes", "its largest value is", "[100000,4,4,50]"],
    );
    // The product of the second layer has 160 GB and is never stored, nor are the factors before it.
    kiln(&["check", LENET, "--set", "N=100000"]).exits(0);
    for wrong in ["statements=0", "bytes=few", "depth=3", "calls=100000"] {
        kiln(&["check", LENET, "--limit", wrong]).exits(2);
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_refused_with_those_that_are() {
    for asked in ["avx1024", "AVX2", ""] {
        let mut command = command(&["bench", LENET]);
        command.env("KILN_ISA", asked);
        let run = finish(command).exits(1);
        assert_eq!(run.stdout, "");
        for word in ["error", &format!("`{asked}`"), "KILN_ISA may be generic"] {
            assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
        }
    }
}
