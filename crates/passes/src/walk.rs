//! Walking over statements: what program passes look at and change.

use std::collections::HashMap;

use kiln_loops::{Affine, BufferId, For, Inst, Kernel, Mem, Reg, Stmt, Var, accesses, operands};
use smallvec::{Array, SmallVec};

/// Calls `f` with every statement, outer before inner, in order.
pub fn each<'s>(body: &'s [Stmt], f: &mut impl FnMut(&'s Stmt)) {
    for stmt in body {
        f(stmt);
        if let Stmt::For(inner) = stmt {
            each(&inner.body, f);
        }
    }
}

/// The buffers a kernel reads and writes, each once.
pub struct Touched {
    pub reads: SmallVec<[BufferId; 6]>,
    pub writes: SmallVec<[BufferId; 2]>,
}

impl Touched {
    pub fn by(kernel: &Kernel) -> Touched {
        let (mut reads, mut writes) = (SmallVec::new(), SmallVec::new());
        each(&kernel.body, &mut |stmt| {
            self::reads(stmt).for_each(|m| note(kernel, m, &mut reads));
            self::writes(stmt).into_iter().for_each(|m| note(kernel, m, &mut writes));
        });
        Touched { reads, writes }
    }
}

/// Adds the buffer, if the memory is one.
fn note<A: Array<Item = BufferId>>(kernel: &Kernel, mem: Mem, list: &mut SmallVec<A>) {
    if let Mem::Arg(a) = mem {
        let id = kernel.args[a as usize];
        if !list.contains(&id) {
            list.push(id);
        }
    }
}

/// Calls `f` with every statement, outer before inner, in order, to be changed.
pub fn each_mut(body: &mut [Stmt], f: &mut impl FnMut(&mut Stmt)) {
    for stmt in body {
        f(stmt);
        if let Stmt::For(inner) = stmt {
            each_mut(&mut inner.body, f);
        }
    }
}

/// Replaces the memory that statements name.
pub fn map_mem(body: &mut [Stmt], f: &mut impl FnMut(&mut Mem)) {
    each_mut(body, &mut |stmt| match stmt {
        Stmt::Let(_, Inst::Load(mem, _)) | Stmt::Store(mem, ..) => f(mem),
        Stmt::Block(b) => [&mut b.dst.0, &mut b.src.0].into_iter().for_each(&mut *f),
        Stmt::Contract(c) => c.places_mut().for_each(|place| f(&mut place.0)),
        Stmt::Pack(p) => [&mut p.src.0, &mut p.dst.0].into_iter().for_each(&mut *f),
        Stmt::Transform(t) => t.places_mut().for_each(|place| f(&mut place.0)),
        Stmt::For(_) | Stmt::Let(..) | Stmt::Mut(..) | Stmt::Set(..) | Stmt::Accumulate(..) => {}
    });
}

/// Replaces the registers that a statement itself reads or gives new values.
pub fn map_uses(stmt: &mut Stmt, f: &mut impl FnMut(&mut Reg)) {
    match stmt {
        Stmt::Let(_, inst) => match inst {
            Inst::Const(_) | Inst::Affine(_) => {}
            Inst::Load(_, index) => index.dynamic.iter_mut().for_each(|d| f(&mut d.0)),
            Inst::Unary(_, x) | Inst::Cast(_, x) | Inst::Call(_, x) | Inst::Clamp(x, _) => f(x),
            Inst::Binary(_, a, b) | Inst::Compare(_, a, b) => [a, b].into_iter().for_each(f),
            Inst::Select(c, a, b) => [c, a, b].into_iter().for_each(f),
        },
        Stmt::Mut(_, init) => f(init),
        Stmt::Set(a, b) | Stmt::Accumulate(a, _, b) => [a, b].into_iter().for_each(f),
        Stmt::Store(_, index, value) => {
            index.dynamic.iter_mut().for_each(|d| f(&mut d.0));
            f(value);
        }
        Stmt::For(_) | Stmt::Block(_) | Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Transform(_) => {}
    }
}

/// Gives everything that the statements name another name, definitions and uses alike.
pub fn rename(
    body: &mut [Stmt],
    reg: &mut impl FnMut(Reg) -> Reg,
    var: &mut impl FnMut(Var) -> Var,
    mem: &mut impl FnMut(Mem) -> Mem,
) {
    map_mem(body, &mut |m| *m = mem(*m));
    map_affine(body, &mut |affine| {
        affine.terms.iter_mut().for_each(|t| t.0 = var(t.0));
        affine.terms.sort_unstable();
    });
    each_mut(body, &mut |stmt| {
        map_uses(stmt, &mut |r| *r = reg(*r));
        match stmt {
            Stmt::Let(defined, _) | Stmt::Mut(defined, _) => *defined = reg(*defined),
            Stmt::For(f) => {
                f.var = var(f.var);
                f.start = f.start.map(&mut *var);
            }
            Stmt::Block(b) => b.until.iter_mut().for_each(|u| u.0 = var(u.0)),
            _ => {}
        }
    });
}

/// Replaces every affine expression in the statements.
pub fn map_affine(body: &mut [Stmt], f: &mut impl FnMut(&mut Affine)) {
    for stmt in body {
        match stmt {
            Stmt::For(inner) => map_affine(&mut inner.body, f),
            Stmt::Let(_, Inst::Load(_, index)) | Stmt::Store(_, index, _) => f(&mut index.affine),
            Stmt::Let(_, Inst::Affine(affine)) => f(affine),
            Stmt::Block(block) => {
                f(&mut block.dst.1);
                f(&mut block.src.1);
            }
            Stmt::Contract(c) => c.places_mut().for_each(|place| f(&mut place.1)),
            Stmt::Pack(p) => [&mut p.src.1, &mut p.dst.1].into_iter().for_each(&mut *f),
            Stmt::Transform(t) => t.places_mut().for_each(|place| f(&mut place.1)),
            Stmt::Let(..) | Stmt::Mut(..) | Stmt::Set(..) | Stmt::Accumulate(..) => {}
        }
    }
}

/// Calls `f` with every affine expression in the statements.
pub fn each_affine(body: &[Stmt], f: &mut impl FnMut(&Affine)) {
    each(body, &mut |stmt| match stmt {
        Stmt::Let(_, Inst::Load(_, index)) | Stmt::Store(_, index, _) => f(&index.affine),
        Stmt::Let(_, Inst::Affine(affine)) => f(affine),
        Stmt::Block(b) => [&b.dst.1, &b.src.1].into_iter().for_each(&mut *f),
        Stmt::Contract(c) => c.inputs().chain([&c.c]).for_each(|place| f(&place.1)),
        Stmt::Pack(p) => [&p.src.1, &p.dst.1].into_iter().for_each(&mut *f),
        Stmt::Transform(t) => t.inputs().chain([&t.dst]).for_each(|place| f(&place.1)),
        _ => {}
    });
}

/// Whether a loop variable stands anywhere in the statements other than in an affine expression:
/// as another loop's start or a block's limit.
pub fn bounds_use(body: &[Stmt], var: Var) -> bool {
    let mut found = false;
    each(body, &mut |stmt| {
        found |= match stmt {
            Stmt::For(inner) => inner.start == Some(var),
            Stmt::Block(block) => block.until.is_some_and(|u| u.0 == var),
            _ => false,
        };
    });
    found
}

/// The memory a statement itself writes.
pub fn writes(stmt: &Stmt) -> Option<Mem> {
    accesses(stmt).find(|a| a.write).map(|a| a.mem)
}

/// The memory a statement itself reads.
pub fn reads(stmt: &Stmt) -> impl Iterator<Item = Mem> {
    accesses(stmt).filter(|a| !a.write).map(|a| a.mem)
}

/// The registers a statement itself reads.
pub fn uses(stmt: &Stmt) -> Vec<Reg> {
    match stmt {
        Stmt::Let(_, inst) => operands(inst).collect(),
        Stmt::Mut(_, init) => vec![*init],
        Stmt::Set(_, value) => vec![*value],
        Stmt::Accumulate(dst, _, value) => vec![*dst, *value],
        Stmt::Store(_, index, value) => index.dynamic.iter().map(|d| d.0).chain([*value]).collect(),
        Stmt::For(_) | Stmt::Block(_) | Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Transform(_) => {
            Vec::new()
        }
    }
}

/// The register a statement defines.
pub fn defines(stmt: &Stmt) -> Option<Reg> {
    match stmt {
        Stmt::Let(reg, _) | Stmt::Mut(reg, _) => Some(*reg),
        _ => None,
    }
}

/// A register and a variable that the statements do not use, and all after them.
pub fn fresh(body: &[Stmt]) -> (u32, u32) {
    let (mut reg, mut var) = (0, 0);
    each(body, &mut |stmt| {
        if let Some(r) = defines(stmt) {
            reg = reg.max(r.0 + 1);
        }
        if let Stmt::For(inner) = stmt {
            var = var.max(inner.var.0 + 1);
        }
    });
    (reg, var)
}

/// Whether the loop counts every number from 0.
pub fn is_whole(f: &For) -> bool {
    f.start.is_none() && f.step == 1
}

/// The number of scalar instructions the statements run, roughly.
pub fn work(body: &[Stmt]) -> f64 {
    body.iter()
        .map(|stmt| match stmt {
            Stmt::For(f) => {
                let turns = if f.start.is_some() { f.extent } else { f.end.div_ceil(f.step) };
                turns as f64 * work(&f.body)
            }
            Stmt::Let(_, Inst::Const(_)) => 0.0,
            Stmt::Let(_, Inst::Call(..)) => 8.0,
            Stmt::Block(b) => 4.0 * b.len as f64,
            Stmt::Contract(c) => {
                let all = c.rows.iter().chain(&c.cols).chain(&c.depth);
                all.map(|d| d.extent as f64).product::<f64>() / 16.0
            }
            Stmt::Transform(t) => (t.map.operations() * t.len) as f64,
            Stmt::Pack(p) => p.cols.iter().chain(&p.depth).map(|d| d.extent as f64).product(),
            _ => 1.0,
        })
        .sum()
}

/// Numbers registers and variables in the order of their definitions, each definition anew: parts
/// of a body that were copied no longer share names.
pub fn renumber(body: &mut [Stmt]) {
    Numbering::default().block(body);
}

#[derive(Default)]
struct Numbering {
    regs: HashMap<Reg, Reg>,
    vars: HashMap<Var, Var>,
    next_reg: u32,
    next_var: u32,
}

impl Numbering {
    /// Names defined in a block end with it, so one defined again later means the later one.
    fn block(&mut self, body: &mut [Stmt]) {
        for stmt in body {
            self.statement(stmt);
        }
    }

    fn define(&mut self, reg: &mut Reg) {
        let new = Reg(self.next_reg);
        self.next_reg += 1;
        self.regs.insert(*reg, new);
        *reg = new;
    }

    fn reg(&self, reg: &mut Reg) {
        *reg = self.regs.get(reg).copied().unwrap_or(*reg);
    }

    fn var(&self, var: &mut Var) {
        *var = self.vars.get(var).copied().unwrap_or(*var);
    }

    fn affine(&self, affine: &mut Affine) {
        affine.terms.iter_mut().for_each(|t| self.var(&mut t.0));
        affine.terms.sort_unstable();
    }

    fn statement(&mut self, stmt: &mut Stmt) {
        match stmt {
            Stmt::For(f) => {
                f.start.iter_mut().for_each(|v| self.var(v));
                let new = Var(self.next_var);
                self.next_var += 1;
                self.vars.insert(f.var, new);
                f.var = new;
                self.block(&mut f.body);
            }
            stmt => {
                map_affine(std::slice::from_mut(stmt), &mut |a| self.affine(a));
                map_uses(stmt, &mut |reg| self.reg(reg));
                match stmt {
                    Stmt::Let(reg, _) | Stmt::Mut(reg, _) => self.define(reg),
                    Stmt::Block(b) => b.until.iter_mut().for_each(|u| self.var(&mut u.0)),
                    _ => {}
                }
            }
        }
    }
}
