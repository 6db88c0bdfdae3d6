//! Random graphs through every engine, with every pass and without each: whatever is left out, the
//! meaning stays.
//!
//! The reference is the evaluator in f64 on the graph as it was made, gradients expanded, with an
//! estimate of how far f32 may be from it. Whole numbers, truth values and data that is only
//! moved have no such operator above them, so they must agree bit for bit. Machine code runs on every
//! instruction set that the processor has.
//!
//! `KILN_RANDOM_GRAPHS=100000` makes a long run of it, `KILN_RANDOM_SEED=17` runs one seed.

mod random;

use std::collections::{BTreeMap, BTreeSet};

use kiln_graph::Graph;
use kiln_graph::eval::Value;
use kiln_graph::ops::OPS;
use kiln_jit::{Executable, Isa, Options, Session};
use kiln_loops::{BufferId, BufferKind, Memory, Program};
use kiln_passes::{GRAPH_PASSES, Notes, PROGRAM_PASSES, Pass, autodiff, lower};
use kiln_tensor::{Data, Tensor};

use random::reference::{EPSILON, Reference, Results, Tolerance, distance, reference};
use random::shrink::{shrink, without_unread};
use random::{Case, Inputs};

/// Disturbed runs of the reference.
const RUNS: u64 = 3;
/// Threads of a team.
const THREADS: usize = 3;
/// Which passes run.
#[derive(Clone)]
struct Config {
    name: String,
    graph: Vec<&'static Pass<Graph>>,
    program: Vec<&'static Pass<Program>>,
}

/// Every pass; each optional one left out; no optional one.
fn configs() -> Vec<Config> {
    let graph: Vec<&str> = GRAPH_PASSES.iter().map(|p| p.name).collect();
    let program: Vec<&str> = PROGRAM_PASSES.iter().map(|p| p.name).collect();
    let needed = ["autodiff", "fuse", "plan"];
    let config = |name: String, keep: &dyn Fn(&str) -> bool| Config {
        name,
        graph: GRAPH_PASSES.iter().copied().filter(|p| keep(p.name)).collect(),
        program: PROGRAM_PASSES.iter().copied().filter(|p| keep(p.name)).collect(),
    };
    let mut configs = vec![config("all".to_owned(), &|_| true)];
    for left_out in graph.iter().chain(&program).filter(|name| !needed.contains(name)) {
        configs.push(config(format!("all but {left_out}"), &|name| name != *left_out));
    }
    configs.push(config("none".to_owned(), &|name| needed.contains(&name)));
    configs
}

/// What went wrong where.
struct Failure {
    stage: &'static str,
    message: String,
}

fn at<T, E: std::fmt::Display>(stage: &'static str, result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|e| Failure { stage, message: e.to_string() })
}

/// The graph with gradients expanded.
fn expand(graph: &Graph) -> Result<Graph, Failure> {
    let notes = &mut Notes::default();
    at("autodiff", kiln_passes::run(&[&autodiff::PASS], graph.clone(), notes, &mut |_, _| {}))
}

/// The program of a graph.
fn compile(graph: &Graph, config: &Config) -> Result<Program, Failure> {
    let mut notes = Notes::default();
    let placed = at(
        "graph passes",
        kiln_passes::run(&config.graph, graph.clone(), &mut notes, &mut |_, _| {}),
    )?;
    let program = at("lower", lower(&placed))?;
    at("lower", kiln_loops::verify(&program))?;
    let program = at(
        "program passes",
        kiln_passes::run(&config.program, program, &mut notes, &mut |_, _| {}),
    )?;
    let plan = at("plan", kiln_loops::check_plan(&program))?;
    if plan.arena_bytes < plan.bound_bytes {
        let message = format!("{} bytes hold {}", plan.arena_bytes, plan.bound_bytes);
        return Err(Failure { stage: "plan", message });
    }
    let texts = [graph, &placed].map(ToString::to_string);
    for text in texts {
        let again: Graph = at("text of a graph", text.parse())?;
        same_text("text of a graph", &text, &again.to_string())?;
    }
    let text = program.to_string();
    let again = at("text of a program", kiln_loops::parse(&text))?;
    same_text("text of a program", &text, &again.to_string())?;
    if again != program {
        let message = "another program of the same text".to_owned();
        return Err(Failure { stage: "text of a program", message });
    }
    Ok(program)
}

fn same_text(stage: &'static str, a: &str, b: &str) -> Result<(), Failure> {
    match a.lines().zip(b.lines()).find(|(a, b)| a != b) {
        None if a.len() == b.len() => Ok(()),
        difference => Err(Failure { stage, message: format!("{difference:?}") }),
    }
}

/// Runs a program in the interpreter of the low IR; the memory afterwards.
fn interpret(program: &Program, inputs: &Inputs) -> Result<Memory, Failure> {
    let mut memory = at("loops", Memory::for_program(program))?;
    for id in (0..program.buffers.len() as u32).map(BufferId) {
        let buffer = program.buffer(id);
        if is_input(&buffer.kind) {
            let value = at("loops", inputs[&buffer.name].to_tensor(buffer.dtype))?;
            at("loops", memory.set(id, &value))?;
        }
    }
    at("loops", kiln_loops::run(program, &mut memory))?;
    Ok(memory)
}

fn is_input(kind: &BufferKind) -> bool {
    use BufferKind::{Input, Param, Slot, State};
    matches!(kind, Input | Param | State | Slot)
}

/// Compares what a run left in the program's buffers with the reference; inputs that have no next
/// value must be as they were.
fn compare(
    stage: &'static str,
    program: &Program,
    inputs: &Inputs,
    (results, tolerance): (&Results, &Tolerance),
    found: &dyn Fn(BufferId) -> Tensor,
) -> Result<(), Failure> {
    let mut missing: BTreeSet<&str> = results.keys().map(String::as_str).collect();
    for id in (0..program.buffers.len() as u32).map(BufferId) {
        let buffer = program.buffer(id);
        let name = match &buffer.kind {
            BufferKind::Output => buffer.name.clone(),
            kind if is_input(kind) => format!("<- {}", buffer.name),
            _ => continue,
        };
        missing.remove(name.as_str());
        let (expected, tolerance) = match results.get(&name) {
            Some(value) => (value, tolerance[&name]),
            None => (&inputs[&buffer.name], 0.0),
        };
        let found = Value::from(&found(id));
        if found.shape != expected.shape {
            let message = format!("{name} has shape {}, not {}", found.shape, expected.shape);
            return Err(Failure { stage, message });
        }
        let rounded = at(stage, expected.to_tensor(buffer.dtype))?;
        let expected = Value::from(&rounded);
        for (i, (&a, &b)) in found.data.iter().zip(&expected.data).enumerate() {
            let off = distance(a, b);
            if off > tolerance && off > EPSILON * b.abs() * if tolerance > 0.0 { 2.0 } else { 0.0 }
            {
                let message = format!(
                    "{name}[{i}] is {a}, not {b}: off by {off:.2e}, {tolerance:.2e} allowed"
                );
                return Err(Failure { stage, message });
            }
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(name) => Err(Failure { stage, message: format!("{name} is missing") }),
    }
}

/// One graph through one configuration, in the interpreter of loops and, if asked for, compiled.
fn check(
    graph: &Graph,
    inputs: &Inputs,
    config: &Config,
    reference: &Reference,
    machine_code: bool,
) -> Result<(), Failure> {
    let run = || {
        let program = compile(graph, config)?;
        let memory = interpret(&program, inputs)?;
        let cut = config.program.iter().any(|p| p.name == "sums");
        let tolerance = if cut { &reference.tolerance } else { &reference.serial };
        let expected = (&reference.results, tolerance);
        compare("loops", &program, inputs, expected, &|id| memory.get(id).clone())?;
        if !machine_code {
            return Ok(());
        }
        let detected = at("compile", Isa::detect())?;
        let mut session = execute(&program, inputs, 1, detected)?;
        compare("compiled", &program, inputs, expected, &|id| {
            session.get(id).unwrap_or_else(|e| panic!("{e}"))
        })?;
        // Every other instruction set that there is: passes do not differ between them.
        let others = Isa::available().into_iter().filter(|&isa| isa != detected);
        for isa in others.filter(|_| config.name == "all") {
            let session = execute(&program, inputs, 1, isa)?;
            compare("compiled", &program, inputs, expected, &|id| {
                session.get(id).unwrap_or_else(|e| panic!("{e}"))
            })
            .map_err(|f| Failure { message: format!("{}: {}", isa.name(), f.message), ..f })?;
        }
        // What an earlier run left behind matters only where it is meant to.
        set_inputs(&mut session, &program, inputs)?;
        at("again", session.run())?;
        compare("again", &program, inputs, expected, &|id| {
            session.get(id).unwrap_or_else(|e| panic!("{e}"))
        })?;
        let team = execute(&program, inputs, THREADS, detected)?;
        for id in (0..program.buffers.len() as u32).map(BufferId) {
            let kind = &program.buffer(id).kind;
            if matches!(kind, BufferKind::Temp | BufferKind::Prepared | BufferKind::Const(_)) {
                continue;
            }
            let (one, many) = (at("threads", session.get(id))?, at("threads", team.get(id))?);
            if bits(&one) != bits(&many) {
                let name = &program.buffer(id).name;
                let message = format!("{name} is {one:?} on one thread, {many:?} on {THREADS}");
                return Err(Failure { stage: "threads", message });
            }
        }
        Ok(())
    };
    let message = "a panic, whose message stands above".to_owned();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or(Err(Failure { stage: "panic", message }))
}

/// Compiles a program and runs it.
fn execute(
    program: &Program,
    inputs: &Inputs,
    threads: usize,
    isa: Isa,
) -> Result<Session, Failure> {
    let options = Options { threads, isa };
    let executable = at("compile", Executable::compile(program, &options))?;
    let mut session = at("compiled", executable.session())?;
    set_inputs(&mut session, program, inputs)?;
    at("compiled", session.run())?;
    Ok(session)
}

fn set_inputs(session: &mut Session, program: &Program, inputs: &Inputs) -> Result<(), Failure> {
    for id in (0..program.buffers.len() as u32).map(BufferId) {
        let buffer = program.buffer(id);
        if is_input(&buffer.kind) {
            let value = at("compiled", inputs[&buffer.name].to_tensor(buffer.dtype))?;
            at("compiled", session.set(id, &value))?;
        }
    }
    Ok(())
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    match tensor.data() {
        Data::F32(v) => v.iter().map(|x| x.to_bits()).collect(),
        Data::I32(v) => v.iter().map(|&x| x as u32).collect(),
        Data::Bool(v) => v.iter().map(|&x| x.into()).collect(),
    }
}

/// As [`check`], from scratch; a result that is off is given the benefit of many disturbed runs.
fn fails(case: &Case, config: &Config, machine_code: bool) -> Option<Failure> {
    kiln_graph::verify(&case.graph).ok()?;
    let expanded = expand(&case.graph).ok()?;
    let reference = reference(&expanded, &case.inputs, 10 * RUNS).ok()?;
    check(&case.graph, &case.inputs, config, &reference, machine_code).err()
}

/// Everything about one seed; the message if something is wrong.
fn seed(seed: u64, configs: &[Config]) -> Result<Summary, String> {
    let case = random::case(seed);
    let mut summary = Summary::default();
    let mut run = || -> Result<(), (Option<&Config>, Failure)> {
        at("verify", kiln_graph::verify(&case.graph)).map_err(|f| (None, f))?;
        let expanded = expand(&case.graph).map_err(|f| (None, f))?;
        at("verify", kiln_graph::verify(&expanded)).map_err(|f| (None, f))?;
        let reference =
            at("eval", reference(&expanded, &case.inputs, RUNS)).map_err(|f| (None, f))?;
        summary.note(&expanded, &reference);
        for (number, config) in configs.iter().enumerate() {
            // Every graph is compiled with all passes, and in one other configuration.
            let other = 1 + seed as usize % (configs.len() - 1);
            let machine_code = number == 0 || number == other;
            if check(&case.graph, &case.inputs, config, &reference, machine_code).is_err()
                && let Some(failure) = fails(&case, config, machine_code)
            {
                return Err((Some(config), failure));
            }
        }
        Ok(())
    };
    match run() {
        Ok(()) => Ok(summary),
        Err((None, f)) => Err(format!("seed {seed}: {}: {}\n{}", f.stage, f.message, case.graph)),
        Err((Some(config), f)) => {
            let machine_code =
                ["compile", "compiled", "again", "threads", "panic"].contains(&f.stage);
            let still =
                |case: &Case| fails(case, config, machine_code).is_some_and(|g| g.stage == f.stage);
            let expanded = expand(&case.graph)
                .map(|graph| Case { graph, inputs: case.inputs.clone() })
                .ok()
                .filter(still);
            let small = shrink(expanded.unwrap_or(case), &still);
            let again = fails(&small, config, true).unwrap_or(f);
            let (stage, message) = (again.stage, again.message);
            let text = without_unread(&small.graph);
            Err(format!("seed {seed}, {}: {stage}: {message}\n{text}", config.name))
        }
    }
}

/// What has been tried.
#[derive(Default)]
struct Summary {
    operators: BTreeMap<&'static str, usize>,
    results: usize,
    /// Results that had to agree to within 1e-3 of their greatest element.
    tight: usize,
    /// Results that had to agree bit for bit.
    exact: usize,
}

impl Summary {
    fn note(&mut self, graph: &Graph, reference: &Reference) {
        for id in graph.ids() {
            *self.operators.entry(graph[id].op.name).or_default() += 1;
        }
        for (name, value) in &reference.results {
            let most = value.data.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let tolerance = reference.tolerance[name];
            self.results += 1;
            self.tight += usize::from(tolerance <= 1e-3 * most.max(1e-3));
            self.exact += usize::from(tolerance == 0.0);
        }
    }

    fn add(&mut self, other: Summary) {
        for (name, count) in other.operators {
            *self.operators.entry(name).or_default() += count;
        }
        self.results += other.results;
        self.tight += other.tight;
        self.exact += other.exact;
    }
}

/// Graphs that all tests together try.
const GRAPHS: u64 = 2000;
/// Tests they are shared out to, so that they run beside each other.
const PARTS: u64 = 4;

/// Tries the seeds of one part.
fn part(number: u64) {
    let read = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let configs = configs();
    let graphs = read("KILN_RANDOM_GRAPHS").unwrap_or(GRAPHS);
    let seeds: Vec<u64> = match read("KILN_RANDOM_SEED") {
        Some(one) => vec![one].into_iter().filter(|s| s % PARTS == number).collect(),
        None => (0..graphs).filter(|s| s % PARTS == number).collect(),
    };
    let mut summary = Summary::default();
    let mut failures = Vec::new();
    for &n in &seeds {
        match seed(n, &configs) {
            Ok(one) => summary.add(one),
            Err(message) => failures.push(message),
        }
        // Enough to see what they have in common.
        if failures.len() == 3 {
            break;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if seeds.len() < 400 {
        return;
    }
    let missing: Vec<&str> =
        OPS.iter().map(|op| op.name).filter(|name| !summary.operators.contains_key(name)).collect();
    // Gradients are expanded; Winograd's transforms have tests of their own.
    let elsewhere = ["grad", "winograd_image", "winograd_result", "winograd_weights"];
    assert_eq!(missing, elsewhere, "these operators were never tried");
    let Summary { results, tight, exact, .. } = summary;
    assert!(tight * 10 > results * 9, "only {tight} of {results} results had a tight tolerance");
    assert!(exact * 4 > results, "only {exact} of {results} results had to be exact");
}

#[test]
fn random_graphs_mean_the_same_in_every_configuration_1() {
    part(0);
}

#[test]
fn random_graphs_mean_the_same_in_every_configuration_2() {
    part(1);
}

#[test]
fn random_graphs_mean_the_same_in_every_configuration_3() {
    part(2);
}

#[test]
fn random_graphs_mean_the_same_in_every_configuration_4() {
    part(3);
}

#[test]
fn a_seed_gives_the_same_graph_every_time() {
    for seed in 0..50 {
        let (a, b) = (random::case(seed), random::case(seed));
        assert_eq!(a.graph.to_string(), b.graph.to_string());
        assert_eq!(a.inputs, b.inputs);
    }
}
