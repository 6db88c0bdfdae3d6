//! Kernels around contractions, whose turns a parallel loop shares out.
//!
//! A neighbour goes through the same turns if its outermost loop can be cut into as many parts, and if
//! no part then touches what another turn of either writes: the verifier's proof that turns of a
//! parallel loop are apart is the proof that one kernel after the other is one turn after the other.
//! What a turn writes is then in the cache of the thread that reads it, and no thread waits for another between.
//!
//! Turns of a batch are one image or several, which leave more than stays in that cache. There, and where a
//! contraction has smaller ones, the loops over images or rows by which two kernels meet in a turn become
//! one, by the same proof; if a turn is nothing else, threads share those of all turns.

use std::cmp::Reverse;
use std::iter::successors;

use kiln_loops::{
    Affine, BufferId, Dim, For, Inst, Kernel, Local, LoopKind, Mem, Program, Stmt, Var, accesses,
    packed_elements, verify_kernel,
};

use super::{MAX_STATEMENTS, beside, with_both};
use crate::parallel::are_enough;
use crate::walk::{self, Touched};

/// Bytes of what becomes memory of a thread in a kernel, at most: it is to stay in the second-level cache
/// beside the weights that are read meanwhile.
pub(crate) const MAX_KEPT: usize = 3 << 19;

/// The kernel whose turns do what those of one and then of the other do, if one of them shares out
/// turns already.
pub(super) fn join(program: &Program, before: &Kernel, next: &Kernel) -> Option<Kernel> {
    let (one, other) = (outermost(before)?, outermost(next)?);
    let (turns, most) = (one.end.min(other.end), one.end.max(other.end));
    if !(is_shared(one) || is_shared(other)) || !most.is_multiple_of(turns) {
        return None;
    }
    let (written, read) = (Touched::by(before).writes, Touched::by(next).reads);
    let passed: Vec<BufferId> = written.iter().copied().filter(|b| read.contains(b)).collect();
    if passed.is_empty() {
        return None;
    }
    let passed: usize = passed.iter().map(|&b| program.buffer(b).bytes()).max()?;
    let stays = passed / turns <= MAX_KEPT;
    // Threads share as many turns as they did, or so many that more are not better.
    let enough = |turns: usize| {
        [(one, before), (other, next)]
            .into_iter()
            .all(|(f, kernel)| is_shared(f) && f.iterations() <= turns || are_enough(turns, kernel))
    };
    let fewer = |count: fn(&For) -> usize| {
        [one, other].into_iter().any(|f| is_shared(f) && count(f) > turns)
    };
    let (by_rows, whole) = (fewer(For::iterations) || !stays, !fewer(|f| f.end) && enough(turns));
    if !by_rows && !whole {
        return None;
    }

    let outer = cut(one, turns, Var(walk::fresh(&before.body).1))?;
    let second = cut(other, turns, Var(walk::fresh(&next.body).1))?;
    let mut kernel = with_both(before, next);
    let second = beside(&mut kernel, &outer, second, next, before.locals.len());
    let (first, turn) = (outer.body, For { body: Vec::new(), kind: LoopKind::Parallel, ..outer });
    let both = Both { program, kernel: Kernel { body: Vec::new(), ..kernel }, turn };
    let enough = |kernel: &Kernel| enough(kernel.iterations());
    let done = |kernel: &Kernel, rows: usize| passed / turns / rows <= MAX_KEPT && enough(kernel);
    let joined = if by_rows { both.by_rows(&mut Vec::new(), &first, &second, &done) } else { None };
    joined.filter(enough).or_else(|| whole.then(|| both.with([first, second].concat()))?)
}

fn is_shared(f: &For) -> bool {
    f.kind == LoopKind::Parallel
}

/// The kernel's loop, if it is all there is and counts from 0 by ones. A single product whose blocks are of
/// rows and of columns stays as it was shared out; of a batch, turns are products.
fn outermost(kernel: &Kernel) -> Option<&For> {
    let [Stmt::For(outer)] = &kernel.body[..] else { return None };
    let shared: Vec<Var> = successors(Some(outer), |f| f.parallel()).map(|f| f.var).collect();
    let mut columns = false;
    walk::each(&outer.body, &mut |stmt| {
        if let Stmt::Contract(c) = stmt {
            let moves = |place: &(Mem, Affine), var: Var| place.1.coefficient(var) != 0;
            let single = !(moves(&c.a, outer.var) && moves(&c.b, outer.var));
            columns |= single && shared.iter().any(|&var| moves(&c.b, var));
        }
    });
    (!(columns && shared.len() > 1) && may_be_cut(outer)).then_some(outer)
}

/// Whether a loop counts from 0 by ones, more than once.
fn may_be_cut(f: &For) -> bool {
    walk::is_whole(f) && f.end > 1 && f.kind != LoopKind::Vector
}

/// The loop in so many turns, each of which runs an equal part of it. The part has a new variable.
fn cut(whole: &For, turns: usize, fresh: Var) -> Option<For> {
    if whole.end == turns {
        return Some(whole.clone());
    }
    if !whole.end.is_multiple_of(turns) || walk::bounds_use(&whole.body, whole.var) {
        return None;
    }
    let length = whole.end / turns;
    let mut part = For { extent: length, end: length, kind: LoopKind::Serial, ..whole.clone() };
    let at = Affine::var(fresh).times(length as i64).plus(&Affine::var(part.var));
    walk::map_affine(&mut part.body, &mut |a| *a = a.substitute(whole.var, &at));
    let body = vec![Stmt::For(part)];
    Some(For { var: fresh, extent: turns, end: turns, body, ..whole.clone() })
}

/// Two kernels that become one, and the loop whose turns do the work of both; neither has a body.
struct Both<'p> {
    program: &'p Program,
    kernel: Kernel,
    turn: For,
}

/// A loop that two kernels have in common, without a body, and what stands before and after it.
struct Common {
    before: Vec<Stmt>,
    rows: For,
    after: Vec<Stmt>,
}

impl Both<'_> {
    /// The kernel with the statements in each turn, if turns then are apart.
    fn with(&self, mut body: Vec<Stmt>) -> Option<Kernel> {
        share_nested(&mut body);
        let body = vec![Stmt::For(For { body, ..self.turn.clone() })];
        let kernel = Kernel { body, ..self.kernel.clone() };
        let mut statements = 0;
        walk::each(&kernel.body, &mut |_| statements += 1);
        let legal = statements <= MAX_STATEMENTS && verify_kernel(self.program, &kernel).is_ok();
        legal.then_some(kernel)
    }

    /// The same, where the loop that ends the first statements and the one that begins the second have
    /// become one, if its turns are apart as well; and so on inside it, along the path of those that have,
    /// until the kernel is as wanted with so many turns of them.
    fn by_rows(
        &self,
        path: &mut Vec<Common>,
        first: &[Stmt],
        second: &[Stmt],
        done: &impl Fn(&Kernel, usize) -> bool,
    ) -> Option<Kernel> {
        let ([before @ .., Stmt::For(one)], [Stmt::For(other), after @ ..]) = (first, second)
        else {
            return None;
        };
        if !may_be_cut(one) || !may_be_cut(other) {
            return None;
        }
        let rows = one.end.min(other.end);
        let around = path.iter().map(|common| common.rows.var).chain([self.turn.var]);
        let inside = walk::fresh(first).1.max(walk::fresh(second).1);
        let fresh = around.fold(inside, |fresh, var| fresh.max(var.0 + 1));
        let (one, mut other) = (cut(one, rows, Var(fresh))?, cut(other, rows, Var(fresh))?);
        walk::rename(
            &mut other.body,
            &mut |r| r,
            &mut |v| if v == other.var { one.var } else { v },
            &mut |mem| mem,
        );
        let rows = For { kind: LoopKind::Parallel, body: Vec::new(), ..one };
        path.push(Common { before: before.to_vec(), rows, after: after.to_vec() });
        let body = [&one.body[..], &other.body].concat();
        let nest = |alone: bool| {
            path.iter().rev().fold(body.clone(), |body, common| {
                let rows = vec![Stmt::For(For { body, ..common.rows.clone() })];
                if alone { rows } else { [&common.before[..], &rows, &common.after].concat() }
            })
        };
        let alone = self.with(nest(true))?;
        let whole = path.iter().all(|common| common.before.is_empty() && common.after.is_empty());
        let flat = if whole { alone } else { self.with(nest(false))? };
        let rows: usize = path.iter().map(|common| common.rows.end).product();
        if done(&flat, rows) {
            return Some(flat);
        }
        Some(self.by_rows(path, &one.body, &other.body, done).unwrap_or(flat))
    }
}

/// Threads share loops right inside one another only.
fn share_nested(body: &mut [Stmt]) {
    match body {
        [Stmt::For(f)] if is_shared(f) => share_nested(&mut f.body),
        _ => walk::each_mut(body, &mut |stmt| {
            if let Stmt::For(f) = stmt
                && is_shared(f)
            {
                f.kind = LoopKind::Serial;
            }
        }),
    }
}

/// Buffers that only this kernel touches become memory of the thread that runs a turn, as large as
/// what one turn touches; those first that take the most memory otherwise.
pub(super) fn keep(program: &Program, kernel: &mut Kernel, own: impl Fn(&BufferId) -> bool) {
    let mut buffers: Vec<BufferId> = kernel.args.iter().copied().filter(own).collect();
    if buffers.is_empty() || outermost(kernel).is_none_or(|f| !is_shared(f)) {
        return;
    }
    buffers.sort_by_key(|&id| Reverse(program.buffer(id).bytes()));
    // Checking one kernel takes longer than making several, so each is checked only if all together fail.
    for each in [false, true] {
        let mut new = kernel.clone();
        for id in &buffers {
            let Some(arg) = new.args.iter().position(|a| a == id) else { continue };
            let loops = around(&new.body, Mem::Arg(arg as u32));
            let mut turns = (1..=loops.len()).rev().map(|inner| &loops[..inner]);
            let is_legal = |k: &Kernel| !each || verify_kernel(program, k).is_ok();
            if let Some(next) =
                turns.find_map(|turns| kept(program, &new, arg as u32, turns).filter(is_legal))
            {
                new = next;
            }
        }
        if each || verify_kernel(program, &new).is_ok() {
            *kernel = new;
            return;
        }
    }
}

/// The loops around everything that touches the memory, with the number of turns of each.
fn around(mut body: &[Stmt], mem: Mem) -> Vec<(Var, usize)> {
    let touches = |stmt: &&Stmt| {
        let mut found = false;
        walk::each(std::slice::from_ref(*stmt), &mut |s| {
            found |= accesses(s).any(|access| access.mem == mem);
        });
        found
    };
    let mut loops = Vec::new();
    loop {
        let mut touching = body.iter().filter(touches);
        let (Some(Stmt::For(f)), None) = (touching.next(), touching.next()) else { return loops };
        if !may_be_cut(f) {
            return loops;
        }
        loops.push((f.var, f.end));
        body = &f.body;
    }
}

/// The kernel in which the argument has become memory of the thread, if each turn of the loops touches a
/// part of its own.
fn kept(program: &Program, kernel: &Kernel, arg: u32, turns: &[(Var, usize)]) -> Option<Kernel> {
    let buffer = program.buffer(kernel.args[arg as usize]);
    let (all, dtype) = (buffer.shape.elements(), buffer.dtype);
    let count: usize = turns.iter().map(|t| t.1).product();
    let elements = all / count;
    let others: usize = kernel.locals.iter().map(|l| l.elements * l.dtype.bytes()).sum();
    let bytes = elements.saturating_mul(dtype.bytes()).saturating_add(others);
    if !all.is_multiple_of(count) || bytes > MAX_KEPT {
        return None;
    }
    let mut new = kernel.clone();
    let part = Part::of(&mut new.body, Mem::Arg(arg), turns)?;
    let local = Mem::Local(new.locals.len() as u32);
    walk::each_mut(&mut new.body, &mut |stmt| {
        each_place(stmt, Mem::Arg(arg), &mut |first, steps| part.narrow(first, steps));
    });
    new.locals.push(Local { dtype, elements });
    new.args.remove(arg as usize);
    walk::map_mem(&mut new.body, &mut |mem| {
        *mem = match *mem {
            Mem::Arg(a) if a == arg => local,
            Mem::Arg(a) if a > arg => Mem::Arg(a - 1),
            other => other,
        }
    });
    Some(new)
}

/// How the elements of an array belong to the turns of loops, the innermost counting fastest: of every
/// `count * length` that follow each other, the first `length` to the first turn, and so on.
struct Part {
    /// The elements from a turn of each loop to the next.
    turns: Vec<(Var, i64)>,
    count: i64,
    length: i64,
}

impl Part {
    /// The one way in which all places of the memory that the statements touch lie within their turn.
    fn of(body: &mut [Stmt], mem: Mem, turns: &[(Var, usize)]) -> Option<Part> {
        let mut lasts: Vec<(Var, i64)> = Vec::new();
        walk::each(body, &mut |stmt| {
            if let Stmt::For(f) = stmt
                && walk::is_whole(f)
            {
                lasts.push((f.var, f.end.saturating_sub(1) as i64));
            }
        });
        let (mut part, mut regular): (Option<Part>, _) = (None, true);
        walk::each_mut(body, &mut |stmt| {
            regular &= each_place(stmt, mem, &mut |first, steps| {
                let part = part.get_or_insert_with(|| Part::turning(turns, first));
                let last = |var: Var| lasts.iter().find(|l| l.0 == var).map(|l| l.1);
                let others = first.terms.iter().filter(|t| !part.turns.iter().any(|n| n.0 == t.0));
                let reaches = others.map(|t| Some((t.1, last(t.0)?)));
                let steps = steps.iter().map(|s| Some((*s.0, s.1 as i64 - 1)));
                let low: Option<Vec<i64>> = reaches
                    .chain(steps)
                    .filter(|r| r.is_none_or(|r| !part.is_high(r.0)))
                    .map(|r| r.filter(|r| r.0 >= 0).and_then(|r| r.0.checked_mul(r.1)))
                    .collect();
                regular &= part.length > 0 && first.constant >= 0;
                regular &= part.turns.iter().all(|&(var, step)| first.coefficient(var) == step);
                regular &= low.is_some_and(|low| {
                    let from = first.constant % part.period().max(1);
                    let reach = low.iter().try_fold(from, |sum, r| sum.checked_add(*r));
                    reach.is_some_and(|last| last < part.length)
                });
            });
        });
        part.filter(|_| regular)
    }

    /// The one that has this place within the turn of it, if any has.
    fn turning(turns: &[(Var, usize)], place: &Affine) -> Part {
        let length = turns.last().map_or(0, |t| place.coefficient(t.0));
        let mut count = 1i64;
        let mut steps: Vec<(Var, i64)> = Vec::new();
        for &(var, end) in turns.iter().rev() {
            steps.push((var, length.saturating_mul(count)));
            count = count.saturating_mul(end as i64);
        }
        Part { turns: steps, count, length }
    }

    fn period(&self) -> i64 {
        self.count.saturating_mul(self.length)
    }

    /// Whether a step leads to the same place of another period.
    fn is_high(&self, step: i64) -> bool {
        self.length > 0 && step % self.period() == 0
    }

    /// The step, among the elements of one turn alone.
    fn step(&self, step: i64) -> i64 {
        if self.is_high(step) { step / self.count } else { step }
    }

    fn narrow(&self, first: &mut Affine, steps: Vec<(&mut i64, usize)>) {
        first.terms.retain(|t| !self.turns.iter().any(|n| n.0 == t.0));
        first.terms.iter_mut().for_each(|t| t.1 = self.step(t.1));
        let (high, low) = (first.constant / self.period(), first.constant % self.period());
        first.constant = high * self.length + low;
        steps.into_iter().for_each(|(step, _)| *step = self.step(*step));
    }
}

/// Calls `f` with each place of the memory that the statement touches: the index of its first element,
/// and the steps to the others with the number of elements along each. Whether these are all.
fn each_place(
    stmt: &mut Stmt,
    mem: Mem,
    f: &mut impl FnMut(&mut Affine, Vec<(&mut i64, usize)>),
) -> bool {
    let all = accesses(stmt).filter(|a| a.mem == mem).count();
    let mut seen = 0;
    let mut place = |at: Mem, first: &mut Affine, steps: Vec<(&mut i64, usize)>| {
        if at == mem {
            seen += 1;
            f(first, steps);
        }
    };
    match stmt {
        Stmt::Let(_, Inst::Load(at, index)) | Stmt::Store(at, index, _)
            if index.dynamic.is_empty() =>
        {
            place(*at, &mut index.affine, Vec::new());
        }
        Stmt::Transform(t) => {
            let ([read, written], len) = (t.map.sides(), t.len);
            for (at, strides, side) in
                [(&mut t.src, &mut t.src_strides, read), (&mut t.dst, &mut t.dst_strides, written)]
            {
                place(at.0, &mut at.1, strides.iter_mut().zip([side, side, len]).collect());
            }
        }
        Stmt::Pack(p) => {
            if let Some(elements) = packed(&p.cols, &p.depth) {
                place(p.dst.0, &mut p.dst.1, vec![(&mut 1, elements)]);
            }
        }
        Stmt::Contract(c) if !c.channelwise => {
            let inputs = c.rows.iter_mut().chain(&mut c.depth);
            place(c.a.0, &mut c.a.1, inputs.map(|d| (&mut d.input, d.extent)).collect());
            let outputs = c.rows.iter_mut().chain(&mut c.cols);
            place(c.c.0, &mut c.c.1, outputs.map(|d| (&mut d.output, d.extent)).collect());
            if let Some(elements) = packed(&c.cols, &c.depth).filter(|_| c.packed) {
                place(c.b.0, &mut c.b.1, vec![(&mut 1, elements)]);
            }
        }
        _ => {}
    }
    seen == all
}

/// The elements of a pack, which lie side by side.
fn packed(cols: &[Dim], depth: &[Dim]) -> Option<usize> {
    let volume = |dims: &[Dim]| dims.iter().map(|d| d.extent).product();
    packed_elements(volume(cols), volume(depth))
}
