//! Zeroed memory aligned to 64 bytes, taken from the system page by page as it is touched.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use crate::error::Error;

/// A cache line, and a vector of AVX-512.
pub(crate) const ALIGNMENT: usize = 64;

/// A block of memory.
#[derive(Debug)]
pub(crate) struct Arena {
    base: *mut u8,
    allocation: *mut u8,
    layout: Option<Layout>,
    bytes: usize,
}

// SAFETY: the memory is owned, and reached through `&self` only by pointers whose users argue
// for themselves.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// `bytes` zero bytes.
    ///
    /// Allocators give zeroed memory without touching it only at small alignments, so the block is
    /// larger than asked for and aligned here.
    pub fn new(bytes: usize, what: &'static str) -> Result<Arena, Error> {
        if bytes == 0 {
            let base = std::ptr::without_provenance_mut(ALIGNMENT);
            return Ok(Arena { base, allocation: base, layout: None, bytes });
        }
        let failed = || Error::Memory { what, bytes };
        let padded = bytes.checked_add(ALIGNMENT).ok_or_else(failed)?;
        let layout = Layout::from_size_align(padded, 16).map_err(|_| failed())?;
        // SAFETY: the layout's size is not 0.
        let allocation = unsafe { alloc_zeroed(layout) };
        if allocation.is_null() {
            return Err(failed());
        }
        let shift = allocation.align_offset(ALIGNMENT);
        // SAFETY: the shift is less than `ALIGNMENT`, by which the block is longer.
        let base = unsafe { allocation.add(shift) };
        Ok(Arena { base, allocation, layout: Some(layout), bytes })
    }

    /// The address of a byte.
    ///
    /// # Panics
    /// If `offset` lies beyond the end.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.bytes, "an offset within the arena");
        // SAFETY: the offset was checked.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Some(layout) = self.layout {
            // SAFETY: allocated by `new` with this layout, freed once.
            unsafe { dealloc(self.allocation, layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_impossible_sizes_are_errors() {
        for bytes in [0, 1, 100, 1 << 20] {
            let arena = Arena::new(bytes, "a test").unwrap();
            assert!(arena.at(0).addr().is_multiple_of(ALIGNMENT));
            assert_eq!(arena.at(bytes).addr(), arena.at(0).addr() + bytes);
        }
        for bytes in [usize::MAX, isize::MAX as usize, 1 << 60] {
            let error = Arena::new(bytes, "a test").unwrap_err();
            assert_eq!(error, Error::Memory { what: "a test", bytes });
        }
    }
}
