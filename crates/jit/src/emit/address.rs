//! Addresses of elements: parts that do not change in a loop are computed outside of it.
//!
//! The terms of an index are added from the outermost loop inwards. Where a loop's body begins,
//! the sums that deeper accesses share are computed once; the innermost term of an access is left
//! to the addressing mode of the instruction, whose scale covers strides of up to eight bytes, so
//! that a loop over consecutive elements of many arrays counts in one register.

use std::collections::HashMap;

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use kiln_loops::{Affine, Index, Mem, Stmt, Var};
use kiln_tensor::DType;

use super::{Emitter, Iter};
use crate::emit::facts;

/// Variables with what an address moves by when they grow by one, in bytes, outermost first.
type Terms = Vec<(Var, i64)>;

/// Sums computed at the head of the open loops' bodies.
#[derive(Default)]
pub(super) struct Addresses {
    sums: HashMap<(Mem, Terms), Value>,
    products: HashMap<(Var, i64), Value>,
    /// What to forget when a loop closes.
    journal: Vec<Entry>,
}

enum Entry {
    Sum(Mem, Terms),
    Product(Var, i64),
}

impl Addresses {
    /// A point to come back to by [`Addresses::forget`].
    pub fn mark(&self) -> usize {
        self.journal.len()
    }

    /// Forgets what was computed since the mark.
    pub fn forget(&mut self, mark: usize) {
        for entry in self.journal.drain(mark..) {
            match entry {
                Entry::Sum(mem, terms) => drop(self.sums.remove(&(mem, terms))),
                Entry::Product(var, stride) => drop(self.products.remove(&(var, stride))),
            }
        }
    }
}

/// Whether an addressing mode multiplies by this.
fn is_scale(stride: i64) -> bool {
    matches!(stride, 1 | 2 | 4 | 8)
}

impl Emitter<'_, '_> {
    /// The type of the elements.
    pub(super) fn element(&self, mem: Mem) -> DType {
        match mem {
            Mem::Arg(n) => self.dtypes[n as usize],
            Mem::Local(n) => self.kernel.locals[n as usize].dtype,
        }
    }

    /// The address of an element: a value, and bytes to add to it.
    pub(super) fn address(&mut self, mem: Mem, index: &Index) -> (Value, i32) {
        let size = self.element(mem).bytes() as i64;
        let (constant, terms) = self.terms(&index.affine, size);
        let mut at = self.sum(mem, &terms);
        for &(reg, stride) in &index.dynamic {
            let value = self.read(reg).1.get(0);
            let value = self.b.ins().sextend(I64, value);
            let bytes = self.b.ins().imul_imm_s(value, stride.wrapping_mul(size));
            at = self.b.ins().iadd(at, bytes);
        }
        // The unrolled vectors of an access lie up to 64 bytes behind it.
        match i32::try_from(constant) {
            Ok(offset) if offset < i32::MAX - 64 => (at, offset),
            _ => (self.b.ins().iadd_imm_s(at, constant), 0),
        }
    }

    /// The address of an element, as one value.
    pub(super) fn pointer(&mut self, mem: Mem, index: &Affine, elements: i64) -> Value {
        let (at, offset) = self.address(mem, &index.offset(elements).into());
        if offset == 0 { at } else { self.b.ins().iadd_imm_s(at, i64::from(offset)) }
    }

    /// The value of an affine expression, wrapping.
    pub(super) fn affine(&mut self, e: &Affine) -> Value {
        let (constant, terms) = self.terms(e, 1);
        let mut sum = self.b.ins().iconst(I64, constant);
        for (var, stride) in terms {
            let term = self.scaled(var, stride);
            sum = self.b.ins().iadd(sum, term);
        }
        sum
    }

    /// Computes what accesses in the body of the loop just opened share.
    pub(super) fn prepare(&mut self, var: Var, body: &[Stmt]) {
        if matches!(self.vars[&var].value, Iter::Const(_)) {
            return;
        }
        let mut accesses = Vec::new();
        facts::accesses(body, false, &mut accesses);
        for (mem, affine, nested) in accesses {
            let coefficient = affine.coefficient(var);
            if coefficient == 0 {
                continue;
            }
            let size = self.element(mem).bytes() as i64;
            let stride = coefficient.wrapping_mul(size);
            if !is_scale(stride) && !self.addresses.products.contains_key(&(var, stride)) {
                let product = self.scaled(var, stride);
                self.addresses.products.insert((var, stride), product);
                self.addresses.journal.push(Entry::Product(var, stride));
            }
            let deeper = affine.terms.iter().any(|t| !self.vars.contains_key(&t.0));
            if nested || deeper {
                let (_, terms) = self.terms(affine, size);
                if !self.addresses.sums.contains_key(&(mem, terms.clone())) {
                    let sum = self.sum(mem, &terms);
                    self.addresses.sums.insert((mem, terms.clone()), sum);
                    self.addresses.journal.push(Entry::Sum(mem, terms));
                }
            }
        }
    }

    /// The constant part, and the terms of the open loops, outermost first.
    fn terms(&self, affine: &Affine, size: i64) -> (i64, Terms) {
        let mut constant = affine.constant.wrapping_mul(size);
        let mut terms = Vec::with_capacity(affine.terms.len());
        for &(var, coefficient) in &affine.terms {
            let stride = coefficient.wrapping_mul(size);
            let Some(info) = self.vars.get(&var) else { continue }; // a loop not open yet
            match info.value {
                Iter::Const(n) => constant = constant.wrapping_add(n.wrapping_mul(stride)),
                Iter::Value(_) => terms.push((info.depth, (var, stride))),
            }
        }
        terms.sort_unstable_by_key(|t| t.0);
        (constant, terms.into_iter().map(|t| t.1).collect())
    }

    fn sum(&mut self, mem: Mem, terms: &[(Var, i64)]) -> Value {
        let Some((&(var, stride), outer)) = terms.split_last() else {
            return match mem {
                Mem::Arg(n) => self.args[n as usize],
                Mem::Local(n) => self.locals[n as usize],
            };
        };
        if let Some(&sum) = self.addresses.sums.get(&(mem, terms.to_vec())) {
            return sum;
        }
        let outer = self.sum(mem, outer);
        let term = self.scaled(var, stride);
        self.b.ins().iadd(outer, term)
    }

    fn scaled(&mut self, var: Var, stride: i64) -> Value {
        let value = match self.vars[&var].value {
            Iter::Const(n) => return self.b.ins().iconst(I64, n.wrapping_mul(stride)),
            Iter::Value(value) => value,
        };
        match stride {
            1 => value,
            2 | 4 | 8 => self.b.ins().ishl_imm_u(value, i64::from(stride.trailing_zeros())),
            _ => match self.addresses.products.get(&(var, stride)) {
                Some(&product) => product,
                None => self.b.ins().imul_imm_s(value, stride),
            },
        }
    }
}
