//! What emission wants to know of statements before it meets them.

use std::collections::HashSet;

use kiln_loops::{Affine, Fold, For, Index, Inst, LoopKind, Mem, Reg, Stmt, Var, operands};

/// Names and memory that the body of a loop changes.
#[derive(Default)]
pub(crate) struct Changes {
    /// Registers defined or declared.
    pub defined: HashSet<Reg>,
    /// Mutable registers that get a value.
    pub assigned: HashSet<Reg>,
    /// Memory written.
    pub written: HashSet<Mem>,
    /// Variables of the loops inside.
    pub vars: HashSet<Var>,
}

impl Changes {
    /// Those of a body.
    pub fn of(body: &[Stmt]) -> Changes {
        let mut changes = Changes::default();
        changes.add(body);
        changes
    }

    fn add(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::For(inner) => {
                    self.vars.insert(inner.var);
                    self.add(&inner.body);
                }
                Stmt::Let(reg, _) => drop(self.defined.insert(*reg)),
                Stmt::Mut(reg, _) => {
                    self.defined.insert(*reg);
                    self.assigned.insert(*reg);
                }
                Stmt::Set(reg, _) | Stmt::Accumulate(reg, ..) => drop(self.assigned.insert(*reg)),
                Stmt::Store(mem, ..) => drop(self.written.insert(*mem)),
                Stmt::Block(block) => drop(self.written.insert(block.dst.0)),
                Stmt::Contract(contract) => drop(self.written.insert(contract.c.0)),
                Stmt::Pack(pack) => drop(self.written.insert(pack.dst.0)),
                Stmt::Transform(t) => drop(self.written.insert(t.dst.0)),
            }
        }
    }
}

/// Every element access, and whether a loop of the body stands around it.
pub(crate) fn accesses<'k>(
    body: &'k [Stmt],
    nested: bool,
    found: &mut Vec<(Mem, &'k Affine, bool)>,
) {
    for stmt in body {
        match stmt {
            Stmt::For(inner) => accesses(&inner.body, true, found),
            Stmt::Let(_, Inst::Load(mem, index)) | Stmt::Store(mem, index, _) => {
                found.push((*mem, &index.affine, nested));
            }
            _ => {}
        }
    }
}

/// How often the statements access the memory.
pub(crate) fn touches(body: &[Stmt], mem: Mem) -> usize {
    let mut found = Vec::new();
    accesses(body, false, &mut found);
    found.iter().filter(|a| a.0 == mem).count()
}

/// The registers that the statements read, in order, each as often as it is read.
pub(crate) fn reads(body: &[Stmt], found: &mut Vec<Reg>) {
    let dynamic = |index: &Index, found: &mut Vec<Reg>| {
        found.extend(index.dynamic.iter().map(|d| d.0));
    };
    for stmt in body {
        match stmt {
            Stmt::For(inner) => reads(&inner.body, found),
            Stmt::Let(_, inst) => found.extend(operands(inst)),
            Stmt::Mut(_, value) | Stmt::Set(_, value) | Stmt::Accumulate(_, _, value) => {
                found.push(*value);
            }
            Stmt::Store(_, index, value) => {
                dynamic(index, found);
                found.push(*value);
            }
            Stmt::Block(_) | Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Transform(_) => {}
        }
    }
}

/// The registers that the statements accumulate into but do not declare, with the function.
pub(crate) fn sums(body: &[Stmt], changes: &Changes) -> Vec<(Reg, Fold)> {
    fn walk(body: &[Stmt], changes: &Changes, found: &mut Vec<(Reg, Fold)>) {
        for stmt in body {
            match stmt {
                Stmt::For(inner) => walk(&inner.body, changes, found),
                Stmt::Accumulate(reg, fold, _)
                    if !changes.defined.contains(reg) && found.iter().all(|s| s.0 != *reg) =>
                {
                    found.push((*reg, *fold));
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(body, changes, &mut found);
    found
}

/// What the body of a loop defines that does not change in it, in order, but for what is already
/// `hoisted` out of a loop around it. Loads are among them only if every turn runs them.
pub(crate) fn invariants<'k>(
    f: &'k For,
    changes: &Changes,
    hoisted: &HashSet<Reg>,
) -> Vec<(Reg, &'k Inst)> {
    fn walk<'k>(body: &'k [Stmt], runs: bool, stays: &mut impl FnMut(Reg, &'k Inst, bool)) {
        for stmt in body {
            match stmt {
                Stmt::For(inner) => {
                    let whole = inner.start.is_none() && inner.extent > 0;
                    walk(&inner.body, runs && whole, stays);
                }
                Stmt::Let(reg, inst) => stays(*reg, inst, runs),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    let mut known = HashSet::new();
    let fixed =
        |e: &Affine| e.terms.iter().all(|&(var, _)| var != f.var && !changes.vars.contains(&var));
    walk(&f.body, true, &mut |reg, inst, runs| {
        if hoisted.contains(&reg) {
            return;
        }
        let stays = match inst {
            Inst::Load(mem, index) => {
                runs && !changes.written.contains(mem) && fixed(&index.affine)
            }
            Inst::Affine(e) => fixed(e),
            _ => true,
        };
        let is_known = |r: Reg| {
            let outside = !changes.defined.contains(&r);
            (outside || hoisted.contains(&r) || known.contains(&r))
                && !changes.assigned.contains(&r)
        };
        if stays && operands(inst).all(is_known) {
            known.insert(reg);
            found.push((reg, inst));
        }
    });
    found
}

/// Turns of a loop that may be written out, and statements they may come to.
const TURNS: usize = 4;
const STATEMENTS: usize = 32;

/// Statements that the body comes to, loops that are written out counted as often as they turn.
pub(crate) fn weight(body: &[Stmt]) -> usize {
    body.iter()
        .map(|stmt| match stmt {
            Stmt::For(inner) => {
                let once = weight(&inner.body);
                if is_short(inner, once) { once * turns(inner) } else { once.saturating_add(2) }
            }
            Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Block(_) | Stmt::Transform(_) => STATEMENTS,
            _ => 1,
        })
        .fold(0usize, usize::saturating_add)
}

fn turns(f: &For) -> usize {
    f.extent.div_ceil(f.step.max(1))
}

fn is_short(f: &For, weight: usize) -> bool {
    let plain = f.kind == LoopKind::Serial && f.start.is_none() && turns(f) <= TURNS;
    plain && weight.saturating_mul(turns(f)) <= STATEMENTS
}

/// The turns of a loop that is best written out: a short one from 0 with a small body.
pub(crate) fn unrolled(f: &For) -> Option<usize> {
    is_short(f, weight(&f.body)).then(|| turns(f))
}

/// Vectors that each turn of a vector loop should work on: four where their values fit the
/// sixteen registers, fewer where many values live at once.
pub(crate) fn interleave(body: &[Stmt]) -> usize {
    match most_live(body) {
        0..=3 => 4,
        4..=8 => 2,
        _ => 1,
    }
}

/// The most values that live at once, of those the statements themselves compute; an inner loop
/// adds its own to those that live around it. Constants can be read from memory.
fn most_live(body: &[Stmt]) -> usize {
    let own: HashSet<Reg> = body
        .iter()
        .filter_map(|stmt| match stmt {
            Stmt::Let(_, Inst::Const(_)) => None,
            Stmt::Let(reg, _) | Stmt::Mut(reg, _) => Some(*reg),
            _ => None,
        })
        .collect();
    let mut live: HashSet<Reg> = HashSet::new();
    let mut most = 0;
    let mut used = Vec::new();
    for stmt in body.iter().rev() {
        let mut inside = 0;
        used.clear();
        match stmt {
            Stmt::Let(reg, _) | Stmt::Mut(reg, _) => drop(live.remove(reg)),
            Stmt::Set(reg, _) | Stmt::Accumulate(reg, ..) => used.push(*reg),
            Stmt::For(inner) => inside = most_live(&inner.body),
            _ => {}
        }
        reads(std::slice::from_ref(stmt), &mut used);
        live.extend(used.iter().filter(|reg| own.contains(reg)));
        most = most.max(live.len() + inside);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_loops::{BufferId, Builder, Unary};
    use kiln_tensor::DType;

    #[test]
    fn bodies_with_many_live_values_are_interleaved_less() {
        for (loads, expected) in [(1, 4), (5, 2), (12, 1)] {
            let mut b = Builder::new();
            let x = b.arg(BufferId(0), DType::F32);
            let i = b.open(64);
            let regs: Vec<_> =
                (0..loads).map(|n| b.load(x, Index::var(i).offset(n * 64))).collect();
            for reg in regs {
                let y = b.unary(Unary::Neg, reg);
                b.store(x, Index::var(i), y);
            }
            b.close();
            let kernel = b.finish("live");
            let Stmt::For(f) = &kernel.body[0] else { unreachable!("the only statement") };
            assert_eq!(interleave(&f.body), expected, "{loads} loads");
        }
    }
}
