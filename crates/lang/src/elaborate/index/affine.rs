//! Affine indices: `2*i + u - 1`.

use super::super::value::Value;
use super::super::{Elaborator, Eval};
use crate::ast::{BinaryOp, Expr, ExprKind, UnaryOp};

/// A constant and index variables with whole factors, none of them 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Affine {
    pub constant: i64,
    /// Variables and their factors, in the order of the text.
    pub terms: Vec<(usize, i64)>,
}

impl Affine {
    /// The variable, if it is nothing else.
    pub fn alone(&self) -> Option<usize> {
        match self.terms[..] {
            [(v, 1)] if self.constant == 0 => Some(v),
            _ => None,
        }
    }

    /// Its sum with `factor` times another one, unless numbers grow too large.
    pub fn plus(mut self, other: &Affine, factor: i64) -> Option<Affine> {
        let add = |x: i64, y: i64| x.checked_add(y.checked_mul(factor)?);
        self.constant = add(self.constant, other.constant)?;
        for &(v, f) in &other.terms {
            match self.terms.iter_mut().find(|(u, _)| *u == v) {
                Some((_, g)) => *g = add(*g, f)?,
                None => self.terms.push((v, add(0, f)?)),
            }
        }
        self.terms.retain(|(_, f)| *f != 0);
        Some(self)
    }
}

impl<'a, 'b> Elaborator<'a, 'b> {
    /// An index as an affine one, if it is; `None` too where its numbers are too large.
    pub(super) fn affine(&mut self, expr: &'a Expr) -> Eval<Option<Affine>> {
        if !self.form().varies(expr) {
            return Ok(match self.constant(expr)? {
                Value::Int(constant) => Some(Affine { constant, terms: Vec::new() }),
                _ => None,
            });
        }
        Ok(match &expr.node {
            ExprKind::Name(name) => {
                self.form().find(name).map(|v| Affine { constant: 0, terms: vec![(v, 1)] })
            }
            ExprKind::Unary(UnaryOp::Negate, x) => {
                self.affine(x)?.and_then(|x| Affine::default().plus(&x, -1))
            }
            ExprKind::Binary(op, x, y) => {
                let (Some(x), Some(y)) = (self.affine(x)?, self.affine(y)?) else {
                    return Ok(None);
                };
                match op.node {
                    BinaryOp::Add => x.plus(&y, 1),
                    BinaryOp::Subtract => x.plus(&y, -1),
                    BinaryOp::Multiply if x.terms.is_empty() => {
                        Affine::default().plus(&y, x.constant)
                    }
                    BinaryOp::Multiply if y.terms.is_empty() => {
                        Affine::default().plus(&x, y.constant)
                    }
                    _ => None,
                }
            }
            _ => None,
        })
    }
}
