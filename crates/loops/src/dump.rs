//! Views of a program for other programs and for people: JSON, DOT and the listing of its plan.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use crate::access::{accesses, visit};
use crate::check_plan::{LiveRange, bound_bytes, live_ranges};
use crate::cost::cost;
use crate::ir::*;
use crate::location::Location;
use crate::text;

/// A program as JSON shows it.
#[derive(Debug, Serialize)]
pub struct ProgramView<'a> {
    /// The form of this view; grows when a field changes its meaning or goes.
    pub version: u32,
    /// Bytes of the arena; 0 before the plan.
    pub arena_bytes: usize,
    /// How many kernels at the beginning run once after weights were set.
    pub prelude: usize,
    /// The buffers; `id` is the position.
    pub buffers: Vec<BufferView<'a>>,
    /// The kernels, in the order they run.
    pub kernels: Vec<KernelView<'a>>,
}

/// The plan of a program as JSON shows it.
#[derive(Debug, Serialize)]
pub struct PlanView<'a> {
    /// The form of this view; grows when a field changes its meaning or goes.
    pub version: u32,
    /// Bytes of the arena; 0 before the plan.
    pub arena_bytes: usize,
    /// The greatest number of bytes live at one kernel; absent if it does not fit 64 bits.
    pub bound_bytes: Option<usize>,
    /// Arena over bound; absent before the plan.
    pub ratio: Option<f64>,
    /// The buffers; `id` is the position.
    pub buffers: Vec<BufferView<'a>>,
}

/// A buffer.
#[derive(Debug, Serialize)]
pub struct BufferView<'a> {
    /// Its position.
    pub id: usize,
    /// Its name.
    pub name: &'a str,
    /// Element type.
    pub dtype: &'static str,
    /// Sizes of the axes.
    pub shape: &'a [usize],
    /// What it holds.
    pub kind: &'static str,
    /// Bytes it takes.
    pub bytes: usize,
    /// Offset in the arena, in bytes; absent before the plan.
    pub offset: Option<usize>,
    /// The first kernel at which it is live; absent for temporary buffers without use.
    pub first: Option<usize>,
    /// The last kernel at which it is live.
    pub last: Option<usize>,
}

/// A kernel.
#[derive(Debug, Serialize)]
pub struct KernelView<'a> {
    /// Its position.
    pub id: usize,
    /// Its name.
    pub name: &'a str,
    /// The source text it comes from, as `file:line:column`.
    pub locations: Vec<String>,
    /// The buffers it takes, by position.
    pub args: Vec<u32>,
    /// Those of them it reads.
    pub reads: Vec<u32>,
    /// Those of them it writes.
    pub writes: Vec<u32>,
    /// Bytes of its scratch memory.
    pub local_bytes: usize,
    /// Whether its iterations are handed out to threads.
    pub parallel: bool,
    /// f32 operations of one run.
    pub flops: f64,
    /// Transcendental functions of one run.
    pub functions: f64,
    /// Bytes of arguments read in one run, at most.
    pub read_bytes: f64,
    /// Bytes of arguments written in one run, at most.
    pub written_bytes: f64,
    /// Its statements, as text.
    pub body: String,
}

/// The view of a program that [`json`] writes.
pub fn view(program: &Program) -> ProgramView<'_> {
    ProgramView {
        version: 1,
        arena_bytes: program.arena_bytes,
        prelude: program.prelude,
        buffers: buffers(program, &live_ranges(program)),
        kernels: program.kernels.iter().enumerate().map(|k| kernel(program, k)).collect(),
    }
}

/// The view of a program's plan that [`plan_json`] writes.
pub fn plan_view(program: &Program) -> PlanView<'_> {
    let ranges = live_ranges(program);
    let bound = bound_bytes(program, &ranges);
    let ratio = |bound: usize| program.arena_bytes as f64 / bound as f64;
    PlanView {
        version: 1,
        arena_bytes: program.arena_bytes,
        bound_bytes: bound,
        ratio: bound.filter(|&b| b > 0 && program.arena_bytes > 0).map(ratio),
        buffers: buffers(program, &ranges),
    }
}

/// A program as JSON.
///
/// # Panics
/// Never: the view has names as keys and finite numbers only.
pub fn json(program: &Program) -> String {
    serde_json::to_string_pretty(&view(program)).expect("names as keys, finite numbers")
}

/// The plan of a program as JSON.
///
/// # Panics
/// Never: the view has names as keys and finite numbers only.
pub fn plan_json(program: &Program) -> String {
    serde_json::to_string_pretty(&plan_view(program)).expect("names as keys, finite numbers")
}

fn buffers<'a>(program: &'a Program, ranges: &[Option<LiveRange>]) -> Vec<BufferView<'a>> {
    let pairs = program.buffers.iter().zip(ranges).enumerate();
    pairs
        .map(|(id, (buffer, range))| BufferView {
            id,
            name: &buffer.name,
            dtype: buffer.dtype.name(),
            shape: &buffer.shape,
            kind: buffer.kind.name(),
            bytes: buffer.bytes(),
            offset: buffer.offset,
            first: range.map(|r| r.first),
            last: range.map(|r| r.last),
        })
        .collect()
}

fn kernel<'a>(program: &'a Program, (id, kernel): (usize, &'a Kernel)) -> KernelView<'a> {
    let cost = cost(program, kernel);
    let (reads, writes) = touched(kernel);
    let mut body = String::new();
    text::lines(&kernel.body, 0, &mut body);
    let bytes = |l: &Local| l.elements.saturating_mul(l.dtype.bytes());
    KernelView {
        id,
        name: &kernel.name,
        locations: kernel.locations.iter().map(Location::to_string).collect(),
        args: kernel.args.iter().map(|b| b.0).collect(),
        reads: reads.into_iter().map(|b| b.0).collect(),
        writes: writes.into_iter().map(|b| b.0).collect(),
        local_bytes: kernel.locals.iter().map(bytes).fold(0, usize::saturating_add),
        parallel: kernel.is_parallel(),
        flops: cost.flops,
        functions: cost.functions,
        read_bytes: cost.read_bytes,
        written_bytes: cost.written_bytes,
        body,
    }
}

/// The buffers a kernel reads and those it writes, ascending.
fn touched(kernel: &Kernel) -> (BTreeSet<BufferId>, BTreeSet<BufferId>) {
    let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
    visit(&kernel.body, &mut |stmt| {
        for access in accesses(stmt) {
            let Mem::Arg(arg) = access.mem else { continue };
            let Some(&id) = kernel.args.get(arg as usize) else { continue };
            if access.write { &mut writes } else { &mut reads }.insert(id);
        }
    });
    (reads, writes)
}

/// A program in the language of Graphviz: a box for each kernel, an ellipse for each buffer,
/// arrows from what is read and to what is written.
pub fn dot(program: &Program) -> String {
    let mut out = String::from("digraph kiln {\n  node [fontname=monospace];\n");
    let mut line = |args: std::fmt::Arguments<'_>| {
        writeln!(out, "  {args}").expect("writing to a string");
    };
    for (i, buffer) in program.buffers.iter().enumerate() {
        let (kind, name) = (buffer.kind.name(), escaped(&buffer.name));
        let ty = format!("{}{}", buffer.dtype, buffer.shape);
        line(format_args!("b{i} [label=\"{name}\\n{ty} {kind}\", shape=ellipse];"));
    }
    for (i, kernel) in program.kernels.iter().enumerate() {
        line(format_args!("k{i} [label=\"{i} {}\", shape=box];", escaped(&kernel.name)));
        let (reads, writes) = touched(kernel);
        for id in reads {
            line(format_args!("{id} -> k{i};"));
        }
        for id in writes {
            line(format_args!("k{i} -> {id};"));
        }
    }
    out.push_str("}\n");
    out
}

fn escaped(name: &str) -> String {
    let quoted = text::quoted(name);
    quoted[1..quoted.len() - 1].to_string()
}

/// The plan: as comments, for each buffer its offset and size in bytes, the kernels at which it is
/// live, and its name, then the arena, the bound and their ratio; after them the program, so that
/// the text reads back.
pub fn plan(program: &Program) -> String {
    let view = plan_view(program);
    let mut out = format!("# {:>14} {:>14} {:>11}  buffer\n", "offset", "bytes", "live");
    for (buffer, Buffer { dtype, shape, .. }) in view.buffers.iter().zip(&program.buffers) {
        let offset = buffer.offset.map_or("-".to_string(), |o| o.to_string());
        let live = match (buffer.first, buffer.last) {
            (Some(first), Some(last)) => format!("{first}..={last}"),
            _ => "never".to_string(),
        };
        writeln!(
            out,
            "# {offset:>14} {:>14} {live:>11}  b{} {} {} {dtype}{shape}",
            buffer.bytes,
            buffer.id,
            text::quoted(buffer.name),
            buffer.kind,
        )
        .expect("writing to a string");
    }
    let bound = view.bound_bytes.map_or("beyond 64 bits".to_string(), |b| b.to_string());
    let ratio = view.ratio.map_or("-".to_string(), |r| format!("{r:.4}"));
    writeln!(out, "# arena {} bytes | bound {bound} bytes | ratio {ratio}", view.arena_bytes)
        .expect("writing to a string");
    write!(out, "{program}").expect("writing to a string");
    out
}
