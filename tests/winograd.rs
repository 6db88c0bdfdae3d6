//! How far convolutions by Winograd are from f64, compiled, on every instruction set that the
//! processor has, beside the direct convolution; those of a batch go through rows of all its images.

use std::collections::BTreeMap;

use kiln_graph::eval::{Value, evaluate};
use kiln_graph::{Builder, Graph};
use kiln_jit::{Executable, Isa, Options};
use kiln_loops::{Kernel, Program};
use kiln_passes::{Choices, GRAPH_PASSES, Notes, PROGRAM_PASSES, PassOptions, lower};
use kiln_tensor::{DType, Shape, Tensor};

/// A convolution to square images.
#[derive(Clone, Copy)]
struct Convolution {
    images: usize,
    side: usize,
    channels: usize,
    outputs: usize,
    taps: usize,
    stride: usize,
}

impl Convolution {
    fn image(self) -> [usize; 4] {
        let side = self.side * self.stride;
        [self.images, self.channels, side, side]
    }

    fn kernel(self) -> [usize; 4] {
        [self.outputs, self.channels, self.taps, self.taps]
    }
}

fn network(of: Convolution) -> Graph {
    let b = Builder::new();
    let (x, w) = (b.data("x", DType::F32, &of.image()), b.param("w", &of.kernel()));
    b.output("y", x.conv(w, [of.stride; 2], [of.taps / 2; 2], [1, 1], 1));
    b.finish().expect("well-formed")
}

/// An image between 0 and 1, as after ReLU, and weights of mean 0.
fn inputs(of: Convolution) -> BTreeMap<String, Tensor> {
    // SplitMix64 (Steele, Lea and Flood, 2014).
    let mut state = of.channels as u64;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let mut tensor = |dims: &[usize], low: f32| {
        let n = Shape::new(dims).expect("small").elements();
        Tensor::f32(dims, (0..n).map(|_| low + uniform()).collect()).expect("as many")
    };
    let x = tensor(&of.image(), 0.0);
    let w = tensor(&of.kernel(), -0.5);
    [("x".to_owned(), x), ("w".to_owned(), w)].into()
}

/// The program in one of the ways that the pass `winograd` knows.
fn program(graph: &Graph, way: &str) -> Program {
    let prepared = |choices| {
        let mut notes = Notes::new(PassOptions { choices, ..PassOptions::default() });
        let graph = kiln_passes::run(GRAPH_PASSES, graph.clone(), &mut notes, &mut |_, _| {});
        let program = lower(&graph.expect("succeeds")).expect("succeeds");
        let program = kiln_passes::run(PROGRAM_PASSES, program, &mut notes, &mut |_, _| {});
        (program.expect("succeeds"), notes.decisions)
    };
    let (_, decisions) = prepared(Choices::new());
    let (program, decisions) = prepared([(decisions[0].subject.clone(), way.to_owned())].into());
    assert_eq!(decisions[0].chosen, way);
    program
}

/// Its result, compiled.
fn result(program: &Program, inputs: &BTreeMap<String, Tensor>, options: &Options) -> Vec<f32> {
    let executable = Executable::compile(program, options).expect("compiles");
    let mut session = executable.session().expect("a session");
    for (name, value) in inputs {
        session.set(&name[..], value).expect("an input");
    }
    session.run().expect("runs");
    session.get("y").expect("an output").as_f32().expect("f32").to_vec()
}

#[test]
fn errors_are_a_small_part_of_the_range_of_results() {
    let three = [("direct", 1e-6), ("F(2x2, 3x3)", 1e-6), ("F(4x4, 3x3)", 1e-5)];
    let five = [("direct", 1e-6), ("F(2x2, 5x5)", 1e-5)];
    let seven_by_two = [("direct", 1e-6), ("F(4x4, 4x4)", 1e-5)];
    for (channels, outputs, taps, stride, ways) in [
        (64, 64, 3, 1, &three[..]),
        (128, 128, 3, 1, &three),
        (256, 256, 3, 1, &three),
        (64, 64, 5, 1, &five),
        (128, 128, 5, 1, &five),
        (3, 64, 7, 2, &seven_by_two),
        (32, 64, 7, 2, &seven_by_two),
        (3, 64, 11, 4, &three),
    ] {
        let of = Convolution { images: 1, side: 12, channels, outputs, taps, stride };
        let (graph, inputs) = (network(of), inputs(of));
        let values = inputs.iter().map(|(name, x)| (name.clone(), Value::from(x))).collect();
        let exact = &evaluate(&graph, &values).expect("evaluates").outputs["y"].data;
        let range = exact.iter().fold(0.0, |range: f64, y| range.max(y.abs()));
        for &(way, bound) in ways {
            let program = program(&graph, way);
            for isa in Isa::available() {
                let y = result(&program, &inputs, &Options { threads: 2, isa });
                let pairs = y.iter().zip(exact);
                let most = pairs.map(|(y, x)| (f64::from(*y) - x).abs()).fold(0.0, f64::max);
                let error = most / range;
                let case = format!("{taps}x{taps} by {stride}, {channels} channels, {way}");
                println!("{case}, {}: {error:.1e}", isa.name());
                assert!(error < bound, "{case}, {isa:?}: {error:e}");
            }
        }
    }
}

#[test]
fn images_of_a_batch_are_what_they_are_alone_on_any_number_of_threads() {
    for (channels, taps, stride, side, way) in
        [(16, 3, 1, 24, "F(4x4, 3x3)"), (24, 5, 1, 12, "F(2x2, 5x5)"), (3, 7, 2, 24, "F(4x4, 4x4)")]
    {
        let of = Convolution { images: 3, side, channels, outputs: 16, taps, stride };
        let batch = program(&network(of), way);
        let shared = |k: &&Kernel| k.parallel().is_some_and(|images| images.parallel().is_some());
        let by_rows = batch.kernels.iter().filter(shared).find(|k| k.name.contains("dot"));
        assert!(by_rows.is_some_and(|k| k.name.contains("_result")), "{way}: {batch}");

        let all = inputs(of);
        let alone = program(&network(Convolution { images: 1, ..of }), way);
        for isa in Isa::available() {
            let run = |threads| result(&batch, &all, &Options { threads, isa });
            let y = run(1);
            assert!([2, 3].map(run).iter().all(|other| bits(other) == bits(&y)), "{way}, {isa:?}");
            let pixels = all["x"].as_f32().expect("f32").chunks(all["x"].shape().elements() / 3);
            for (x, y) in pixels.zip(y.chunks(y.len() / 3)) {
                let image = Convolution { images: 1, ..of }.image();
                let x = Tensor::f32(&image, x.to_vec()).expect("as many");
                let one = [("x".to_owned(), x), ("w".to_owned(), all["w"].clone())].into();
                let single = result(&alone, &one, &Options { threads: 2, isa });
                assert!(bits(&single) == bits(y), "{way}, {isa:?}");
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
