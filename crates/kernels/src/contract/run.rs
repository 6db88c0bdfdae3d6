//! The loops around the register block, and the entry points.

use super::descriptor::{Access, Contraction, NarrowForm, RowTile};
use super::finish::Finish;
use super::narrow::{AXPY_COLUMNS, DOT_BLOCK, FOLLOWED_BLOCK, Narrow};
use super::quads::{QUAD, stream};
use super::tile::{Layout, Tile};
use super::{DEPTH_BLOCK, LINE, depth_blocks};

/// Computes the contraction.
///
/// # Safety
/// `desc` points to a descriptor; `a`, `b` and `c` to [`Contraction::a_extent`],
/// [`Contraction::b_extent`] and [`Contraction::c_extent`] elements, `c`'s written by no other
/// thread and disjoint from the others; `scratch` to [`Contraction::scratch_bytes`] bytes that no
/// other thread uses, aligned to 4 (and for speed to 64); `bias` is null or points to a value for
/// each column, `residual` is null or points to [`Contraction::residual_extent`] elements disjoint
/// from `c`'s, and the descriptor has rows for it.
pub unsafe extern "C" fn kiln_contract(
    desc: *const Contraction,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    scratch: *mut u8,
    bias: *const f32,
    residual: *const f32,
) {
    // SAFETY: as our own contract.
    unsafe {
        let desc = &*desc;
        let scratch = scratch.cast::<f32>();
        let finish = desc.finish(c, bias, residual);
        match desc.narrow {
            Some(form) => narrow(desc, form, a, b, c, scratch, finish),
            None => {
                let a_scratch = scratch.wrapping_add(desc.b_scratch());
                tiled(desc, a, Columns::InPlace(b, scratch), c, a_scratch, finish);
            }
        }
    }
}

/// Computes the contraction with `b` packed by [`Contraction::pack_b`].
///
/// # Safety
/// As [`kiln_contract`], but `b` points to [`Contraction::packed_b_bytes`] bytes of packed
/// columns, and `scratch` to [`Contraction::packed_scratch_bytes`].
pub unsafe extern "C" fn kiln_contract_packed(
    desc: *const Contraction,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    scratch: *mut u8,
    bias: *const f32,
    residual: *const f32,
) {
    // SAFETY: as our own contract.
    unsafe {
        let desc = &*desc;
        let finish = desc.finish(c, bias, residual);
        tiled(desc, a, Columns::Packed(b), c, scratch.cast(), finish)
    }
}

/// Packs a part of `B`: of the panels, those whose number modulo `parts` is `part`, so that
/// threads may share the work.
///
/// # Safety
/// `desc` points to a descriptor, `b` to [`Contraction::b_extent`] elements, `packed` to
/// [`Contraction::packed_b_bytes`] bytes; no two threads pack the same part.
pub unsafe extern "C" fn kiln_pack_b(
    desc: *const Contraction,
    b: *const f32,
    packed: *mut f32,
    part: usize,
    parts: usize,
) {
    // SAFETY: as our own contract; each panel of each block has its own place, as `panel` below.
    unsafe {
        let desc = &*desc;
        for block in depth_blocks(desc.depth(), DEPTH_BLOCK) {
            for index in (part..desc.panels.len()).step_by(parts.max(1)) {
                let at = block.start * desc.padded_cols + desc.panels[index].at * block.len();
                pack_panel(desc, index, block.clone(), b, packed.add(at));
            }
        }
    }
}

/// Where the columns come from.
#[derive(Clone, Copy)]
enum Columns {
    /// The operand, and scratch to pack its blocks into.
    InPlace(*const f32, *mut f32),
    /// All of it packed, block by block of depth and in them panel by panel.
    Packed(*const f32),
}

/// Packs one panel of one block of depth.
///
/// # Safety
/// As [`kiln_pack_b`], of this panel.
unsafe fn pack_panel(
    desc: &Contraction,
    index: usize,
    block: std::ops::Range<usize>,
    b: *const f32,
    dst: *mut f32,
) {
    let (panel, t) = (&desc.panels[index], &desc.tables);
    let width = desc.kernels.panels[panel.kernel].width;
    let (cols, depth) = (&t.b_col[panel.cols.clone()], &t.b_depth[block]);
    // SAFETY: the panel's form was derived from the same tables; the kernels from a proof.
    unsafe { (desc.kernels.pack)(b, cols, depth, panel.form, width, dst) }
}

/// The product by tiles and panels.
///
/// # Safety
/// As [`kiln_contract`] or [`kiln_contract_packed`].
unsafe fn tiled(
    desc: &Contraction,
    a: *const f32,
    b: Columns,
    c: *mut f32,
    a_scratch: *mut f32,
    finish: Option<Finish<'_>>,
) {
    let t = &desc.tables;
    let packed_width = desc.access.packed_width();
    for col_block in &desc.col_blocks {
        let Some(first) = desc.panels.get(col_block.start) else { continue };
        for block in depth_blocks(desc.depth(), DEPTH_BLOCK) {
            let depth = block.len();
            // SAFETY: the scratch holds the largest block of columns; a packed operand has
            // `padded_cols` columns in every block of depth, panel after panel.
            let panels = unsafe {
                match b {
                    Columns::Packed(b) => b.add(block.start * desc.padded_cols + first.at * depth),
                    Columns::InPlace(b, scratch) => {
                        for index in col_block.clone() {
                            let dst = scratch.add((desc.panels[index].at - first.at) * depth);
                            pack_panel(desc, index, block.clone(), b, dst);
                        }
                        scratch.cast_const()
                    }
                }
            };
            let add = desc.accumulate || block.start > 0;
            let finish = finish.filter(|_| block.end == desc.depth());
            let a_depth = &t.a_depth[block.clone()];
            for row_block in &desc.row_blocks {
                let tiles = &desc.tiles[row_block.clone()];
                if let Some(width) = packed_width {
                    for (i, tile) in tiles.iter().enumerate() {
                        let rows = &t.a_row[tile.rows.clone()];
                        // SAFETY: the scratch holds the largest block of rows, so many to a tile.
                        unsafe {
                            let dst = a_scratch.add(i * width * depth);
                            (desc.kernels.pack)(a, rows, a_depth, tile.form, width, dst);
                        }
                    }
                }
                for (index, panel) in desc.panels[col_block.clone()].iter().enumerate() {
                    let kernels = &desc.kernels.panels[panel.kernel];
                    // A moves along the columns by one element each.
                    let channelwise = desc.access == Access::Channelwise;
                    let a = if channelwise { a.wrapping_add(panel.cols.start) } else { a };
                    let here = (panel.at - first.at) * depth;
                    // The next panel follows; each tile asks for its share of it.
                    let next_panel = panels.wrapping_add(here + depth * kernels.width);
                    let in_parts = desc.access == Access::Parts;
                    let lines = kernels.width / LINE;
                    let ahead_lines = (QUAD * lines).div_ceil(tiles.len()).min(QUAD);
                    let ahead_stream = stream(depth * lines, lines);
                    let share = if in_parts { LINE } else { ahead_lines * LINE };
                    for part in depth_blocks(depth, desc.part_depth(kernels)) {
                        let (begins, ends) = (part.start == 0, part.end == depth);
                        for (i, tile) in tiles.iter().enumerate() {
                            let layout = match (panel.contiguous, tile.contiguous) {
                                (true, _) => Layout::Rows,
                                (false, true) => Layout::Columns,
                                (false, false) => Layout::Scattered,
                            };
                            // The first panel's tiles are the first to read their rows.
                            let next = desc.tiles.get(row_block.start + i + 1);
                            let next = next.filter(|_| desc.far && index == 0);
                            let row = |tile: &RowTile| t.a_row[tile.rows.start] as usize;
                            let kernel = desc.kernel(kernels, tile, next.is_some());
                            let turns = (part.start * tiles.len() + i * part.len()) / QUAD;
                            // SAFETY: the tables name elements inside the operands, the panel lies
                            // at its place among the packed ones, the scratch holds the packed tiles
                            // or a sum for each row and column, and the kernels have a proof.
                            unsafe {
                                let at =
                                    |width: usize| a_scratch.add(i * width * depth).cast_const();
                                let sums = a_scratch.wrapping_add(tile.rows.start * kernels.width);
                                let finish = finish
                                    .filter(|_| ends)
                                    .map(|f| f.of(&tile.rows, &panel.cols, panel.contiguous));
                                kernel(&Tile {
                                    a: packed_width.map_or(a, at),
                                    a_rows: t.a_row.as_ptr().add(tile.rows.start),
                                    a_depth: a_depth.as_ptr().add(part.start),
                                    b: panels.add(here + part.start * kernels.width),
                                    depth: part.len(),
                                    quads: desc.quads,
                                    ahead: next_panel.wrapping_add(turns * share),
                                    ahead_lines,
                                    ahead_stream,
                                    next_rows: next.map_or(0, |n| row(n).wrapping_sub(row(tile))),
                                    from: if begins { std::ptr::null() } else { sums },
                                    to: if ends { std::ptr::null_mut() } else { sums },
                                    c,
                                    c_rows: t.c_row.as_ptr().add(tile.rows.start),
                                    c_cols: t.c_col.as_ptr().add(panel.cols.start),
                                    cols: panel.cols.len(),
                                    layout,
                                    add,
                                    finish: finish.as_ref(),
                                });
                                if let (Some(finish), false) = (&finish, panel.contiguous) {
                                    (desc.kernels.finish)(finish);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The product of few rows, `B` read in place.
///
/// # Safety
/// As [`kiln_contract`], of a descriptor with this form.
unsafe fn narrow(
    desc: &Contraction,
    form: NarrowForm,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    scratch: *mut f32,
    finish: Option<Finish<'_>>,
) {
    let t = &desc.tables;
    let (kernel, cols_at_a_time, limit) = match form {
        NarrowForm::Axpy => (desc.kernels.axpy, AXPY_COLUMNS, DEPTH_BLOCK),
        NarrowForm::Dot if desc.a_follows => (desc.kernels.dot, usize::MAX, FOLLOWED_BLOCK),
        NarrowForm::Dot => (desc.kernels.dot, usize::MAX, DOT_BLOCK),
    };
    for (b_cols, c_cols) in t.b_col.chunks(cols_at_a_time).zip(t.c_col.chunks(cols_at_a_time)) {
        for block in depth_blocks(desc.depth(), limit) {
            let part = Narrow {
                a,
                b,
                c,
                a_rows: &t.a_row,
                a_depth: &t.a_depth[block.clone()],
                b_depth: &t.b_depth[block.clone()],
                b_cols,
                c_rows: &t.c_row,
                c_cols,
                add: desc.accumulate || block.start > 0,
                a_follows: desc.a_follows,
                scratch,
            };
            // SAFETY: the form says what follows what; blocks and rows are within the limits.
            unsafe { kernel(&part) };
        }
    }
    if let Some(finish) = finish {
        // SAFETY: as our own contract.
        unsafe { (desc.kernels.finish)(&finish) };
    }
}

impl Contraction {
    /// Computes the contraction on slices.
    ///
    /// # Panics
    /// An operand or the scratch is too small.
    pub fn run(&self, a: &[f32], b: &[f32], c: &mut [f32], scratch: &mut Scratch) {
        assert!(b.len() >= self.b_extent(), "contraction: B is too small");
        self.check(a, c, scratch, self.scratch_bytes());
        let (a, b, none) = (a.as_ptr(), b.as_ptr(), std::ptr::null());
        // SAFETY: all sizes are checked, and slices are disjoint.
        unsafe { kiln_contract(self, a, b, c.as_mut_ptr(), scratch.as_mut_ptr(), none, none) }
    }

    /// Packs `B` for [`Contraction::run_packed`] and [`kiln_contract_packed`].
    pub fn pack_b(&self, b: &[f32]) -> Scratch {
        assert!(b.len() >= self.b_extent(), "contraction: B is too small");
        let mut packed = Scratch::new(self.packed_b_bytes());
        // SAFETY: the operand is checked, and the destination is of the size asked for.
        unsafe { kiln_pack_b(self, b.as_ptr(), packed.as_mut_ptr().cast(), 0, 1) };
        packed
    }

    /// Computes the contraction on slices, `B` packed by [`Contraction::pack_b`] of a descriptor
    /// with the same tables of `B` and the same instruction set.
    ///
    /// # Panics
    /// An operand or the scratch is too small.
    pub fn run_packed(&self, a: &[f32], b: &Scratch, c: &mut [f32], scratch: &mut Scratch) {
        assert!(b.bytes() >= self.packed_b_bytes(), "contraction: packed B is too small");
        self.check(a, c, scratch, self.packed_scratch_bytes());
        let (a, b, none) = (a.as_ptr(), b.as_ptr().cast(), std::ptr::null());
        // SAFETY: all sizes are checked, and slices are disjoint.
        unsafe {
            kiln_contract_packed(self, a, b, c.as_mut_ptr(), scratch.as_mut_ptr(), none, none)
        }
    }

    /// Computes the contraction with an epilogue on slices: `bias` has a value for each column,
    /// `residual` the elements that [`Contraction::with_epilogue`] was told the rows of.
    ///
    /// # Panics
    /// An operand or the scratch is too small, or the descriptor has no rows of a residual.
    pub fn run_finished(
        &self,
        operands: [&[f32]; 2],
        c: &mut [f32],
        scratch: &mut Scratch,
        bias: Option<&[f32]>,
        residual: Option<&[f32]>,
    ) {
        let [a, b] = operands;
        assert!(b.len() >= self.b_extent(), "contraction: B is too small");
        assert!(bias.is_none_or(|x| x.len() >= self.cols()), "contraction: the bias is too small");
        let enough =
            |x: &[f32]| self.residual_row.len() == self.rows() && x.len() >= self.residual_extent();
        assert!(residual.is_none_or(enough), "contraction: the residual is too small");
        self.check(a, c, scratch, self.scratch_bytes());
        let start = |x: Option<&[f32]>| x.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let (c, scratch) = (c.as_mut_ptr(), scratch.as_mut_ptr());
        let (a, b, bias, residual) = (a.as_ptr(), b.as_ptr(), start(bias), start(residual));
        // SAFETY: all sizes are checked, and slices are disjoint.
        unsafe { kiln_contract(self, a, b, c, scratch, bias, residual) }
    }

    /// The epilogue on these operands, if there is anything to do.
    fn finish(&self, c: *mut f32, bias: *const f32, residual: *const f32) -> Option<Finish<'_>> {
        let any = !bias.is_null() || !residual.is_null() || self.relu || self.cap < f32::INFINITY;
        any.then_some(Finish {
            c,
            c_rows: &self.tables.c_row,
            c_cols: &self.tables.c_col,
            contiguous: self.c_follows,
            bias,
            residual,
            residual_rows: &self.residual_row,
            relu: self.relu,
            cap: self.cap,
        })
    }

    fn check(&self, a: &[f32], c: &[f32], scratch: &Scratch, bytes: usize) {
        assert!(a.len() >= self.a_extent(), "contraction: A is too small");
        assert!(c.len() >= self.c_extent(), "contraction: C is too small");
        assert!(scratch.bytes() >= bytes, "contraction: scratch is too small");
    }
}

/// Memory aligned to 64 bytes, for scratch and packed operands.
#[derive(Clone, Debug)]
pub struct Scratch(Vec<Line>);

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Scratch {
    /// At least `bytes` zero bytes.
    pub fn new(bytes: usize) -> Scratch {
        Scratch(vec![Line([0; 64]); bytes.div_ceil(64)])
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.0.len() * 64
    }

    /// Its start.
    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    /// Its start.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}
