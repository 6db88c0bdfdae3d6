//! What check, dump, opt, fmt and ops print.

use std::fs;

use crate::process::{Folder, command, file, finish, kiln};

const LENET: &str = "dsl/models/lenet.kiln";

#[test]
fn check_lists_shapes_and_weights() {
    let out = kiln(&["check", LENET]).exits(0).stdout;
    for words in [
        "model lenet, with N = 1",
        "image: f32[N=1, C=1, H=28, W=28]",
        "prob: f32[N=1, C=10]",
        "431,080 parameters",
        "accuracy: f32",
    ] {
        assert!(out.contains(words), "no `{words}` in:\n{out}");
    }
    let out = kiln(&["check", LENET, "--shapes", "--set", "N=7"]).exits(0).stdout;
    assert!(out.contains("logits: f32[N=7, C=10]"), "{out}");
    let folder = Folder::new();
    let annotated = folder.write("annotated.kiln", &out);
    assert_eq!(kiln(&["check", &annotated, "--shapes", "--set", "N=7"]).exits(0).stderr, "");
    kiln(&["fmt", "--check", &annotated]).exits(0);
}

#[test]
fn check_compares_gradients() {
    let folder = Folder::new();
    let model = |loss: &str| {
        format!(
            "model m(image: f32[N, C=1, H=8, W=8]) {{\n    \
             y = image |> conv(2, 3) as conv |> relu |> flatten |> linear(10) as fc\n    return y\n}}\n\n\
             train m {{\n    data = digits(\"d.csv\", split=\"train\")\n    loss = {loss}\n    \
             optimizer = sgd(lr=0.1)\n}}\n"
        )
    };
    let right = folder.write("right.kiln", model("cross_entropy(y, data.label)"));
    let run = kiln(&["check", &right, "--grad"]).exits(0);
    assert!(run.stdout.contains("all 5 gradients are right"), "{}", run.stdout);
    let wrong = folder.write("wrong.kiln", model("mean(y * stop_gradient(y))"));
    let run = kiln(&["check", &wrong, "--grad"]).exits(1);
    assert!(run.stdout.contains("WRONG"), "{}", run.stdout);
}

#[test]
fn dumps_read_back_as_the_same_text() {
    let folder = Folder::new();
    for stage in ["graph", "fused", "program"] {
        let text = kiln(&["dump", LENET, "--train", "--stage", stage]).exits(0).stdout;
        let path = folder.write(stage, &text);
        assert!(kiln(&["opt", &path]).exits(0).stdout == text, "{stage}");
    }
    let source = kiln(&["dump", LENET, "--stage", "source"]).exits(0).stdout;
    let path = folder.write("again.kiln", &source);
    assert!(kiln(&["dump", &path, "--stage", "source"]).exits(0).stdout == source);
}

#[test]
fn passes_by_hand_give_what_the_pipeline_gives() {
    let folder = Folder::new();
    let graph = folder.write("g", kiln(&["dump", LENET]).exits(0).stdout);
    let by_hand = kiln(&["opt", &graph, "-p", "all,lower,all"]).exits(0).stdout;
    let threads = ["--threads", "1"];
    let program = kiln(&[&["dump", LENET, "--stage", "program"], &threads[..]].concat()).exits(0);
    assert!(by_hand == program.stdout);
    let after = kiln(&["dump", LENET, "--after", "cse"]).exits(0).stdout;
    let before = "contract,autodiff,fold,simplify,cse";
    assert!(kiln(&["opt", &graph, "-p", before]).exits(0).stdout == after);
    let run = kiln(&["dump", LENET, "--train", "--after", "fuse", "--remarks"]).exits(0);
    let remarks: Vec<&str> = run.stdout.lines().filter(|l| l.starts_with("# ")).collect();
    assert!(
        remarks.iter().any(|r| r.starts_with("# ") && r.contains("lenet.kiln:")),
        "{remarks:?}"
    );
}

#[test]
fn dumps_have_other_forms() {
    for stage in ["graph", "fused", "program", "plan"] {
        let json = kiln(&["dump", LENET, "--stage", stage, "--format", "json"]).exits(0).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["version"], 1, "{stage}");
    }
    let dot = kiln(&["dump", LENET, "--format", "dot"]).exits(0).stdout;
    assert!(dot.starts_with("digraph"), "{dot}");
    let plan = kiln(&["dump", LENET, "--train", "--stage", "plan"]).exits(0).stdout;
    assert!(plan.contains("\"conv1.weight\" param") && plan.contains("ratio"), "{plan}");
    let program = kiln(&["dump", LENET, "--train", "--stage", "program"]).exits(0).stdout;
    assert!(plan.ends_with(&program) && program.contains("@\"dsl/models/lenet.kiln\":3:"));
    let clif = kiln(&["dump", LENET, "--stage", "clif"]).exits(0).stdout;
    assert!(clif.contains("function "), "{clif}");
}

#[test]
fn fmt_formats_in_place_and_checks() {
    let models: Vec<String> =
        ["lenet", "digits", "mlp"].map(|name| file(&format!("dsl/models/{name}.kiln"))).into();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    assert_eq!(kiln(&[&["fmt", "--check"], &models[..]].concat()).exits(0).stdout, "");

    let folder = Folder::new();
    let ugly = "model m(x:f32[N]){y=x+1\nreturn y}\n";
    let (a, b) = (folder.write("a.kiln", ugly), folder.write("b.kiln", "model {"));
    let run = kiln(&["fmt", "--check", &a]).exits(1);
    assert_eq!(run.stdout, format!("{a}\n"));
    assert_eq!(fs::read_to_string(&a).expect("a file"), ugly);

    // A file with mistakes stays as it is; the others are formatted all the same.
    let run = kiln(&["fmt", &b, &a]).exits(1);
    assert!(run.stderr.contains("b.kiln:1"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(&b).expect("a file"), "model {");
    let formatted = fs::read_to_string(&a).expect("a file");
    assert_ne!(formatted, ugly);
    kiln(&["fmt", "--check", &a]).exits(0);

    let mut command = command(&["fmt", "-"]);
    command.stdin(fs::File::open(folder.write("c.kiln", ugly)).expect("a file"));
    assert_eq!(finish(command).exits(0).stdout, formatted);
}

#[test]
fn ops_prints_the_page_of_operators() {
    let page = fs::read_to_string(file("docs/ops.md")).expect("docs/ops.md");
    assert!(kiln(&["ops"]).exits(0).stdout == page);
    let tanh = kiln(&["ops", "tanh"]).exits(0).stdout;
    assert!(tanh.starts_with("tanh: ") && tanh.contains("differentiable"), "{tanh}");
}

#[test]
fn shapes_are_comments_of_a_file_with_or_without_variables() {
    let folder = Folder::new();
    let plain = "model m(x: f32[N=2]) = 2 * x\n";
    let path = folder.write("plain.kiln", plain);
    assert_eq!(kiln(&["check", &path, "--shapes"]).exits(0).stdout, plain);
    let text = "model m(x: f32[N=2, T=3, C=4]) {
    y[T=t, N=n] = sum[c](x[N=n, T=t, C=c])
    h = 0
    scan t in 0..x.T {
        h = h + y[T=t]
        z[T=t] = h
    }
    return z
}
";
    let path = folder.write("forms.kiln", text);
    let shown = kiln(&["check", &path, "--shapes"]).exits(0).stdout;
    for line in ["# y: f32[T=3, N=2]", "# h: f32[N=2]", "# z: f32[T=3, N=2]"] {
        assert!(shown.contains(line), "no `{line}` in:\n{shown}");
    }
}
