//! Runs a graph or program in every engine, compares them, and prints what the reference gives.
//!
//! | engine | what it runs |
//! |---|---|
//! | `graph::eval` | the graph, gradients expanded, in f64: the reference of graphs |
//! | `loops::interp` | the program of the graph that was fused and nothing more |
//! | `loops::interp` | the program after all passes |
//! | `jit` | the same compiled, on one thread and on three, which must agree in every bit |

use std::collections::BTreeMap;

use kiln_graph::Graph;
use kiln_graph::eval::{Value, evaluate};
use kiln_jit::{Executable, Isa, Options};
use kiln_loops::{BufferId, BufferKind, Memory, Program};
use kiln_passes::{GRAPH_PASSES, Notes, PROGRAM_PASSES, Pass, autodiff, fuse};
use kiln_tensor::{DType, Tensor};

use super::input::Inputs;

/// What a run leaves: outputs, and the values that live across runs.
#[derive(Debug, Default)]
struct Results {
    outputs: BTreeMap<String, Tensor>,
    updates: BTreeMap<String, Tensor>,
}

/// Differences above this, relative to the largest element, are mistakes; for each step.
const TOLERANCE: f64 = 4e-6;

/// Runs a graph `steps` times in every engine; next values feed the run after.
pub fn graph(graph: &Graph, inputs: &Inputs, steps: usize) -> Result<String, String> {
    let passes = |passes: &[&'static Pass<Graph>]| {
        let mut notes = Notes::default();
        kiln_passes::run(passes, graph.clone(), &mut notes, &mut |_, _| {})
            .map_err(|e| e.to_string())
    };
    let reference = eval(&passes(&[&autodiff::PASS])?, inputs, steps)?;
    let lower = |graph: &Graph| kiln_passes::lower(graph).map_err(|e| e.to_string());
    let plain = lower(&passes(&[&autodiff::PASS, &fuse::PASS])?)?;
    let optimised = lower(&passes(GRAPH_PASSES)?)?;
    same(&reference, &interpret(&plain, inputs, steps)?, steps, "loops, fused only")?;
    optimise_and_compile(optimised, &reference, inputs, steps)?;
    Ok(print(&reference))
}

/// Runs a program `steps` times in every engine.
pub fn program(program: &Program, inputs: &Inputs, steps: usize) -> Result<String, String> {
    let reference = interpret(program, inputs, steps)?;
    optimise_and_compile(program.clone(), &reference, inputs, steps)?;
    Ok(print(&reference))
}

/// Runs all passes over a program, interprets it and compiles it; every result must be the reference's.
fn optimise_and_compile(
    program: Program,
    reference: &Results,
    inputs: &Inputs,
    steps: usize,
) -> Result<(), String> {
    let mut notes = Notes::default();
    let program = kiln_passes::run(PROGRAM_PASSES, program, &mut notes, &mut |_, _| {})
        .map_err(|e| e.to_string())?;
    same(reference, &interpret(&program, inputs, steps)?, steps, "loops")?;
    let detected = Isa::detect().map_err(|e| e.to_string())?;
    for isa in Isa::available().into_iter().filter(|&isa| isa != detected) {
        let narrow = compiled(&program, inputs, steps, Options { threads: 1, isa })?;
        same(reference, &narrow, steps, isa.name())?;
    }
    let one = compiled(&program, inputs, steps, Options { threads: 1, isa: detected })?;
    same(reference, &one, steps, "compiled")?;
    let three = compiled(&program, inputs, steps, Options { threads: 3, isa: detected })?;
    match bits(&one) == bits(&three) {
        true => Ok(()),
        false => Err(format!("three threads give {}one gives {}", print(&three), print(&one))),
    }
}

/// Machine code.
fn compiled(
    program: &Program,
    inputs: &Inputs,
    steps: usize,
    options: Options,
) -> Result<Results, String> {
    let executable = Executable::compile(program, &options).map_err(|e| e.to_string())?;
    let mut session = executable.session().map_err(|e| e.to_string())?;
    for (at, buffer) in program.buffers.iter().enumerate() {
        if let Some(value) = inputs.get(&buffer.name) {
            let value = value.to_tensor(buffer.dtype).map_err(|e| e.to_string())?;
            session.set(BufferId(at as u32), &value).map_err(|e| e.to_string())?;
        }
    }
    for _ in 0..steps {
        session.run().map_err(|e| e.to_string())?;
    }
    results(program, |id| session.get(id).map_err(|e| e.to_string()))
}

/// Every bit of every result.
fn bits(results: &Results) -> Vec<u64> {
    let all = results.outputs.values().chain(results.updates.values());
    all.flat_map(|tensor| Value::from(tensor).data).map(f64::to_bits).collect()
}

/// The reference: `graph::eval`, in f64.
fn eval(graph: &Graph, inputs: &Inputs, steps: usize) -> Result<Results, String> {
    let mut inputs = inputs.clone();
    let mut results = Results::default();
    let dtypes: BTreeMap<&str, DType> =
        graph.inputs().filter_map(|id| Some((graph.input(id)?.0, graph[id].ty.dtype))).collect();
    for _ in 0..steps {
        let found = evaluate(graph, &inputs).map_err(|e| e.to_string())?;
        let tensor = |value: &Value, dtype| value.to_tensor(dtype).map_err(|e| e.to_string());
        for (name, id) in &graph.outputs {
            let value = tensor(&found.outputs[name], graph[*id].ty.dtype)?;
            results.outputs.insert(name.clone(), value);
        }
        for (name, value) in found.updates {
            results.updates.insert(name.clone(), tensor(&value, dtypes[name.as_str()])?);
            inputs.insert(name, value);
        }
    }
    Ok(results)
}

/// The interpreter of programs.
fn interpret(program: &Program, inputs: &Inputs, steps: usize) -> Result<Results, String> {
    let mut memory = Memory::for_program(program).map_err(|e| e.to_string())?;
    let ids = || (0..program.buffers.len() as u32).map(BufferId);
    for id in ids() {
        let buffer = program.buffer(id);
        if let Some(value) = inputs.get(&buffer.name) {
            let value = value.to_tensor(buffer.dtype).map_err(|e| e.to_string())?;
            memory.set(id, &value).map_err(|e| e.to_string())?;
        }
    }
    for _ in 0..steps {
        kiln_loops::run(program, &mut memory).map_err(|e| e.to_string())?;
    }
    results(program, |id| Ok(memory.get(id).clone()))
}

/// Outputs, and those buffers that live across runs which some kernel writes.
fn results(
    program: &Program,
    value: impl Fn(BufferId) -> Result<Tensor, String>,
) -> Result<Results, String> {
    let mut results = Results::default();
    let mut written = vec![false; program.buffers.len()];
    for kernel in &program.kernels {
        kiln_loops::visit(&kernel.body, &mut |stmt| {
            for access in kiln_loops::accesses(stmt).filter(|a| a.write) {
                if let kiln_loops::Mem::Arg(arg) = access.mem {
                    written[kernel.args[arg as usize].0 as usize] = true;
                }
            }
        });
    }
    for (at, buffer) in program.buffers.iter().enumerate() {
        let list = match buffer.kind {
            BufferKind::Output => &mut results.outputs,
            BufferKind::Param | BufferKind::State | BufferKind::Slot if written[at] => {
                &mut results.updates
            }
            _ => continue,
        };
        list.insert(buffer.name.clone(), value(BufferId(at as u32))?);
    }
    Ok(results)
}

fn same(expected: &Results, found: &Results, steps: usize, engine: &str) -> Result<(), String> {
    let lists = [(&expected.outputs, &found.outputs), (&expected.updates, &found.updates)];
    for (expected, found) in lists {
        if !expected.keys().eq(found.keys()) {
            return Err(format!("{engine} gives {:?}, not {:?}", found.keys(), expected.keys()));
        }
        for (name, expected) in expected {
            let found = &found[name];
            if expected.shape() != found.shape() || expected.dtype() != found.dtype() {
                return Err(format!("{engine} gives a `{name}` of another type"));
            }
            let (expected, found) = (Value::from(expected).data, Value::from(found).data);
            let finite = expected.iter().map(|x| x.abs()).filter(|x| x.is_finite());
            let bound = TOLERANCE * steps as f64 * finite.fold(1e-30, f64::max);
            let equal = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
            for (i, (&a, &b)) in expected.iter().zip(&found).enumerate() {
                let near = (a - b).abs() <= bound;
                if !near && !equal(a, b) {
                    return Err(format!("{engine}: `{name}` has {b} at {i}, the reference {a}"));
                }
            }
        }
    }
    Ok(())
}

/// Every result on a line; floats with six digits, so that no machine's last bit shows.
fn print(results: &Results) -> String {
    let outputs = results.outputs.iter().map(|(name, value)| line("output", name, value));
    let updates = results.updates.iter().map(|(name, value)| line("update", name, value));
    outputs.chain(updates).collect()
}

fn line(what: &str, name: &str, tensor: &Tensor) -> String {
    let number = |x: f64| match tensor.dtype() {
        DType::F32 => {
            let short: f64 = format!("{x:.5e}").parse().unwrap_or(x);
            format!("{short:?}")
        }
        DType::I32 => format!("{x}"),
        DType::Bool => (x != 0.0).to_string(),
    };
    let all: Vec<String> = Value::from(tensor).data.into_iter().map(number).collect();
    format!("{what} {name}: {}{} = [{}]\n", tensor.dtype(), tensor.shape(), all.join(", "))
}
