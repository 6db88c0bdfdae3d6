//! Every class of mistake, with the message it gets.

use kiln_lang::{Code, Diagnostics, Kind, Module, Options};

fn fail(text: &str, kind: Kind, options: &Options) -> Diagnostics {
    let module = match Module::parse(text, "test.kiln") {
        Ok(module) => module,
        Err(e) => return e,
    };
    let model = match module.model(None) {
        Ok(model) => model,
        Err(e) => return e,
    };
    match model.elaborate(kind, options) {
        Ok(_) => panic!("no error in {text}"),
        Err(e) => e,
    }
}

/// The message, first label and help of the only mistake in a model body over `x: f32[N=2, C=3, H=8, W=8]`.
fn body(statements: &str) -> (Code, String, String, String) {
    let text = format!("model m(x: f32[N=2, C=3, H=8, W=8]) {{\n{statements}\nreturn x\n}}");
    let e = fail(&text, Kind::Inference, &Options::default());
    assert_eq!(e.list().len(), 1, "{e}");
    let d = &e.list()[0];
    let place = e.sources().text(d.labels[0].0).to_string();
    (d.code, d.message.clone(), place, d.help.clone().unwrap_or_default())
}

#[test]
fn mistakes_in_a_model_are_named_where_they_stand() {
    use Code::{Limit, Name, Shape, Type, Value};
    for (statements, code, message, place, help) in [
        ("y = x |> convv(4, 3)", Name, "unknown name `convv`", "convv", "did you mean `conv`?"),
        (
            "y = x |> conv(4, 3, strid=2)",
            Name,
            "`conv` has no argument `strid`",
            "strid",
            "did you mean `stride`?",
        ),
        ("y = x |> conv(4)", Type, "`conv` needs `k`", "conv(4)", ""),
        (
            "y = linear(x)",
            Type,
            "`linear` takes hyper-parameters here, not a tensor",
            "x",
            "pipe the tensor in: x |> linear(...)",
        ),
        ("y = relu(x, 2)", Type, "`relu` takes one argument", "2", ""),
        ("y = sum[Q](x)", Name, "no axis `Q` in f32[N=2, C=3, H=8, W=8]", "Q", ""),
        ("y = x.Z", Name, "no axis `Z` in f32[N=2, C=3, H=8, W=8]", "Z", ""),
        ("y = x + rename[C -> D](x)[D=3]", Shape, "index 3 on axis D, which has size 3", "3", ""),
        (
            "y = x |> conv(4, 9)",
            Shape,
            "a window that spans 9 does not fit axis H of size 8",
            "conv(4, 9)",
            "use a smaller window, or pad=\"same\"",
        ),
        (
            "y = x |> conv(4, 3, stride=0)",
            Value,
            "`stride` of `convolve` must be a whole number of at least 1, not 0",
            "conv(4, 3, stride=0)",
            "",
        ),
        (
            "y = x |> conv(4, 3, groups=2)",
            Value,
            "a size must be a whole number, not 1.5",
            "conv(4, 3, groups=2)",
            "",
        ),
        (
            "y = reshape[C -> A=2, B](x)",
            Shape,
            "cannot reshape C=3 (3 values): 2 does not divide it",
            "[C -> A=2, B]",
            "",
        ),
        ("y = rename[C -> H](x)", Name, "the result would have the axis H twice", "[C -> H]", ""),
        (
            "a, b = x |> split[C](2)",
            Shape,
            "axis C of size 3 does not split into 2 equal parts",
            "split[C](2)",
            "",
        ),
        ("a, b = x |> split[C](3)", Type, "2 names for 3 values", "a, b", ""),
        (
            "y = concat[C](x, x[N=0])",
            Shape,
            "`concat` along C needs equal sizes on the other axes",
            "x[N=0]",
            "",
        ),
        (
            "if x > 0 { y = 1 }",
            Type,
            "a condition must be known at compile time",
            "x > 0",
            "choose element by element: where(condition, yes, no)",
        ),
        (
            "for i in 3 { y = 1 }",
            Type,
            "`for` goes over a list or a range, not a whole number",
            "3",
            "",
        ),
        (
            "for i in 0..10^12 { y = 1 }",
            Limit,
            "the program unrolls to more than 1000000 statements",
            "0..10^12",
            "if it is to be so long: --limit statements=...",
        ),
        ("y = 7 / 0", Value, "division by zero", "7 / 0", ""),
        ("y = 10^19", Value, "10 ^ 19 is too large", "10^19", ""),
        ("y = \"a\" + 1", Type, "`+` does not apply to these", "+", ""),
        ("y = [1, 2][2]", Value, "index 2 of a list of 2", "2", ""),
        (
            "y = x |> linear(10^12)",
            Limit,
            "f32[O=1000000000000, W=8] is too large",
            "linear(10^12)",
            "",
        ),
        (
            "y <- x",
            Name,
            "`y` is neither a state nor a weight",
            "y",
            "declare it: state y: f32[...] = zeros(); or assign by `=`",
        ),
        (
            "param w: f32[C=3] w <- w",
            Type,
            "`w` is a weight: only an optimizer changes it",
            "w",
            "",
        ),
        (
            "state s: f32[C=3] = zeros() s <- x",
            Shape,
            "f32[N=2, C=3, H=8, W=8] does not fit f32[C=3]",
            "x",
            "",
        ),
        ("y = m(x)", Type, "`m` is a model and cannot be applied", "m(x)", ""),
        (
            "y = index(Q)",
            Name,
            "no value here has the axis Q",
            "index(Q)",
            "give its size: index(Q, 10)",
        ),
        ("y = random()", Type, "`random` needs a tensor whose shape it fills", "random()", ""),
        (
            "y = x |> dropout as",
            Code::Syntax,
            "expected a name, found `return`",
            "return",
            "`return` is a word of the language and cannot be a name",
        ),
    ] {
        let got = body(statements);
        assert_eq!(
            got,
            (code, message.to_string(), place.to_string(), help.to_string()),
            "{statements}"
        );
    }
}

#[test]
fn a_shape_error_shows_both_sides_and_the_path() {
    let text = "\
block bottleneck(width, stride=1)(x) {
    out = 4 * width
    y = x |> conv(width, 1, stride=stride)
          |> conv(out, 1, bias=false) as conv3
    skip = x
    return relu(y + skip)
}
model resnet(depths=[1, 2])(image: f32[N, C=64, H=8, W=8]) {
    x = image
    for (stage, depth) in enumerate(depths) {
        for i in 0..depth {
            s = 1
            if i == 0 and stage > 0 { s = 2 }
            x = x |> bottleneck(16 * 2^stage, stride=s) as res
        }
    }
    return x
}
";
    let e = fail(text, Kind::Inference, &Options::default().bind("N", 1));
    let expected = "\
error[shape]: `+` needs equal sizes on axes C, H and W
  --> test.kiln:6:17
   |
 4 |           |> conv(out, 1, bias=false) as conv3
   |              ------------------------ y: f32[N=1, C=128, H=4, W=4] comes from here
 5 |     skip = x
   |            - skip: f32[N=1, C=64, H=8, W=8] is the block's input
 6 |     return relu(y + skip)
   |                 ^^^^^^^^ C 128 against 64, H 4 against 8, W 4 against 8
   = in bottleneck(32, stride=2), called at test.kiln:14, stage=1, i=0
   = help: make the sizes equal, or let the axes differ: rename[C -> C2]";
    assert_eq!(e.to_string(), expected);
}

#[test]
fn two_blocks_of_one_name_are_refused() {
    let text = "model m(x: f32[C=3]) { return x |> linear(3) as fc |> linear(3) as fc }";
    let e = fail(text, Kind::Inference, &Options::default());
    assert_eq!(e.list().len(), 1);
    assert_eq!(e.list()[0].message, "two blocks are called `fc`");
}

#[test]
fn recursion_without_end_is_a_limit() {
    let text = "block b(x) { return x |> b }\nmodel m(x: f32[C=3]) { return x |> b }";
    let e = fail(text, Kind::Inference, &Options::default());
    assert_eq!(e.list()[0].code, Code::Limit);
    assert!(e.list()[0].notes.len() < 10);
    let text = "op f(x) = f(x) + f(x)\nmodel m(x: f32[C=3]) { return f(x) }";
    assert_eq!(fail(text, Kind::Inference, &Options::default()).list()[0].code, Code::Limit);
}

#[test]
fn several_mistakes_are_reported_at_once() {
    let text = "model m(x: f32[C=3]) {\n a = q1\n b = a + q2\n c = x + b\n return c\n}\ntrain m { epoch = 3 }";
    let e = fail(text, Kind::Training, &Options::default());
    let messages: Vec<&str> = e.list().iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["a train section has no key `epoch`", "unknown name `q1`"]);
    assert_eq!(e.list()[0].help.as_deref(), Some("did you mean `epochs`?"));
}

#[test]
fn train_sections_are_checked() {
    let section = |keys: &str| {
        let text = format!(
            "model m(image: f32[N, C=1, H=8, W=8]) {{ logits = image |> flatten |> linear(10) return logits }}
train m {{ {keys} }}"
        );
        let e = fail(&text, Kind::Training, &Options::default());
        e.list()[0].message.clone()
    };
    let data = "data = digits(\"d\", split=\"train\")";
    let loss = "loss = cross_entropy(logits, data.label)";
    assert_eq!(section(data), "the train section has no `loss`");
    assert_eq!(section(&format!("{data} {loss}")), "the train section has no `optimizer`");
    assert_eq!(section(&format!("{data} loss = logits")), "`loss` must be a single number");
    assert_eq!(
        section("data = mnist(\"d\", split=\"train\")"),
        "the data do not fit the input `image`"
    );
    assert_eq!(
        section(&format!("{data} epochs = 0")),
        "`epochs` must be a whole number of at least 1, not 0"
    );
    assert_eq!(
        section(&format!("{data} seed = 2^32")),
        "`seed` must be below 2^32, not 4294967296"
    );
    assert_eq!(
        section("data = digits(\"d\", split=\"x\")"),
        "`split` is \"train\" or \"test\", not \"x\""
    );
    assert_eq!(
        section(&format!("{data} loss = mean(data.lable)")),
        "`digits` has no field `lable`"
    );
    assert_eq!(
        section(&format!("{data} {loss} optimizer = relu")),
        "`optimizer` is an optimizer, not a function that is not applied"
    );
    assert_eq!(section(&format!("{data} {data}")), "the key `data` is given twice");
}

#[test]
fn sizes_from_the_command_line_are_checked() {
    let text = "model m(x: f32[N, C=1000]) { return x }";
    let message = |key: &str, value: &str| {
        let e = fail(text, Kind::Inference, &Options::default().bind(key, value));
        (e.list()[0].message.clone(), e.to_string())
    };
    assert_eq!(message("N", "0").0, "a size must be at least 1, not 0");
    assert_eq!(message("N", "-1").0, "a size must be at least 1, not -1");
    assert_eq!(message("N", "10^12").0, "f32[N=1000000000000, C=1000] is too large");
    assert_eq!(
        message("N", "10^8").0,
        "inputs, weights, states and results take 400000000000 bytes, the limit is 68719476736"
    );
    assert_eq!(message("M", "1").0, "nothing is called `M` that could be set");
    assert!(message("N", "1 +").1.contains("--set N:1:"), "{}", message("N", "1 +").1);
    let e = fail(text, Kind::Inference, &Options::default());
    assert_eq!(e.list()[0].help.as_deref(), Some("bind it: --set N=1"));
}

#[test]
fn files_and_models_that_do_not_exist_are_named() {
    let e = Module::parse_file("/nowhere/x.kiln").unwrap_err();
    assert!(e.to_string().starts_with("error[file]: /nowhere/x.kiln: "), "{e}");
    let e = Module::parse("import a from \"../b.kiln\"\nimport c from \"d.kiln\"", "test.kiln")
        .unwrap_err();
    assert_eq!(e.list().len(), 2);
    assert!(e.list()[0].message.ends_with("a path must be relative, without `..`"));
    let module = Module::parse("op f(x) = x", "test.kiln").unwrap();
    assert_eq!(module.model(None).unwrap_err().list()[0].message, "test.kiln has no model");
    let two =
        Module::parse("model a(x: f32[N]) { return x }\nmodel b(x: f32[N]) { return x }", "t")
            .unwrap();
    assert_eq!(
        two.model(None).unwrap_err().list()[0].help.as_deref(),
        Some("choose one of `a`, `b`")
    );
    assert!(two.model(Some("b")).is_ok());
    let twice = Module::parse("op f(x) = x\nop f(x) = x", "t").unwrap_err();
    assert_eq!(twice.list()[0].message, "`f` is defined twice");
}
