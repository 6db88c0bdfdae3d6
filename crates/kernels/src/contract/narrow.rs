//! Products of a few rows, where packing `B` would cost more than it saves: `B` is read once, in
//! the order it lies in memory.
//!
//! - [`axpy`] where columns follow each other: whole rows of `B` are added to sums that stay in
//!   the first cache. The order of each sum is that of the register block.
//! - [`dot`] where depths follow each other: sixty-four partial sums for every element, folded by
//!   halves, on every instruction set. A small `B`, which the second-level cache may hold, is read
//!   two columns at a time, which share what is read of `A`. A large one comes from further away, four
//!   columns at a time: the processor follows a stream to the end of its page only, so more streams
//!   are more that is on its way.

use super::NARROW_ROWS;
use crate::simd::Simd;

/// Columns whose sums [`axpy`] keeps at a time.
pub(super) const AXPY_COLUMNS: usize = 1024;
/// The most terms [`dot`] sums from one zero, as many in each partial sum: where it copies rows of
/// `A`, and where they are in place. The longer the columns are, the less often their streams begin
/// anew.
pub(super) const DOT_BLOCK: usize = 1024;
pub(super) const FOLLOWED_BLOCK: usize = 16 * DOT_BLOCK;
/// Partial sums of [`dot`].
const PARTIAL: usize = 64;
/// Columns that [`dot`] reads at a time of a `B` of at most [`NEAR_SIZE`] elements, and of a larger one.
const NEAR: usize = 2;
const FAR: usize = 4;
/// An eighth of the second-level cache of most processors.
const NEAR_SIZE: usize = 32 * 1024;
/// Vectors of the narrowest kind that hold them.
const VECTORS: usize = 8;
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
    /// Whether depths follow each other in `A` too.
    pub a_follows: bool,
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

/// `C[r, c] += A[r, :] . B[:, c]`, column by column.
///
/// # Safety
/// As [`NarrowFn`].
#[inline(always)]
pub(super) unsafe fn dot<S: Simd>(s: S, n: &Narrow<'_>) {
    let depth = n.a_depth.len();
    let first = n.a_depth.first().map_or(0, |&offset| offset as usize);
    // SAFETY: `NARROW_ROWS` rows of `DOT_BLOCK` elements of scratch. The depths of each column follow
    // each other, and those of each row there or in place.
    unsafe {
        let mut rows = [n.scratch.cast_const(); NARROW_ROWS];
        for (i, (row, &offset)) in rows.iter_mut().zip(n.a_rows).enumerate() {
            if n.a_follows {
                *row = n.a.wrapping_add(offset as usize + first);
                continue;
            }
            let line = n.scratch.add(i * DOT_BLOCK);
            for (k, &depth) in n.a_depth.iter().enumerate() {
                *line.add(k) = *n.a.add(offset as usize + depth as usize);
            }
            *row = line;
        }
        let start = n.b_depth.first().map_or(0, |&offset| offset as usize);
        let column = |j: usize| {
            let offset = *n.b_cols.as_ptr().add(j) as usize;
            n.b.wrapping_add(start + offset)
        };
        let cols = n.b_cols.len();
        let rows = &rows[..n.a_rows.len()];
        // Four times the sums of one column fit the registers of the widest vectors only.
        let done = if PARTIAL / S::LANES > FAR {
            0
        } else if cols * depth > NEAR_SIZE {
            columns::<S, FAR>(s, n, rows, 0, column)
        } else {
            columns::<S, NEAR>(s, n, rows, 0, column)
        };
        columns::<S, 1>(s, n, rows, done, column);
    }
}

/// All columns from `from` on, `C` at a time, but for those that are left over; where these begin.
///
/// # Safety
/// As [`dot`]; `rows` and `column` tell where the depths of each begin.
#[inline(always)]
unsafe fn columns<S: Simd, const C: usize>(
    s: S,
    n: &Narrow<'_>,
    rows: &[*const f32],
    from: usize,
    column: impl Fn(usize) -> *const f32,
) -> usize {
    let (cols, depth) = (n.b_cols.len(), n.a_depth.len());
    let end = cols - (cols - from) % C;
    for j in (from..end).step_by(C) {
        let columns: [_; C] = std::array::from_fn(|c| column(j + c));
        for (i, &row) in rows.iter().enumerate() {
            // SAFETY: as our own contract.
            unsafe {
                for (c, sum) in products(s, row, columns, depth).into_iter().enumerate() {
                    put(n, i, j + c, sum);
                }
            }
        }
    }
    end
}

/// For each of some columns the sum of `depth` products.
///
/// # Safety
/// At `a` and of each column `depth` elements are readable.
#[inline(always)]
unsafe fn products<S: Simd, const C: usize>(
    s: S,
    a: *const f32,
    columns: [*const f32; C],
    depth: usize,
) -> [f32; C] {
    const { assert!(PARTIAL.is_multiple_of(S::LANES) && PARTIAL / S::LANES <= VECTORS) };
    let vectors = PARTIAL / S::LANES;
    let mut sums = [[s.splat(0.0); VECTORS]; C];
    let whole = depth / PARTIAL * PARTIAL;
    // SAFETY: as our own contract; of the last vectors as much is read as there is.
    unsafe {
        for k in (0..whole).step_by(PARTIAL) {
            for v in 0..vectors {
                let at = k + v * S::LANES;
                let a = s.load(a.add(at));
                for c in 0..C {
                    sums[c][v] = s.mul_add(a, s.load(columns[c].add(at)), sums[c][v]);
                }
            }
        }
        for v in 0..vectors {
            let at = whole + v * S::LANES;
            if at < depth {
                let load = |p: *const f32| s.load_first(p.add(at), depth - at);
                for c in 0..C {
                    sums[c][v] = s.mul_add(load(a), load(columns[c]), sums[c][v]);
                }
            }
        }
    }
    let mut results = [0.0; C];
    for (result, &sums) in results.iter_mut().zip(&sums) {
        *result = fold(s, sums);
    }
    results
}

/// The sum of the partial sums by halves: first whole vectors, then lanes.
#[inline(always)]
fn fold<S: Simd>(s: S, mut sums: [S::F; VECTORS]) -> f32 {
    let mut half = PARTIAL / S::LANES / 2;
    while half > 0 {
        for v in 0..half {
            sums[v] = s.add(sums[v], sums[v + half]);
        }
        half /= 2;
    }
    s.sum(sums[0])
}
