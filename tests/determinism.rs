//! The same bits for any number of threads, on every run, dropout included.

use std::path::Path;

use kiln::{Options, Session, Tensor};

/// A LeNet as it is in `dsl/models/`, with its initial weights and a batch of noise.
fn lenet(threads: usize) -> Session {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl/models/lenet.kiln");
    let model = kiln::parse_file(path).unwrap_or_else(|e| panic!("{e}"));
    let options = Options::default().bind("batch", 48).threads(threads);
    let step = kiln::compile(&model.training().expect("a train section"), &options);
    let mut session = step.unwrap_or_else(|e| panic!("{e}")).session().expect("a session");
    let weights = kiln::initial_weights(&model, &options).expect("initial weights");
    session.set_weights(&weights).expect("weights fit");
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let image = (0..48 * 784).map(|_| next() as f32 / (1 << 24) as f32).collect();
    let label = (0..48).map(|_| (next() % 10) as i32).collect();
    session
        .set("image", &Tensor::f32(&[48, 1, 28, 28], image).expect("a tensor"))
        .expect("it fits");
    session.set("label", &Tensor::i32(&[48], label).expect("a tensor")).expect("it fits");
    session
}

/// The bits of what a transformer of one block says about two texts.
fn predicted(threads: usize) -> Vec<u32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl/models/gpt.kiln");
    let model = kiln::parse_file(path).unwrap_or_else(|e| panic!("{e}"));
    let options = Options::default().bind("N", 2).bind("layers", 1).threads(threads);
    let graph = model.inference().unwrap_or_else(|e| panic!("{e}"));
    let exe = kiln::compile(&graph, &options).unwrap_or_else(|e| panic!("{e}"));
    let mut session = exe.session().expect("a session");
    let weights = kiln::initial_weights(&model, &options).expect("initial weights");
    session.set_weights(&weights).expect("weights fit");
    let token = (0..256).map(|i| i * 37 % 256).collect();
    let token = Tensor::i32(&[2, 128], token).expect("a tensor");
    let out = session.run(&[("token", &token)]).expect("a run");
    out["logits"].as_f32().expect("f32").iter().map(|x| x.to_bits()).collect()
}

#[test]
fn attention_gives_the_same_bits_on_any_number_of_threads() {
    let one = predicted(1);
    assert!(one.iter().all(|bits| f32::from_bits(*bits).is_finite()));
    assert!(one[0] != one[1], "the bytes differ");
    for threads in [2, 3, 4, 7] {
        assert!(predicted(threads) == one, "{threads} threads give other bits than one");
    }
}

/// The bits of every weight and loss after some steps of training.
fn trained(threads: usize) -> Vec<u32> {
    let mut session = lenet(threads);
    let mut bits = Vec::new();
    for _ in 0..20 {
        session.step().expect("a step");
        bits.extend(
            session.get("loss").expect("a loss").as_f32().expect("f32").iter().map(|x| x.to_bits()),
        );
    }
    for tensor in session.weights().expect("weights").values() {
        bits.extend(tensor.as_f32().expect("f32").iter().map(|x| x.to_bits()));
    }
    bits
}

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    let one = trained(1);
    assert!(one.iter().all(|bits| f32::from_bits(*bits).is_finite()));
    assert!(one[0] != one[19], "the loss changes");
    for threads in [1, 2, 3, 4, 7] {
        assert!(trained(threads) == one, "{threads} threads give other bits than one");
    }
}
