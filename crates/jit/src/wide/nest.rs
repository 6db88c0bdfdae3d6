//! The vector loops of a kernel, and what the loops around them say of the memory that they walk: what
//! goes past the caches, and what is asked for ahead.

use std::collections::{HashMap, HashSet};

use kiln_loops::{Affine, For, Inst, LoopKind, Mem, Stmt, Var};

use crate::emit::facts;

/// Statements, over all turns, below which a call takes longer than it saves: about 6 ns, measured
/// on maxima, normalisation and pooling of rows of 16 to 96 elements.
const LEAST: usize = 128;
/// Elements between two rows of which the second still lies in a near cache when its turn comes.
const NEAR: u64 = 32 << 10;

/// Bytes from which on memory is taken to lie beyond the caches: results are written past them.
const BEYOND_CACHES: i64 = 32 << 20;
/// Elements of a run for which it pays to do something about that.
const LONG: usize = 16 << 10;
/// Elements ahead of the loads of such a run that memory is asked for: two pages. The processor
/// itself is ahead in the same page only.
const AHEAD: i64 = 2 << 10;

/// What is known of a loop's variable.
#[derive(Clone, Copy)]
struct Known {
    /// What its values are multiples of; of a vector loop where it begins.
    multiple: i64,
    /// The values are below.
    end: i64,
}

/// A vector loop, and the variables of it and of the loops around it.
pub(super) struct Nest<'k> {
    pub f: &'k For,
    vars: HashMap<Var, Known>,
    next: Vec<Next<'k>>,
}

/// A load of a vector loop to ask for what lies `by` elements further on, where the next turn of the
/// loop around will load.
struct Next<'k> {
    mem: Mem,
    index: &'k Affine,
    by: i64,
}

impl Nest<'_> {
    /// Whether memory of f32 or i32 that the loop walks at this index is much, in long runs.
    fn is_large(&self, index: &Affine) -> bool {
        let reach = |&(var, by): &(Var, i64)| self.vars.get(&var).map_or(0, |k| k.end * by.abs());
        let elements = index.terms.iter().map(reach).fold(0, i64::saturating_add);
        self.f.extent >= LONG && elements >= BEYOND_CACHES / 4
    }

    /// Whether memory of f32 that the loop writes at this index is worth to go past the caches: much
    /// of it, in long runs that begin with a line.
    pub fn passes(&self, index: &Affine) -> bool {
        let aligned = |n: i64| n.checked_mul(4).is_some_and(|n| n % 64 == 0);
        let begins = |&(var, by): &(Var, i64)| {
            self.vars.get(&var).is_some_and(|known| aligned(known.multiple * by))
        };
        self.is_large(index) && index.terms.iter().all(begins) && aligned(index.constant)
    }

    /// How many elements ahead of a load at this index memory is asked for.
    pub fn ahead(&self, mem: Mem, index: &Affine) -> Option<i64> {
        let next = self.next.iter().find(|n| n.mem == mem && n.index == index);
        next.map(|n| n.by).or(self.is_large(index).then_some(AHEAD))
    }
}

/// The vector loops of a kernel's statements that are worth a call.
pub(super) fn nests(body: &[Stmt]) -> Vec<Nest<'_>> {
    let mut found = Vec::new();
    collect(body, None, &HashMap::new(), &mut found);
    found
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
