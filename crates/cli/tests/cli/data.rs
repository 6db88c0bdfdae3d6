//! Data sets of every kind, written by the test, and what is wrong with them.

use std::fs;
use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use serde_json::Value;

use crate::process::{Folder, kiln};
use crate::refusals::refused as refuses;

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
        refuses(&[&["train", &model], set].concat(), words);
    };
    kiln(&["check", &model]).exits(0);
    refused(&[], &["cannot read", "t.txt"]);
    refused(&["--data", "/dev/zero"], &["/dev/zero: it is not a regular file"]);
    folder.write("t.txt", "too short");
    refused(&[], &["t.txt", "its last tenth"]);
    folder.write("t.txt", "caf\u{e9} ".repeat(100));
    refused(&["--set", "classes=128"], &["t.txt", "byte 3 is 195", "128 classes of `token`"]);
    let length = "data=text(\"t.txt\", length=9)";
    refused(&["--set", length], &["`text` gives token: i32[N, T=9]", "T=8]"]);
    let scaled = "data=text(\"t.txt\") |> scale(2)";
    refused(&["--set", scaled], &["no real numbers"]);
}

/// Grey images of 4x4: the second class is brighter by 100.
fn pixels(example: usize) -> [u8; 16] {
    std::array::from_fn(|i| ((example * 31 + i * 17) % 100 + 100 * (example % 2)) as u8)
}

const EXAMPLES: usize = 40;

fn model(input: &str, source: &str, steps: &str) -> String {
    format!(
        "
model two({input}) {{
    logits = x |> flatten |> linear(2)
    return logits
}}

train two {{
    data      = {source} |> shuffle(){steps} |> normalize(mean=100, std=60)
    validate  = {source} |> normalize(mean=100, std=60)
    loss      = cross_entropy(logits, data.label)
    metrics   = [accuracy(logits, data.label)]
    optimizer = adam(lr=0.03)
    batch     = 8
    epochs    = 12
}}
"
    )
}

/// An npy file of bytes.
fn npy(shape: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({shape}), }}");
    header.extend(std::iter::repeat_n(' ', 117 - header.len()));
    [b"\x93NUMPY\x01\0\x76\0", header.as_bytes(), b"\n", bytes].concat()
}

/// A grey PNG file of 4x4.
fn png(pixels: &[u8; 16]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(data);
        file.extend((data.len() as u32).to_be_bytes());
        [kind, data, &crc.sum().to_be_bytes()].iter().for_each(|part| file.extend(*part));
    };
    chunk(b"IHDR", &[0, 0, 0, 4, 0, 0, 0, 4, 8, 0, 0, 0, 0]);
    let mut data = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in pixels.chunks(4) {
        data.write_all(&[0]).expect("memory");
        data.write_all(row).expect("memory");
    }
    chunk(b"IDAT", &data.finish().expect("memory"));
    chunk(b"IEND", &[]);
    file
}

#[test]
fn the_same_examples_give_the_same_weights_whatever_the_format() {
    let folder = Folder::new();
    let images: Vec<u8> = (0..EXAMPLES).flat_map(pixels).collect();
    let labels: Vec<u8> = (0..EXAMPLES).map(|i| (i % 2) as u8).collect();
    folder.write("x.npy", npy("40, 4, 4", &images));
    folder.write("y.npy", npy("40,", &labels));
    folder
        .write("x.idx", [&[0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 4, 0, 0, 0, 4], &images[..]].concat());
    folder.write("y.idx", [&[0, 0, 8, 1, 0, 0, 0, 40], &labels[..]].concat());
    let names: Vec<String> = (0..16).map(|i| format!("p{i}")).collect();
    let mut table = names.join(",") + ",kind\n";
    for example in 0..EXAMPLES {
        let values = pixels(example).map(|p| p.to_string());
        let kind = ["dark", "light"][example % 2];
        table.push_str(&format!("{},{kind}\n", values.join(",")));
    }
    folder.write("t.csv", table);

    let grey = "x: f32[N, C=1, H=4, W=4]";
    let train = |name: &str, input: &str, source: &str, steps: &str, threads: &str| {
        let program = folder.write(name, model(input, source, steps));
        let path = folder.path("w.safetensors");
        kiln(&["check", &program]).exits(0);
        let run =
            kiln(&["train", &program, "--json", "--threads", threads, "--output", &path]).exits(0);
        let report: Value = serde_json::from_str(&run.stdout).expect("one JSON object");
        assert_eq!(report["metrics"]["accuracy"], 1.0, "{source}");
        fs::read(path).expect("a weight file")
    };
    let npy = "npy(x=\"x.npy\", label=\"y.npy\")";
    let first = train("npy.kiln", grey, npy, "", "1");
    assert!(first == train("idx.kiln", grey, "idx(x=\"x.idx\", label=\"y.idx\")", "", "2"));
    let csv = "csv(\"t.csv\", label=\"kind\")";
    assert!(first == train("csv.kiln", "x: f32[N, C=16]", csv, "", "1"));

    // Where pixels are moved, another number of threads moves them to the same place.
    let moves = " |> random_crop(pad=1) |> flip()";
    let moved = train("moves.kiln", grey, npy, moves, "1");
    assert!(moved == train("moves.kiln", grey, npy, moves, "2"));
    assert!(moved != first);

    // An image folder has its examples sorted by class: another order, as npy has it then.
    let sorted: Vec<usize> = (0..EXAMPLES).step_by(2).chain((1..EXAMPLES).step_by(2)).collect();
    let images: Vec<u8> = sorted.iter().flat_map(|&i| pixels(i)).collect();
    let labels: Vec<u8> = sorted.iter().map(|&i| (i % 2) as u8).collect();
    folder.write("image.npy", self::npy("40, 4, 4", &images));
    folder.write("y.npy", self::npy("40,", &labels));
    for example in 0..EXAMPLES {
        let class = ["dark", "light"][example % 2];
        folder.write(&format!("i/{class}/{example:02}.png"), png(&pixels(example)));
    }
    let image = "image: f32[N, C=1, H=4, W=4]";
    let train = |name: &str, source: &str, threads: &str| {
        let program = folder.write(name, model(image, source, moves).replace("x |>", "image |>"));
        let path = folder.path("w.safetensors");
        kiln(&["train", &program, "--threads", threads, "--output", &path]).exits(0);
        fs::read(path).expect("a weight file")
    };
    let sorted = train("sorted.kiln", "npy(image=\"image.npy\", label=\"y.npy\")", "1");
    assert!(sorted == train("images.kiln", "images(\"i\")", "2"));
    assert!(sorted == train("images.kiln", "images(\"i\", size=4)", "1"));
}

#[test]
fn what_files_hold_is_compared_with_what_the_model_says() {
    let folder = Folder::new();
    folder.write("x.npy", npy("3, 4, 5", &[0; 60]));
    folder.write("y.npy", npy("3,", &[0, 1, 2]));
    folder.write("z.npy", npy("2,", &[0, 1]));
    let refused = |source: &str, words: &[&str]| {
        let text = model("x: f32[N, C=1, H=4, W=4]", source, "");
        let program = folder.write("m.kiln", text.replace("batch     = 8", "batch     = 2"));
        kiln(&["check", &program]).exits(0);
        refuses(&["train", &program], words);
    };
    refused(
        "npy(x=\"x.npy\", label=\"y.npy\")",
        &["x.npy: every `x` is i32[1, 4, 5], not x: f32[N, C=1, H=4, W=4]", "m.kiln:2:11"],
    );
    let crop = "npy(x=\"x.npy\", label=\"y.npy\") |> crop(size=4)";
    refused(crop, &["y.npy: `label` of example 2 is 2, but the model knows 2 classes"]);
    refused("npy(x=\"x.npy\", label=\"z.npy\")", &["z.npy: 2 `label` for 3 `x`"]);
    refused("npz(\"x.npy\")", &["x.npy: it is no zip archive"]);
    refused("npy(x=\"..\", label=\"y.npy\")", &["it is not a regular file"]);

    // The field of images is called `image`, and a file that is cut off is found when it is decoded.
    let program = folder.write("m.kiln", model("x: f32[N, C=1, H=4, W=4]", "images(\"i\")", ""));
    kiln(&["check", &program]).exits(1);
    folder.write("i/a/0.png", [png(&[0; 16]), vec![0; 9]].concat());
    folder.write("i/b/1.png", &png(&[0; 16])[..60]);
    let text = model("image: f32[N, C=3, H=2, W=2]", "images(\"i\")", "");
    let program = folder.write("m.kiln", text.replace("x |>", "image |>"));
    let run = kiln(&["train", &program, "--set", "batch=2"]).exits(1);
    assert!(run.stderr.contains("i/b/1.png: broken PNG"), "{}", run.stderr);
}
