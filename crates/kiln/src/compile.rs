//! From a source to an executable: elaboration, the two pipelines, emission.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_graph::Graph;
use kiln_lang::Elaborated;
use kiln_loops::Program;
use kiln_passes::{GRAPH_PASSES, Notes, PROGRAM_PASSES, Pass, PassOptions};

use crate::report::{Memory, Report, bytes};
use crate::{Engine, Error, Options, Result, Session, Source, tune};

/// Passes that others cannot do without.
const NEEDED: [&str; 3] = ["autodiff", "fuse", "plan"];

/// A compiled graph: immutable, shared by the sessions that run it.
#[derive(Clone, Debug)]
pub struct Executable {
    pub(crate) shared: Arc<Compiled>,
}

/// What an executable consists of.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The graph as elaborated, and what its inputs and outputs mean.
    pub elaborated: Elaborated,
    pub program: Program,
    /// Machine code, for that engine.
    pub code: Option<kiln_jit::Executable>,
    /// The graph with gradients expanded, for the reference engine.
    pub reference: Option<Graph>,
    pub report: Report,
}

/// Every stage on the way, for dumps.
#[derive(Debug)]
pub struct Stages {
    /// The graph as elaborated.
    pub elaborated: Elaborated,
    /// The graph after the graph passes (or after the one asked for).
    pub graph: Graph,
    /// The program after the program passes (or after the one asked for); none if stopped before.
    pub program: Option<Program>,
    /// Time, sizes and remarks of the passes.
    pub notes: Notes,
}

/// Compiles a network of a model file, or a graph made by [`Builder`](crate::Builder).
///
/// # Errors
/// Every mistake found in the program; if the arena is larger than the program's `memory`.
pub fn compile(source: &(impl Source + ?Sized), options: &Options) -> Result<Executable> {
    let begun = Instant::now();
    let Stages { elaborated, program, mut notes, .. } = stages(source, options, None)?;
    let program = program.ok_or_else(|| Error::defect("the pipeline ended before the program"))?;
    check_bytes(&program, options)?;
    let code = match options.engine {
        Engine::Jit => {
            let detected = kiln_jit::Options::detect().map_err(Error::input)?;
            let settings = kiln_jit::Options { threads: options.threads, ..detected };
            let begun = Instant::now();
            let code = kiln_jit::Executable::compile(&program, &settings)?;
            let distinct = code.report().distinct_kernels;
            report(&mut notes, "emit", program.kernels.len(), distinct, begun.elapsed());
            Some(code)
        }
        Engine::Loops | Engine::Eval => None,
    };
    let reference = match options.engine {
        Engine::Eval => Some(differentiated(&elaborated.graph)?),
        _ => None,
    };
    let scratch = code.as_ref().map_or(0, |c| c.report().scratch_bytes * c.report().threads);
    let limit = elaborated.training.as_ref().and_then(|t| t.memory);
    let limit = limit.filter(|_| elaborated.kind == kiln_lang::Kind::Training);
    let memory = Memory::of(&program, scratch, limit.map(|l| l as usize));
    if let Some(limit) = memory.limit
        && memory.arena > limit
    {
        return Err(Error::input(format!(
            "the training step needs at least {} ({} bytes), memory = {} allows {} too little",
            bytes(memory.arena),
            memory.arena,
            bytes(limit),
            bytes(memory.arena - limit),
        )));
    }
    let report = Report {
        kernels: program.kernels.len(),
        memory,
        passes: notes.report,
        verification: notes.verification,
        remarks: notes.remarks,
        time: begun.elapsed(),
    };
    Ok(Executable { shared: Arc::new(Compiled { elaborated, program, code, reference, report }) })
}

/// Refuses arenas of absurd size, before any is allocated.
fn check_bytes(program: &Program, options: &Options) -> Result<()> {
    let (arena, limit) = (program.arena_bytes, options.limited().bytes);
    if arena as u64 <= limit {
        return Ok(());
    }
    let largest = program.buffers.iter().max_by_key(|b| b.bytes());
    let largest = largest.map_or(String::new(), |b| {
        format!("; its largest value is {}: {}{}", b.name, b.dtype, b.shape)
    });
    Err(Error::input(format!(
        "the arena takes {arena} bytes ({}), the limit is {limit}{largest}; raise it by --limit bytes={arena}",
        bytes(arena)
    )))
}

/// What passes are told of this machine; everything else is as by default.
pub fn pass_options() -> PassOptions {
    let wide_loops = kiln_jit::Isa::detect().is_ok_and(kiln_jit::has_wide_loops);
    PassOptions { wide_loops, ..PassOptions::default() }
}

/// Elaborates a source and runs the passes, up to and including `last` if it is given.
///
/// # Errors
/// As [`compile`]; if there is no pass of that name.
pub fn stages(
    source: &(impl Source + ?Sized),
    options: &Options,
    last: Option<&str>,
) -> Result<Stages> {
    let begun = Instant::now();
    let elaborated = source.elaborate(options)?;
    let time = begun.elapsed();
    let notes = |choices| {
        let mut notes = Notes::new(PassOptions {
            precise: options.precise,
            threads: options.threads,
            node_limit: options.limited().nodes,
            choices,
            ..pass_options()
        });
        report(&mut notes, "elaborate", 0, elaborated.graph.len(), time);
        notes
    };
    for name in &options.without {
        known(name)?;
        if NEEDED.contains(&name.as_str()) {
            return Err(Error::input(format!("the pass `{name}` cannot be left out")));
        }
    }
    if let Some(last) = last {
        known(last)?;
    }
    let graph_passes = upto(GRAPH_PASSES, options, last);
    let run = |choices| {
        let mut notes = notes(choices);
        let graph =
            kiln_passes::run(&graph_passes, elaborated.graph.clone(), &mut notes, &mut |_, _| {})?;
        Ok::<_, Error>((graph, notes))
    };
    let (mut graph, mut notes) = run(options.choices.clone())?;
    if options.tune && options.engine == Engine::Jit {
        let choices = tune::choices(&notes.decisions, options)?;
        if !choices.is_empty() {
            (graph, notes) = run(choices)?;
        }
    }
    if last.is_some_and(|l| GRAPH_PASSES.iter().any(|p| p.name == l)) {
        return Ok(Stages { elaborated, graph, program: None, notes });
    }
    let begun = Instant::now();
    let program = kiln_passes::lower(&graph).map_err(Error::input)?;
    report(&mut notes, "lower", graph.len(), program.kernels.len(), begun.elapsed());
    let program_passes = upto(PROGRAM_PASSES, options, last);
    let program = match last {
        Some("lower") => program,
        _ => kiln_passes::run(&program_passes, program, &mut notes, &mut |_, _| {})?,
    };
    Ok(Stages { elaborated, graph, program: Some(program), notes })
}

fn report(notes: &mut Notes, pass: &'static str, before: usize, after: usize, time: Duration) {
    notes.report.push(kiln_passes::PassReport { pass, before, after, time });
}

/// The passes of a table without those left out, up to the last one asked for.
fn upto<T>(
    table: &'static [&'static Pass<T>],
    options: &Options,
    last: Option<&str>,
) -> Vec<&'static Pass<T>> {
    let end =
        last.and_then(|l| table.iter().rposition(|p| p.name == l)).map_or(table.len(), |i| i + 1);
    table[..end].iter().copied().filter(|p| options.without.iter().all(|w| w != p.name)).collect()
}

/// Checks that a name is that of a pass.
fn known(name: &str) -> Result<()> {
    if name == "lower"
        || GRAPH_PASSES.iter().any(|p| p.name == name)
        || PROGRAM_PASSES.iter().any(|p| p.name == name)
    {
        return Ok(());
    }
    let graph = GRAPH_PASSES.iter().map(|p| p.name);
    let mut names: Vec<&str> =
        graph.chain(["lower"]).chain(PROGRAM_PASSES.iter().map(|p| p.name)).collect();
    let near = kiln_graph::nearest(name, names.iter().copied());
    let hint = near.map_or(String::new(), |n| format!(", did you mean `{n}`?"));
    names.dedup();
    Err(Error::input(format!("unknown pass `{name}`{hint} (passes: {})", names.join(", "))))
}

pub(crate) fn differentiated(graph: &Graph) -> Result<Graph> {
    let mut notes = Notes::new(PassOptions::default());
    Ok(kiln_passes::run(
        &[&kiln_passes::autodiff::PASS],
        graph.clone(),
        &mut notes,
        &mut |_, _| {},
    )?)
}

impl Executable {
    /// What compiling gave: kernels, bytes, time per pass.
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// The program in the loop IR, planned.
    pub fn program(&self) -> &Program {
        &self.shared.program
    }

    /// The graph as the source says it, and what its inputs, outputs and weights are.
    pub fn elaborated(&self) -> &Elaborated {
        &self.shared.elaborated
    }

    /// The intermediate code of every kernel before registers are assigned; empty unless machine
    /// code was asked for.
    ///
    /// # Errors
    /// If it cannot be printed.
    pub fn clif(&self) -> Result<String> {
        let Some(code) = &self.shared.code else { return Ok(String::new()) };
        let kernels = 0..self.shared.program.kernels.len();
        let texts: Result<Vec<String>> = kernels.map(|k| Ok(code.clif(k)?)).collect();
        Ok(texts?.join("\n"))
    }

    /// A place to run it: the arena, with weights and states of zero. One thread at a time uses a
    /// session; any number of them may exist.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn session(&self) -> Result<Session> {
        Session::new(self.shared.clone())
    }
}
