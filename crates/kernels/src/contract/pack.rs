//! Packing: the columns of a panel side by side, one depth after the other.
//!
//! The rows of a tile of `A` are packed by the same function, as a panel eight wide.

use super::OCTET;
use crate::simd::Octet;

/// How the elements of a panel lie in memory, and so how they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Each eight columns follow each other: copied.
    Columns,
    /// Each eight depths follow each other: transposed.
    Depths,
    /// Neither: one element at a time.
    Scattered,
}

/// Whether each aligned eight of `offsets`, and the shorter last, follow each other.
pub(super) fn octets_follow(offsets: &[u32]) -> bool {
    offsets.chunks(OCTET).all(follow)
}

/// Whether the elements follow each other.
pub(super) fn follow(offsets: &[u32]) -> bool {
    offsets.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]))
}

/// A compiled packing function: columns at `src + cols[j] + depth[k]` go to `dst[k * width + j]`,
/// zeros to the columns between `cols.len()` and `width`, which is a multiple of eight.
///
/// # Safety
/// The tables have `form` and name readable elements of `src`, `depth.len() * width` elements at
/// `dst` are writable, and the processor has the instruction set.
pub(super) type PackFn = unsafe fn(
    src: *const f32,
    cols: &[u32],
    depth: &[u32],
    form: Form,
    width: usize,
    dst: *mut f32,
);

/// # Safety
/// As [`PackFn`].
#[inline(always)]
pub(super) unsafe fn pack<S: Octet>(
    s: S,
    src: *const f32,
    cols: &[u32],
    depth: &[u32],
    form: Form,
    width: usize,
    dst: *mut f32,
) {
    // Whole octets that are copied go row by row: a row of them is read and written at once.
    let copied = if form == Form::Columns { cols.len() / OCTET * OCTET } else { 0 };
    for (k, &offset) in depth.iter().enumerate() {
        for start in (0..copied).step_by(OCTET) {
            // SAFETY: the octet's columns follow each other from its first, at every depth.
            unsafe {
                let src = src.add(*cols.as_ptr().add(start) as usize + offset as usize);
                s.store(dst.add(k * width + start), s.load(src));
            }
        }
    }
    for start in (copied..width).step_by(OCTET) {
        let octet = cols.get(start..).map_or(&[][..], |rest| &rest[..rest.len().min(OCTET)]);
        // SAFETY: as our own contract; columns `start..start + 8` of every row of `dst`.
        unsafe {
            let dst = dst.add(start);
            match form {
                _ if octet.is_empty() => zero(s, depth.len(), width, dst),
                Form::Columns => copy_first(s, src, octet, depth, width, dst),
                Form::Depths => transpose(s, src, octet, depth, width, dst),
                Form::Scattered => gather(src, octet, depth, width, dst),
            }
        }
    }
}

/// # Safety
/// Eight elements at each of `depth` rows of `dst` are writable.
#[inline(always)]
unsafe fn zero<S: Octet>(s: S, depth: usize, width: usize, dst: *mut f32) {
    for k in 0..depth {
        // SAFETY: as our own contract.
        unsafe { s.store(dst.add(k * width), s.splat(0.0)) };
    }
}

/// # Safety
/// As [`PackFn`], for an octet that is not whole and whose columns follow each other.
#[inline(always)]
unsafe fn copy_first<S: Octet>(
    s: S,
    src: *const f32,
    octet: &[u32],
    depth: &[u32],
    width: usize,
    dst: *mut f32,
) {
    // SAFETY: the octet's columns follow each other from its first, at every depth.
    unsafe {
        let src = src.wrapping_add(*octet.as_ptr() as usize);
        for (k, &offset) in depth.iter().enumerate() {
            s.store(dst.add(k * width), s.load_first(src.add(offset as usize), octet.len()));
        }
    }
}

/// # Safety
/// As [`PackFn`], for one octet; each eight depths follow each other.
#[inline(always)]
unsafe fn transpose<S: Octet>(
    s: S,
    src: *const f32,
    octet: &[u32],
    depth: &[u32],
    width: usize,
    dst: *mut f32,
) {
    let whole = if octet.len() == OCTET { depth.len() / OCTET * OCTET } else { 0 };
    let mut columns = [0; OCTET];
    for (column, &offset) in columns.iter_mut().zip(octet) {
        *column = offset as usize;
    }
    for start in (0..whole).step_by(OCTET) {
        // SAFETY: each column's depths follow each other from the eight's first, and all are there.
        unsafe {
            let src = src.add(*depth.as_ptr().add(start) as usize);
            let rows = s.transpose(columns.map(|column| s.load(src.add(column))));
            for (k, row) in rows.into_iter().enumerate() {
                s.store(dst.add((start + k) * width), row);
            }
        }
    }
    for start in (whole..depth.len()).step_by(OCTET) {
        let count = OCTET.min(depth.len() - start);
        // SAFETY: as above, of the columns and depths that there are; zeros for other columns.
        unsafe {
            let src = src.add(*depth.as_ptr().add(start) as usize);
            let mut rows = [s.splat(0.0); OCTET];
            for (row, &column) in rows.iter_mut().zip(&columns[..octet.len()]) {
                *row = s.load_first(src.add(column), count);
            }
            for (k, row) in s.transpose(rows).into_iter().enumerate().take(count) {
                s.store(dst.add((start + k) * width), row);
            }
        }
    }
}

/// # Safety
/// As [`PackFn`], for one octet.
#[inline(always)]
unsafe fn gather(src: *const f32, octet: &[u32], depth: &[u32], width: usize, dst: *mut f32) {
    let mut columns = [0; OCTET];
    for (column, &offset) in columns.iter_mut().zip(octet) {
        *column = offset as usize;
    }
    for (k, &offset) in depth.iter().enumerate() {
        // SAFETY: the tables name readable elements; eight elements of each row are writable.
        unsafe {
            let src = src.add(offset as usize);
            let dst = dst.add(k * width);
            for (j, &column) in columns.iter().enumerate() {
                *dst.add(j) = if j < octet.len() { *src.add(column) } else { 0.0 };
            }
        }
    }
}
