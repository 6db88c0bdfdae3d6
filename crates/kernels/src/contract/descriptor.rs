//! The descriptor of a contraction: its tables, and what is derived from them once.

use super::kernels::{KernelSet, PanelKernels};
use super::narrow::{AXPY_COLUMNS, DOT_BLOCK, SCRATCH};
use super::pack::{Form, follow, octets_follow};
use super::quads::{QUAD, streams};
use super::tile::TileFn;
use super::{DEPTH_BLOCK, LINE, NARROW_ROWS, OCTET, depth_blocks};
use crate::cache::CacheSizes;
use crate::isa::Isa;
use std::fmt;
use std::ops::Range;

/// Offsets, in elements, of the rows, depths and columns of the three operands.
///
/// `A[r, d]` lies at `a_row[r] + a_depth[d]`, `B[d, c]` at `b_depth[d] + b_col[c]`, `C[r, c]` at
/// `c_row[r] + c_col[c]`. No two elements of `C` may share a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Of each row in `A`.
    pub a_row: Vec<u32>,
    /// Of each depth in `A`.
    pub a_depth: Vec<u32>,
    /// Of each depth in `B`.
    pub b_depth: Vec<u32>,
    /// Of each column in `B`.
    pub b_col: Vec<u32>,
    /// Of each row in `C`.
    pub c_row: Vec<u32>,
    /// Of each column in `C`.
    pub c_col: Vec<u32>,
}

impl Tables {
    /// The transposed product, `C^T = B^T A^T`: rows become columns, and the operands are to be
    /// passed in the other order. The sums are the same; prefer the form whose columns lie side
    /// by side in `C` and fill whole vectors.
    pub fn transposed(self) -> Tables {
        Tables {
            a_row: self.b_col,
            a_depth: self.b_depth,
            b_depth: self.a_depth,
            b_col: self.a_row,
            c_row: self.c_col,
            c_col: self.c_row,
        }
    }
}

/// Two tables of one axis differ in length, or an operand exceeds the address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractionError {
    /// The axis, and the lengths of its two tables.
    Lengths(&'static str, usize, usize),
    /// Packed operands would exceed the address space.
    TooLarge,
}

impl fmt::Display for ContractionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContractionError::Lengths(axis, one, other) => {
                write!(f, "contraction: tables of {axis} of unequal length, {one} and {other}")
            }
            ContractionError::TooLarge => {
                write!(f, "contraction: the packed operand exceeds the address space")
            }
        }
    }
}

impl std::error::Error for ContractionError {}

/// A contraction, ready to run: read-only, shared by all threads.
#[derive(Clone, Debug)]
pub struct Contraction {
    pub(super) tables: Tables,
    pub(super) accumulate: bool,
    /// Offset of each row in what is added to the result; empty if there is no such thing.
    pub(super) residual_row: Vec<u32>,
    /// Whether the maximum with 0 is taken of the result.
    pub(super) relu: bool,
    /// What the minimum is taken with then; infinity for nothing.
    pub(super) cap: f32,
    pub(super) access: Access,
    /// Elements of `A`, `B` and `C`.
    extents: [usize; 3],
    pub(super) kernels: &'static KernelSet,
    /// The rows in tiles of nearly equal height.
    pub(super) tiles: Vec<RowTile>,
    /// The columns in panels.
    pub(super) panels: Vec<Panel>,
    /// Columns of all panels, padding included.
    pub(super) padded_cols: usize,
    /// Tiles that are visited between two panels.
    pub(super) row_blocks: Vec<Range<usize>>,
    /// Panels that are packed at a time.
    pub(super) col_blocks: Vec<Range<usize>>,
    /// Whether depths follow each other in `A` by eights, and all of them; and columns in `C`.
    pub(super) quads: bool,
    pub(super) a_follows: bool,
    pub(super) c_follows: bool,
    /// Whether `A` comes from beyond the second-level cache.
    pub(super) far: bool,
    /// How a product of few rows reads an unpacked `B`, if there is a good way.
    pub(super) narrow: Option<NarrowForm>,
}

/// A tile's rows.
#[derive(Clone, Debug)]
pub(super) struct RowTile {
    pub rows: Range<usize>,
    pub form: Form,
    /// Whether they follow each other in `C`.
    pub contiguous: bool,
}

/// A panel's columns.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub cols: Range<usize>,
    /// Columns of all panels before it, padding included.
    pub at: usize,
    /// Index into the panel kernels.
    pub kernel: usize,
    /// How its columns lie in `B`.
    pub form: Form,
    /// Whether its columns follow each other in `C`.
    pub contiguous: bool,
}

/// How tiles read `A`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    InPlace,
    Packed,
    /// In place, and it moves along the columns too.
    Channelwise,
    /// In place, a part of the depth after the other: a panel too large for the first cache comes
    /// into it once, although several tiles read it.
    Parts,
}

impl Access {
    /// The width of packed rows, if they are.
    pub fn packed_width(self) -> Option<usize> {
        match self {
            Access::InPlace | Access::Channelwise | Access::Parts => None,
            Access::Packed => Some(OCTET),
        }
    }
}

/// How a product of few rows reads `B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NarrowForm {
    Axpy,
    Dot,
}

impl Contraction {
    /// Derives tiles, panels and blocks from the tables. With `accumulate` the product is added
    /// to `C`, otherwise it replaces it; a depth of zero gives zeros.
    ///
    /// # Errors
    /// The two tables of an axis differ in length, or sizes exceed the address space.
    pub fn new(
        isa: Isa,
        tables: Tables,
        accumulate: bool,
    ) -> Result<Contraction, ContractionError> {
        let t = &tables;
        for (axis, one, other) in [
            ("rows", &t.a_row, &t.c_row),
            ("depth", &t.a_depth, &t.b_depth),
            ("columns", &t.b_col, &t.c_col),
        ] {
            if one.len() != other.len() {
                return Err(ContractionError::Lengths(axis, one.len(), other.len()));
            }
        }
        let (rows, cols, depth) = (t.a_row.len(), t.b_col.len(), t.a_depth.len());
        let kernels = KernelSet::of(isa);
        let padded_cols =
            cols.checked_next_multiple_of(kernels.lanes()).ok_or(ContractionError::TooLarge)?;
        // Everything else in scratch is bounded by constants and this.
        padded_cols
            .checked_mul(depth.max(DEPTH_BLOCK))
            .and_then(|n| n.checked_mul(2 * size_of::<f32>()))
            .ok_or(ContractionError::TooLarge)?;

        let panels = panels(t, kernels, octets_follow(&t.b_depth));
        let quads = octets_follow(&t.a_depth);
        let cache = CacheSizes::detect();
        let block_depth = depth.clamp(1, DEPTH_BLOCK);
        let widths: Vec<usize> = panels
            .iter()
            .map(|p| kernels.panels[p.kernel].width * block_depth * size_of::<f32>())
            .collect();
        let col_blocks = blocks(&widths, cache.l2 / 2);
        let narrow = if rows > NARROW_ROWS {
            None
        } else if follow(&t.b_col) {
            Some(NarrowForm::Axpy)
        } else {
            follow(&t.b_depth).then_some(NarrowForm::Dot)
        };
        let extents = [
            extent(&t.a_row, &t.a_depth),
            extent(&t.b_depth, &t.b_col),
            extent(&t.c_row, &t.c_col),
        ];
        let contraction = Contraction {
            accumulate,
            residual_row: Vec::new(),
            relu: false,
            cap: f32::INFINITY,
            access: Access::InPlace,
            extents,
            kernels,
            tiles: Vec::new(),
            panels,
            padded_cols,
            row_blocks: Vec::new(),
            col_blocks,
            quads,
            a_follows: follow(&tables.a_depth),
            c_follows: follow(&tables.c_col),
            far: false,
            narrow,
            tables,
        };
        if let Some(height) = contraction.height_in_parts() {
            return Ok(contraction.tiled(Access::Parts, height));
        }
        let height = contraction.height();
        let mut contraction = contraction.tiled(Access::InPlace, height);
        if contraction.pays_to_pack_a() {
            contraction.access = Access::Packed;
        }
        Ok(contraction)
    }

    /// The height of tiles that take the depth in parts, if that pays: panels exceed the first cache, and
    /// there are just as many tiles as it takes for all of the next panel to be asked for.
    fn height_in_parts(&self) -> Option<usize> {
        let rows = self.rows();
        let widest = &self.kernels.panels[self.panels.first()?.kernel];
        let vectors = widest.width / self.kernels.lanes();
        let height = rows.div_ceil((QUAD * vectors).div_ceil(streams(vectors)));
        let pays = self.quads
            && rows >= PARTS_ROWS
            && height <= widest.parts.len()
            && part_depth(widest) < self.deepest_block();
        pays.then_some(height)
    }

    /// The height of tiles that span a panel's width: one for all panels, as high as all may be.
    fn height(&self) -> usize {
        let heights = self.panels.iter().map(|p| self.kernels.panels[p.kernel].in_place.len());
        heights.min().unwrap_or(1)
    }

    /// The kernel of a tile in a panel of these kernels; `ahead` if it is to ask for the next tile's
    /// rows.
    pub(super) fn kernel(&self, panel: &PanelKernels, tile: &RowTile, ahead: bool) -> TileFn {
        let rows = tile.rows.len();
        match self.access {
            Access::InPlace if ahead => panel.far[rows - 1],
            Access::InPlace => panel.in_place[rows - 1],
            Access::Packed => panel.packed[rows - 1],
            Access::Channelwise => panel.channelwise[rows - 1],
            Access::Parts => panel.parts[rows - 1],
        }
    }

    /// The same by tiles of at most this height.
    fn tiled(mut self, access: Access, height: usize) -> Contraction {
        self.access = access;
        self.tiles = row_tiles(&self.tables, height, self.quads);
        let row_bytes = self.depth().clamp(1, DEPTH_BLOCK) * size_of::<f32>() * height;
        self.row_blocks = blocks(&vec![row_bytes; self.tiles.len()], CacheSizes::detect().l2 / 4);
        self
    }

    /// The same, but column `c` reads `A` at `c` elements more: `C[r, c] = sum over d of A[r, d, c] *
    /// B[d, c]`, as in a depthwise convolution.
    #[must_use]
    pub fn channelwise(mut self) -> Contraction {
        self.narrow = None;
        if self.extents[0] > 0 {
            self.extents[0] += self.cols().saturating_sub(1);
        }
        let height = self.height();
        self.tiled(Access::Channelwise, height)
    }

    /// The same, but `A` comes from beyond the second-level cache: each tile asks for the next one's
    /// rows. No sum changes.
    #[must_use]
    pub fn far(mut self) -> Contraction {
        self.far = true;
        self
    }

    /// The same, and then: a bias for each column is added, if one is given to the call; an array
    /// whose rows lie at these offsets and whose columns lie as those of `C`, if one is given; the
    /// maximum with 0 is taken, and the minimum with `cap`. NaN stays NaN, and no result of the
    /// maximum is -0.
    ///
    /// # Errors
    /// There are offsets, but not one for each row.
    pub fn with_epilogue(
        mut self,
        residual_row: Vec<u32>,
        relu: bool,
        cap: Option<f32>,
    ) -> Result<Contraction, ContractionError> {
        let (rows, found) = (self.rows(), residual_row.len());
        if found != rows && found != 0 {
            return Err(ContractionError::Lengths("rows", rows, found));
        }
        (self.residual_row, self.relu) = (residual_row, relu);
        self.cap = cap.unwrap_or(f32::INFINITY);
        Ok(self)
    }

    /// Elements that the residual must have from its base on.
    pub fn residual_extent(&self) -> usize {
        extent(&self.residual_row, &self.tables.c_col)
    }

    /// Rows of `A` and `C`.
    pub fn rows(&self) -> usize {
        self.tables.a_row.len()
    }

    /// Columns of `B` and `C`.
    pub fn cols(&self) -> usize {
        self.tables.b_col.len()
    }

    /// Terms of each sum.
    pub fn depth(&self) -> usize {
        self.tables.a_depth.len()
    }

    /// Whether the product is added to `C`.
    pub fn accumulates(&self) -> bool {
        self.accumulate
    }

    /// Elements that `A` must have from its base on.
    pub fn a_extent(&self) -> usize {
        self.extents[0]
    }

    /// Elements that `B` must have from its base on.
    pub fn b_extent(&self) -> usize {
        self.extents[1]
    }

    /// Elements that `C` must have from its base on.
    pub fn c_extent(&self) -> usize {
        self.extents[2]
    }

    /// Bytes of `B` packed. The packing depends on the tables of `B` and the instruction set
    /// only, so contractions that differ in rows share it.
    pub fn packed_b_bytes(&self) -> usize {
        self.padded_cols * self.depth() * size_of::<f32>()
    }

    /// Bytes of scratch that [`crate::kiln_contract`] needs, one for each thread.
    pub fn scratch_bytes(&self) -> usize {
        let elements = match self.narrow {
            Some(_) => SCRATCH,
            None => self.b_scratch() + self.a_scratch(),
        };
        elements * size_of::<f32>()
    }

    /// Bytes of scratch that [`crate::kiln_contract_packed`] needs, one for each thread.
    pub fn packed_scratch_bytes(&self) -> usize {
        self.a_scratch() * size_of::<f32>()
    }

    /// Whether to pack `A`: where its rows lie side by side, every depth touches another line (a
    /// gradient of weights, channels last), and those of one block would evict each other from the
    /// first cache. Where the depths lie side by side, a line serves many of them at once, and
    /// reading in place was never measured to be slower.
    fn pays_to_pack_a(&self) -> bool {
        let t = &self.tables;
        let (Some(tile), Some(depths)) = (
            self.tiles.get(self.tiles.len() / 2),
            depth_blocks(t.a_depth.len(), DEPTH_BLOCK).next(),
        ) else {
            return false;
        };
        if self.panels.len() < PANELS_TO_PACK || tile.form != Form::Columns {
            return false;
        }
        let mut lines: Vec<u64> = Vec::with_capacity(tile.rows.len() * depths.len());
        for &row in &t.a_row[tile.rows.clone()] {
            for &depth in &t.a_depth[depths.clone()] {
                lines.push((u64::from(row) + u64::from(depth)) / LINE as u64);
            }
        }
        lines.sort_unstable();
        lines.dedup();
        let mut sets = [0; SETS];
        for line in lines {
            sets[(line % SETS as u64) as usize] += 1;
        }
        sets.iter().any(|&lines| lines > WAYS)
    }

    /// Elements that the largest block of `B` takes when packed.
    pub(super) fn b_scratch(&self) -> usize {
        let width = |block: &Range<usize>| -> usize {
            self.panels[block.clone()].iter().map(|p| self.kernels.panels[p.kernel].width).sum()
        };
        self.deepest_block() * self.col_blocks.iter().map(width).max().unwrap_or(0)
    }

    /// Elements that the largest block of `A` takes when packed, or sums between parts of the depth.
    fn a_scratch(&self) -> usize {
        if self.access == Access::Parts {
            let widths = self.panels.iter().map(|p| self.kernels.panels[p.kernel].width);
            return self.rows() * widths.max().unwrap_or(0);
        }
        let tiles = self.row_blocks.iter().map(|b| b.len()).max().unwrap_or(0);
        self.deepest_block() * self.access.packed_width().unwrap_or(0) * tiles
    }

    /// The most depths of such a panel that all tiles take before any takes more.
    pub(super) fn part_depth(&self, panel: &PanelKernels) -> usize {
        if self.access == Access::Parts { part_depth(panel) } else { DEPTH_BLOCK }
    }

    fn deepest_block(&self) -> usize {
        depth_blocks(self.depth(), DEPTH_BLOCK).map(|block| block.len()).max().unwrap_or(0)
    }
}

/// Depths of a panel that take three quarters of the first cache, if tiles can take parts of it; sums and
/// rows of `A` need the rest.
fn part_depth(panel: &PanelKernels) -> usize {
    if panel.parts.is_empty() {
        return DEPTH_BLOCK;
    }
    (CacheSizes::detect().l1d / 4 * 3 / size_of::<f32>() / panel.width).clamp(OCTET, DEPTH_BLOCK)
}

/// One more than the largest offset, if there is one.
fn extent(one: &[u32], other: &[u32]) -> usize {
    match (one.iter().max(), other.iter().max()) {
        (Some(&one), Some(&other)) => {
            (one as usize).saturating_add(other as usize).saturating_add(1)
        }
        _ => 0,
    }
}

/// `ceil(rows / most)` tiles whose heights differ by one at most.
fn row_tiles(t: &Tables, most: usize, depths_follow: bool) -> Vec<RowTile> {
    let rows = t.a_row.len();
    let count = rows.div_ceil(most);
    (0..count)
        .map(|i| {
            // The first `rows % count` tiles are one row higher.
            let start = |i: usize| i * (rows / count) + i.min(rows % count);
            let rows = start(i)..start(i + 1);
            let form = form(&t.a_row[rows.clone()], depths_follow);
            let contiguous = follow(&t.c_row[rows.clone()]);
            RowTile { rows, form, contiguous }
        })
        .collect()
}

/// As few panels as there can be, of nearly equal widths, the wider ones first.
fn panels(t: &Tables, kernels: &KernelSet, depths_follow: bool) -> Vec<Panel> {
    let cols = t.b_col.len();
    let vectors = cols.div_ceil(kernels.lanes());
    let count = vectors.div_ceil(kernels.panels.len());
    let mut panels = Vec::with_capacity(count);
    let mut start = 0;
    for i in 0..count {
        let width = vectors / count + usize::from(i < vectors % count);
        // The panels of a set are its widest, one vector less, and so on.
        let kernel = kernels.panels.len() - width;
        let end = cols.min(start + kernels.panels[kernel].width);
        panels.push(Panel {
            cols: start..end,
            at: start,
            kernel,
            form: form(&t.b_col[start..end], depths_follow),
            contiguous: follow(&t.c_col[start..end]),
        });
        start = end;
    }
    panels
}

fn form(cols: &[u32], depths_follow: bool) -> Form {
    if octets_follow(cols) {
        Form::Columns
    } else if depths_follow {
        Form::Depths
    } else {
        Form::Scattered
    }
}

/// Splits a sequence of parts into runs of at most `limit` bytes, one part at least.
fn blocks(bytes: &[usize], limit: usize) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    let mut sum = 0;
    for (i, &part) in bytes.iter().enumerate() {
        match blocks.last_mut() {
            Some(block) if sum + part <= limit => {
                block.end = i + 1;
                sum += part;
            }
            _ => {
                blocks.push(i..i + 1);
                sum = part;
            }
        }
    }
    blocks
}

/// Fewer rows are two tiles of which each has little to do.
const PARTS_ROWS: usize = 10;

/// Sets and ways of the first cache, as most processors have them.
const SETS: usize = 64;
const WAYS: usize = 8;
/// Panels that must come by to repay packing a tile of `A`.
const PANELS_TO_PACK: usize = 3;

// The narrow products split the depth by constants of their own.
const _: () = assert!(AXPY_COLUMNS.is_multiple_of(16) && DOT_BLOCK.is_multiple_of(64));
