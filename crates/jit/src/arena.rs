//! Zeroed memory aligned to 64 bytes, taken from the system page by page as it is touched: huge pages
//! where the block is large and the system has them.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use crate::error::Error;

/// A cache line, and a vector of AVX-512.
pub(crate) const ALIGNMENT: usize = 64;

/// Bytes of a huge page. Weights are read as streams, which the processor follows no further than
/// to the end of a page, and translating addresses of small pages costs as much as reading them.
const HUGE: usize = 2 << 20;
/// A block smaller than this would waste too much of its last huge page.
const LARGE: usize = 8 * HUGE;

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
    /// No bytes.
    pub fn empty() -> Arena {
        let base = std::ptr::without_provenance_mut(ALIGNMENT);
        Arena { base, allocation: base, layout: None, bytes: 0 }
    }

    /// `bytes` zero bytes.
    ///
    /// Allocators give zeroed memory without touching it only at small alignments, so the block is
    /// larger than asked for and aligned here.
    pub fn new(bytes: usize, what: &'static str) -> Result<Arena, Error> {
        if bytes == 0 {
            return Ok(Arena::empty());
        }
        let failed = || Error::Memory { what, bytes };
        let alignment = if bytes < LARGE { ALIGNMENT } else { HUGE };
        let padded = bytes.checked_add(alignment).ok_or_else(failed)?;
        let layout = Layout::from_size_align(padded, 16).map_err(|_| failed())?;
        // SAFETY: the layout's size is not 0.
        let allocation = unsafe { alloc_zeroed(layout) };
        if allocation.is_null() {
            return Err(failed());
        }
        let shift = allocation.align_offset(alignment);
        // SAFETY: the shift is less than `alignment`, by which the block is longer.
        let base = unsafe { allocation.add(shift) };
        huge_pages(base, bytes / HUGE * HUGE * usize::from(alignment == HUGE));
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

/// Asks for huge pages in a range that begins at one and has been touched nowhere; a refusal changes
/// speed only, and is ignored.
fn huge_pages(base: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is owned by the caller, and the advice leaves what it holds.
    unsafe {
        libc::madvise(base.cast(), bytes, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (base, bytes);
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
        for bytes in [0, 1, 100, 1 << 20, LARGE + 100] {
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
