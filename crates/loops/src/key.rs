//! Which kernels share their machine code.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::ir::*;
use crate::text;

impl Kernel {
    /// A text that two kernels share if and only if they do the same to their arguments: it has
    /// the arguments' types, the scratch memory and the statements, but neither names nor buffers;
    /// loop variables and registers are numbered in the order of their definition.
    pub fn structural_key(&self, program: &Program) -> String {
        let mut key = String::new();
        for id in &self.args {
            let dtype = program.buffers.get(id.0 as usize).map_or("?", |b| b.dtype.name());
            write!(key, "{dtype} ").expect("writing to a string");
        }
        for local in &self.locals {
            write!(key, "{}[{}] ", local.dtype, local.elements).expect("writing to a string");
        }
        key.push('\n');
        let mut body = self.body.clone();
        let mut names = Names::default();
        names.body(&mut body);
        text::lines(&body, 0, &mut key);
        key
    }
}

/// New numbers, by old ones.
#[derive(Default)]
struct Names {
    vars: BTreeMap<Var, Var>,
    regs: BTreeMap<Reg, Reg>,
}

impl Names {
    fn body(&mut self, body: &mut [Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::For(header) => {
                    if let Some(start) = &mut header.start {
                        self.var(start);
                    }
                    self.var(&mut header.var);
                    self.body(&mut header.body);
                }
                Stmt::Let(reg, inst) => {
                    self.inst(inst);
                    self.reg(reg);
                }
                Stmt::Mut(a, b) | Stmt::Set(a, b) | Stmt::Accumulate(a, _, b) => {
                    self.reg(b);
                    self.reg(a);
                }
                Stmt::Store(_, index, value) => {
                    self.index(index);
                    self.reg(value);
                }
                Stmt::Block(block) => {
                    self.affine(&mut block.dst.1);
                    self.affine(&mut block.src.1);
                    if let Some((var, _)) = &mut block.until {
                        self.var(var);
                    }
                }
                Stmt::Contract(contract) => {
                    self.affine(&mut contract.a.1);
                    self.affine(&mut contract.b.1);
                    self.affine(&mut contract.c.1);
                }
                Stmt::Pack(pack) => {
                    self.affine(&mut pack.src.1);
                    self.affine(&mut pack.dst.1);
                }
            }
        }
    }

    fn inst(&mut self, inst: &mut Inst) {
        match inst {
            Inst::Const(_) => {}
            Inst::Load(_, index) => self.index(index),
            Inst::Affine(e) => self.affine(e),
            Inst::Unary(_, x) | Inst::Cast(_, x) | Inst::Call(_, x) | Inst::Clamp(x, _) => {
                self.reg(x);
            }
            Inst::Binary(_, a, b) | Inst::Compare(_, a, b) => {
                self.reg(a);
                self.reg(b);
            }
            Inst::Select(c, a, b) => {
                self.reg(c);
                self.reg(a);
                self.reg(b);
            }
        }
    }

    fn index(&mut self, index: &mut Index) {
        self.affine(&mut index.affine);
        index.dynamic.iter_mut().for_each(|d| self.reg(&mut d.0));
    }

    fn affine(&mut self, e: &mut Affine) {
        e.terms.iter_mut().for_each(|t| self.var(&mut t.0));
        e.terms.sort_unstable();
    }

    fn var(&mut self, var: &mut Var) {
        let next = Var(self.vars.len() as u32);
        *var = *self.vars.entry(*var).or_insert(next);
    }

    fn reg(&mut self, reg: &mut Reg) {
        let next = Reg(self.regs.len() as u32);
        *reg = *self.regs.entry(*reg).or_insert(next);
    }
}
