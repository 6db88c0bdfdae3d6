//! `sums`: long sums are cut into short ones, so that rounding errors grow with the length of a
//! run and not of the whole.
//!
//! Each loop of a reduction gets an accumulator of its own, and a loop longer than `RUN` is cut
//! into runs. (Higham 1993, "The accuracy of floating point summation": blocked summation.)

use std::collections::HashSet;

use kiln_loops::{Fold, For, Inst, LoopKind, Program, Reg, Scalar, Stmt, Var};

use crate::pass::{Notes, Pass, PassError};
use crate::walk;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "sums", doc: "cut long sums into runs with accumulators of their own", run };

/// Terms one accumulator adds up in a row.
const RUN: usize = 1024;

fn run(mut program: Program, _: &mut Notes) -> Result<Program, PassError> {
    for kernel in &mut program.kernels {
        let (reg, var) = walk::fresh(&kernel.body);
        let mut names = Names { reg, var, floats: float_sums(&kernel.body) };
        let body = std::mem::take(&mut kernel.body);
        kernel.body = names.block(body);
    }
    Ok(program)
}

/// The mutable registers that start as the f32 0.
fn float_sums(body: &[Stmt]) -> HashSet<Reg> {
    let (mut zeros, mut sums) = (HashSet::new(), HashSet::new());
    walk::each(body, &mut |stmt| match stmt {
        Stmt::Let(reg, Inst::Const(Scalar::F32(0.0))) => {
            zeros.insert(*reg);
        }
        Stmt::Mut(reg, init) if zeros.contains(init) => {
            sums.insert(*reg);
        }
        _ => {}
    });
    sums
}

struct Names {
    reg: u32,
    var: u32,
    floats: HashSet<Reg>,
}

impl Names {
    fn reg(&mut self) -> Reg {
        self.reg += 1;
        Reg(self.reg - 1)
    }

    fn var(&mut self) -> Var {
        self.var += 1;
        Var(self.var - 1)
    }

    fn block(&mut self, body: Vec<Stmt>) -> Vec<Stmt> {
        let mut result = Vec::with_capacity(body.len());
        let here: HashSet<Reg> = body.iter().filter_map(walk::defines).collect();
        for stmt in body {
            match stmt {
                Stmt::For(inner) => self.nest(inner, &here, &mut result),
                other => result.push(other),
            }
        }
        result
    }

    /// Appends the loop with its sums cut; `here` are the registers defined beside it.
    fn nest(&mut self, mut outer: For, here: &HashSet<Reg>, to: &mut Vec<Stmt>) {
        outer.body = self.block(outer.body);
        let sum = only_sum(&outer).filter(|sum| self.floats.contains(sum));
        match sum {
            Some(sum) if outer.extent > RUN && walk::is_whole(&outer) => {
                let run = self.var();
                let end = outer.end;
                outer.start = Some(run);
                outer.extent = RUN;
                let mut body = Vec::new();
                self.apart(outer, sum, &mut body);
                let kind = LoopKind::Serial;
                to.push(Stmt::For(For {
                    var: run,
                    start: None,
                    extent: end,
                    end,
                    step: RUN,
                    kind,
                    body,
                }));
            }
            Some(sum) if !here.contains(&sum) => self.apart(outer, sum, to),
            _ => to.push(Stmt::For(outer)),
        }
    }

    /// The loop adds to an accumulator of its own, which is added to `sum` after it.
    fn apart(&mut self, mut inner: For, sum: Reg, to: &mut Vec<Stmt>) {
        let (zero, own) = (self.reg(), self.reg());
        for stmt in &mut inner.body {
            if let Stmt::Accumulate(dst, Fold::Add, _) = stmt
                && *dst == sum
            {
                *dst = own;
            }
        }
        to.push(Stmt::Let(zero, Inst::Const(Scalar::F32(0.0))));
        to.push(Stmt::Mut(own, zero));
        to.push(Stmt::For(inner));
        to.push(Stmt::Accumulate(sum, Fold::Add, own));
    }
}

/// The register that the loop's own statements add to, if it is one, declared outside.
fn only_sum(outer: &For) -> Option<Reg> {
    let mut found = None;
    for stmt in &outer.body {
        if let Stmt::Accumulate(dst, Fold::Add, _) = stmt {
            let inside = outer.body.iter().any(|s| walk::defines(s) == Some(*dst));
            if found.is_some() || inside {
                return None;
            }
            found = Some(*dst);
        }
    }
    found
}
