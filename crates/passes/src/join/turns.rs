//! Kernels around contractions, whose turns a parallel loop shares out.
//!
//! A neighbour goes through the same turns if its outermost loop can be cut into as many parts, and if
//! no part then touches what another turn of either writes: the verifier's proof that turns of a
//! parallel loop are apart is the proof that one kernel after the other is one turn after the other.
//! What a turn writes is then in the cache of the thread that reads it, and a barrier is saved.

use kiln_loops::{
    Affine, BufferId, For, Inst, Kernel, Local, LoopKind, Mem, Program, Stmt, Var, accesses,
    verify_kernel,
};

use super::{MAX_STATEMENTS, beside, with_both};
use crate::parallel::are_enough;
use crate::walk::{self, Touched};

/// Bytes of what becomes memory of a thread, at most: it is to stay in the second-level cache beside
/// the weights that are read meanwhile.
const MAX_KEPT: usize = 512 << 10;

/// The kernel whose turns do what those of one and then of the other do, if one of them shares out
/// turns already.
pub(super) fn join(program: &Program, before: &Kernel, next: &Kernel) -> Option<Kernel> {
    let (one, other) = (outermost(before)?, outermost(next)?);
    let shared = |f: &For| f.kind == LoopKind::Parallel;
    let turns = match (shared(one), shared(other)) {
        (true, true) if one.end == other.end => one.end,
        (true, false) => one.end,
        (false, true) => other.end,
        _ => return None,
    };
    // What is not shared out yet would not be into many more parts.
    let few = |f: &For, kernel: &Kernel| shared(f) || are_enough(turns, kernel);
    let (written, read) = (Touched::by(before).writes, Touched::by(next).reads);
    if !written.iter().any(|b| read.contains(b)) || !few(one, before) || !few(other, next) {
        return None;
    }
    let (mut one, other) = (cut(one, turns)?, cut(other, turns)?);
    let mut kernel = with_both(before, next);
    let body = beside(&mut kernel, &one, other, next, before.locals.len());
    one.body.extend(body);
    one.kind = LoopKind::Parallel;
    let mut statements = 0;
    walk::each(&one.body, &mut |_| statements += 1);
    kernel.body = vec![Stmt::For(one)];
    (statements <= MAX_STATEMENTS && verify_kernel(program, &kernel).is_ok()).then_some(kernel)
}

/// The kernel's loop, if it is all there is and counts from 0 by ones; one of those whose turns are
/// shared out together would lose the others' turns.
fn outermost(kernel: &Kernel) -> Option<&For> {
    let [Stmt::For(outer)] = &kernel.body[..] else { return None };
    let alone = outer.parallel().is_none();
    (alone && outer.kind != LoopKind::Vector && walk::is_whole(outer) && outer.end > 1)
        .then_some(outer)
}

/// The loop in so many turns, each of which runs an equal part of it.
fn cut(whole: &For, turns: usize) -> Option<For> {
    if whole.end == turns {
        return Some(whole.clone());
    }
    if !whole.end.is_multiple_of(turns) || walk::bounds_use(&whole.body, whole.var) {
        return None;
    }
    let length = whole.end / turns;
    let (_, fresh) = walk::fresh(std::slice::from_ref(&Stmt::For(whole.clone())));
    let turn = Var(fresh);
    let mut part = For { extent: length, end: length, kind: LoopKind::Serial, ..whole.clone() };
    let at = Affine::var(turn).times(length as i64).plus(&Affine::var(part.var));
    walk::map_affine(&mut part.body, &mut |a| *a = a.substitute(whole.var, &at));
    Some(For { var: turn, extent: turns, end: turns, body: vec![Stmt::For(part)], ..whole.clone() })
}

/// Buffers that only this kernel touches become memory of the thread that runs a turn, as large as
/// what one turn touches.
pub(super) fn keep(program: &Program, kernel: &mut Kernel, own: impl Fn(&BufferId) -> bool) {
    let Some(outer) = outermost(kernel).filter(|f| f.kind == LoopKind::Parallel) else { return };
    let (turn, turns) = (outer.var, outer.end);
    for arg in (0..kernel.args.len() as u32).rev() {
        let id = kernel.args[arg as usize];
        let buffer = program.buffer(id);
        let (all, dtype) = (buffer.shape.elements(), buffer.dtype);
        let elements = all / turns;
        let small = all.is_multiple_of(turns) && elements.saturating_mul(dtype.bytes()) <= MAX_KEPT;
        if !small || !own(&id) {
            continue;
        }
        let mut new = kernel.clone();
        let Some(part) = Part::of(&mut new.body, Mem::Arg(arg), turn, turns) else { continue };
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
        if verify_kernel(program, &new).is_ok() {
            *kernel = new;
        }
    }
}

/// How the elements of an array belong to the turns: of every `turns * length` that follow each other,
/// the first `length` to the first turn, and so on.
struct Part {
    turn: Var,
    turns: i64,
    length: i64,
}

impl Part {
    /// The one way in which all places of the memory that the statements touch lie within their turn.
    fn of(body: &mut [Stmt], mem: Mem, turn: Var, turns: usize) -> Option<Part> {
        let mut lasts: Vec<(Var, i64)> = Vec::new();
        walk::each(body, &mut |stmt| {
            if let Stmt::For(f) = stmt
                && walk::is_whole(f)
            {
                lasts.push((f.var, f.end.saturating_sub(1) as i64));
            }
        });
        let (mut part, mut regular) = (Part { turn, turns: turns as i64, length: 0 }, true);
        walk::each_mut(body, &mut |stmt| {
            regular &= each_place(stmt, mem, &mut |first, steps| {
                let own = first.coefficient(turn);
                if part.length == 0 {
                    part.length = own;
                }
                let last = |var: Var| lasts.iter().find(|l| l.0 == var).map(|l| l.1);
                let others = first.terms.iter().filter(|t| t.0 != turn);
                let reaches = others.map(|t| Some((t.1, last(t.0)?)));
                let steps = steps.iter().map(|s| Some((*s.0, s.1 as i64 - 1)));
                let low: Option<Vec<i64>> = reaches
                    .chain(steps)
                    .filter(|r| r.is_none_or(|r| !part.is_high(r.0)))
                    .map(|r| r.filter(|r| r.0 >= 0).and_then(|r| r.0.checked_mul(r.1)))
                    .collect();
                regular &= own > 0 && own == part.length && first.constant >= 0;
                regular &= low.is_some_and(|low| {
                    let from = first.constant % part.period().max(1);
                    low.iter().try_fold(from, |sum, r| sum.checked_add(*r)).is_some_and(|l| l < own)
                });
            });
        });
        (regular && part.length > 0).then_some(part)
    }

    fn period(&self) -> i64 {
        self.turns.saturating_mul(self.length)
    }

    /// Whether a step leads to the same place of another period.
    fn is_high(&self, step: i64) -> bool {
        self.length > 0 && step % self.period() == 0
    }

    /// The step, among the elements of one turn alone.
    fn step(&self, step: i64) -> i64 {
        if self.is_high(step) { step / self.turns } else { step }
    }

    fn narrow(&self, first: &mut Affine, steps: Vec<(&mut i64, usize)>) {
        *first = first.substitute(self.turn, &Affine::default());
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
        Stmt::Contract(c) if !c.channelwise => {
            let inputs = c.rows.iter_mut().chain(&mut c.depth);
            place(c.a.0, &mut c.a.1, inputs.map(|d| (&mut d.input, d.extent)).collect());
            let outputs = c.rows.iter_mut().chain(&mut c.cols);
            place(c.c.0, &mut c.c.1, outputs.map(|d| (&mut d.output, d.extent)).collect());
        }
        _ => {}
    }
    seen == all
}
