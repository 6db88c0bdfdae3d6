//! Gradient accumulation: several small batches train as one large batch does, and go on in between as if nothing had
//! happened.

use std::collections::BTreeMap;

use kiln::{Model, Options, Session, Tensor};

/// Batches of an update, and examples of each.
const BATCHES: usize = 4;
const ROWS: usize = 2;
const UPDATES: usize = 6;

/// Everything that could see the difference: momentum with bias correction, decay, a schedule with a warm-up, clipping.
fn model() -> Model {
    let text = "\
        model m(image: f32[N, C=2, H=6, W=6], label: i32[N]) {\n\
            logits = image |> conv(3, 3) as conv |> gelu |> flatten |> linear(4) as fc\n\
            entropy = cross_entropy(logits, label)\n\
            return entropy\n\
        }\n\
        train m {\n\
            loss = entropy\n\
            optimizer = adamw(lr=cosine(0.05, warmup=1), weight_decay=0.1)\n\
            clip_norm = 0.5\n\
            epochs = 3\n\
        }";
    kiln::parse(text, "m.kiln").unwrap_or_else(|e| panic!("{e}"))
}

fn session(rows: usize, accumulate: usize) -> (Session, BTreeMap<String, Tensor>) {
    let options = Options::default().bind("batch", rows).bind("accumulate", accumulate);
    let options = options.steps_per_epoch((UPDATES / 3 * accumulate) as u64).threads(2);
    let step = model().training().expect("a train section");
    let step = kiln::compile(&step, &options).unwrap_or_else(|e| panic!("{e}"));
    let mut session = step.session().expect("a session");
    let start = kiln::initial_values(&model(), &options).expect("initial values");
    session.set_weights(&start).expect("its own weights");
    (session, start)
}

/// A step on `rows` examples from example `first` of an endless series.
fn step(session: &mut Session, first: usize, rows: usize) -> f32 {
    let pixel = |i: usize| ((first * 72 + i) as f32 * 0.7).sin();
    let image = Tensor::f32(&[rows, 2, 6, 6], (0..rows * 72).map(pixel).collect());
    let label = (first..first + rows).map(|i| (i * i % 7 % 4) as i32).collect();
    session.set("image", &image.expect("a tensor")).expect("an input");
    session.set("label", &Tensor::i32(&[rows], label).expect("a tensor")).expect("an input");
    session.step().expect("a step");
    session.get("loss").expect("a loss").as_f32().expect("f32")[0]
}

/// Every weight and state, bit by bit.
fn bits(session: &Session, start: &BTreeMap<String, Tensor>) -> Vec<(String, Tensor)> {
    start.keys().map(|name| (name.clone(), session.get(name).expect("a variable"))).collect()
}

#[test]
fn small_batches_train_as_one_large_batch() {
    let (mut large, start) = session(BATCHES * ROWS, 1);
    let (mut small, _) = session(ROWS, BATCHES);
    for update in 0..UPDATES {
        let first = update * BATCHES * ROWS;
        let expected = step(&mut large, first, BATCHES * ROWS);
        let losses = (0..BATCHES).map(|batch| step(&mut small, first + batch * ROWS, ROWS));
        let mean = losses.sum::<f32>() / BATCHES as f32;
        assert!((mean - expected).abs() <= 1e-5 * expected, "update {update}: {mean}, {expected}");
        for name in start.keys().filter(|name| *name != "step") {
            let (a, b) = (large.get(name).expect("there"), small.get(name).expect("there"));
            let (a, b) = (a.as_f32().expect("f32"), b.as_f32().expect("f32"));
            let bound = 2e-6 * a.iter().fold(1e-3, |m: f32, x| m.max(x.abs()));
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= bound, "update {update}: {name}: {b} is not {a}");
            }
        }
    }
}

#[test]
fn weights_wait_and_a_session_goes_on_between_updates() {
    let (mut whole, start) = session(ROWS, BATCHES);
    let before = whole.get("fc.weight").expect("a weight");
    for batch in 0..BATCHES - 1 {
        step(&mut whole, batch * ROWS, ROWS);
    }
    assert_eq!(whole.get("fc.weight").expect("a weight"), before);
    assert_eq!(whole.get("fc.weight.m").expect("a state"), start["fc.weight.m"]);
    assert_ne!(whole.get("fc.weight.accumulated").expect("a sum"), start["fc.weight.m"]);

    let (mut resumed, _) = session(ROWS, BATCHES);
    for (name, value) in bits(&whole, &start) {
        resumed.set(&name, &value).expect("its own variable");
    }
    for batch in BATCHES - 1..3 * BATCHES {
        step(&mut whole, batch * ROWS, ROWS);
        step(&mut resumed, batch * ROWS, ROWS);
    }
    assert_ne!(whole.get("fc.weight").expect("a weight"), before);
    assert_eq!(bits(&whole, &start), bits(&resumed, &start));
}
