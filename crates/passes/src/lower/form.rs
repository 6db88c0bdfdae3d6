//! How a contraction is computed: which operand is packed, and how rows and columns are split.
//!
//! The axes of the result that only the first operand has are rows, those that only the second has
//! are columns, those of both are a batch of products. The micro-kernel broadcasts rows and packs
//! columns into vectors, so the two operands may change roles: [`Form::choose`] estimates both.
//! Every split is by a divisor and fixed here, which fixes the order of every sum.
//!
//! A batch of products that have no columns, in which the first operand lies side by side along the
//! batch (a depthwise convolution, its gradients), is one channelwise product: the batch is its
//! columns.

use kiln_loops::{Affine, Var};

use super::chunks::{Chunks, is_strip, may_be_strip};

/// Chunks that a kernel is split into for the threads.
pub(super) const CHUNKS: usize = 16;
/// Chunks of rows and of columns, at least, among which the estimate chooses.
const COUNTS: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64];
/// Rows below which a chunk is not split further.
const MIN_ROWS: usize = 24;
/// Rows of the widest instruction set's register block: half as many would read the packed operand
/// twice as often.
const TILE_ROWS: usize = 8;
/// Columns below which a chunk is not split further.
pub(super) const MIN_COLS: usize = 32;
/// Chunks of columns that are packed apart in every run: the first number that reads the first operand
/// not too often, and makes them whole vectors of so many lanes.
const PACKS: [usize; 3] = [8, 4, 2];
const LANES: usize = 16;
/// Elements of the first operand that all chunks of columns together may read: each of them reads it.
const AGAIN: usize = 1 << 23;
/// Channels from which a batch of products without columns is one channelwise product.
const MIN_CHANNELS: usize = 4;
/// Elements of the first operand that a chunk of one of many products reads, at most: they stay in the
/// second-level cache beside what else a thread keeps ([`MAX_KEPT`](crate::join::MAX_KEPT)), where they
/// are computed in the same turn.
const CHUNK_READS: usize = 128 * 1024;
/// Elements of a tile that waits for its epilogue: it stays in the second-level cache.
const TILE: usize = 16 * 1024;
/// A product with fewer multiplications runs as one chunk.
pub(super) const SMALL: usize = 64 * 1024;
/// Rows up to which the second operand is read in place.
pub(super) const FEW_ROWS: usize = 4;

/// One axis of a contraction.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub extent: usize,
    /// Strides in the two operands.
    pub operand: [i64; 2],
    /// The axis of the stored node that it is, and its stride there if the node were dense; `None`
    /// if it is reduced.
    pub result: Option<(usize, usize)>,
}

/// How a contraction is computed.
pub(super) struct Form {
    /// Position of the operand that is broadcast; the other is packed.
    pub first: usize,
    pub batch: Vec<Axis>,
    pub rows: Vec<Axis>,
    pub cols: Vec<Axis>,
    pub depth: Vec<Axis>,
    /// Whether the columns are an axis of the first operand too.
    pub channelwise: bool,
}

/// A loop over blocks of an axis.
pub(super) struct Blocks {
    pub axis: Axis,
    pub count: usize,
    /// Filled in once the loop is open.
    pub var: Option<Var>,
}

impl Blocks {
    pub(super) fn new(axis: &Axis, count: usize) -> Blocks {
        Blocks { axis: axis.clone(), count, var: None }
    }

    pub(super) fn block(&self) -> usize {
        self.axis.extent / self.count
    }

    /// The distance of the current block from the first, given the axis's stride.
    pub(super) fn offset(&self, stride: i64) -> Affine {
        self.var
            .map_or_else(Affine::default, |v| Affine::var(v).times(self.block() as i64 * stride))
    }
}

pub(super) fn count(blocks: &[Blocks]) -> usize {
    blocks.iter().map(|b| b.count).product()
}

pub(super) fn volume(axes: &[Axis]) -> usize {
    axes.iter().map(|a| a.extent).product()
}

impl Form {
    fn new(axes: &[Axis], first: usize) -> Form {
        let second = 1 - first;
        let pick = |f: &dyn Fn(&Axis) -> bool| -> Vec<Axis> {
            axes.iter().filter(|a| f(a)).cloned().collect()
        };
        let in_both = |a: &Axis| a.operand[0] != 0 && a.operand[1] != 0;
        let mut form = Form {
            first,
            batch: pick(&|a| a.result.is_some() && in_both(a)),
            rows: pick(&|a| a.result.is_some() && !in_both(a) && a.operand[second] == 0),
            cols: pick(&|a| a.result.is_some() && !in_both(a) && a.operand[second] != 0),
            depth: pick(&|a| a.result.is_none()),
            channelwise: false,
        };
        let beside = |a: &Axis| a.operand[first] == 1 && a.extent >= MIN_CHANNELS;
        if form.cols.is_empty()
            && let Some(channels) = form.batch.iter().position(beside)
        {
            form.cols.push(form.batch.remove(channels));
            form.channelwise = true;
        }
        let far = |a: &Axis| std::cmp::Reverse(a.result.map_or(0, |r| r.1));
        form.batch.sort_by_key(far);
        form.rows.sort_by_key(far);
        form.cols.sort_by_key(far);
        form.depth.sort_by_key(|a| std::cmp::Reverse(a.operand[first].unsigned_abs()));
        form
    }

    /// The cheaper assignment of roles; an operand of weights alone is packed once, not in every run.
    pub(super) fn choose(axes: &[Axis], packed_once: [bool; 2]) -> Form {
        let forms = [0, 1].map(|first| Form::new(axes, first));
        let [a, b] = forms;
        let time = |form: &Form| form.nanoseconds(packed_once[1 - form.first]);
        if time(&b) < time(&a) { b } else { a }
    }

    /// A rough estimate of the time that the products take on one core.
    fn nanoseconds(&self, packed_once: bool) -> f64 {
        let products = volume(&self.batch) as f64;
        let (m, n, k) = (volume(&self.rows), volume(&self.cols), volume(&self.depth));
        let (m, n, k) = (m as f64, n as f64, k as f64);
        let unit =
            |axes: &[Axis], of: &dyn Fn(&Axis) -> i64| axes.last().is_none_or(|a| of(a).abs() == 1);
        let in_place = m <= FEW_ROWS as f64 && !self.channelwise;
        let multiply = match in_place {
            true => n * k * 0.1, // reads the second operand at the speed of memory
            false => m * ((n / 8.0).ceil() * 8.0) * k / 45.0,
        };
        let pack_rate = if packed_once || in_place {
            0.0
        } else if unit(&self.cols, &|a| a.operand[1 - self.first]) {
            0.4
        } else {
            1.2
        };
        let side_by_side = self.channelwise || unit(&self.depth, &|a| a.operand[self.first]);
        let gather = if side_by_side { 0.0 } else { m * k * 0.2 };
        let store_rate =
            if unit(&self.cols, &|a| a.result.map_or(0, |r| r.1 as i64)) { 0.1 } else { 0.8 };
        products * (multiply + n * k * pack_rate + gather + m * n * store_rate)
    }

    /// How columns and rows are split into chunks, so that threads have something to share and a
    /// tile that waits for its epilogue (unless results are written directly) stays in the cache.
    pub(super) fn chunks(
        &self,
        work: usize,
        direct: bool,
        packed_once: bool,
    ) -> (Vec<Blocks>, Vec<Blocks>) {
        let (m, n, products) = (volume(&self.rows), volume(&self.cols), volume(&self.batch));
        let split = |col_chunks: usize, enough: &dyn Fn(usize, usize, usize) -> bool| {
            let widest = if direct { usize::MAX } else { TILE / MIN_ROWS };
            let cols = peel(&self.cols, |count, block| count >= col_chunks && block <= widest);
            let col_count = count(&cols);
            let rows = peel(&self.rows, |count, block| {
                enough(count, block, col_count) && (direct || block * (n / col_count) <= TILE)
            });
            (cols, rows)
        };
        if packed_once && m > FEW_ROWS && work > SMALL && !self.channelwise {
            let all = COUNTS.iter().flat_map(|&cols| COUNTS.iter().map(move |&rows| (cols, rows)));
            let splits = all
                .filter(|&(cols, rows)| cols <= n && rows <= m)
                .map(|(cols, rows)| split(cols, &|count, _, _| count >= rows));
            let cycles = |s: &(Vec<Blocks>, Vec<Blocks>)| self.estimate(&s.0, &s.1).cycles();
            if let Some(best) = splits.min_by(|a, b| cycles(a).total_cmp(&cycles(b))) {
                return best;
            }
        }
        // Columns if rows are few, or so that each thread packs and keeps a part of the second operand:
        // the larger the first operand, the fewer, as each chunk reads it again, and an epilogue wants
        // its rows long.
        let few = m * products < 2 * MIN_ROWS;
        let k = volume(&self.depth);
        let apart = m <= n && direct && products == 1 && self.cols.len() == 1 && !packed_once;
        let read = m.saturating_mul(k);
        let fits = |c: &usize| {
            n.is_multiple_of(c * LANES) && n / c >= MIN_COLS && read.saturating_mul(*c) <= AGAIN
        };
        let col_chunks = match work > SMALL {
            true if few => CHUNKS.min(n / MIN_COLS).max(1),
            true if apart => PACKS.into_iter().find(fits).unwrap_or(1),
            _ => 1,
        };
        let most = if packed_once { CHUNKS } else { CHUNKS.min(products * m / MIN_ROWS) };
        let wanted = if work <= SMALL { 1 } else { most.max(1) };
        let stays = |block: usize| products == 1 || block.saturating_mul(k) <= CHUNK_READS;
        split(col_chunks, &|count, block, col_count| {
            count * products * col_count >= wanted && stays(block) || block < 2 * TILE_ROWS
        })
    }

    /// How a chunk goes through its rows, if it leaves more than stays in the cache: in strips that do,
    /// and that neighbours of as many rows or fewer columns have too.
    pub(super) fn strips(&self, chunk: &[Axis], cols: &[Axis]) -> Vec<Blocks> {
        let read = self.first_elements().div_ceil(volume(&self.rows));
        let (cols, depth) = (volume(cols), volume(&self.depth));
        let mut strips: Vec<Blocks> = chunk.iter().map(|axis| Blocks::new(axis, 1)).collect();
        let mut rows = volume(chunk);
        for strip in &mut strips {
            let extent = strip.axis.extent;
            let odd = extent >> extent.trailing_zeros();
            let finer = (0..=extent.trailing_zeros()).map(|i| odd << i).filter(|&count| count > 1);
            let whole = rows;
            for count in finer {
                if is_strip(rows, [cols, read]) || !may_be_strip(whole / count, cols * depth) {
                    return strips;
                }
                (strip.count, rows) = (count, whole / count);
            }
        }
        strips
    }

    /// What the estimate of a split needs to know.
    fn estimate(&self, cols: &[Blocks], rows: &[Blocks]) -> Chunks {
        let (m, n, k) = (volume(&self.rows), volume(&self.cols), volume(&self.depth));
        let counts = [count(rows), count(cols)];
        Chunks {
            extents: [m / counts[0], n / counts[1], k],
            counts,
            parallel: volume(&self.batch) * counts[0] * counts[1],
            first: self.first_elements(),
        }
    }

    /// Elements of the first operand that a product reads.
    pub(super) fn first_elements(&self) -> usize {
        let reach = |axes: &[Axis]| -> usize {
            let steps = |a: &Axis| a.operand[self.first].unsigned_abs() as usize;
            axes.iter().map(|a| (a.extent - 1).saturating_mul(steps(a))).sum()
        };
        let span = reach(&self.rows) + reach(&self.depth) + 1;
        span.min(volume(&self.rows) * volume(&self.depth))
    }
}

/// Splits axes, outermost first, into the fewest blocks that satisfy `enough(count, block)`.
pub(super) fn peel(axes: &[Axis], enough: impl Fn(usize, usize) -> bool) -> Vec<Blocks> {
    let (mut count, mut block) = (1, volume(axes));
    axes.iter()
        .map(|axis| {
            let by = (1..=axis.extent)
                .filter(|d| axis.extent.is_multiple_of(*d))
                .find(|d| enough(count * d, block / d))
                .unwrap_or(axis.extent);
            count *= by;
            block /= by;
            Blocks::new(axis, by)
        })
        .collect()
}
