//! Builds the body of a kernel: fresh names, blocks that open and close, typed scalar arithmetic.
//!
//! Equal pure instructions in scope share a register, so that a producer inlined twice at the same
//! index is computed once.

use std::collections::HashMap;

use kiln_tensor::DType;

use crate::ir::*;

/// Collects the statements of one kernel.
#[derive(Debug, Default)]
pub struct Builder {
    /// Open blocks, outermost first.
    blocks: Vec<Vec<Stmt>>,
    /// Headers of the open loops; `loops[i]` owns `blocks[i + 1]`.
    loops: Vec<For>,
    /// For each open block the instructions already emitted in it.
    known: Vec<HashMap<Inst, Reg>>,
    types: Vec<DType>,
    mutable: Vec<bool>,
    vars: u32,
    args: Vec<(BufferId, DType)>,
    locals: Vec<Local>,
}

impl Builder {
    /// An empty body.
    pub fn new() -> Builder {
        Builder { blocks: vec![Vec::new()], known: vec![HashMap::new()], ..Builder::default() }
    }

    /// The argument that stands for a buffer; the same buffer gives the same argument.
    pub fn arg(&mut self, buffer: BufferId, dtype: DType) -> Mem {
        let position = self.args.iter().position(|a| a.0 == buffer).unwrap_or_else(|| {
            self.args.push((buffer, dtype));
            self.args.len() - 1
        });
        Mem::Arg(position as u32)
    }

    /// New scratch memory.
    pub fn local(&mut self, dtype: DType, elements: usize) -> Mem {
        self.locals.push(Local { dtype, elements });
        Mem::Local(self.locals.len() as u32 - 1)
    }

    /// Opens a serial loop over `0..extent`.
    pub fn open(&mut self, extent: usize) -> Var {
        self.open_loop(None, extent, extent, 1, LoopKind::Serial)
    }

    /// Opens any loop; see [`For`] for the meaning of the bounds.
    pub fn open_loop(
        &mut self,
        start: Option<Var>,
        extent: usize,
        end: usize,
        step: usize,
        kind: LoopKind,
    ) -> Var {
        let var = Var(self.vars);
        self.vars += 1;
        self.loops.push(For { var, start, extent, end, step, kind, body: Vec::new() });
        self.blocks.push(Vec::new());
        self.known.push(HashMap::new());
        var
    }

    /// Says how the innermost open loop runs.
    ///
    /// # Panics
    /// If none is open.
    pub fn set_kind(&mut self, kind: LoopKind) {
        self.loops.last_mut().expect("a loop is open").kind = kind;
    }

    /// Closes the innermost open loop.
    ///
    /// # Panics
    /// If none is open.
    pub fn close(&mut self) {
        let mut header = self.loops.pop().expect("a loop is open");
        header.body = self.blocks.pop().expect("its block is open");
        self.known.pop();
        self.push(Stmt::For(header));
    }

    /// Appends a statement to the innermost open block.
    pub fn push(&mut self, stmt: Stmt) {
        if !matches!(stmt, Stmt::Let(..) | Stmt::Mut(..)) {
            self.forget_loads();
        }
        self.blocks.last_mut().expect("the outermost block is always open").push(stmt);
    }

    /// Memory may have changed: values read before are not those read after.
    fn forget_loads(&mut self) {
        for known in &mut self.known {
            known.retain(|inst, _| !matches!(inst, Inst::Load(..)));
        }
    }

    /// Defines a register, or finds the one that holds the same value already.
    pub fn inst(&mut self, inst: Inst) -> Reg {
        let reads_mutable = operands(&inst).any(|r| self.mutable[r.0 as usize]);
        if !reads_mutable && let Some(&reg) = self.known.iter().rev().find_map(|k| k.get(&inst)) {
            return reg;
        }
        let dtype = self.result(&inst);
        let reg = self.reg(dtype, false);
        if !reads_mutable {
            self.known.last_mut().expect("a block is open").insert(inst.clone(), reg);
        }
        self.push(Stmt::Let(reg, inst));
        reg
    }

    /// Declares a mutable register that starts as `init`.
    pub fn mutable(&mut self, init: Reg) -> Reg {
        let reg = self.reg(self.dtype(init), true);
        self.push(Stmt::Mut(reg, init));
        reg
    }

    /// The type of a register.
    pub fn dtype(&self, reg: Reg) -> DType {
        self.types[reg.0 as usize]
    }

    /// Reads an element.
    pub fn load(&mut self, mem: Mem, index: impl Into<Index>) -> Reg {
        self.inst(Inst::Load(mem, index.into()))
    }

    /// Writes an element.
    pub fn store(&mut self, mem: Mem, index: impl Into<Index>, value: Reg) {
        self.push(Stmt::Store(mem, index.into(), value));
    }

    /// An f32 constant.
    pub fn f32(&mut self, value: f32) -> Reg {
        self.inst(Inst::Const(Scalar::F32(value)))
    }

    /// An i32 constant.
    pub fn i32(&mut self, value: i32) -> Reg {
        self.inst(Inst::Const(Scalar::I32(value)))
    }

    /// A constant.
    pub fn constant(&mut self, value: Scalar) -> Reg {
        self.inst(Inst::Const(value))
    }

    /// A function of one operand.
    pub fn unary(&mut self, op: Unary, x: Reg) -> Reg {
        self.inst(Inst::Unary(op, x))
    }

    /// A function of two operands.
    pub fn binary(&mut self, op: Binary, a: Reg, b: Reg) -> Reg {
        self.inst(Inst::Binary(op, a, b))
    }

    /// A comparison.
    pub fn compare(&mut self, op: Compare, a: Reg, b: Reg) -> Reg {
        self.inst(Inst::Compare(op, a, b))
    }

    /// `if cond { a } else { b }`.
    pub fn select(&mut self, cond: Reg, a: Reg, b: Reg) -> Reg {
        self.inst(Inst::Select(cond, a, b))
    }

    /// A conversion; the register itself if it has the type already.
    pub fn cast(&mut self, dtype: DType, x: Reg) -> Reg {
        if self.dtype(x) == dtype { x } else { self.inst(Inst::Cast(dtype, x)) }
    }

    /// A transcendental function.
    pub fn call(&mut self, f: Math, x: Reg) -> Reg {
        self.inst(Inst::Call(f, x))
    }

    /// The kernel.
    ///
    /// # Panics
    /// If a loop is still open.
    pub fn finish(mut self, name: impl Into<String>) -> Kernel {
        assert!(self.loops.is_empty(), "every loop is closed");
        Kernel {
            name: name.into(),
            locations: [].into(),
            args: self.args.into_iter().map(|a| a.0).collect(),
            locals: self.locals,
            body: self.blocks.pop().expect("the outermost block is open"),
        }
    }

    fn reg(&mut self, dtype: DType, mutable: bool) -> Reg {
        self.types.push(dtype);
        self.mutable.push(mutable);
        Reg(self.types.len() as u32 - 1)
    }

    fn result(&self, inst: &Inst) -> DType {
        match inst {
            Inst::Const(s) => s.dtype(),
            Inst::Load(Mem::Arg(a), _) => self.args[*a as usize].1,
            Inst::Load(Mem::Local(l), _) => self.locals[*l as usize].dtype,
            Inst::Affine(_) | Inst::Clamp(..) => DType::I32,
            Inst::Unary(_, x) | Inst::Binary(_, x, _) | Inst::Select(_, x, _) => self.dtype(*x),
            Inst::Compare(..) => DType::Bool,
            Inst::Cast(dtype, _) => *dtype,
            Inst::Call(..) => DType::F32,
        }
    }
}

/// The registers an instruction reads, in order.
pub fn operands(inst: &Inst) -> impl Iterator<Item = Reg> {
    let (fixed, indices) = match inst {
        Inst::Const(_) | Inst::Affine(_) => ([None; 3], &[][..]),
        Inst::Load(_, index) => ([None; 3], &index.dynamic[..]),
        Inst::Unary(_, x) | Inst::Cast(_, x) | Inst::Call(_, x) | Inst::Clamp(x, _) => {
            ([Some(*x), None, None], &[][..])
        }
        Inst::Binary(_, a, b) | Inst::Compare(_, a, b) => ([Some(*a), Some(*b), None], &[][..]),
        Inst::Select(c, a, b) => ([Some(*c), Some(*a), Some(*b)], &[][..]),
    };
    fixed.into_iter().flatten().chain(indices.iter().map(|d| d.0))
}
