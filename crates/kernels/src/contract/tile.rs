//! The register block: a few rows times a few vectors, down one block of depth.

use crate::simd::Simd;

/// What one tile reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// In place: the operand's base; packed: `[depth][8]`.
    pub a: *const f32,
    /// In place: offset of each row; packed: not read.
    pub a_rows: *const u32,
    /// In place: offset of each depth; packed: not read.
    pub a_depth: *const u32,
    /// The panel: `[depth][width]`.
    pub b: *const f32,
    pub depth: usize,
    /// The operand's base.
    pub c: *mut f32,
    /// Offset of each row.
    pub c_rows: *const u32,
    /// Offset of each column of the panel.
    pub c_cols: *const u32,
    /// Columns that exist; the panel's others are padding.
    pub cols: usize,
    /// Whether the columns follow each other in memory.
    pub contiguous: bool,
    /// Whether the sums are added to `C`.
    pub add: bool,
}

/// A compiled tile of a certain height and width.
///
/// # Safety
/// Every element that the tile's tables name is readable (`a`, `b`) or writable (`c`), and the
/// processor has the instruction set that the function was compiled for.
pub(super) type TileFn = unsafe fn(&Tile);

/// Rows `R`, vectors `V`, `A` packed or in place.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const R: usize, const V: usize, const PACKED: bool>(
    s: S,
    t: &Tile,
) {
    let zero = s.splat(0.0);
    let mut sums = [[zero; V]; R];
    let mut rows = [t.a; R];
    if !PACKED {
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: the tile has R rows, and each starts inside the operand.
            *row = unsafe { t.a.add(*t.a_rows.add(i) as usize) };
        }
    }
    let mut b = t.b;
    for k in 0..t.depth {
        let mut columns = [zero; V];
        for (v, column) in columns.iter_mut().enumerate() {
            // SAFETY: the panel is V vectors wide and `depth` deep.
            *column = unsafe { s.load(b.add(v * S::LANES)) };
        }
        // SAFETY: `k < depth`, the length of the table; one past the last panel row at most.
        let offset = unsafe {
            b = b.add(V * S::LANES);
            if PACKED { 0 } else { *t.a_depth.add(k) as usize }
        };
        for i in 0..R {
            // SAFETY: packed rows are eight wide; in place the tables name readable elements.
            let a = s.splat(unsafe {
                if PACKED { *t.a.add(k * super::OCTET + i) } else { *rows[i].add(offset) }
            });
            for v in 0..V {
                sums[i][v] = s.mul_add(a, columns[v], sums[i][v]);
            }
        }
    }
    // SAFETY: as our own contract.
    unsafe {
        if t.contiguous {
            store_rows(s, t, &sums);
        } else {
            store_scattered(s, t, &sums);
        }
    }
}

/// Stores a tile whose columns follow each other.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn store_rows<S: Simd, const R: usize, const V: usize>(
    s: S,
    t: &Tile,
    sums: &[[S::F; V]; R],
) {
    // SAFETY: each row's columns from the first on are writable, `cols` of them.
    unsafe {
        let first = t.c.add(*t.c_cols as usize);
        for (i, row) in sums.iter().enumerate() {
            let c = first.add(*t.c_rows.add(i) as usize);
            for (v, &sum) in row.iter().enumerate() {
                let from = v * S::LANES;
                let n = t.cols.saturating_sub(from);
                let c = c.wrapping_add(from);
                if n >= S::LANES {
                    s.store(c, if t.add { s.add(s.load(c), sum) } else { sum });
                } else if n > 0 {
                    let sum = if t.add { s.add(s.load_first(c, n), sum) } else { sum };
                    s.store_first(c, sum, n);
                }
            }
        }
    }
}

/// Stores a tile column by column, by way of a copy in memory.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn store_scattered<S: Simd, const R: usize, const V: usize>(
    s: S,
    t: &Tile,
    sums: &[[S::F; V]; R],
) {
    // Three vectors of sixteen lanes are the widest panel.
    let mut copy = [[0f32; 48]; R];
    for (row, sums) in copy.iter_mut().zip(sums) {
        for (v, &sum) in sums.iter().enumerate() {
            // SAFETY: V vectors fit 48 elements, for every kernel set.
            unsafe { s.store(row.as_mut_ptr().add(v * S::LANES), sum) };
        }
    }
    for j in 0..t.cols {
        // SAFETY: `cols` columns and R rows exist, all writable; `cols` is at most the width.
        unsafe {
            let column = t.c.add(*t.c_cols.add(j) as usize);
            for (i, row) in copy.iter().enumerate() {
                let c = column.add(*t.c_rows.add(i) as usize);
                let sum = *row.as_ptr().add(j);
                *c = if t.add { *c + sum } else { sum };
            }
        }
    }
}
