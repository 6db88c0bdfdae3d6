//! `join`: kernels that go through the same rows become one, which goes through them once.
//!
//! What a kernel stores for a row is then in the cache when the next one reads it; and if nobody else
//! reads it, it needs no buffer: the row becomes memory of the running thread. A softmax is one kernel
//! that reads each row once, not four that read all of them.
//!
//! Two kernels may be joined if a turn of the outermost loop touches, of whatever one of them writes
//! and both touch, one row that no other turn touches. Contractions, whose loops share out turns already,
//! and their neighbours are joined by `turns.rs`.

use std::sync::Arc;

use kiln_loops::{
    Affine, BufferId, BufferKind, For, Index, Inst, Kernel, Local, Location, LoopKind, Mem,
    Program, Reg, Stmt, Var,
};

use crate::inplace::drop_unused;
use crate::pass::{Notes, Pass, PassError};
use crate::vectorize;
use crate::walk::{self, Touched};

mod turns;

pub(crate) use turns::MAX_KEPT;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "join", doc: "join kernels that go through the same rows", run };

/// Statements of a kernel that is joined from others, at most.
const MAX_STATEMENTS: usize = 128;
/// Bytes of a row that becomes memory of a thread, at most: it is to stay in the second-level cache.
const MAX_ROW: usize = 64 << 10;
/// A loop over whole arrays is cut into rows of at least this length, and at least so many of them.
const LEAST_ROW: usize = 64;
const LEAST_ROWS: usize = 16;

fn run(mut program: Program, _: &mut Notes) -> Result<Program, PassError> {
    let all = std::mem::take(&mut program.kernels);
    let mut kernels: Vec<Kernel> = Vec::with_capacity(all.len());
    let mut prelude = 0;
    for (position, kernel) in all.into_iter().enumerate() {
        kernels.push(kernel);
        // The prelude does not run with the rest. What stands between two that are joined is done before
        // them, if it has nothing to do with the first, and then joined to them.
        if let [.., first, between, last] = &kernels[prelude..]
            && are_apart(first, between)
            && let Some(joined) = both(&program, first, last)
        {
            kernels.pop();
            let first = kernels.len() - 2;
            kernels.swap(first, first + 1);
            kernels[first + 1] = joined;
        }
        if let [.., before, last] = &kernels[prelude..]
            && let Some(joined) = both(&program, before, last)
        {
            kernels.truncate(kernels.len() - 2);
            kernels.push(joined);
        }
        if position + 1 == program.prelude {
            prelude = kernels.len();
        }
    }
    (program.kernels, program.prelude) = (kernels, prelude);
    keep_rows(&mut program);
    drop_unused(&mut program);
    Ok(program)
}

/// The kernel that does what one and then the other does, by rows or by turns.
fn both(program: &Program, before: &Kernel, next: &Kernel) -> Option<Kernel> {
    join(before, next).or_else(|| turns::join(program, before, next))
}

/// Whether neither writes what the other one touches.
fn are_apart(one: &Kernel, other: &Kernel) -> bool {
    let free = |one: &Kernel, other: &Kernel| {
        !Touched::by(one).writes.iter().any(|b| other.args.contains(b))
    };
    free(one, other) && free(other, one)
}

/// The kernel that does what one and then the other does, if they go through the same rows.
fn join(before: &Kernel, next: &Kernel) -> Option<Kernel> {
    // From the cheapest question to the dearest: most kernels are contractions.
    let (one, other) = (outermost(before)?, outermost(next)?);
    let rows = one.end.min(other.end);
    if one.end.max(other.end) % rows != 0 || !before.args.iter().any(|a| next.args.contains(a)) {
        return None;
    }
    let (one, other) = (only_loop(before)?, only_loop(next)?);
    let (written, read) = (Touched::by(before).writes, Touched::by(next).reads);
    if !written.iter().any(|b| read.contains(b)) {
        return None;
    }
    let (mut one, other) = (in_rows(one, rows)?, in_rows(other, rows)?);
    let mut kernel = with_both(before, next);
    let body = beside(&mut kernel, &one, other, next, before.locals.len());
    one.body = match one.body.last() {
        Some(Stmt::For(_)) => in_one_loop(one.body, body),
        _ => [one.body, body].concat(),
    };
    let mut statements = 0;
    walk::each(&one.body, &mut |_| statements += 1);
    let shared = (0..kernel.args.len() as u32).filter(|&a| {
        let id = kernel.args[a as usize];
        before.args.contains(&id) && next.args.contains(&id)
    });
    let apart =
        shared.map(Mem::Arg).all(|mem| !is_written(&one.body, mem) || row(&one, mem).is_some());
    if statements > MAX_STATEMENTS || !apart {
        return None;
    }
    kernel.body = vec![Stmt::For(one)];
    Some(kernel)
}

/// The one kernel, with the name, the places and the scratch memory of both.
fn with_both(before: &Kernel, next: &Kernel) -> Kernel {
    Kernel {
        name: format!("{}_{}", before.name, next.name),
        locations: locations(before, next),
        locals: before.locals.iter().chain(&next.locals).cloned().collect(),
        ..before.clone()
    }
}

/// The places of both, each once.
fn locations(before: &Kernel, next: &Kernel) -> Arc<[Location]> {
    let new = next.locations.iter().filter(|l| !before.locations.contains(l));
    before.locations.iter().chain(new).cloned().collect()
}

/// The kernel's loop, if it is all there is.
fn outermost(kernel: &Kernel) -> Option<&For> {
    let [Stmt::For(outer)] = &kernel.body[..] else { return None };
    let plain = outer.kind == LoopKind::Serial && walk::is_whole(outer) && outer.end > 1;
    plain.then_some(outer)
}

/// The kernel's loop, if it is all there is and holds loops over elements only.
fn only_loop(kernel: &Kernel) -> Option<&For> {
    let outer = outermost(kernel)?;
    let mut plain = true;
    walk::each(&outer.body, &mut |stmt| {
        plain &= match stmt {
            Stmt::For(f) => f.start.is_none() && f.kind == LoopKind::Serial,
            Stmt::Block(_) | Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Transform(_) => false,
            _ => true,
        };
    });
    plain.then_some(outer)
}

/// The loop with so many turns, each of which goes through a row in vector registers.
fn in_rows(whole: &For, rows: usize) -> Option<For> {
    let outer = if whole.end == rows {
        whole.clone()
    } else {
        let length = whole.end / rows;
        let flat = !whole.body.iter().any(|s| matches!(s, Stmt::For(_)));
        if !whole.end.is_multiple_of(rows) || !flat || length < LEAST_ROW || rows < LEAST_ROWS {
            return None;
        }
        let (_, fresh) = walk::fresh(std::slice::from_ref(&Stmt::For(whole.clone())));
        let row = Var(fresh);
        let mut inner = For { extent: length, end: length, ..whole.clone() };
        let at = Affine::var(row).times(length as i64).plus(&Affine::var(inner.var));
        walk::map_affine(&mut inner.body, &mut |a| *a = a.substitute(whole.var, &at));
        For { var: row, extent: rows, end: rows, body: vec![Stmt::For(inner)], ..whole.clone() }
    };
    // Lanes that stand for rows would be lost beside others that stand for columns.
    (!vectorize::is_vector(&outer) || vectorize::has_vectors(&outer.body)).then_some(outer)
}

/// The body of `other`, a loop of `next`, in the names of `kernel` and its loop `one`.
fn beside(kernel: &mut Kernel, one: &For, other: For, next: &Kernel, locals: usize) -> Vec<Stmt> {
    let (reg, var) = walk::fresh(std::slice::from_ref(&Stmt::For(one.clone())));
    let args: Vec<u32> = next
        .args
        .iter()
        .map(|id| match kernel.args.iter().position(|a| a == id) {
            Some(position) => position as u32,
            None => {
                kernel.args.push(*id);
                kernel.args.len() as u32 - 1
            }
        })
        .collect();
    let outer = other.var;
    let mut body = other.body;
    walk::rename(
        &mut body,
        &mut |r| Reg(r.0 + reg),
        &mut |v| if v == outer { one.var } else { Var(v.0 + var) },
        &mut |mem| match mem {
            Mem::Arg(a) => Mem::Arg(args[a as usize]),
            Mem::Local(l) => Mem::Local(l + locals as u32),
        },
    );
    body
}

/// The statements of both; if the loop that ends the first and the one that begins the second go
/// through the same elements, they are one loop, and what the first stores need not be loaded again.
fn in_one_loop(mut first: Vec<Stmt>, mut second: Vec<Stmt>) -> Vec<Stmt> {
    let Some(at) = second.iter().position(|s| matches!(s, Stmt::For(_))) else {
        return [first, second].concat();
    };
    let (Some(Stmt::For(one)), Stmt::For(other)) = (first.last(), &second[at]) else {
        return [first, second].concat();
    };
    let early = second[..at].iter().all(|stmt| match stmt {
        Stmt::Let(_, inst) => !matches!(inst, Inst::Load(mem, _) if is_written(&one.body, *mem)),
        Stmt::Mut(..) => true,
        _ => false,
    });
    let is_flat = |f: &For| walk::is_whole(f) && !f.body.iter().any(|s| matches!(s, Stmt::For(_)));
    let alike = is_flat(one)
        && is_flat(other)
        && one.end == other.end
        && vectorize::is_vector(one) == vectorize::is_vector(other);
    if !(early && alike) {
        return [first, second].concat();
    }
    let mut body = other.body.clone();
    let var = one.var;
    walk::rename(&mut body, &mut |r| r, &mut |v| if v == other.var { var } else { v }, &mut |m| m);
    let both = [&one.body[..], &body].concat();
    let mut legal = true;
    for mem in both.iter().filter_map(walk::writes) {
        let mut places = both.iter().filter_map(|s| place(s).filter(|p| p.0 == mem));
        let first = places.next();
        legal &= places.all(|p| Some(p) == first)
            && first.is_some_and(|p| p.1.dynamic.is_empty() && p.1.affine.coefficient(var) != 0);
    }
    if !legal {
        return [first, second].concat();
    }
    let Some(Stmt::For(one)) = first.pop() else { unreachable!("matched above") };
    let rest = second.split_off(at + 1);
    second.pop();
    first.append(&mut second);
    first.push(Stmt::For(For { body: forward(both), ..one }));
    first.extend(rest);
    first
}

/// The statements, in which what was stored is not loaded again. Each memory that is written is only
/// touched at one place.
fn forward(body: Vec<Stmt>) -> Vec<Stmt> {
    let constant = |body: &[Stmt], reg: &Reg| {
        body.iter().any(|s| matches!(s, Stmt::Let(defined, _) if defined == reg))
    };
    let mut stored: Vec<(Mem, Reg)> = Vec::new();
    let mut known: Vec<(Reg, Reg)> = Vec::new();
    let mut result: Vec<Stmt> = Vec::with_capacity(body.len());
    for mut stmt in body {
        walk::map_uses(&mut stmt, &mut |reg| {
            *reg = known.iter().find(|k| k.0 == *reg).map_or(*reg, |k| k.1);
        });
        match &stmt {
            Stmt::Store(mem, _, value) => {
                stored.retain(|s| s.0 != *mem);
                if constant(&result, value) {
                    stored.push((*mem, *value));
                }
            }
            Stmt::Let(reg, Inst::Load(mem, _)) => {
                if let Some((_, value)) = stored.iter().find(|s| s.0 == *mem) {
                    known.push((*reg, *value));
                    continue;
                }
            }
            _ => {}
        }
        result.push(stmt);
    }
    result
}

/// The element that a statement loads or stores.
fn place(stmt: &Stmt) -> Option<(Mem, &Index)> {
    match stmt {
        Stmt::Let(_, Inst::Load(mem, index)) | Stmt::Store(mem, index, _) => Some((*mem, index)),
        _ => None,
    }
}

fn is_written(body: &[Stmt], mem: Mem) -> bool {
    let mut written = false;
    walk::each(body, &mut |s| written |= walk::writes(s) == Some(mem));
    written
}

/// The length of the row of `mem` that each turn of the loop has to itself: turn `i` touches nothing
/// but elements from `i` times that on.
fn row(outer: &For, mem: Mem) -> Option<i64> {
    let mut lasts: Vec<(Var, i64)> = Vec::new();
    walk::each(&outer.body, &mut |s| {
        if let Stmt::For(f) = s {
            lasts.push((f.var, ((f.extent.max(1) - 1) / f.step * f.step) as i64));
        }
    });
    let (mut length, mut apart) = (None, true);
    walk::each(&outer.body, &mut |s| {
        let Some((_, index)) = place(s).filter(|p| p.0 == mem) else { return };
        let own = index.affine.coefficient(outer.var);
        apart &= index.dynamic.is_empty() && *length.get_or_insert(own) == own;
        let (mut low, mut high) = (index.affine.constant, index.affine.constant);
        for (var, c) in index.affine.terms.iter().filter(|t| t.0 != outer.var) {
            let last = lasts.iter().find(|l| l.0 == *var).map_or(i64::MAX, |l| l.1);
            let reach = last.saturating_mul(*c);
            low = low.saturating_add(reach.min(0));
            high = high.saturating_add(reach.max(0));
        }
        apart &= low >= 0 && high < own;
    });
    length.filter(|_| apart)
}

/// Rows of a buffer that only one kernel touches become memory of the thread that runs it.
fn keep_rows(program: &mut Program) {
    let mut users = vec![0; program.buffers.len()];
    program.kernels.iter().flat_map(|k| &k.args).for_each(|a| users[a.0 as usize] += 1);
    let mut kernels = std::mem::take(&mut program.kernels);
    let buffers = &program.buffers;
    let own = |id: &BufferId| {
        users[id.0 as usize] == 1 && buffers[id.0 as usize].kind == BufferKind::Temp
    };
    for kernel in &mut kernels {
        turns::keep(program, kernel, own);
        let Some(outer) = only_loop(kernel).cloned() else { continue };
        let kept: Vec<(u32, usize)> = (0..kernel.args.len() as u32)
            .filter(|&a| own(&kernel.args[a as usize]))
            .filter_map(|a| Some((a, usize::try_from(row(&outer, Mem::Arg(a))?).ok()?)))
            // One element a row may lie where lanes stand for rows.
            .filter(|&(_, length)| length > 1 && length * 4 <= MAX_ROW)
            .collect();
        for &(arg, elements) in kept.iter().rev() {
            let dtype = buffers[kernel.args[arg as usize].0 as usize].dtype;
            let local = Mem::Local(kernel.locals.len() as u32);
            kernel.locals.push(Local { dtype, elements });
            kernel.args.remove(arg as usize);
            let turn = Affine::var(outer.var).times(-(elements as i64));
            walk::each_mut(&mut kernel.body, &mut |stmt| {
                let (Stmt::Let(_, Inst::Load(mem, index)) | Stmt::Store(mem, index, _)) = stmt
                else {
                    return;
                };
                match mem {
                    Mem::Arg(a) if *a == arg => {
                        *mem = local;
                        index.affine = index.affine.plus(&turn);
                    }
                    Mem::Arg(a) if *a > arg => *a -= 1,
                    _ => {}
                }
            });
        }
    }
    program.kernels = kernels;
}
