//! Every operator of the table, without being told which there are: its documentation, its samples
//! through the reference evaluator and the compiled loops, its gradient and the gradient of its
//! gradient against central differences, and its answers to numbers that have exceptions.

use std::collections::BTreeMap;
use std::error::Error;

use kiln_graph::eval::{Value, evaluate};
use kiln_graph::op::{Arity, Lower, OpDef, Sample};
use kiln_graph::ops::OPS;
use kiln_graph::{Attrs, Builder, Graph, Var, docs, verify};
use kiln_loops::{BufferId, BufferKind, Memory};
use kiln_passes::{GRAPH_PASSES, Notes, PROGRAM_PASSES, autodiff};
use kiln_tensor::{DType, Shape, Tensor};

/// Inputs by name.
type Inputs = BTreeMap<String, Value>;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// The numbers `0..n` in random order.
    fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// Values for inputs `x0`, `x1`, ... of a sample. Floats lie on a grid of as many points as there
/// are elements, shuffled, another for each operand: no two are nearer than a margin, none is
/// near a whole number, so that no kink of an operator is near.
fn operands(sample: &Sample, random: &mut Random) -> Inputs {
    let mut inputs = Inputs::new();
    for (i, operand) in sample.operands.iter().enumerate() {
        let shape = Shape::new(operand.shape).expect("samples are small");
        let n = shape.elements();
        let width = operand.hi - operand.lo;
        let data = match operand.dtype {
            DType::F32 => random
                .shuffled(n)
                .into_iter()
                .map(|k| (k as f64 + 0.37 + 0.1 * i as f64) / n as f64)
                .map(|t| f64::from((operand.lo + width * t) as f32))
                .collect(),
            DType::I32 => {
                (0..n).map(|_| operand.lo + random.below(width as usize) as f64).collect()
            }
            DType::Bool => (0..n).map(|_| random.below(2) as f64).collect(),
        };
        inputs.insert(format!("x{i}"), Value { shape, data });
    }
    inputs
}

/// The operator on inputs `x0`, `x1`, ... of the types of a sample.
fn apply<'b>(b: &'b Builder, op: &'static OpDef, sample: &Sample) -> (Vec<Var<'b>>, Var<'b>) {
    let input = |(i, operand): (usize, &kiln_graph::op::Operand)| {
        b.data(&format!("x{i}"), operand.dtype, operand.shape)
    };
    let x: Vec<Var<'_>> = sample.operands.iter().enumerate().map(input).collect();
    let y = b.op(op, (sample.attrs)(), &x);
    (x, y)
}

fn samples() -> impl Iterator<Item = (&'static OpDef, &'static Sample)> {
    OPS.iter().flat_map(|&op| op.samples.iter().map(move |sample| (op, sample)))
}

/// Runs all passes and the program they give, in the interpreter of the low IR; the output `y`.
fn loops(graph: &Graph, inputs: &Inputs) -> Result<Tensor, Box<dyn Error>> {
    let mut notes = Notes::default();
    let graph = kiln_passes::run(GRAPH_PASSES, graph.clone(), &mut notes, &mut |_, _| {})?;
    let program = kiln_passes::lower(&graph)?;
    let program = kiln_passes::run(PROGRAM_PASSES, program, &mut notes, &mut |_, _| {})?;
    let mut memory = Memory::for_program(&program)?;
    let ids = || (0..program.buffers.len() as u32).map(BufferId);
    for id in ids() {
        let buffer = program.buffer(id);
        if buffer.kind == BufferKind::Input {
            memory.set(id, &inputs[&buffer.name].to_tensor(buffer.dtype)?)?;
        }
    }
    kiln_loops::run(&program, &mut memory)?;
    let y = ids().find(|&id| program.buffer(id).kind == BufferKind::Output);
    Ok(memory.get(y.ok_or("the program has no output")?).clone())
}

/// The largest difference between a result and the reference, which it is rounded from.
fn difference(found: &Tensor, expected: &Value) -> f64 {
    assert_eq!(*found.shape(), expected.shape);
    let rounded = Value::from(&expected.to_tensor(found.dtype()).expect("one shape"));
    let pairs = Value::from(found).data.into_iter().zip(rounded.data);
    let differences = pairs.map(|(a, b)| match a == b || (a.is_nan() && b.is_nan()) {
        true => 0.0,
        false if found.dtype() == DType::F32 && (a - b).is_finite() => {
            (a - b).abs() / b.abs().max(1.0)
        }
        false => f64::INFINITY,
    });
    differences.fold(0.0, f64::max)
}

/// What f32 may lose on a sample: its largest sum has 54 terms.
const F32_TOLERANCE: f64 = 60.0 / (1 << 24) as f64;

#[test]
fn every_sample_round_trips_and_the_loops_agree_with_the_reference() {
    let mut wrong = Vec::new();
    for (op, sample) in samples() {
        let mut random = Random(1);
        let inputs = operands(sample, &mut random);
        let b = Builder::new();
        let (_, y) = apply(&b, op, sample);
        b.output("y", y);
        let graph = b.finish().unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        let text = graph.to_string();
        let again: Graph = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again.to_string(), text);

        let expected =
            &evaluate(&again, &inputs).unwrap_or_else(|e| panic!("{e}\n{text}")).outputs["y"];
        let ty = graph[graph.outputs[0].1].ty.clone();
        assert_eq!(expected.shape, ty.shape, "{text}");
        assert_eq!(expected.data.len(), ty.shape.elements(), "{text}");
        let fits = |&x: &f64| match ty.dtype {
            DType::F32 => true,
            DType::I32 => f64::from(x as i32) == x,
            DType::Bool => x == 0.0 || x == 1.0,
        };
        assert!(expected.data.iter().all(fits), "{text}{expected:?}");
        match loops(&graph, &inputs) {
            Err(e) => wrong.push(format!("{e}\n{text}")),
            Ok(found) => {
                let error = difference(&found, expected);
                if error > F32_TOLERANCE {
                    wrong.push(format!("{error}: {found:?} against {expected:?}\n{text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A scalar that depends on every element of `y`, each by another weight. An element that is -inf,
/// as padding may be, counts as a constant.
fn project<'b>(b: &'b Builder, y: Var<'b>, name: &str) -> Var<'b> {
    let r = b.data(name, DType::F32, &y.shape());
    let axes: Vec<usize> = (0..y.shape().rank()).collect();
    (y.maximum(b.scalar(-1000.0)) * r).sum(&axes)
}

fn weights(shape: &Shape, random: &mut Random) -> Value {
    Value::from_fn(shape, |_| random.below(2000) as f64 / 1000.0 - 1.0)
}

/// Compares a gradient output of `graph` with the central differences of its output `loss` with
/// respect to the input of that name.
fn check_gradient(graph: &Graph, inputs: &Inputs, output: &str, input: &str, random: &mut Random) {
    const EPS: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-7;
    /// Beyond this many elements random directions replace the single elements.
    const FULL: usize = 64;
    let text = graph.to_string();
    let run = |inputs: &Inputs| evaluate(graph, inputs).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let gradient = run(inputs).outputs[output].data.clone();
    let n = gradient.len();
    let directions: Vec<Vec<f64>> = if n <= FULL {
        (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect()
    } else {
        (0..16).map(|_| (0..n).map(|_| random.below(3) as f64 - 1.0).collect()).collect()
    };
    let scale = gradient.iter().map(|g| g * g).sum::<f64>().sqrt().max(1.0);
    for direction in directions {
        let at = |step: f64| {
            let mut moved = inputs.clone();
            let x = moved.get_mut(input).expect("an input of the sample");
            x.data.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            run(&moved).outputs["loss"].data[0]
        };
        let expected = (at(EPS) - at(-EPS)) / (2.0 * EPS);
        let found: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let error = (found - expected).abs() / scale;
        assert!(error <= TOLERANCE, "{output}: {found} against {expected} ({error:e})\n{text}");
    }
}

/// Whether the gradient with respect to some operand of a sample means anything: f32 from f32.
fn is_smooth(sample: &Sample, y: Var<'_>) -> bool {
    y.dtype() == DType::F32 && sample.operands.iter().any(|o| o.dtype == DType::F32)
}

#[test]
fn gradients_agree_with_central_differences() {
    let mut checked = 0;
    for (op, sample) in samples() {
        let mut random = Random(2);
        let mut inputs = operands(sample, &mut random);
        let b = Builder::new();
        let (x, y) = apply(&b, op, sample);
        if !is_smooth(sample, y) {
            continue;
        }
        inputs.insert("r".to_owned(), weights(&y.shape(), &mut random));
        let loss = project(&b, y, "r");
        b.output("loss", loss);
        let of: Vec<usize> = (0..x.len()).filter(|&i| x[i].dtype() == DType::F32).collect();
        of.iter().for_each(|&i| b.output(&format!("d{i}"), loss.grad(x[i])));
        let graph = expand(b);
        for i in of {
            check_gradient(&graph, &inputs, &format!("d{i}"), &format!("x{i}"), &mut random);
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} gradients were checked");
}

#[test]
fn gradients_of_gradients_agree_with_central_differences() {
    let mut checked = 0;
    for (op, sample) in samples() {
        let mut random = Random(3);
        let mut inputs = operands(sample, &mut random);
        let b = Builder::new();
        let (x, y) = apply(&b, op, sample);
        if !is_smooth(sample, y) {
            continue;
        }
        inputs.insert("r".to_owned(), weights(&y.shape(), &mut random));
        let inner = project(&b, y, "r");
        let of: Vec<usize> = (0..x.len()).filter(|&i| x[i].dtype() == DType::F32).collect();
        // The inner gradients with respect to all operands together, weighted anew.
        let mut loss = b.scalar(0.0);
        for &i in &of {
            let name = format!("s{i}");
            inputs.insert(name.clone(), weights(&x[i].shape(), &mut random));
            loss = loss + project(&b, inner.grad(x[i]), &name);
        }
        b.output("loss", loss);
        of.iter().for_each(|&i| b.output(&format!("d{i}"), loss.grad(x[i])));
        let graph = expand(b);
        for i in of {
            check_gradient(&graph, &inputs, &format!("d{i}"), &format!("x{i}"), &mut random);
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} gradients were checked");
}

/// The graph with its gradients expanded.
fn expand(b: Builder) -> Graph {
    let graph = b.finish().unwrap_or_else(|e| panic!("{e}"));
    kiln_passes::run(&[&autodiff::PASS], graph.clone(), &mut Notes::default(), &mut |_, _| {})
        .unwrap_or_else(|e| panic!("{e}\n{graph}"))
}

/// The gradient of a weighted sum of `f(x)` at `x`, all weights 1.
fn gradient_at(x: &[f64], dims: &[usize], f: impl for<'b> Fn(Var<'b>) -> Var<'b>) -> Vec<f64> {
    let b = Builder::new();
    let v = b.data("x", DType::F32, dims);
    let y = f(v);
    let axes: Vec<usize> = (0..y.shape().rank()).collect();
    let gradient = y.sum(&axes).grad(v);
    b.output("d", gradient);
    let graph = expand(b);
    let value = Value { shape: Shape::new(dims).expect("small"), data: x.to_vec() };
    let inputs = Inputs::from([("x".to_owned(), value)]);
    evaluate(&graph, &inputs).expect("inputs fit").outputs["d"].data.clone()
}

#[test]
fn kinks_and_ties_have_the_gradients_that_are_documented() {
    let x = [-1.0, 0.0, 2.0];
    assert_eq!(gradient_at(&x, &[3], |x| x.relu()), [0.0, 0.0, 1.0]);
    assert_eq!(gradient_at(&x, &[3], |x| x.abs()), [-1.0, 0.0, 1.0]);
    assert_eq!(gradient_at(&x, &[3], |x| x.minimum(x.scalar_like(0.0))), [1.0, 0.0, 0.0]);
    assert_eq!(gradient_at(&x, &[3], |x| x.floor() + x.ceil() + x.round()), [0.0; 3]);
    assert_eq!(gradient_at(&x, &[3], |x| x.detach() * x), x);
    let tied = [3.0, 1.0, 3.0, 3.0];
    assert_eq!(
        gradient_at(&tied, &[4], |x| x.reduce_max(&[0])),
        [1.0, 0.0, 1.0, 1.0].map(|g| g / 3.0)
    );
    assert_eq!(gradient_at(&tied, &[4], |x| x.reduce_min(&[0])), [0.0, 1.0, 0.0, 0.0]);
    let pooled = gradient_at(&tied, &[2, 2], |x| x.max_pool([2, 2], [1, 1], [1, 1]));
    assert_eq!(pooled, [1.0, 0.0, 0.0, 0.0]);
}

/// Numbers whose arithmetic has exceptions, and ordinary ones.
const SPECIAL: [f32; 30] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    f32::EPSILON,
    8_388_607.5,
    16_777_216.0,
    -16_777_216.0,
    2_147_483_648.0,
    -2_147_483_648.0,
    1e10,
    88.0,
    -88.0,
    104.0,
    -104.0,
];

#[test]
fn every_pair_of_special_numbers_has_the_reference_s_answer() {
    let mut checked = 0;
    for op in OPS.iter().filter(|op| matches!(op.lower, Lower::Map(_))) {
        let Arity::Exact(n @ 1..=2) = op.arity else { continue };
        let Some(sample) =
            op.samples.iter().find(|s| s.operands.iter().all(|o| o.dtype == DType::F32))
        else {
            continue;
        };
        let count = SPECIAL.len();
        let b = Builder::new();
        let x: Vec<Var<'_>> =
            (0..n).map(|i| b.data(&format!("x{i}"), DType::F32, &[count, count])).collect();
        let attrs: Attrs = (sample.attrs)();
        b.output("y", b.op(op, attrs, &x));
        let graph = b.finish().unwrap_or_else(|e| panic!("{e}"));
        let shape = Shape::new([count, count]).expect("small");
        let values = [0, 1].map(|axis| Value::from_fn(&shape, |i| f64::from(SPECIAL[i[axis]])));
        let inputs: Inputs =
            values.into_iter().take(n).enumerate().map(|(i, v)| (format!("x{i}"), v)).collect();
        let expected = &evaluate(&graph, &inputs).expect("inputs fit").outputs["y"];
        let found = &loops(&graph, &inputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        let rounded = Value::from(&expected.to_tensor(found.dtype()).expect("one shape"));
        for (i, (a, e)) in Value::from(found).data.iter().zip(&rounded.data).enumerate() {
            let same =
                a == e || (a.is_nan() && e.is_nan()) || (a - e).abs() <= 1e-6 * e.abs().max(1e-30);
            let operands = [SPECIAL[i / count], SPECIAL[i % count]];
            assert!(same, "{} of {:?} is {a}, not {e}", op.name, &operands[..n]);
            checked += 1;
        }
    }
    assert!(checked > 20 * 900);
}

#[test]
fn every_operator_is_documented_and_has_samples() {
    let page = docs::ops_markdown();
    for op in OPS {
        assert!(page.contains(&format!("| `{}` |", op.name)), "{} is missing", op.name);
        let boundary = matches!(op.lower, Lower::Leaf | Lower::Never);
        assert!(boundary || !op.samples.is_empty(), "`{}` has no sample", op.name);
    }
}

/// `docs/ops.md` is what the table says; `BLESS=1` writes it.
#[test]
fn the_page_of_operators_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ops.md");
    let page = docs::ops_markdown();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &page).expect("docs/ can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, page, "docs/ops.md is not current: run with BLESS=1");
}
