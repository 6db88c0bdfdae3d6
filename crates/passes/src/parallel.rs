//! `parallel`: the outermost loop of a kernel is cut into chunks for the threads.
//!
//! The cut depends on the loop alone, never on the number of threads, so results do not either.

use std::collections::BTreeMap;

use kiln_loops::{For, Inst, Kernel, LoopKind, MAX_PAIRS, Mem, Program, Stmt, Var};

use crate::pass::{Notes, Pass, PassError};
use crate::walk;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "parallel", doc: "cut outermost loops into chunks for the threads", run };

/// Instructions a chunk should run at least.
const CHUNK_WORK: f64 = 8192.0;
/// Chunks a loop is cut into at most.
const MAX_CHUNKS: usize = 64;
/// Chunks that are as good as more; kernels that make no more than so many are small.
pub(crate) const ENOUGH: usize = 8;
/// Long chunks are multiples of this, so that vectors and blocks of functions fit.
const GRAIN: usize = 256;

fn run(mut program: Program, notes: &mut Notes) -> Result<Program, PassError> {
    for kernel in &mut program.kernels {
        if let Err(reason) = parallelise(kernel)
            && walk::work(&kernel.body) > CHUNK_WORK
        {
            notes.remark_kernel(kernel, reason);
        }
    }
    Ok(program)
}

/// Chunks that the work of a kernel makes.
fn parts(kernel: &Kernel) -> usize {
    ((walk::work(&kernel.body) / CHUNK_WORK) as usize).min(MAX_CHUNKS)
}

/// Whether threads share the work of a kernel evenly enough in so many chunks.
pub(crate) fn are_enough(chunks: usize, kernel: &Kernel) -> bool {
    chunks >= ENOUGH || parts(kernel) <= ENOUGH
}

fn parallelise(kernel: &mut Kernel) -> Result<(), &'static str> {
    let mut has_parallel = false;
    walk::each(&kernel.body, &mut |s| {
        has_parallel |= matches!(s, Stmt::For(f) if f.kind == LoopKind::Parallel);
    });
    if has_parallel {
        return Ok(());
    }
    let chunks = parts(kernel);
    if chunks < 2 {
        return Ok(());
    }
    if has_too_many_accesses(kernel) {
        return Err(
            "not parallel: it accesses one array at too many places to prove them disjoint",
        );
    }
    sink(kernel)?;
    let (_, var) = walk::fresh(&kernel.body);
    let [Stmt::For(outer)] = &mut kernel.body[..] else {
        return Err("not parallel: it is not a single loop nest");
    };
    if !walk::is_whole(outer) || outer.end < 2 {
        return Err("not parallel: its outermost loop cannot be cut");
    }
    let mut length = outer.end.div_ceil(chunks);
    if length > GRAIN / 2 {
        length = length.next_multiple_of(GRAIN);
    }
    if length >= outer.end {
        return Ok(());
    }
    if length == 1 {
        outer.kind = LoopKind::Parallel;
        return Ok(());
    }
    let chunk = Var(var);
    let end = outer.end;
    outer.start = Some(chunk);
    outer.extent = length;
    let body = std::mem::take(&mut kernel.body);
    let whole = For {
        var: chunk,
        start: None,
        extent: end,
        end,
        step: length,
        kind: LoopKind::Parallel,
        body,
    };
    kernel.body = vec![Stmt::For(whole)];
    Ok(())
}

/// Whether the verifier would refuse to compare the accesses of the kernel's loop.
fn has_too_many_accesses(kernel: &Kernel) -> bool {
    let mut counts: BTreeMap<Mem, (usize, usize)> = BTreeMap::new();
    walk::each(&kernel.body, &mut |s| {
        for access in kiln_loops::accesses(s) {
            let (all, writes) = counts.entry(access.mem).or_default();
            *all += 1;
            *writes += usize::from(access.write);
        }
    });
    counts.values().any(|(all, writes)| writes.saturating_mul(*all) > MAX_PAIRS)
}

/// Moves definitions before the only loop into it, where they mean the same.
fn sink(kernel: &mut Kernel) -> Result<(), &'static str> {
    let Some((Stmt::For(_), before)) = kernel.body.split_last() else {
        return Err("not parallel: it does not end with a loop");
    };
    let mut written = Vec::new();
    walk::each(&kernel.body, &mut |s| written.extend(walk::writes(s)));
    for stmt in before {
        match stmt {
            Stmt::Let(_, Inst::Load(mem, _)) if written.contains(mem) => {
                return Err("not parallel: it reads what it writes before its loop");
            }
            Stmt::Let(..) => {}
            _ => return Err("not parallel: its result is one sum over everything"),
        }
    }
    let Some(Stmt::For(mut outer)) = kernel.body.pop() else { unreachable!("checked above") };
    let mut body = std::mem::take(&mut kernel.body);
    body.append(&mut outer.body);
    outer.body = body;
    kernel.body.push(Stmt::For(outer));
    Ok(())
}
