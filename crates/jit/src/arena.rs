//! Zeroed memory aligned to 64 bytes, taken from the system page by page as it is touched: huge pages
//! where the block is large and the system has them.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::Range;

use crate::error::Error;

/// A cache line, and a vector of AVX-512.
pub(crate) const ALIGNMENT: usize = 64;

/// Bytes of a huge page. Weights are read as streams, which the processor follows no further than
/// to the end of a page, and translating addresses of small pages costs as much as reading them.
const HUGE: usize = 2 << 20;
/// Bytes of a page, or a multiple.
const PAGE: usize = 64 << 10;
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
        if alignment == HUGE {
            advise(base, bytes / HUGE * HUGE, Advice::Huge);
        }
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

    /// Gives the whole pages of a range back to the system. What they held is lost: they are as new
    /// when touched again, or as they were where the system does not take them.
    ///
    /// # Panics
    /// If the range reaches beyond the end.
    pub fn give_back(&mut self, range: Range<usize>) {
        let (begin, end) = (self.at(range.start), self.at(range.end));
        let from = begin.align_offset(PAGE);
        let bytes = (end.addr().saturating_sub(begin.addr() + from)) / PAGE * PAGE;
        if bytes > 0 {
            // SAFETY: these pages lie within the range, which is owned.
            advise(unsafe { begin.add(from) }, bytes, Advice::Unneeded);
        }
    }
}

/// What the system is told of pages.
#[derive(Clone, Copy)]
enum Advice {
    /// Huge ones are welcome.
    Huge,
    /// What they hold is not needed.
    Unneeded,
}

/// Tells the system about pages that the caller owns, who needs nothing they hold if they are
/// unneeded. A refusal changes speed and memory only, and is ignored.
fn advise(base: *mut u8, bytes: usize, advice: Advice) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is owned by the caller; advice about huge pages leaves what it holds.
    unsafe {
        let advice = match advice {
            Advice::Huge => libc::MADV_HUGEPAGE,
            Advice::Unneeded => libc::MADV_DONTNEED,
        };
        libc::madvise(base.cast(), bytes, advice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (base, bytes, advice);
}

/// Gives back what the allocator keeps of memory that was freed, such as that of compilation.
pub(crate) fn trim_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
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
    fn pages_that_were_given_back_are_new_and_their_neighbours_as_they_were() {
        for (bytes, range) in [(LARGE + 100, PAGE - 1..LARGE), (PAGE / 2, 0..PAGE / 2), (0, 0..0)] {
            let mut arena = Arena::new(bytes, "a test").unwrap();
            let written = |i: usize| (i % 251) as u8 + 1;
            for i in 0..bytes {
                // SAFETY: the arena has so many bytes, and nobody else knows it.
                unsafe { *arena.at(i) = written(i) };
            }
            arena.give_back(range.clone());
            for i in 0..bytes {
                // SAFETY: as above.
                let found = unsafe { *arena.at(i) };
                let may_be_new = range.contains(&i) && found == 0;
                assert!(found == written(i) || may_be_new, "byte {i} of {bytes}");
            }
        }
    }

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
