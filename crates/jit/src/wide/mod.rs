//! Vector loops in 512 bits.
//!
//! Cranelift's vectors have 128. Where the processor has AVX-512, a vector loop whose body consists
//! of what [`evex`] has instructions for becomes one call of a function that is assembled here: no
//! calls, no memory of its own, registers that need not be saved. Which loops those are is decided
//! before any code is generated; the others are emitted as on every processor
//! ([decision 42](../../../../docs/decisions/0042-wide-loops.md)).

mod assemble;
mod body;
mod evex;
mod functions;
mod read;

use std::collections::{HashMap, HashSet};

use kiln_kernels::Isa;
use kiln_loops::{Affine, For, Inst, LoopKind, Mem, Stmt, Var};
use rayon::prelude::*;

use crate::emit::{Source, facts};
pub(crate) use body::Passed;
use body::{Arguments, Body};
use read::{Known, Nest, Next, Registers};

/// Statements, over all turns, below which a call takes longer than it saves: about 6 ns, measured
/// on maxima, normalisation and pooling of rows of 16 to 96 elements.
const LEAST: usize = 128;
/// Elements between two rows of which the second still lies in a near cache when its turn comes.
const NEAR: u64 = 32 << 10;

/// Whether vector loops are assembled here, with the steps of functions among their own. They take
/// their arguments as System V says.
pub fn has_wide_loops(isa: Isa) -> bool {
    isa.name() == "avx512" && !cfg!(windows)
}

/// The call that stands for a loop.
#[derive(Debug)]
pub(crate) struct Call {
    /// The position of the function.
    pub function: usize,
    pub arguments: Arguments,
}

impl Call {
    /// Bytes of the arguments; sums are at their end, a vector each.
    pub fn bytes(&self) -> usize {
        self.sum(self.arguments.sums.len())
    }

    /// Where among the arguments a sum is.
    pub fn sum(&self, sum: usize) -> usize {
        let Arguments { streams, scalars, .. } = &self.arguments;
        8 * (streams.len() + scalars.len()) + assemble::VECTOR as usize * sum
    }
}

/// The loops of one kernel that are calls, by their variables.
pub(crate) type Calls = HashMap<Var, Call>;

/// The functions of a program's vector loops, each once.
#[derive(Debug, Default)]
pub(crate) struct Wide {
    /// For each kernel.
    pub calls: Vec<Calls>,
    bodies: Vec<Body>,
    /// Machine code of the bodies.
    pub functions: Vec<Vec<u8>>,
}

impl Wide {
    /// Those of the kernels, if the instruction set has any.
    pub fn of(sources: &[Source<'_>], isa: Isa) -> Wide {
        if !has_wide_loops(isa) {
            return Wide {
                calls: sources.iter().map(|_| Calls::new()).collect(),
                ..Wide::default()
            };
        }
        let found: Vec<Vec<(Var, Body, Arguments)>> = sources.par_iter().map(loops).collect();
        let mut positions: HashMap<Body, Option<usize>> = HashMap::new();
        let mut wide = Wide::default();
        for loops in found {
            let mut calls = Calls::new();
            for (var, body, arguments) in loops {
                let function = *positions.entry(body).or_insert_with_key(|body| {
                    let code = assemble::assemble(body, false)?;
                    wide.bodies.push(body.clone());
                    wide.functions.push(code.bytes);
                    Some(wide.functions.len() - 1)
                });
                if let Some(function) = function {
                    calls.insert(var, Call { function, arguments });
                }
            }
            wide.calls.push(calls);
        }
        wide
    }

    /// The instructions of a function.
    pub fn listing(&self, function: usize) -> String {
        let code = assemble::assemble(&self.bodies[function], true);
        code.map(|code| code.listing()).unwrap_or_default()
    }
}

/// The vector loops of a kernel that have a body.
fn loops(source: &Source<'_>) -> Vec<(Var, Body, Arguments)> {
    let mut found = Vec::new();
    collect(&source.kernel.body, None, &HashMap::new(), &mut found);
    if found.is_empty() {
        return Vec::new();
    }
    let registers = Registers::of(source.kernel, source.dtypes);
    let read = |nest: &Nest<'_>| {
        let (body, arguments) = read::read(source.kernel, source.dtypes, &registers, nest)?;
        Some((nest.f.var, body, arguments))
    };
    found.iter().filter_map(read).collect()
}

/// Whether the statements call functions, which are calls anywhere else too.
fn calls(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| matches!(stmt, Stmt::Let(_, Inst::Call(..))))
}

/// The vector loops of a body, which is that of the loop `outer`.
fn collect<'k>(
    body: &'k [Stmt],
    outer: Option<&For>,
    around: &HashMap<Var, Known>,
    found: &mut Vec<Nest<'k>>,
) {
    let mut rows = Rows::new();
    for stmt in body {
        let Stmt::For(f) = stmt else { continue };
        let start = f.start.map_or(0, |var| around[&var].multiple);
        let mut vars = around.clone();
        if f.kind != LoopKind::Vector {
            let multiple = gcd(start, f.step as i64);
            vars.insert(f.var, Known { multiple, end: f.end as i64 });
            collect(&f.body, Some(f), &vars, found);
            continue;
        }
        let next = outer.map(|outer| next_rows(f, outer, &mut rows)).unwrap_or_default();
        if calls(&f.body) || f.extent.saturating_mul(facts::weight(&f.body)) >= LEAST {
            vars.insert(f.var, Known { multiple: start, end: f.end as i64 });
            found.push(Nest { f, vars, next });
        }
    }
}

/// How many vector loops have loaded what in one turn of the loop around them; indices are without
/// the vector loops' variables.
type Rows = HashMap<(Mem, Affine), usize>;

/// What the vector loop `f` is the second to load in a turn of `outer`, and how much further on the
/// next turn loads it. It lies in the cache already, so memory is idle, while the first loop to load
/// it waits for memory.
fn next_rows<'k>(f: &'k For, outer: &For, rows: &mut Rows) -> Vec<Next<'k>> {
    let mut next = Vec::new();
    let mut here = HashSet::new();
    for stmt in &f.body {
        let Stmt::Let(_, Inst::Load(mem @ Mem::Arg(_), index)) = stmt else { continue };
        let row = index.affine.plus(&Affine::var(f.var).times(-1));
        let walked = index.dynamic.is_empty() && row.coefficient(f.var) == 0;
        if !walked || !here.insert((*mem, row.clone())) {
            continue;
        }
        let by = row.coefficient(outer.var).saturating_mul(outer.step as i64);
        let times = rows.entry((*mem, row)).or_default();
        *times += 1;
        if *times == 2 && by != 0 && by.unsigned_abs() <= NEAR {
            next.push(Next { mem: *mem, index: &index.affine, by });
        }
    }
    next
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}
