//! Contractions: every matrix product, convolution and convolution gradient, around one register
//! block.
//!
//! `C[r, c] = sum over d of A[r, d] * B[d, c]`, where the place of an element is a sum of two
//! offsets: `A[r, d]` lies at `a_row[r] + a_depth[d]`, and so for `B` and `C`. A convolution is a
//! choice of tables: stride, dilation and layout change nothing else (Georganas et al. 2019,
//! "High-performance deep learning via a single building block").
//!
//! The loops are those of Goto & van de Geijn 2008 ("Anatomy of high-performance matrix
//! multiplication"): `B` is packed into panels of a few vectors' width, split in depth by
//! [`DEPTH_BLOCK`]; a tile of a few rows runs down a panel with its sums in registers. `A` is read
//! in place by broadcast, or packed as well where its lines would evict each other.
//!
//! The order of every sum depends on the descriptor only: within a block of depth one after the
//! other from zero, then block after block. It is the same for every row, tile and thread. AVX2,
//! AVX-512 and NEON give the same bits.

mod descriptor;
mod finish;
mod kernels;
mod narrow;
mod pack;
mod quads;
mod run;
mod tile;

pub use descriptor::{Contraction, ContractionError, Tables};
pub use run::{Scratch, kiln_contract, kiln_contract_packed, kiln_pack_b};

/// The most terms that are summed from one zero: a panel of this depth fits the first cache. A
/// constant, because a different split gives different bits.
const DEPTH_BLOCK: usize = 384;

/// The width of packed rows of `A`, and the unit of panels' widths.
const OCTET: usize = 8;

/// Elements of a cache line.
const LINE: usize = 16;

/// The most rows for which an unpacked `B` is read in place.
const NARROW_ROWS: usize = 4;

/// The blocks of a depth: equal but for the last, multiples of eight so that runs of eight stay
/// whole. One empty block where there is no depth, so that `C` is still written.
fn depth_blocks(depth: usize, limit: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let count = depth.div_ceil(limit).max(1);
    let block = depth.div_ceil(count).next_multiple_of(OCTET);
    (0..count).map(move |i| (i * block).min(depth)..((i + 1) * block).min(depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_blocks_cover_the_depth_in_order() {
        for depth in [0, 1, 7, 8, 383, 384, 385, 500, 800, 4096, 4097] {
            let mut end = 0;
            for block in depth_blocks(depth, DEPTH_BLOCK) {
                assert_eq!(block.start, end);
                assert!(block.len() <= DEPTH_BLOCK);
                end = block.end;
            }
            assert_eq!(end, depth);
        }
        assert_eq!(depth_blocks(0, DEPTH_BLOCK).count(), 1);
    }
}
