//! The rules every program keeps, checked before anything runs it.
//!
//! This is the safety argument of the code generator: in a verified program every access of every
//! kernel lies within its buffer or scratch memory, and no two threads touch the same element
//! unless both read. Shapes are static and indices affine, so both are proved, not tested.
//!
//! The proofs hold for statements that run: an access in a loop may be out of bounds where the
//! loop runs zero times, so nothing that touches memory may be moved out of a loop that can.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kiln_tensor::{DType, MAX_BYTES};

use crate::ir::*;
use crate::race;
use crate::range::{Counters, Linear, Slot};
use crate::types;

/// Loops may be nested this deep.
pub const MAX_DEPTH: usize = 256;

/// Numbers of registers and loop variables are below this, so that tables of them are small.
pub const MAX_NAMES: u32 = 1 << 20;

/// No loop, dimension or step is greater: products with coefficients stay far within 128 bits.
const MAX_EXTENT: usize = MAX_BYTES;

/// Pairs of accesses to one argument that are compared in one parallel or vector loop.
const MAX_PAIRS: usize = 1 << 16;

/// The alignment of planned offsets, in bytes.
pub const ALIGNMENT: usize = 64;

/// The rule a program breaks, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct VerifyError {
    /// The kernel and statement, or the buffer.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

type Result<T> = std::result::Result<T, VerifyError>;

fn fail<T>(place: impl ToString, message: impl ToString) -> Result<T> {
    Err(VerifyError { place: place.to_string(), message: message.to_string() })
}

/// Checks every rule of the low IR.
///
/// # Errors
/// The first rule that is broken, with its place.
pub fn verify(program: &Program) -> Result<()> {
    buffers(program)?;
    let mut written: Vec<bool> = program
        .buffers
        .iter()
        .map(|b| !matches!(b.kind, BufferKind::Temp | BufferKind::Output))
        .collect();
    for (number, kernel) in program.kernels.iter().enumerate() {
        verify_kernel(program, kernel, &mut written).map_err(|e| VerifyError {
            place: format!("kernel {number} {}: {}", crate::text::quoted(&kernel.name), e.place),
            message: e.message,
        })?;
    }
    Ok(())
}

fn buffers(program: &Program) -> Result<()> {
    let mut names = HashSet::new();
    for (i, buffer) in program.buffers.iter().enumerate() {
        let place = format!("buffer b{i} {}", crate::text::quoted(&buffer.name));
        if !names.insert(&buffer.name) {
            return fail(place, "another buffer has the same name");
        }
        if let BufferKind::Const(tensor) = &buffer.kind
            && (tensor.dtype() != buffer.dtype || *tensor.shape() != buffer.shape)
        {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            return fail(place, format!("its constant is {dtype}{shape}"));
        }
        if let Some(offset) = buffer.offset {
            if !offset.is_multiple_of(ALIGNMENT) {
                return fail(place, format!("offset {offset} is not a multiple of {ALIGNMENT}"));
            }
            if offset.checked_add(buffer.bytes()).is_none_or(|end| end > program.arena_bytes) {
                let arena = program.arena_bytes;
                return fail(place, format!("it ends beyond the arena's {arena} bytes"));
            }
        }
    }
    Ok(())
}

/// Checks one kernel; `written` holds, for each buffer, whether it has been written so far.
fn verify_kernel(program: &Program, kernel: &Kernel, written: &mut [bool]) -> Result<()> {
    let mut args = Vec::new();
    let mut seen = BTreeSet::new();
    for &id in &kernel.args {
        let Some(buffer) = program.buffers.get(id.0 as usize) else {
            return fail("arguments", format!("there is no buffer {id}"));
        };
        if !seen.insert(id) {
            return fail("arguments", format!("{id} is given twice"));
        }
        args.push(buffer);
    }
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
    };
    verifier.body(&kernel.body)?;
    for access in &verifier.accesses {
        let Mem::Arg(arg) = access.mem else { continue };
        let id = kernel.args[arg as usize];
        let written = &mut written[id.0 as usize];
        *written |= access.write;
        if !*written {
            let name = &program.buffer(id).name;
            return fail(access.stmt, format!("{id} ({name}) is read before anything wrote it"));
        }
    }
    Ok(())
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

struct Verifier<'p> {
    args: Vec<&'p Buffer>,
    locals: &'p [Local],
    vars: BTreeMap<Var, Slot>,
    regs: BTreeMap<Reg, Value>,
    used_vars: HashSet<Var>,
    used_regs: HashSet<Reg>,
    loops: Vec<Open<'p>>,
    counters: Counters,
    accesses: Vec<Access<'p>>,
    /// Whether the kernel's body is one statement.
    only: bool,
}

impl<'p> Verifier<'p> {
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
        }
    }

    /// The innermost vector loop, if any, by depth.
    fn vector(&self) -> Option<usize> {
        self.loops.iter().position(|l| l.header.kind == LoopKind::Vector)
    }

    /// Whether an enclosing loop is known to run zero times.
    fn dead(&self) -> bool {
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
        match kind {
            LoopKind::Parallel if !self.loops.is_empty() || !self.only => {
                return here("a parallel loop is the only statement of its kernel");
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

    fn var(&self, var: Var) -> Checked<Slot> {
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
    fn element(&self, mem: Mem) -> Checked<(DType, usize)> {
        let found = match mem {
            Mem::Arg(n) => self.args.get(n as usize).map(|b| (b.dtype, b.shape.elements())),
            Mem::Local(n) => self.locals.get(n as usize).map(|l| (l.dtype, l.elements)),
        };
        match found {
            Some(found) => Ok(found),
            None => here(format!("there is no {mem}")),
        }
    }

    fn linear(&self, e: &Affine) -> Checked<Linear> {
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
    fn access(&mut self, mem: Mem, write: bool, index: Linear, stmt: &'p Stmt) -> Checked<()> {
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

    /// The index of an operand of a block operation, which is f32.
    fn operand(&self, operand: &(Mem, Affine)) -> Checked<Linear> {
        if self.vector().is_some() {
            return here("a vector loop holds scalar statements only");
        }
        match self.element(operand.0)?.0 {
            DType::F32 => self.linear(&operand.1),
            other => here(format!("{} is {other}, not f32", operand.0)),
        }
    }

    fn block(&mut self, block: &Block, stmt: &'p Stmt) -> Checked<()> {
        let (mut dst, mut src) = (self.operand(&block.dst)?, self.operand(&block.src)?);
        let until = match block.until {
            Some((var, end)) => Some((self.var(var)?, end)),
            None => None,
        };
        if block.len.max(until.map_or(0, |u| u.1)) > MAX_EXTENT {
            return here("the block is too long");
        }
        if block.len == 0 || until.is_some_and(|u| u.1 == 0) {
            return Ok(());
        }
        if block.dst.0 == block.src.0 && dst != src && !self.dead() {
            let apart = dst.minus(&src);
            let len = block.len as i128;
            if self.counters.lower(&apart) < len && self.counters.upper(&apart) > -len {
                return here("the elements read and written may overlap");
            }
        }
        // The position within the block, or in the whole range where the block ends with it.
        let position = match until {
            None => self.counters.free(block.len),
            Some((start, end)) => {
                dst.add(start, -1);
                src.add(start, -1);
                self.counters.add(Some(start), block.len, end, 1)
            }
        };
        dst.add(position, 1);
        src.add(position, 1);
        self.access(block.src.0, false, src, stmt)?;
        self.access(block.dst.0, true, dst, stmt)
    }

    /// Counters for dimensions, or none if there is nothing in them.
    fn dims(&mut self, dims: &[Dim]) -> Checked<(usize, Vec<Slot>)> {
        if dims.len() > MAX_DEPTH {
            return here(format!("more than {MAX_DEPTH} dimensions"));
        }
        let nonzero = dims.iter().map(|d| d.extent).filter(|&e| e != 0);
        let volume = nonzero.into_iter().try_fold(1usize, |n, e| n.checked_mul(e));
        match volume {
            Some(n) if n <= MAX_EXTENT => {}
            _ => return here("the dimensions are too large"),
        }
        let slots = dims.iter().map(|d| self.counters.free(d.extent.max(1))).collect();
        Ok((dims.iter().map(|d| d.extent).product(), slots))
    }

    fn contract(&mut self, contract: &Contract, stmt: &'p Stmt) -> Checked<()> {
        let mut a = self.operand(&contract.a)?;
        let mut b = self.operand(&contract.b)?;
        let mut c = self.operand(&contract.c)?;
        if contract.c.0 == contract.a.0 || contract.c.0 == contract.b.0 {
            return here("the result's memory is also an operand's");
        }
        let first = self.counters.free(1);
        let (rows, row_slots) = self.dims(&contract.rows)?;
        let (cols, col_slots) = self.dims(&contract.cols)?;
        let (depth, depth_slots) = self.dims(&contract.depth)?;
        let Some(packed) = packed_elements(cols, depth).filter(|&n| n <= MAX_EXTENT) else {
            return here("the dimensions are too large");
        };
        for dim in contract.rows.iter().chain(&contract.cols) {
            if dim.extent > 1 && dim.output == 0 {
                return here("rows and columns meet in the result");
            }
        }
        for (dim, &slot) in contract.rows.iter().zip(&row_slots) {
            a.add(slot, dim.input.into());
            c.add(slot, dim.output.into());
        }
        for (dim, &slot) in contract.cols.iter().zip(&col_slots) {
            c.add(slot, dim.output.into());
        }
        for (dim, &slot) in contract.depth.iter().zip(&depth_slots) {
            a.add(slot, dim.input.into());
        }
        if rows == 0 || cols == 0 {
            return Ok(());
        }
        if !race::injective(&self.counters, first, &c) {
            return here("rows and columns may meet in the result");
        }
        if depth > 0 {
            if contract.packed {
                let position = self.counters.free(packed);
                b.add(position, 1);
            } else {
                source(&mut b, &contract.cols, &col_slots, &contract.depth, &depth_slots);
            }
            self.access(contract.a.0, false, a, stmt)?;
            self.access(contract.b.0, false, b, stmt)?;
        }
        if contract.accumulate {
            self.access(contract.c.0, false, c.clone(), stmt)?;
        }
        self.access(contract.c.0, true, c, stmt)
    }

    fn pack(&mut self, pack: &Pack, stmt: &'p Stmt) -> Checked<()> {
        let (mut dst, mut src) = (self.operand(&pack.dst)?, self.operand(&pack.src)?);
        if pack.dst.0 == pack.src.0 {
            return here("the source's memory is also the destination's");
        }
        let (cols, col_slots) = self.dims(&pack.cols)?;
        let (depth, depth_slots) = self.dims(&pack.depth)?;
        let Some(packed) = packed_elements(cols, depth).filter(|&n| n <= MAX_EXTENT) else {
            return here("the dimensions are too large");
        };
        if packed == 0 {
            return Ok(());
        }
        source(&mut src, &pack.cols, &col_slots, &pack.depth, &depth_slots);
        let position = self.counters.free(packed);
        dst.add(position, 1);
        self.access(pack.src.0, false, src, stmt)?;
        self.access(pack.dst.0, true, dst, stmt)
    }
}

/// Adds the strides of a contraction's second operand.
fn source(b: &mut Linear, cols: &[Dim], col_slots: &[Slot], depth: &[Dim], depth_slots: &[Slot]) {
    for (dim, &slot) in cols.iter().zip(col_slots) {
        b.add(slot, dim.input.into());
    }
    for (dim, &slot) in depth.iter().zip(depth_slots) {
        b.add(slot, dim.output.into());
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
enum Failure {
    Here(String),
    Within(VerifyError),
}

type Checked<T> = std::result::Result<T, Failure>;

fn here<T>(message: impl ToString) -> Checked<T> {
    Err(Failure::Here(message.to_string()))
}
