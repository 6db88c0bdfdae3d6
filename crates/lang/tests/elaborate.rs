//! Elaboration: what models mean, by the reference evaluator; the names of weights; train sections.

use std::collections::BTreeMap;

use kiln_graph::InputKind;
use kiln_graph::eval::{Value, evaluate};
use kiln_lang::{CheckpointUnit, DataStep, Elaborated, Format, Kind, Module, Options};
use kiln_tensor::Shape;

fn parse(text: &str) -> Module {
    Module::parse(text, "test.kiln").unwrap_or_else(|e| panic!("{e}"))
}

fn model_file(name: &str) -> Module {
    let path = format!("{}/../../dsl/models/{name}.kiln", env!("CARGO_MANIFEST_DIR"));
    Module::parse_file(path).unwrap_or_else(|e| panic!("{e}"))
}

fn elaborate(module: &Module, kind: Kind, options: &Options) -> Elaborated {
    let model = module.model(None).unwrap_or_else(|e| panic!("{e}"));
    let e = model.elaborate(kind, options).unwrap_or_else(|e| panic!("{e}"));
    kiln_graph::verify(&e.graph).unwrap_or_else(|e| panic!("{e:?}"));
    e
}

fn names(e: &Elaborated, kind: InputKind) -> Vec<&str> {
    e.variables.iter().filter(|v| v.kind == kind).map(|v| v.interface.name.as_str()).collect()
}

fn value(dims: &[usize], data: &[f64]) -> Value {
    Value { shape: Shape::new(dims).unwrap(), data: data.to_vec() }
}

/// Evaluates the inference graph of the only model in `text`; inputs that are not given count up from 1.
fn run(text: &str, given: &[(&str, Value)]) -> BTreeMap<String, Value> {
    let e = elaborate(&parse(text), Kind::Inference, &Options::default());
    let mut inputs: BTreeMap<String, Value> = BTreeMap::new();
    for id in e.graph.inputs() {
        let (name, _) = e.graph.input(id).unwrap();
        let shape = &e.graph[id].ty.shape;
        let data: Vec<f64> = (1..=shape.elements()).map(|i| i as f64).collect();
        inputs.insert(name.to_string(), Value { shape: shape.clone(), data });
    }
    inputs.extend(given.iter().map(|(name, v)| ((*name).to_string(), v.clone())));
    evaluate(&e.graph, &inputs).unwrap_or_else(|e| panic!("{e}")).outputs
}

fn near(got: &Value, dims: &[usize], data: &[f64]) {
    assert_eq!(&*got.shape, dims);
    for (g, d) in got.data.iter().zip(data) {
        assert!((g - d).abs() <= 1e-6 * d.abs().max(1.0), "{:?} instead of {data:?}", got.data);
    }
}

#[test]
fn models_have_their_weights_and_graphs() {
    for (name, weights) in [("lenet", 431_080), ("digits", 40_394), ("mlp", 235_146)] {
        let module = model_file(name);
        let options = Options::default().bind("N", 4);
        let e = elaborate(&module, Kind::Inference, &options);
        let count: usize = e
            .variables
            .iter()
            .map(|v| v.interface.axes.iter().map(|a| a.1).product::<usize>())
            .sum();
        assert_eq!(count, weights, "{name}");
        let train = elaborate(&module, Kind::Training, &options);
        let outputs: Vec<&str> = train.graph.outputs.iter().map(|o| o.0.as_str()).collect();
        assert_eq!(outputs, ["loss", "accuracy"]);
        assert_eq!(train.graph.updates.len(), train.variables.len(), "everything is updated");
        let validate = elaborate(&module, Kind::Validation, &options);
        assert!(validate.graph.updates.is_empty());
        assert_eq!(names(&validate, InputKind::Param), names(&train, InputKind::Param));
        let init = elaborate(&module, Kind::Init, &options);
        assert_eq!(init.graph.outputs.len(), train.variables.len());
        assert_eq!(init.graph.inputs().count(), 0);
    }
}

#[test]
fn lenet_names_its_weights_as_pytorch_does() {
    let options = Options::default().bind("batch", 16).bind("epochs", 3).bind("seed", 7);
    let e = elaborate(&model_file("lenet"), Kind::Training, &options);
    let expected = [
        "conv1.weight",
        "conv1.bias",
        "conv2.weight",
        "conv2.bias",
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    ];
    assert_eq!(names(&e, InputKind::Param), expected);
    assert_eq!(names(&e, InputKind::Slot)[..2], ["step", "conv1.weight.v"]);
    let shape = |name: &str| {
        let v = e.variables.iter().find(|v| v.interface.name == name).unwrap();
        v.interface.axes.iter().map(|a| a.1).collect::<Vec<_>>()
    };
    assert_eq!(shape("conv2.weight"), [50, 20, 5, 5]);
    assert_eq!(shape("fc1.weight"), [500, 800]);
    let training = e.training.unwrap();
    assert_eq!((training.batch, training.epochs, training.seed), (16, 3, 7));
    assert_eq!(training.memory, Some(64 << 20));
    assert_eq!((training.data.name, &training.data.format), ("mnist", &Format::Mnist));
    assert_eq!(training.data.steps, [DataStep::Shuffle, DataStep::Scale(1.0 / 255.0)]);
    let checkpoint = training.checkpoint.unwrap();
    assert_eq!((checkpoint.every, checkpoint.unit, checkpoint.keep), (1, CheckpointUnit::Epoch, 3));
}

#[test]
fn paths_hold_labels_turns_and_ordinals() {
    let text = "
block pair(out)(x) { return x |> linear(out) |> linear(out) as last }
model m(x: f32[C=2]) {
    for i in 0..2 {
        for j in 3..5 { x = x |> pair(2) as res }
        x = x |> linear(2)
    }
    layer enc = linear(2, bias=false)
    return enc(x) + (x |> enc |> enc)
}";
    let e = elaborate(&parse(text), Kind::Inference, &Options::default());
    let weights: Vec<&str> =
        names(&e, InputKind::Param).into_iter().filter(|n| n.ends_with("weight")).collect();
    let expected = [
        "res.0.0.linear1.weight",
        "res.0.0.last.weight",
        "res.0.1.linear1.weight",
        "res.0.1.last.weight",
        "linear1.0.weight",
        "res.1.0.linear1.weight",
        "res.1.0.last.weight",
        "res.1.1.linear1.weight",
        "res.1.1.last.weight",
        "linear1.1.weight",
        "enc.weight",
    ];
    assert_eq!(weights, expected);
}

#[test]
fn axes_meet_by_name() {
    let out = run(
        "model m(x: f32[N=2, C=3], w: f32[O=2, C=3], b: f32[C=3]) {
            y = sum[C](x * w)
            z = x + b
            t = b * w
            return y, z, t
        }",
        &[],
    );
    near(&out["y"], &[2, 2], &[14.0, 32.0, 32.0, 77.0]);
    near(&out["z"], &[2, 3], &[2.0, 4.0, 6.0, 5.0, 7.0, 9.0]);
    near(&out["t"], &[3, 2], &[1.0, 4.0, 4.0, 10.0, 9.0, 18.0]);
}

#[test]
fn axes_are_split_merged_renamed_and_indexed() {
    let out = run(
        "model m(x: f32[N=2, E=4], rows: i32[T=3]) {
            h = x |> reshape[E -> H=2, D]
            back = h |> reshape[D, H -> E]
            a, b = x |> split[E](2)
            c = concat[E](b, a)
            d = x[N=1]
            e = x[E=1..3]
            f = x[N=rows]
            g = order[E, N](x)
            s = where(index(E, x.E) <= index(N), x, -inf)
            return h, back, c, d, e, f, g, s
        }",
        &[("rows", value(&[3], &[1.0, 0.0, 1.0]))],
    );
    near(&out["h"], &[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    near(&out["back"], &[2, 4], &[1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0]);
    near(&out["c"], &[2, 4], &[3.0, 4.0, 1.0, 2.0, 7.0, 8.0, 5.0, 6.0]);
    near(&out["d"], &[4], &[5.0, 6.0, 7.0, 8.0]);
    near(&out["e"], &[2, 2], &[2.0, 3.0, 6.0, 7.0]);
    near(&out["f"], &[3, 4], &[5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    near(&out["g"], &[4, 2], &[1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0]);
    // The mask is over E and N, the result has the order of `x`.
    let no = f64::NEG_INFINITY;
    assert_eq!(&*out["s"].shape, [2, 4]);
    assert_eq!(out["s"].data, [1.0, no, no, no, 5.0, 6.0, no, no]);
}

#[test]
fn the_library_computes_what_it_says() {
    let out = run(
        "model m(x: f32[N=1, C=1, H=3, W=3], z: f32[N=1, C=3], label: i32[N=1]) {
            c = x |> conv(1, 2, bias=false) as c
            s = x |> conv(1, 3, pad=\"same\", stride=2, bias=false) as s
            p = x |> max_pool(2, stride=1)
            a = x |> avg_pool(3)
            soft = softmax[C](z)
            loss = cross_entropy(z, label)
            hit = accuracy(z, label)
            flat = x |> flatten
            gelu = gelu(z)
            bn = z |> batch_norm as bn
            ln = z |> layer_norm as ln
            return c, s, p, a, soft, loss, hit, flat, gelu, bn, ln
        }",
        &[("label", value(&[1], &[1.0]))],
    );
    near(&out["c"], &[1, 1, 2, 2], &[37.0, 47.0, 67.0, 77.0]);
    near(&out["s"], &[1, 1, 2, 2], &[94.0, 106.0, 106.0, 94.0]);
    near(&out["p"], &[1, 1, 2, 2], &[5.0, 6.0, 8.0, 9.0]);
    near(&out["a"], &[1, 1, 1, 1], &[5.0]);
    let e = [1.0f64, 2.0, 3.0].map(f64::exp);
    let total: f64 = e.iter().sum();
    near(&out["soft"], &[1, 3], &e.map(|x| x / total));
    near(&out["loss"], &[], &[total.ln() - 2.0]);
    near(&out["hit"], &[], &[0.0]);
    near(&out["flat"], &[1, 9], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    near(&out["gelu"], &[1, 3], &[0.841_344_746, 1.954_499_736, 2.995_950_306]);
    // weight 1 2 3, bias 1 2 3, running mean 1 2 3: only the bias is left.
    near(&out["bn"], &[1, 3], &[1.0, 2.0, 3.0]);
    let d = (2.0f64 / 3.0 + 1e-5).sqrt();
    near(&out["ln"], &[1, 3], &[1.0 - 1.0 / d, 2.0, 3.0 + 3.0 / d]);
}

#[test]
fn initial_values_follow_the_seed_and_the_name() {
    let text = "
model m(x: f32[N, C=300]) {
    a = x |> linear(200) as a
    b = x |> linear(200) as b
    return a + b
}
train m { init = he() seed = 3 }";
    let start = |options: &Options| {
        let module = parse(&text.replace("train m { init = he() seed = 3 }", ""));
        let e = elaborate(&module, Kind::Init, options);
        evaluate(&e.graph, &BTreeMap::new()).unwrap().outputs
    };
    let options = Options::default().bind("init", "he()").bind("seed", 3);
    let first = start(&options);
    let mean = |v: &Value| v.data.iter().sum::<f64>() / v.data.len() as f64;
    let square = |v: &Value| v.data.iter().map(|x| x * x).sum::<f64>() / v.data.len() as f64;
    assert!(mean(&first["a.weight"]).abs() < 0.001);
    assert!((square(&first["a.weight"]) * 300.0 / 2.0 - 1.0).abs() < 0.02);
    assert!(first["a.bias"].data.iter().all(|x| *x == 0.0));
    assert_ne!(first["a.weight"], first["b.weight"]);
    assert_eq!(first, start(&options));
    assert_ne!(first, start(&options.clone().bind("seed", 4)));
}

#[test]
fn dropout_and_batch_norm_know_whether_they_train() {
    let text = "
model m(x: f32[N, C=2]) { y = x |> batch_norm as bn |> dropout(50%) return y }
train m { data = digits(\"d\", split=\"train\") loss = mean(y) optimizer = sgd(lr=1) }";
    let count = |kind, options: Options, op: &str| {
        let text = text.replace("data = digits(\"d\", split=\"train\") ", "");
        let e = elaborate(&parse(&text), kind, &options.bind("N", 8));
        (e.graph.ids().filter(|&id| e.graph[id].op.name == op).count(), e.graph.updates.len())
    };
    assert_eq!(count(Kind::Inference, Options::default(), "random"), (0, 0));
    // step, weight, bias, running mean and variance.
    assert_eq!(count(Kind::Training, Options::default(), "random"), (1, 5));
    let off = Options { dropout: false, ..Options::default() };
    assert_eq!(count(Kind::Training, off, "random"), (0, 5));
}

#[test]
fn settings_override_keys_hyper_parameters_and_axes() {
    let module = model_file("mlp");
    let options = Options::default()
        .bind("widths", "[7]")
        .bind("batch", 5)
        .bind("epochs", 2)
        .bind("optimizer", "sgd(lr=step_decay(0.1), momentum=0.9, nesterov=true)");
    let e = elaborate(&module, Kind::Training, &options);
    assert_eq!(e.inputs[0].axes[0], ("N".to_string(), 5));
    assert_eq!(e.variables[1].interface.axes[0], ("O".to_string(), 7));
    assert_eq!(e.training.unwrap().epochs, 2);
    assert_eq!(module.model(None).unwrap().free_axes(), ["N"]);
}

#[test]
fn locations_are_the_users_lines() {
    let e = elaborate(&model_file("lenet"), Kind::Training, &Options::default());
    for id in e.graph.ids() {
        let [place] = &*e.graph[id].locations else { panic!("one location a node") };
        assert!(place.file.ends_with("lenet.kiln"), "{place}");
    }
}
