//! Products of a few rows, where packing `B` would cost more than it saves: `B` is read once, in
//! the order it lies in memory.
//!
//! - [`axpy`] where columns follow each other: whole rows of `B` are added to sums that stay in
//!   the first cache. The order of each sum is that of the register block.
//! - [`dot`] where depths follow each other: sixteen partial sums for every element, folded by
//!   halves, on every instruction set.

use super::{NARROW_ROWS, OCTET};
use crate::simd::Simd;

/// Columns whose sums [`axpy`] keeps at a time.
pub(super) const AXPY_COLUMNS: usize = 1024;
/// The most terms [`dot`] sums from one zero, a sixteenth of them in each partial sum.
pub(super) const DOT_BLOCK: usize = 1024;
/// Partial sums of [`dot`].
const PARTIAL: usize = 16;
/// Elements of scratch either wants.
pub(super) const SCRATCH: usize =
    NARROW_ROWS * if AXPY_COLUMNS > DOT_BLOCK { AXPY_COLUMNS } else { DOT_BLOCK };

/// One block of depth of a product of a few rows.
#[derive(Clone, Copy)]
pub(super) struct Narrow<'a> {
    pub a: *const f32,
    pub b: *const f32,
    pub c: *mut f32,
    pub a_rows: &'a [u32],
    pub a_depth: &'a [u32],
    pub b_depth: &'a [u32],
    pub b_cols: &'a [u32],
    pub c_rows: &'a [u32],
    pub c_cols: &'a [u32],
    pub add: bool,
    /// [`SCRATCH`] elements.
    pub scratch: *mut f32,
}

/// A compiled narrow product.
///
/// # Safety
/// Every element that the tables name is readable (`a`, `b`) or writable (`c`); at most
/// [`NARROW_ROWS`] rows; `b_cols` follow each other and are at most [`AXPY_COLUMNS`] (axpy), or
/// `b_depth` follow each other and are at most [`DOT_BLOCK`] (dot); the processor has the
/// instruction set.
pub(super) type NarrowFn = unsafe fn(&Narrow<'_>);

/// Writes or adds one sum.
///
/// # Safety
/// Row and column exist.
#[inline(always)]
unsafe fn put(n: &Narrow<'_>, row: usize, column: usize, sum: f32) {
    // SAFETY: the tables name writable elements.
    unsafe {
        let offset = *n.c_rows.as_ptr().add(row) as usize + *n.c_cols.as_ptr().add(column) as usize;
        let c = n.c.add(offset);
        *c = if n.add { *c + sum } else { sum };
    }
}

/// `C[r, :] += A[r, d] * B[d, :]`, four depths at a time.
///
/// # Safety
/// As [`NarrowFn`].
#[inline(always)]
pub(super) unsafe fn axpy<S: Simd>(s: S, n: &Narrow<'_>) {
    let (rows, cols) = (n.a_rows.len(), n.b_cols.len());
    let stride = cols.next_multiple_of(S::LANES);
    if cols == 0 {
        return;
    }
    // SAFETY: rows * stride elements of scratch, LANES divides AXPY_COLUMNS; the tables name
    // readable elements, and the columns of B follow each other.
    unsafe {
        for i in (0..rows * stride).step_by(S::LANES) {
            s.store(n.scratch.add(i), s.splat(0.0));
        }
        let b = n.b.wrapping_add(*n.b_cols.as_ptr() as usize);
        let mut fours = n.a_depth.chunks_exact(4).zip(n.b_depth.chunks_exact(4));
        for (a_depth, b_depth) in &mut fours {
            axpy_depths::<S, 4>(s, n, a_depth, b_depth, b, stride);
        }
        let done = n.a_depth.len() / 4 * 4;
        for (a_depth, b_depth) in n.a_depth.iter().zip(n.b_depth).skip(done) {
            let (a_depth, b_depth) = (std::slice::from_ref(a_depth), std::slice::from_ref(b_depth));
            axpy_depths::<S, 1>(s, n, a_depth, b_depth, b, stride);
        }
        for row in 0..rows {
            for column in 0..cols {
                put(n, row, column, *n.scratch.add(row * stride + column));
            }
        }
    }
}

/// Adds `D` depths to all sums, one after the other in each.
///
/// # Safety
/// As [`axpy`]; both tables have `D` elements.
#[inline(always)]
unsafe fn axpy_depths<S: Simd, const D: usize>(
    s: S,
    n: &Narrow<'_>,
    a_depth: &[u32],
    b_depth: &[u32],
    b: *const f32,
    stride: usize,
) {
    let cols = n.b_cols.len();
    for (row, &a_row) in n.a_rows.iter().enumerate() {
        // SAFETY: as our own contract; the last vector of columns reads only those that exist.
        unsafe {
            let sums = n.scratch.add(row * stride);
            let mut factors = [s.splat(0.0); D];
            let mut lines = [b; D];
            for d in 0..D {
                let a = n.a.add(a_row as usize + *a_depth.as_ptr().add(d) as usize);
                factors[d] = s.splat(*a);
                lines[d] = b.add(*b_depth.as_ptr().add(d) as usize);
            }
            let whole = cols / S::LANES * S::LANES;
            for j in (0..whole).step_by(S::LANES) {
                let mut sum = s.load(sums.add(j));
                for d in 0..D {
                    sum = s.mul_add(factors[d], s.load(lines[d].add(j)), sum);
                }
                s.store(sums.add(j), sum);
            }
            if whole < cols {
                let mut sum = s.load(sums.add(whole));
                for d in 0..D {
                    let b = s.load_first(lines[d].add(whole), cols - whole);
                    sum = s.mul_add(factors[d], b, sum);
                }
                s.store(sums.add(whole), sum);
            }
        }
    }
}

/// `C[r, c] += A[r, :] . B[:, c]`, by tiles of a few rows and columns.
///
/// # Safety
/// As [`NarrowFn`].
#[inline(always)]
pub(super) unsafe fn dot<S: Simd>(s: S, n: &Narrow<'_>) {
    let depth = n.a_depth.len();
    // SAFETY: `NARROW_ROWS` rows of `DOT_BLOCK` elements of scratch; `PARTIAL` divides the latter.
    unsafe {
        for (row, &a_row) in n.a_rows.iter().enumerate() {
            let line = n.scratch.add(row * DOT_BLOCK);
            for (k, &offset) in n.a_depth.iter().enumerate() {
                *line.add(k) = *n.a.add(a_row as usize + offset as usize);
            }
            for k in depth..depth.next_multiple_of(PARTIAL) {
                *line.add(k) = 0.0;
            }
        }
        match n.a_rows.len() {
            1 => dot_columns::<S, 1, 4>(s, n),
            2 => dot_columns::<S, 2, 2>(s, n),
            3 => dot_columns::<S, 3, 1>(s, n),
            4 => dot_columns::<S, 4, 1>(s, n),
            _ => {}
        }
    }
}

/// All columns, `C` at a time, for `R` rows.
///
/// # Safety
/// As [`dot`].
#[inline(always)]
unsafe fn dot_columns<S: Simd, const R: usize, const C: usize>(s: S, n: &Narrow<'_>) {
    let cols = n.b_cols.len();
    let whole = cols / C * C;
    for j in (0..whole).step_by(C) {
        // SAFETY: as our own contract; `C` columns from `j` on exist.
        unsafe { dot_tile::<S, R, C>(s, n, j) };
    }
    for j in whole..cols {
        // SAFETY: as our own contract; column `j` exists.
        unsafe { dot_tile::<S, R, 1>(s, n, j) };
    }
}

/// `R` rows times the `C` columns from `first` on.
///
/// # Safety
/// As [`dot`].
#[inline(always)]
unsafe fn dot_tile<S: Simd, const R: usize, const C: usize>(s: S, n: &Narrow<'_>, first: usize) {
    // Two vectors of eight lanes or one of sixteen hold the partial sums.
    const { assert!(S::LANES == OCTET || S::LANES == PARTIAL) };
    let vectors = PARTIAL / S::LANES;
    let depth = n.a_depth.len();
    let mut sums = [[[s.splat(0.0); 2]; C]; R];
    // SAFETY: the depths of each column follow each other, the last sixteen are read as far as
    // they exist; the copies of A are padded with zeros.
    unsafe {
        let start = n.b_depth.first().map_or(0, |&offset| offset as usize);
        let mut columns = [n.b; C];
        for (c, column) in columns.iter_mut().enumerate() {
            *column = n.b.wrapping_add(start + *n.b_cols.as_ptr().add(first + c) as usize);
        }
        let whole = depth / PARTIAL * PARTIAL;
        for k in (0..whole).step_by(PARTIAL) {
            for v in 0..vectors {
                let at = k + v * S::LANES;
                for c in 0..C {
                    let b = s.load(columns[c].add(at));
                    for r in 0..R {
                        let a = s.load(n.scratch.add(r * DOT_BLOCK + at));
                        sums[r][c][v] = s.mul_add(a, b, sums[r][c][v]);
                    }
                }
            }
        }
        if whole < depth {
            for v in 0..vectors {
                let at = whole + v * S::LANES;
                for c in 0..C {
                    let b = columns[c].wrapping_add(at);
                    let b = s.load_first(b, depth.saturating_sub(at));
                    for r in 0..R {
                        let a = s.load(n.scratch.add(r * DOT_BLOCK + at));
                        sums[r][c][v] = s.mul_add(a, b, sums[r][c][v]);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let mut partial = [0f32; PARTIAL];
                for v in 0..vectors {
                    s.store(partial.as_mut_ptr().add(v * S::LANES), sums[r][c][v]);
                }
                put(n, r, first + c, fold(partial));
            }
        }
    }
}

/// The sum of the partial sums, by halves.
#[inline(always)]
fn fold(mut partial: [f32; PARTIAL]) -> f32 {
    let mut half = PARTIAL / 2;
    while half > 0 {
        for i in 0..half {
            partial[i] += partial[i + half];
        }
        half /= 2;
    }
    partial[0]
}
