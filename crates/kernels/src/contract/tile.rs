//! The register block: a few rows times a few vectors, down one block of depth.

use super::finish::{Finish, relu};
use super::quads::{QUAD, Quads};
use super::{LINE, OCTET};
use crate::simd::{Octet, Simd};

/// Columns of the widest panel: four vectors of sixteen lanes.
const WIDEST: usize = 64;

/// What one tile reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// In place: the operand's base; packed: `[depth][8]`.
    pub a: *const f32,
    /// In place: offset of each row; packed: not read.
    pub a_rows: *const u32,
    /// In place: offset of each depth; packed: not read.
    pub a_depth: *const u32,
    /// The panel: `[depth][width]`.
    pub b: *const f32,
    pub depth: usize,
    /// Whether depths follow each other in `A`, by fours from the first on.
    pub quads: bool,
    /// What is read after this panel: prefetched from here on, so many lines, four at most, for four
    /// depths; in parts one of each stream, so many elements apart.
    pub ahead: *const f32,
    pub ahead_lines: usize,
    pub ahead_stream: usize,
    /// Far: elements from this tile's first row to that of the next, whose rows are prefetched as far
    /// as they lie like this one's.
    pub next_rows: usize,
    /// In parts: where the sums of the depths before wait; null if there are none.
    pub from: *const f32,
    /// In parts: where the sums wait for the depths that follow; null if there are none.
    pub to: *mut f32,
    /// The operand's base.
    pub c: *mut f32,
    /// Offset of each row.
    pub c_rows: *const u32,
    /// Offset of each column of the panel.
    pub c_cols: *const u32,
    /// Columns that exist; the panel's others are padding.
    pub cols: usize,
    pub layout: Layout,
    /// Whether the sums are added to `C`.
    pub add: bool,
    /// The epilogue of the tile, if these sums are the last of their elements.
    pub finish: Option<&'a Finish<'a>>,
}

/// How the elements of a tile of `C` lie in memory, and so how they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The columns follow each other: vectors, row by row.
    Rows,
    /// The rows follow each other: vectors, transposed.
    Columns,
    /// Neither: one element at a time.
    Scattered,
}

/// How a tile reads `A`: in place, an element of each row broadcast; packed, the same; in place, a
/// vector of each row, as every column reads an element of its own; in place and the first time, from
/// beyond the second-level cache, as the next tile will; in place, and only a part of a block's depth,
/// which the tile before left in the first cache.
pub(super) const IN_PLACE: u8 = 0;
pub(super) const PACKED: u8 = 1;
pub(super) const CHANNELWISE: u8 = 2;
pub(super) const FAR: u8 = 3;
pub(super) const PARTS: u8 = 4;

/// A compiled tile of a certain height and width.
///
/// # Safety
/// Every element that the tile's tables name is readable (`a`, `b`) or writable (`c`), and the
/// processor has the instruction set that the function was compiled for.
pub(super) type TileFn = unsafe fn(&Tile<'_>);

/// Rows `R`, vectors `V`, `A` read as `FORM` says. Where the layout is [`Layout::Rows`] the epilogue is
/// applied too, in registers.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(super) unsafe fn tile<S: Quads, O: Octet, const R: usize, const V: usize, const FORM: u8>(
    s: S,
    o: O,
    t: &Tile<'_>,
) {
    let mut rows = [t.a; R];
    if FORM != PACKED {
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: the tile has R rows. (Without any depth the operand may be empty.)
            *row = t.a.wrapping_add(unsafe { *t.a_rows.add(i) } as usize);
        }
    }
    // Columns of the last vector, and whether they fill it.
    let last = t.cols.saturating_sub((V - 1) * S::LANES);
    let whole = last == S::LANES;
    let mut sums = [[s.splat(0.0); V]; R];
    if FORM == PARTS && !t.from.is_null() {
        for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
            // SAFETY: there is a place for each sum.
            *sum = unsafe { s.load(t.from.add(i * S::LANES)) };
        }
    }
    let done = if FORM == PACKED || FORM != CHANNELWISE && t.quads {
        // SAFETY: as our own contract; packed depths follow each other, or the tile says so.
        unsafe { s.quads::<R, V, FORM>(t, &rows, &mut sums) }
    } else {
        0
    };
    let mut b = t.b.wrapping_add(done * V * S::LANES);
    let step = t.ahead_lines * LINE / QUAD;
    let mut ahead = t.ahead.wrapping_add(done * step);
    for k in done..t.depth {
        s.prefetch(ahead);
        ahead = ahead.wrapping_add(step);
        let mut columns = [s.splat(0.0); V];
        for (v, column) in columns.iter_mut().enumerate() {
            // SAFETY: the panel is V vectors wide and `depth` deep.
            *column = unsafe { s.load(b.add(v * S::LANES)) };
        }
        // SAFETY: `k < depth`, the length of the table; one past the last panel row at most.
        let offset = unsafe {
            b = b.add(V * S::LANES);
            if FORM == PACKED { 0 } else { *t.a_depth.add(k) as usize }
        };
        if FORM == FAR && offset.is_multiple_of(LINE) {
            for row in &rows {
                s.prefetch(row.wrapping_add(offset).wrapping_add(t.next_rows));
            }
        }
        for i in 0..R {
            if FORM == CHANNELWISE {
                for v in 0..V {
                    // SAFETY: from the row's element on, one for each column is readable; all but
                    // the last vector's lanes are columns.
                    let a = unsafe {
                        let a = rows[i].add(offset + v * S::LANES);
                        if v + 1 < V || whole { s.load(a) } else { s.load_first(a, last) }
                    };
                    sums[i][v] = s.mul_add(a, columns[v], sums[i][v]);
                }
                continue;
            }
            // SAFETY: packed rows are eight wide; in place the tables name readable elements.
            let a = s.splat(unsafe {
                if FORM == PACKED { *t.a.add(k * OCTET + i) } else { *rows[i].add(offset) }
            });
            for v in 0..V {
                sums[i][v] = s.mul_add(a, columns[v], sums[i][v]);
            }
        }
    }
    if FORM == PARTS && !t.to.is_null() {
        for (i, &sum) in sums.as_flattened().iter().enumerate() {
            // SAFETY: there is a place for each sum.
            unsafe { s.store(t.to.add(i * S::LANES), sum) };
        }
    } else {
        // SAFETY: as our own contract.
        unsafe { store(s, o, t, sums) }
    }
}

/// Stores a tile, and finishes it where its layout is [`Layout::Rows`].
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn store<S: Simd, O: Octet, const R: usize, const V: usize>(
    s: S,
    o: O,
    t: &Tile<'_>,
    sums: [[S::F; V]; R],
) {
    // SAFETY: as our own contract; V vectors fit a row of the copy, in every kernel set.
    unsafe {
        if t.layout == Layout::Rows {
            store_rows(s, t, sums);
        } else {
            // By way of a copy in memory; no panel is wider.
            let mut copy = [[0f32; WIDEST]; R];
            for (row, sums) in copy.iter_mut().zip(&sums) {
                for (v, &sum) in sums.iter().enumerate() {
                    s.store(row.as_mut_ptr().add(v * S::LANES), sum);
                }
            }
            if t.layout == Layout::Columns {
                store_columns(o, t, &copy);
            } else {
                store_scattered(t, &copy);
            }
        }
    }
}

/// Finishes and stores a tile whose columns follow each other: one pass over the registers for each
/// thing to do, so that none of them needs more than a register or two beside the sums.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn store_rows<S: Simd, const R: usize, const V: usize>(
    s: S,
    t: &Tile<'_>,
    mut sums: [[S::F; V]; R],
) {
    // Columns of the last vector, and whether they fill it.
    let last = t.cols.saturating_sub((V - 1) * S::LANES);
    let full = |v: usize| v + 1 < V || last >= S::LANES;
    let at = |row: *mut f32, v: usize| row.wrapping_add(v * S::LANES);
    // SAFETY: each row's columns from the first on are readable and writable, `cols` of them; of the
    // bias and of the residual's rows the same number is readable.
    unsafe {
        let load = |row: *const f32, v: usize| {
            let p = at(row.cast_mut(), v);
            if full(v) { s.load(p) } else { s.load_first(p, last) }
        };
        let first_column = *t.c_cols as usize;
        let row = |i: usize| t.c.wrapping_add(first_column + *t.c_rows.add(i) as usize);
        if t.add {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = s.add(load(row(i), v), *sum);
                }
            }
        }
        if let Some(f) = t.finish {
            if !f.bias.is_null() {
                for v in 0..V {
                    let bias = load(f.bias, v);
                    for sums in &mut sums {
                        sums[v] = s.add(sums[v], bias);
                    }
                }
            }
            if !f.residual.is_null() {
                for (i, sums) in sums.iter_mut().enumerate() {
                    let offset = *f.residual_rows.get_unchecked(i) as usize;
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = s.add(*sum, load(f.residual.wrapping_add(first_column + offset), v));
                    }
                }
            }
            if f.relu {
                for sum in sums.as_flattened_mut() {
                    *sum = relu(s, *sum);
                }
            }
            if f.cap < f32::INFINITY {
                let cap = s.splat(f.cap);
                for sum in sums.as_flattened_mut() {
                    *sum = s.min(cap, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let p = at(row(i), v);
                if full(v) { s.store(p, sum) } else { s.store_first(p, sum, last) }
            }
        }
    }
}

/// Stores a tile whose rows follow each other, eight of them and of its columns at a time.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn store_columns<O: Octet, const R: usize>(o: O, t: &Tile<'_>, copy: &[[f32; WIDEST]; R]) {
    // SAFETY: each column's rows from the first on are writable, R of them; columns of the copy
    // are read eight at a time, and there are a multiple of eight.
    unsafe {
        let first = t.c.add(*t.c_rows as usize);
        for start in (0..t.cols).step_by(OCTET) {
            for (part, copy) in copy.chunks(OCTET).enumerate() {
                let mut rows = [o.splat(0.0); OCTET];
                for (row, copy) in rows.iter_mut().zip(copy) {
                    *row = o.load(copy.as_ptr().add(start));
                }
                for (j, &sums) in o.transpose(rows).iter().enumerate().take(t.cols - start) {
                    let c = first.add(*t.c_cols.add(start + j) as usize + part * OCTET);
                    if copy.len() == OCTET {
                        o.store(c, if t.add { o.add(o.load(c), sums) } else { sums });
                    } else {
                        let n = copy.len();
                        let sums = if t.add { o.add(o.load_first(c, n), sums) } else { sums };
                        o.store_first(c, sums, n);
                    }
                }
            }
        }
    }
}

/// Stores a tile one element at a time.
///
/// # Safety
/// As [`TileFn`].
unsafe fn store_scattered<const R: usize>(t: &Tile<'_>, copy: &[[f32; WIDEST]; R]) {
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
