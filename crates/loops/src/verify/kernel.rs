//! One kernel: names, types, loops, bounds and races.

use std::collections::{BTreeMap, HashSet};

use kiln_tensor::{DType, MAX_BYTES};

use super::range::{Counters, Linear, Slot};
use super::{MAX_DEPTH, MAX_EXTENT, MAX_NAMES, MAX_PAIRS, Result, VerifyError, fail, race, types};
use crate::ir::*;

/// Checks the list of arguments.
pub(super) fn arguments(program: &Program, kernel: &Kernel) -> Result<()> {
    let mut seen = HashSet::new();
    for &id in &kernel.args {
        if program.buffers.get(id.0 as usize).is_none() {
            return fail("arguments", format!("there is no buffer {id}"));
        }
        if !seen.insert(id) {
            return fail("arguments", format!("{id} is given twice"));
        }
    }
    Ok(())
}

/// Checks that a kernel reads nothing before something wrote it: `touches` are its own, `written`
/// holds, for each buffer, whether it has been written so far.
pub(super) fn order(
    program: &Program,
    kernel: &Kernel,
    touches: &[Touch<'_>],
    written: &mut [bool],
) -> Result<()> {
    for touch in touches {
        let id = kernel.args[touch.arg as usize];
        let written = &mut written[id.0 as usize];
        *written |= touch.write;
        if !*written {
            let name = &program.buffer(id).name;
            return fail(touch.stmt, format!("{id} ({name}) is read before anything wrote it"));
        }
    }
    Ok(())
}

/// An argument that a statement touches.
pub(super) struct Touch<'p> {
    arg: u32,
    write: bool,
    stmt: &'p Stmt,
}

/// Checks one kernel but for what [`order`] does; what it touches, in order: of each argument the
/// first read and the first write.
pub(super) fn verify<'p>(program: &'p Program, kernel: &'p Kernel) -> Result<Vec<Touch<'p>>> {
    let verifier = Verifier::of(program, kernel, false)?;
    let mut seen = HashSet::new();
    let mut touches = Vec::new();
    for &Access { mem, write, stmt, .. } in &verifier.accesses {
        if let Mem::Arg(arg) = mem
            && seen.insert((arg, write))
        {
            touches.push(Touch { arg, write, stmt });
        }
    }
    Ok(touches)
}

/// The elements that a kernel touches.
#[derive(Debug)]
pub(crate) struct Elements {
    counters: Counters,
    /// Indices into each buffer, and whether the kernel writes there.
    at: HashSet<(BufferId, Linear, bool)>,
}

impl Elements {
    /// Of a verified kernel; `None` if it breaks a rule after all.
    pub fn of(program: &Program, kernel: &Kernel) -> Option<Elements> {
        let Verifier { counters, accesses, .. } = Verifier::of(program, kernel, true).ok()?;
        let at = accesses.into_iter().filter_map(|access| match access.mem {
            Mem::Arg(arg) => Some((kernel.args[arg as usize], access.index, access.write)),
            Mem::Local(_) => None,
        });
        let at = at.collect();
        Some(Elements { counters, at })
    }

    /// Whether those of a buffer that either kernel writes are shown to be no other's.
    pub fn are_apart(&self, other: &Elements, id: BufferId) -> bool {
        let (own, others) = (self.to(id), other.to(id));
        own.len().saturating_mul(others.len()) <= MAX_PAIRS
            && own.iter().all(|(a, write)| {
                others
                    .iter()
                    .filter(|(_, writes)| *write || *writes)
                    .all(|(b, _)| race::apart((&self.counters, a), (&other.counters, b)))
            })
    }

    fn to(&self, id: BufferId) -> Vec<(&Linear, bool)> {
        self.at.iter().filter(|e| e.0 == id).map(|(_, index, write)| (index, *write)).collect()
    }
}

/// What is known of a visible register.
#[derive(Clone, Copy)]
struct Value {
    dtype: DType,
    mutable: bool,
    /// The counter of a clamped value.
    clamp: Option<Slot>,
    /// The number of loops around its definition.
    depth: usize,
}

/// An open loop.
struct Open<'p> {
    header: &'p For,
    slot: Slot,
    /// The first of its accesses.
    accesses: usize,
    /// The registers that a vector loop accumulates.
    accumulated: BTreeMap<Reg, Fold>,
}

/// A range of elements that a statement touches.
struct Access<'p> {
    mem: Mem,
    write: bool,
    index: Linear,
    stmt: &'p Stmt,
}

pub(super) struct Verifier<'p> {
    args: Vec<&'p Buffer>,
    locals: &'p [Local],
    vars: BTreeMap<Var, Slot>,
    regs: BTreeMap<Reg, Value>,
    used_vars: HashSet<Var>,
    used_regs: HashSet<Reg>,
    loops: Vec<Open<'p>>,
    pub(super) counters: Counters,
    accesses: Vec<Access<'p>>,
    /// Whether the kernel's body is one statement.
    only: bool,
    /// Whether its loops are known to be free of races.
    no_races: bool,
}

impl<'p> Verifier<'p> {
    /// Verifies a kernel, but for races if they are known not to be.
    fn of(program: &'p Program, kernel: &'p Kernel, no_races: bool) -> Result<Verifier<'p>> {
        let args: Vec<&Buffer> = kernel.args.iter().map(|&id| program.buffer(id)).collect();
        for (i, local) in kernel.locals.iter().enumerate() {
            if local.elements > MAX_BYTES / 4 {
                return fail(format!("local l{i}"), "it is too large");
            }
        }
        let mut verifier = Verifier {
            args,
            locals: &kernel.locals,
            vars: BTreeMap::new(),
            regs: BTreeMap::new(),
            used_vars: HashSet::new(),
            used_regs: HashSet::new(),
            loops: Vec::new(),
            counters: Counters::default(),
            accesses: Vec::new(),
            only: kernel.body.len() == 1,
            no_races,
        };
        verifier.body(&kernel.body)?;
        Ok(verifier)
    }

    fn body(&mut self, body: &'p [Stmt]) -> Result<()> {
        let mut defined = Vec::new();
        for stmt in body {
            self.stmt(stmt, &mut defined).or_else(|message| match message {
                Failure::Here(message) => fail(stmt, message),
                Failure::Within(error) => Err(error),
            })?;
        }
        for reg in defined {
            self.regs.remove(&reg);
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &'p Stmt, defined: &mut Vec<Reg>) -> Checked<()> {
        match stmt {
            Stmt::For(header) => self.open(header),
            Stmt::Let(reg, inst) => {
                let dtype = self.inst(inst, stmt)?;
                let clamp = match inst {
                    Inst::Clamp(_, extent) => Some(self.counters.free(*extent)),
                    _ => None,
                };
                self.define(*reg, dtype, false, clamp, defined)
            }
            Stmt::Mut(reg, init) => {
                let dtype = self.value(*init)?.dtype;
                self.define(*reg, dtype, true, None, defined)
            }
            Stmt::Set(reg, value) => {
                let target = self.target(*reg, *value)?;
                if let Some(open) = self.vector()
                    && target.depth < open + 1
                {
                    return here(format!("{reg} is declared outside the vector loop"));
                }
                Ok(())
            }
            Stmt::Accumulate(reg, fold, value) => {
                let target = self.target(*reg, *value)?;
                if target.dtype == DType::Bool {
                    return here("a bool cannot be accumulated");
                }
                if let Some(open) = self.vector()
                    && target.depth < open + 1
                    && self.loops[open].accumulated.get(reg) != Some(fold)
                {
                    return here(format!("{reg} is accumulated in two ways"));
                }
                Ok(())
            }
            Stmt::Store(mem, index, value) => {
                let dtype = self.value(*value)?.dtype;
                let expected = self.element(*mem)?.0;
                if dtype != expected {
                    return here(format!("{value} is {dtype}, {mem} is {expected}"));
                }
                let index = self.index(index)?;
                self.access(*mem, true, index, stmt)
            }
            Stmt::Block(block) => self.block(block, stmt),
            Stmt::Contract(contract) => self.contract(contract, stmt),
            Stmt::Pack(pack) => self.pack(pack, stmt),
            Stmt::Transform(transform) => self.transform(transform, stmt),
        }
    }

    /// The innermost vector loop, if any, by depth.
    pub(super) fn vector(&self) -> Option<usize> {
        self.loops.iter().position(|l| l.header.kind == LoopKind::Vector)
    }

    /// Whether an enclosing loop is known to run zero times.
    pub(super) fn dead(&self) -> bool {
        self.loops.iter().any(|l| l.header.extent == 0 || l.header.end == 0)
    }

    fn open(&mut self, header: &'p For) -> Checked<()> {
        let &For { var, start, extent, end, step, kind, .. } = header;
        if self.loops.len() >= MAX_DEPTH {
            return here(format!("loops are nested more than {MAX_DEPTH} deep"));
        }
        if step == 0 {
            return here("the step is 0");
        }
        if extent.max(end).max(step) > MAX_EXTENT {
            return here("the loop is too long");
        }
        let start = match start {
            None if extent != end => return here("a loop from 0 has an extent other than its end"),
            None => None,
            Some(start) => Some(self.var(start)?),
        };
        let around =
            |l: &Open<'_>| l.header.kind == LoopKind::Parallel && l.header.parallel().is_some();
        match kind {
            LoopKind::Parallel if !self.only || !self.loops.iter().all(around) => {
                return here(
                    "a parallel loop is the only statement of its kernel or of a parallel loop",
                );
            }
            LoopKind::Parallel if start.is_some() => {
                return here("a parallel loop starts at 0");
            }
            LoopKind::Vector if self.vector().is_some() => {
                return here("a vector loop stands in a vector loop");
            }
            LoopKind::Vector if step != 1 => return here("the step of a vector loop is 1"),
            _ => {}
        }
        if let Some(vector) = self.vector()
            && header.start == Some(self.loops[vector].header.var)
        {
            return here("a loop's bounds depend on the vector loop's variable");
        }
        if var.0 >= MAX_NAMES {
            return here(format!("{var} is not below {MAX_NAMES}"));
        }
        if !self.used_vars.insert(var) {
            return here(format!("{var} is defined twice"));
        }
        let slot = self.counters.add(start, extent.max(1), end.max(1), step);
        self.vars.insert(var, slot);
        let mut accumulated = BTreeMap::new();
        if kind == LoopKind::Vector {
            accumulations(&header.body, 0, &mut accumulated);
        }
        let accesses = self.accesses.len();
        self.loops.push(Open { header, slot, accesses, accumulated });
        self.body(&header.body).map_err(Failure::Within)?;
        self.vars.remove(&var);
        let open = self.loops.pop().expect("pushed above");
        match kind {
            _ if self.no_races => Ok(()),
            LoopKind::Serial => Ok(()),
            LoopKind::Parallel | LoopKind::Vector => self.races(&open),
        }
    }

    /// Iterations of the loop may not meet in an element that one of them writes.
    fn races(&self, open: &Open<'_>) -> Checked<()> {
        let mut by_mem: BTreeMap<Mem, Vec<&Access<'_>>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for access in &self.accesses[open.accesses..] {
            let private =
                open.header.kind == LoopKind::Parallel && matches!(access.mem, Mem::Local(_));
            if !private && seen.insert((access.mem, access.write, &access.index)) {
                by_mem.entry(access.mem).or_default().push(access);
            }
        }
        for (mem, accesses) in by_mem {
            let writes: Vec<_> = accesses.iter().filter(|a| a.write).collect();
            if writes.len().saturating_mul(accesses.len()) > MAX_PAIRS {
                return here(format!("{mem} has too many accesses to compare"));
            }
            for write in writes {
                for access in &accesses {
                    if !race::disjoint(&self.counters, open.slot, &write.index, &access.index) {
                        let (i, w, a) = (open.header.var, write.stmt, access.stmt);
                        return here(format!(
                            "iterations of {i} may meet in {mem}: `{w}` writes what `{a}` touches"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn define(
        &mut self,
        reg: Reg,
        dtype: DType,
        mutable: bool,
        clamp: Option<Slot>,
        defined: &mut Vec<Reg>,
    ) -> Checked<()> {
        if reg.0 >= MAX_NAMES {
            return here(format!("{reg} is not below {MAX_NAMES}"));
        }
        if !self.used_regs.insert(reg) {
            return here(format!("{reg} is defined twice"));
        }
        self.regs.insert(reg, Value { dtype, mutable, clamp, depth: self.loops.len() });
        defined.push(reg);
        Ok(())
    }

    pub(super) fn var(&self, var: Var) -> Checked<Slot> {
        match self.vars.get(&var) {
            Some(&slot) => Ok(slot),
            None => here(format!("{var} is not the variable of a loop around")),
        }
    }

    fn visible(&self, reg: Reg) -> Checked<Value> {
        match self.regs.get(&reg) {
            Some(&value) => Ok(value),
            None => here(format!("{reg} is not defined here")),
        }
    }

    /// A register that is read.
    fn value(&self, reg: Reg) -> Checked<Value> {
        let value = self.visible(reg)?;
        if value.mutable
            && let Some(open) = self.vector()
            && value.depth < open + 1
            && self.loops[open].accumulated.contains_key(&reg)
        {
            return here(format!("{reg} is read in the vector loop that accumulates it"));
        }
        Ok(value)
    }

    /// A mutable register that gets `value`.
    fn target(&self, reg: Reg, value: Reg) -> Checked<Value> {
        let target = self.visible(reg)?;
        let value = self.value(value)?;
        if !target.mutable {
            return here(format!("{reg} is not mutable"));
        }
        if target.dtype != value.dtype {
            return here(format!("{reg} is {}, its new value {}", target.dtype, value.dtype));
        }
        Ok(target)
    }

    fn inst(&mut self, inst: &Inst, stmt: &'p Stmt) -> Checked<DType> {
        match inst {
            Inst::Load(mem, index) => {
                let dtype = self.element(*mem)?.0;
                let index = self.index(index)?;
                self.access(*mem, false, index, stmt)?;
                Ok(dtype)
            }
            Inst::Affine(e) => {
                self.linear(e)?;
                Ok(DType::I32)
            }
            _ => {
                let mut dtypes = Vec::new();
                for reg in crate::operands(inst) {
                    dtypes.push(self.value(reg)?.dtype);
                }
                types::result(inst, &dtypes).map_err(Failure::Here)
            }
        }
    }

    /// Element type and number of elements.
    pub(super) fn element(&self, mem: Mem) -> Checked<(DType, usize)> {
        let found = match mem {
            Mem::Arg(n) => self.args.get(n as usize).map(|b| (b.dtype, b.shape.elements())),
            Mem::Local(n) => self.locals.get(n as usize).map(|l| (l.dtype, l.elements)),
        };
        match found {
            Some(found) => Ok(found),
            None => here(format!("there is no {mem}")),
        }
    }

    pub(super) fn linear(&self, e: &Affine) -> Checked<Linear> {
        let mut linear = Linear { constant: e.constant.into(), terms: Vec::new() };
        for (i, &(var, c)) in e.terms.iter().enumerate() {
            if c == 0 || (i > 0 && e.terms[i - 1].0 >= var) {
                return here(format!("the terms of `{e}` are not sorted, or one is 0"));
            }
            linear.add(self.var(var)?, c.into());
        }
        Ok(linear)
    }

    fn index(&self, index: &Index) -> Checked<Linear> {
        let mut linear = self.linear(&index.affine)?;
        for &(reg, stride) in &index.dynamic {
            match self.value(reg)?.clamp {
                Some(slot) => linear.add(slot, stride.into()),
                None => return here(format!("{reg} is an index but not defined by clamp")),
            }
        }
        if let Some(open) = self.vector() {
            let var = self.loops[open].header.var;
            if !index.dynamic.is_empty() {
                return here("a register is an index in a vector loop");
            }
            if !matches!(index.affine.coefficient(var), 0 | 1) {
                return here(format!("the coefficient of {var}, a vector loop's, is not 0 or 1"));
            }
        }
        Ok(linear)
    }

    /// Notes an access after showing that it is within bounds.
    pub(super) fn access(
        &mut self,
        mem: Mem,
        write: bool,
        index: Linear,
        stmt: &'p Stmt,
    ) -> Checked<()> {
        if write && let Mem::Arg(n) = mem {
            let kind = &self.args[n as usize].kind;
            if matches!(kind, BufferKind::Input | BufferKind::Const(_)) {
                return here(format!("{mem} is written, but its buffer is {}", kind.name()));
            }
        }
        if self.dead() {
            return Ok(());
        }
        let elements = self.element(mem)?.1;
        let (low, high) = (self.counters.lower(&index), self.counters.upper(&index));
        if low < 0 || high >= elements as i128 {
            return here(format!(
                "{mem} has {elements} elements, the index lies between {low} and {high}"
            ));
        }
        self.accesses.push(Access { mem, write, index, stmt });
        Ok(())
    }
}

/// The registers that the statements accumulate, each with the first function it is done with.
fn accumulations(body: &[Stmt], depth: usize, found: &mut BTreeMap<Reg, Fold>) {
    for stmt in body {
        match stmt {
            Stmt::Accumulate(reg, fold, _) => {
                found.entry(*reg).or_insert(*fold);
            }
            Stmt::For(inner) if depth < MAX_DEPTH => accumulations(&inner.body, depth + 1, found),
            _ => {}
        }
    }
}

/// A broken rule of the statement at hand, or one of a statement within it.
pub(super) enum Failure {
    Here(String),
    Within(VerifyError),
}

pub(super) type Checked<T> = std::result::Result<T, Failure>;

pub(super) fn here<T>(message: impl ToString) -> Checked<T> {
    Err(Failure::Here(message.to_string()))
}
