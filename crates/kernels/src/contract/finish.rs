//! Epilogues: what is done to the elements of `C` once their sums are complete, tile by tile, while
//! they are in registers or the first cache.
//!
//! A register block whose rows are vectors in `C` too finishes its sums itself ([`super::tile`]);
//! this is for the others, and for products of few rows.

use std::ops::Range;

use crate::simd::Simd;

/// What is done to a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish<'a> {
    /// The operand's base.
    pub c: *mut f32,
    /// Offset of each row.
    pub c_rows: &'a [u32],
    /// Offset of each column.
    pub c_cols: &'a [u32],
    /// Whether the columns follow each other.
    pub contiguous: bool,
    /// A value for each column, added; null for none.
    pub bias: *const f32,
    /// Added then, at its own rows and the columns of `C`; null for none.
    pub residual: *const f32,
    /// Offset of each row in the residual, if there is one.
    pub residual_rows: &'a [u32],
    /// Whether the maximum with 0 is taken then.
    pub relu: bool,
    /// The minimum with this is taken last; infinity, which changes nothing, for none.
    pub cap: f32,
}

impl<'a> Finish<'a> {
    /// The same for some of the rows and columns; `contiguous` is of these columns.
    pub fn of(&self, rows: &Range<usize>, cols: &Range<usize>, contiguous: bool) -> Finish<'a> {
        let bias = if self.bias.is_null() { self.bias } else { self.bias.wrapping_add(cols.start) };
        Finish {
            c_rows: &self.c_rows[rows.clone()],
            c_cols: &self.c_cols[cols.clone()],
            residual_rows: self.residual_rows.get(rows.clone()).unwrap_or(&[]),
            contiguous,
            bias,
            ..*self
        }
    }
}

/// A compiled epilogue.
///
/// # Safety
/// The tables name elements of `c` that may be written and of `residual` that may be read, there is
/// a bias for each column, and the processor has the instruction set.
pub(super) type FinishFn = unsafe fn(&Finish<'_>);

/// Applies the epilogue.
///
/// # Safety
/// As [`FinishFn`].
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(s: S, f: &Finish<'_>) {
    let cols = f.c_cols.len();
    let Some(&first) = f.c_cols.first() else { return };
    let (cap, capped) = (s.splat(f.cap), f.cap < f32::INFINITY);
    // SAFETY: as our own contract; columns that follow each other begin with the first.
    unsafe {
        for (row, &offset) in f.c_rows.iter().enumerate() {
            let c = f.c.add(offset as usize);
            let residual = match f.residual_rows.get(row) {
                Some(&offset) if !f.residual.is_null() => f.residual.add(offset as usize),
                _ => std::ptr::null(),
            };
            if !f.contiguous {
                for (col, &offset) in f.c_cols.iter().enumerate() {
                    one(f, c.add(offset as usize), residual, offset, col);
                }
                continue;
            }
            let whole = cols / S::LANES * S::LANES;
            for at in (0..whole).step_by(S::LANES) {
                let c = c.add(first as usize + at);
                let mut x = s.load(c);
                if !f.bias.is_null() {
                    x = s.add(x, s.load(f.bias.add(at)));
                }
                if !residual.is_null() {
                    x = s.add(x, s.load(residual.add(first as usize + at)));
                }
                if f.relu {
                    x = relu(s, x);
                }
                if capped {
                    x = s.min(cap, x);
                }
                s.store(c, x);
            }
            for col in whole..cols {
                let offset = *f.c_cols.as_ptr().add(col);
                one(f, c.add(offset as usize), residual, offset, col);
            }
        }
    }
}

/// The maximum with 0: NaN stays, and of two zeros the positive one.
#[inline(always)]
pub(super) fn relu<S: Simd>(s: S, x: S::F) -> S::F {
    let zero = s.splat(0.0);
    s.add(s.max(zero, x), zero)
}

/// One element, at `c`, of a column.
///
/// # Safety
/// As [`FinishFn`].
#[inline(always)]
unsafe fn one(f: &Finish<'_>, c: *mut f32, residual: *const f32, offset: u32, col: usize) {
    // SAFETY: as our own contract.
    unsafe {
        let mut x = *c;
        if !f.bias.is_null() {
            x += *f.bias.add(col);
        }
        if !residual.is_null() {
            x += *residual.add(offset as usize);
        }
        if f.relu {
            x = if x < 0.0 { 0.0 } else { x + 0.0 };
        }
        *c = if f.cap < x { f.cap } else { x };
    }
}
