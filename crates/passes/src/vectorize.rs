//! `vectorize`: chooses the loop of each nest that runs in vector registers, and turns calls of
//! transcendental functions inside it into calls on blocks of elements.
//!
//! The innermost loop that walks memory with stride 1 (and reads everything else with stride 0) is
//! the one; if the innermost loops do not, one around them may, and then whole inner loops run on
//! vectors. A loop with calls is cut into blocks that stay in the first-level cache: each call gets
//! a loop that computes its operands, the call on the block, and the statements after it go on from
//! the results. Where the code generator has functions in its vector loops, those stay whole:
//! they go through memory once, and memory is read while they compute.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_loops::{
    Affine, Block, For, Index, Inst, Kernel, Local, LoopKind, Math, Mem, Program, Reg, Stmt, Var,
};
use kiln_tensor::DType;

use crate::pass::{Notes, Pass, PassError};
use crate::walk;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "vectorize", doc: "choose vector loops and call functions on blocks", run };

/// Elements a block has.
const BLOCK: usize = 256;
/// Turns below which a loop stays scalar.
const SHORTEST: usize = 4;

fn run(mut program: Program, notes: &mut Notes) -> Result<Program, PassError> {
    for kernel in &mut program.kernels {
        let mut body = std::mem::take(&mut kernel.body);
        let work = walk::work(&body);
        let vectors = choose(&mut body);
        kernel.body = cut(kernel, notes.options.wide_loops, body);
        walk::renumber(&mut kernel.body);
        if !vectors && work > 16384.0 && !kernel.body.iter().any(holds_contraction) {
            notes.remark_kernel(kernel, "not vectorised: no loop walks memory with stride 1");
        }
    }
    Ok(program)
}

fn holds_contraction(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::For(f) => f.body.iter().any(holds_contraction),
        Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Transform(_) => true,
        _ => false,
    }
}

/// Marks vector loops, innermost first; whether there is any.
fn choose(body: &mut [Stmt]) -> bool {
    let mut any = false;
    for stmt in body {
        let Stmt::For(inner) = stmt else { continue };
        let mut nested = choose(&mut inner.body);
        if !nested && inner.kind == LoopKind::Serial && is_vector(inner) {
            inner.kind = LoopKind::Vector;
            nested = true;
        }
        any |= nested;
    }
    any
}

/// Whether any of the loops would run in vector registers.
pub(crate) fn has_vectors(body: &[Stmt]) -> bool {
    choose(&mut body.to_vec())
}

/// Whether consecutive turns of the loop may run in the lanes of a vector.
pub(crate) fn is_vector(f: &For) -> bool {
    if f.extent < SHORTEST || f.step != 1 || walk::bounds_use(&f.body, f.var) {
        return false;
    }
    let inside: BTreeSet<Reg> = {
        let mut set = BTreeSet::new();
        walk::each(&f.body, &mut |s| set.extend(walk::defines(s)));
        set
    };
    let (mut legal, mut walks) = (true, false);
    walk::each(&f.body, &mut |stmt| match stmt {
        Stmt::Let(_, Inst::Load(_, index)) => {
            let c = index.affine.coefficient(f.var);
            legal &= index.dynamic.is_empty() && (c == 0 || c == 1);
            walks |= c == 1;
        }
        Stmt::Store(_, index, _) => {
            legal &= index.dynamic.is_empty() && index.affine.coefficient(f.var) == 1;
            walks = true;
        }
        Stmt::Set(dst, _) => legal &= inside.contains(dst),
        Stmt::Block(_) | Stmt::Contract(_) | Stmt::Pack(_) | Stmt::Transform(_) => legal = false,
        // Block functions stand between vector loops, never in one.
        Stmt::For(inner) => legal &= !has_block_calls(inner),
        Stmt::Let(..) | Stmt::Mut(..) | Stmt::Accumulate(..) => {}
    });
    legal && walks && lanes_stay_apart(f)
}

/// Whether no turn of the loop touches what another one writes: where inner loops move an access
/// to memory that the body writes, they move it by whole rows of lanes.
fn lanes_stay_apart(f: &For) -> bool {
    let mut written = BTreeSet::new();
    walk::each(&f.body, &mut |s| written.extend(walk::writes(s)));
    let mut inner = BTreeSet::new();
    walk::each(&f.body, &mut |s| {
        if let Stmt::For(loop_inside) = s {
            inner.insert(loop_inside.var);
        }
    });
    // What the moves of each written memory have in common, and the constants of its indices.
    let mut moves: BTreeMap<Mem, (i64, BTreeSet<i64>)> = BTreeMap::new();
    let mut terms: BTreeMap<Mem, BTreeSet<&[(Var, i64)]>> = BTreeMap::new();
    walk::each(&f.body, &mut |s| {
        let (mem, index) = match s {
            Stmt::Let(_, Inst::Load(mem, index)) | Stmt::Store(mem, index, _) => (mem, index),
            _ => return,
        };
        if written.contains(mem) {
            let (common, constants) = moves.entry(*mem).or_default();
            let by = index.affine.terms.iter().filter(|t| inner.contains(&t.0));
            *common = by.fold(*common, |g, t| gcd(g, t.1.abs()));
            constants.insert(index.affine.constant);
            terms.entry(*mem).or_default().insert(&index.affine.terms);
        }
    });
    moves.iter().all(|(mem, (common, constants))| {
        // Accesses at one distance from each other for all turns, farther than turns reach.
        let ascending: Vec<i64> = constants.iter().copied().collect();
        let far = ascending.windows(2).all(|c| c[1].saturating_sub(c[0]) >= f.end as i64);
        if *common == 0 && terms[mem].len() == 1 && far {
            return true;
        }
        let first = constants.first().copied().unwrap_or(0);
        let aligned = |c: &i64| match common {
            0 => *c == first,
            _ => (c - first) % common == 0,
        };
        (*common == 0 || *common >= f.end as i64) && constants.iter().all(aligned)
    })
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Whether the loop's own statements call functions that are worth calling on blocks.
fn has_block_calls(f: &For) -> bool {
    let calls = f.body.iter().any(|s| matches!(s, Stmt::Let(_, Inst::Call(..))));
    let flat = !f.body.iter().any(|s| matches!(s, Stmt::For(_)));
    calls && flat && f.step == 1 && f.extent >= SHORTEST && f.kind != LoopKind::Parallel
}

/// Whether a vector loop has no loops inside, and calls functions whose steps are the same for all
/// numbers.
fn is_plain(f: &For) -> bool {
    f.kind == LoopKind::Vector
        && f.body.iter().all(|stmt| match stmt {
            Stmt::Let(_, Inst::Call(function, _)) => !matches!(function, Math::Sin | Math::Cos),
            Stmt::Let(..) | Stmt::Mut(..) | Stmt::Set(..) | Stmt::Accumulate(..) => true,
            Stmt::Store(..) => true,
            _ => false,
        })
}

/// Cuts the loops whose own statements call functions into blocks, but for plain ones if `whole`.
fn cut(kernel: &mut Kernel, whole: bool, body: Vec<Stmt>) -> Vec<Stmt> {
    let mut result = Vec::with_capacity(body.len());
    for stmt in body {
        match stmt {
            Stmt::For(mut inner) => {
                let stays = whole && is_plain(&inner);
                if has_block_calls(&inner) && !stays {
                    result.push(blocks(kernel, inner));
                } else {
                    inner.body = cut(kernel, whole, inner.body);
                    result.push(Stmt::For(inner));
                }
            }
            other => result.push(other),
        }
    }
    result
}

/// The loop over blocks that does what `whole` does.
fn blocks(kernel: &mut Kernel, whole: For) -> Stmt {
    let mut names = BTreeSet::from([whole.var.0]);
    walk::each(&kernel.body, &mut |s| {
        if let Stmt::For(f) = s {
            names.insert(f.var.0);
        }
    });
    names.extend(whole.start.map(|v| v.0));
    walk::each_affine(&whole.body, &mut |a| names.extend(a.terms.iter().map(|t| t.0.0)));
    // A chunk that is no whole number of blocks is one block.
    let len = if whole.extent.is_multiple_of(BLOCK) || whole.start.is_none() {
        BLOCK.min(whole.extent)
    } else {
        whole.extent
    };
    let mut next = names.last().map_or(0, |v| v + 1).max(1 << 16);
    let mut fresh = || {
        next += 1;
        Var(next - 1)
    };
    let start = fresh();
    let mut parts = Parts { kernel, whole: &whole, start, len, results: HashMap::new() };
    let mut body = Vec::new();
    for (position, stmt) in whole.body.iter().enumerate() {
        if let Stmt::Let(reg, Inst::Call(function, x)) = stmt {
            let result = parts.stored(*reg).unwrap_or_else(|| parts.tile());
            let operand = parts.loaded(*x).unwrap_or_else(|| {
                let var = fresh();
                let mut loop_body = parts.slice(position, *x);
                loop_body.push(Stmt::Store(result.0, result.1.clone().into(), *x));
                body.push(parts.over_block(var, loop_body));
                result.clone()
            });
            let begins =
                |(mem, at): &(Mem, Affine)| (*mem, at.substitute(whole.var, &Affine::var(start)));
            body.push(Stmt::Block(Block {
                function: *function,
                dst: begins(&result),
                src: begins(&operand),
                len,
                until: Some((start, whole.end)),
            }));
            parts.results.insert(*reg, result);
        }
    }
    let rest = parts.rest();
    if rest.iter().any(|s| !matches!(s, Stmt::Let(..))) {
        let var = fresh();
        body.push(parts.over_block(var, rest));
    }
    Stmt::For(For { var: start, step: len, kind: LoopKind::Serial, body, ..whole })
}

struct Parts<'k> {
    kernel: &'k mut Kernel,
    whole: &'k For,
    start: Var,
    len: usize,
    /// Where the result of each call made so far lies, in the whole loop's variable.
    results: HashMap<Reg, (Mem, Affine)>,
}

impl Parts<'_> {
    /// Memory of the thread for the values of a block.
    fn tile(&mut self) -> (Mem, Affine) {
        self.kernel.locals.push(Local { dtype: DType::F32, elements: self.len });
        let at = Affine::var(self.whole.var).plus(&Affine::var(self.start).times(-1));
        (Mem::Local(self.kernel.locals.len() as u32 - 1), at)
    }

    /// Where the loop stores a value in consecutive elements, if nothing else touches that memory: a
    /// function can put its results there.
    fn stored(&self, reg: Reg) -> Option<(Mem, Affine)> {
        self.whole.body.iter().find_map(|stmt| match stmt {
            Stmt::Store(mem, index, value) if *value == reg => {
                self.follows(index).filter(|_| self.touches(*mem) == 1).map(|at| (*mem, at))
            }
            _ => None,
        })
    }

    /// Where the loop loads a value from consecutive elements, if it does not write to that memory: a
    /// function can read them there.
    fn loaded(&self, reg: Reg) -> Option<(Mem, Affine)> {
        self.whole.body.iter().find_map(|stmt| match stmt {
            Stmt::Let(defined, Inst::Load(mem, index)) if *defined == reg => {
                let read_only = self.whole.body.iter().all(|s| walk::writes(s) != Some(*mem));
                self.follows(index).filter(|_| read_only).map(|at| (*mem, at))
            }
            _ => None,
        })
    }

    fn follows(&self, index: &Index) -> Option<Affine> {
        let plain = index.dynamic.is_empty() && index.affine.coefficient(self.whole.var) == 1;
        plain.then(|| index.affine.clone())
    }

    fn touches(&self, mem: Mem) -> usize {
        self.whole.body.iter().flat_map(kiln_loops::accesses).filter(|a| a.mem == mem).count()
    }

    /// The loop over a block, of statements in the whole loop's variable.
    fn over_block(&self, var: Var, mut body: Vec<Stmt>) -> Stmt {
        let by = Affine::var(var);
        walk::map_affine(&mut body, &mut |a| *a = a.substitute(self.whole.var, &by));
        Stmt::For(For {
            var,
            start: Some(self.start),
            extent: self.len,
            end: self.whole.end,
            step: 1,
            kind: self.whole.kind,
            body,
        })
    }

    /// The statements before `position` that computing `x` needs.
    fn slice(&self, position: usize, x: Reg) -> Vec<Stmt> {
        let mut needed = BTreeSet::from([x]);
        let mut kept = Vec::new();
        for stmt in self.whole.body[..position].iter().rev() {
            let wanted = match stmt {
                Stmt::Let(reg, _)
                | Stmt::Mut(reg, _)
                | Stmt::Set(reg, _)
                | Stmt::Accumulate(reg, ..) => needed.contains(reg),
                _ => false,
            };
            if wanted {
                let stmt = self.or_result(stmt);
                needed.extend(walk::uses(&stmt));
                kept.push(stmt);
            }
        }
        kept.reverse();
        kept
    }

    /// All statements, with the calls done and their results where they belong.
    fn rest(&self) -> Vec<Stmt> {
        let mut needed = BTreeSet::new();
        let mut kept = Vec::new();
        for stmt in self.whole.body.iter().rev() {
            let done = match stmt {
                Stmt::Let(reg, _) => !needed.contains(reg),
                Stmt::Store(mem, _, value) => self.results.get(value).is_some_and(|r| r.0 == *mem),
                _ => false,
            };
            if done {
                continue;
            }
            let stmt = self.or_result(stmt);
            needed.extend(walk::uses(&stmt));
            kept.push(stmt);
        }
        kept.reverse();
        kept
    }

    /// The statement, or the load of its result if it is a call.
    fn or_result(&self, stmt: &Stmt) -> Stmt {
        match stmt {
            Stmt::Let(reg, Inst::Call(..)) => match self.results.get(reg) {
                Some((mem, at)) => Stmt::Let(*reg, Inst::Load(*mem, at.clone().into())),
                None => stmt.clone(),
            },
            _ => stmt.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::{PassOptions, run};

    fn after(wide_loops: bool, function: &str) -> String {
        let text = format!(
            r#"program {{
                buffer b0 "x": f32[1000] input
                buffer b1 "y": f32[1000] output
                kernel "gated"(b0, b1) {{
                    for i0 in 0..1000 {{
                        %0 = load a0[i0]
                        %1 = {function} %0
                        %2 = mul %0, %1
                        store a1[i0] = %2
                    }}
                }}
            }}"#
        );
        let program = kiln_loops::parse(&text).expect("a program");
        let options = PassOptions { wide_loops, ..PassOptions::default() };
        let mut notes = Notes::new(options);
        let program = run(&[&PASS], program, &mut notes, &mut |_, _| {}).expect("it succeeds");
        program.to_string()
    }

    #[test]
    fn loops_stay_whole_where_functions_are_steps_of_vectors() {
        assert!(after(true, "sigmoid").contains("vector i0 in 0..1000 {"));
        assert!(after(false, "sigmoid").contains("block l0[0] = sigmoid"));
        // Some of its numbers are reduced lane by lane.
        assert!(after(true, "sin").contains("block l0[0] = sin"));
    }
}
