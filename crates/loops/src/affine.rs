//! Arithmetic on affine expressions.

use smallvec::{SmallVec, smallvec};

use crate::ir::{Affine, Index, Reg, Var};

impl Affine {
    /// The constant `c`.
    pub fn constant(c: i64) -> Affine {
        Affine { constant: c, terms: SmallVec::new() }
    }

    /// The variable `v`.
    pub fn var(v: Var) -> Affine {
        Affine { constant: 0, terms: smallvec![(v, 1)] }
    }

    /// The coefficient of `v`; 0 if it does not occur.
    pub fn coefficient(&self, v: Var) -> i64 {
        self.terms.binary_search_by_key(&v, |t| t.0).map_or(0, |i| self.terms[i].1)
    }

    /// The constant's value if no variable occurs.
    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The sum of two expressions. Saturates, which no bounds proof accepts.
    #[must_use]
    pub fn plus(&self, other: &Affine) -> Affine {
        let mut sum = self.clone();
        sum.constant = sum.constant.saturating_add(other.constant);
        for &(v, c) in &other.terms {
            sum.add_term(v, c);
        }
        sum
    }

    /// The expression plus a constant.
    #[must_use]
    pub fn offset(&self, c: i64) -> Affine {
        Affine { constant: self.constant.saturating_add(c), terms: self.terms.clone() }
    }

    /// The expression times a constant.
    #[must_use]
    pub fn times(&self, c: i64) -> Affine {
        if c == 0 {
            return Affine::default();
        }
        Affine {
            constant: self.constant.saturating_mul(c),
            terms: self.terms.iter().map(|&(v, k)| (v, k.saturating_mul(c))).collect(),
        }
    }

    /// Replaces `v` by an expression.
    #[must_use]
    pub fn substitute(&self, v: Var, by: &Affine) -> Affine {
        let c = self.coefficient(v);
        if c == 0 {
            return self.clone();
        }
        let mut rest = self.clone();
        rest.terms.retain(|t| t.0 != v);
        rest.plus(&by.times(c))
    }

    /// The flat row-major index of a multi-index, given strides.
    pub fn flat(index: &[Affine], strides: &[usize]) -> Affine {
        index
            .iter()
            .zip(strides)
            .fold(Affine::default(), |sum, (i, &s)| sum.plus(&i.times(s as i64)))
    }

    /// The value, given each variable's.
    pub fn value(&self, of: impl Fn(Var) -> i64) -> i64 {
        self.terms.iter().fold(self.constant, |sum, &(v, c)| sum + c * of(v))
    }

    pub(crate) fn add_term(&mut self, v: Var, c: i64) {
        match self.terms.binary_search_by_key(&v, |t| t.0) {
            Ok(i) => {
                self.terms[i].1 = self.terms[i].1.saturating_add(c);
                if self.terms[i].1 == 0 {
                    self.terms.remove(i);
                }
            }
            Err(i) if c != 0 => self.terms.insert(i, (v, c)),
            Err(_) => {}
        }
    }
}

impl Index {
    /// The constant `c`.
    pub fn constant(c: i64) -> Index {
        Affine::constant(c).into()
    }

    /// The variable `v`.
    pub fn var(v: Var) -> Index {
        Affine::var(v).into()
    }

    /// The value of a register times `stride`; the register must be defined by a clamp.
    pub fn dynamic(reg: Reg, stride: i64) -> Index {
        Index { affine: Affine::default(), dynamic: vec![(reg, stride)] }
    }

    /// The sum of two indices.
    #[must_use]
    pub fn plus(&self, other: &Index) -> Index {
        let mut dynamic = self.dynamic.clone();
        dynamic.extend_from_slice(&other.dynamic);
        Index { affine: self.affine.plus(&other.affine), dynamic }
    }

    /// The index plus a constant.
    #[must_use]
    pub fn offset(&self, c: i64) -> Index {
        Index { affine: self.affine.offset(c), dynamic: self.dynamic.clone() }
    }

    /// The index times a constant.
    #[must_use]
    pub fn times(&self, c: i64) -> Index {
        if c == 0 {
            return Index::default();
        }
        Index {
            affine: self.affine.times(c),
            dynamic: self.dynamic.iter().map(|&(r, s)| (r, s.saturating_mul(c))).collect(),
        }
    }

    /// The flat row-major index of a multi-index, given strides.
    pub fn flat(index: &[Index], strides: &[usize]) -> Index {
        index
            .iter()
            .zip(strides)
            .fold(Index::default(), |sum, (i, &s)| sum.plus(&i.times(s as i64)))
    }
}

impl From<Affine> for Index {
    fn from(affine: Affine) -> Index {
        Index { affine, dynamic: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_stay_sorted_and_cancel() {
        let (i, j) = (Affine::var(Var(0)), Affine::var(Var(1)));
        let e = j.times(3).plus(&i).offset(2);
        assert_eq!(e.terms[..], [(Var(0), 1), (Var(1), 3)]);
        assert_eq!(e.plus(&i.times(-1)).terms[..], [(Var(1), 3)]);
        assert_eq!(e.substitute(Var(1), &i.times(2).offset(1)), i.times(7).offset(5));
        assert_eq!(Affine::flat(&[i, j], &[10, 1]).value(|v| i64::from(v.0) + 4), 45);
    }
}
