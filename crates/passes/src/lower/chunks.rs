//! How a contraction whose second operand is packed once is split into chunks for the threads.
//!
//! Chunks are fixed here, for any number of threads and any machine, so they are chosen by an
//! estimate of what all of them take together: the register block's work, the packed operand that
//! every chunk of rows reads again, the first operand that every chunk of columns reads again, and
//! how evenly they can be handed out.

use crate::join::MAX_KEPT;

/// Elements of a vector, vectors of the widest panel, and rows of tiles as wide and narrower: the
/// widest instruction set's, whose tiles are the hardest to fill.
const LANES: usize = 16;
const WIDEST: usize = 4;
const ROWS: [usize; 2] = [6, 8];
/// Instructions that a core decodes in a cycle next to another thread; bytes of a panel that it reads
/// from the second-level cache; bytes of the packed operand from the last, and of the first operand
/// from the second, which overlap with arithmetic in part.
const DECODED: f64 = 3.6;
const PANEL: f64 = 22.0;
const FAR: f64 = 8.0;
const NEAR: f64 = 16.0;
/// Cycles that a tile takes beside its loop.
const TILE: f64 = 30.0;
/// Cycles that a chunk takes beside its tiles: it is handed out, and begins with cold caches.
const CHUNK: f64 = 2000.0;
/// Elements of the packed operand that stay in the second-level cache from one chunk to the next.
const STAYS: usize = 256 * 1024;
/// Rows below which a turn of several products would read their packed operands too often: where those
/// stay, and where they come from the last cache again, which takes as long as so many rows.
pub(super) const TURN_ROWS: usize = 6;
const FAR_ROWS: usize = 24;
/// Threads that are to share the chunks evenly, each number as likely as the others. (One always
/// does.)
const THREADS: [usize; 3] = [2, 4, 8];

/// A way to split a contraction.
pub(super) struct Chunks {
    /// Rows and columns of a chunk, and the depth.
    pub extents: [usize; 3],
    /// Chunks of rows and of columns.
    pub counts: [usize; 2],
    /// Chunks that threads share, of all products of a batch.
    pub parallel: usize,
    /// Elements of the first operand that a chunk of columns reads.
    pub first: usize,
}

impl Chunks {
    /// Cycles of all chunks, on the average of the numbers of threads, times the threads.
    pub fn cycles(&self) -> f64 {
        let [m, n, k] = self.extents;
        let vectors = n.div_ceil(LANES);
        let panels = vectors.div_ceil(WIDEST);
        let widest = vectors.div_ceil(panels);
        let tiles = m.div_ceil(ROWS[usize::from(widest < WIDEST)]);
        let (r, v) = (m as f64 / tiles as f64, vectors as f64 / panels as f64);
        let depth =
            (r * v / 2.0).max((r * v + r + v + 2.0) / DECODED).max(v * (4 * LANES) as f64 / PANEL);
        let chunk = (tiles * panels) as f64 * (k as f64 * depth + TILE) + CHUNK;

        let [rows, cols] = self.counts;
        let packed = n * cols * k;
        let again = if packed <= STAYS { 1 } else { rows };
        let traffic = (4 * packed * again) as f64 / FAR + (4 * self.first * cols) as f64 / NEAR;
        let even = |threads: &usize| {
            let turns = self.parallel.div_ceil(*threads) * threads;
            turns as f64 / self.parallel as f64
        };
        let uneven = THREADS.iter().map(even).sum::<f64>() / THREADS.len() as f64;
        (chunk * (rows * cols) as f64 + traffic) * uneven
    }
}

/// Whether so many products, of rows, columns and depth each, may be one turn, which goes along with turns
/// of the neighbours: it is worth reading the packed operands, and all it touches else stays in the cache.
pub(crate) fn is_turn(products: usize, [rows, cols, depth]: [usize; 3]) -> bool {
    let packed = products.saturating_mul(cols).saturating_mul(depth);
    let kept = products.saturating_mul(rows).saturating_mul(cols.saturating_add(depth));
    let least = if packed <= STAYS { TURN_ROWS } else { FAR_ROWS };
    rows >= least && kept.saturating_mul(size_of::<f32>()) <= MAX_KEPT
}

/// Rows below which a chunk is not cut into strips.
const STRIP_ROWS: usize = 64;

/// Whether what a strip of so many rows reads and writes, so many elements a row, stays in the cache
/// until the next kernel reads it.
pub(super) fn is_strip(rows: usize, row: [usize; 2]) -> bool {
    let kept = row.iter().fold(0, |sum: usize, n| sum.saturating_add(rows.saturating_mul(*n)));
    kept.saturating_mul(size_of::<f32>()) <= MAX_KEPT / 2
}

/// Whether it is worth reading so many packed elements again for each strip of so many rows.
pub(super) fn may_be_strip(rows: usize, packed: usize) -> bool {
    rows >= STRIP_ROWS && packed <= STAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(extents: [usize; 3], counts: [usize; 2]) -> f64 {
        let parallel = counts.into_iter().product();
        Chunks { extents, counts, parallel, first: extents[0] * counts[0] * extents[2] }.cycles()
    }

    #[test]
    fn turns_have_rows_for_their_weights_and_stay_in_the_cache() {
        assert!(is_turn(36, [7, 64, 64]) && is_turn(36, [28, 192, 64]));
        assert!(!is_turn(36, [5, 64, 64]) && !is_turn(36, [14, 192, 64]));
        assert!(is_turn(36, [49, 96, 64]) && !is_turn(36, [98, 96, 64]));
        assert!(!is_turn(usize::MAX, [usize::MAX; 3]));
    }

    #[test]
    fn strips_stay_in_the_cache_and_have_rows_for_their_weights() {
        assert!(is_strip(8 * 56, [256, 64]) && !is_strip(56 * 56, [256, 64]));
        assert!(may_be_strip(112, 512 * 128) && !may_be_strip(28, 512 * 128));
        assert!(!may_be_strip(196, 512 * 1024) && !is_strip(usize::MAX, [1, 1]));
    }

    #[test]
    fn few_rows_of_many_weights_are_split_by_columns() {
        let by_columns = cycles([49, 48, 1728], [1, 8]);
        assert!(by_columns < cycles([7, 384, 1728], [7, 1]));
        assert!(by_columns < cycles([49, 384, 1728], [1, 1]));
    }

    #[test]
    fn many_rows_of_few_weights_are_split_by_rows() {
        assert!(cycles([784, 64, 147], [16, 1]) < cycles([12544, 32, 147], [1, 2]));
    }
}
