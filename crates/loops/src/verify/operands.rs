//! Statements on many elements: blocks, contractions and packing.

use kiln_tensor::DType;

use super::kernel::{Checked, Verifier, here};
use super::range::{Linear, Slot};
use super::{MAX_DEPTH, MAX_EXTENT, race};
use crate::ir::*;

impl<'p> Verifier<'p> {
    /// The index of an operand of a block operation, which is f32.
    fn operand(&self, operand: &(Mem, Affine)) -> Checked<Linear> {
        if self.vector().is_some() {
            return here("a vector loop holds scalar statements only");
        }
        match self.element(operand.0)?.0 {
            DType::F32 => self.linear(&operand.1),
            other => here(format!("{} is {other}, not f32", operand.0)),
        }
    }

    pub(super) fn block(&mut self, block: &Block, stmt: &'p Stmt) -> Checked<()> {
        let (mut dst, mut src) = (self.operand(&block.dst)?, self.operand(&block.src)?);
        let until = match block.until {
            Some((var, end)) => Some((self.var(var)?, end)),
            None => None,
        };
        if block.len.max(until.map_or(0, |u| u.1)) > MAX_EXTENT {
            return here("the block is too long");
        }
        if block.len == 0 || until.is_some_and(|u| u.1 == 0) {
            return Ok(());
        }
        if block.dst.0 == block.src.0 && dst != src && !self.dead() {
            let apart = dst.minus(&src);
            let len = block.len as i128;
            if self.counters.lower(&apart) < len && self.counters.upper(&apart) > -len {
                return here("the elements read and written may overlap");
            }
        }
        // The position within the block, or in the whole range where the block ends with it.
        let position = match until {
            None => self.counters.free(block.len),
            Some((start, end)) => {
                dst.add(start, -1);
                src.add(start, -1);
                self.counters.add(Some(start), block.len, end, 1)
            }
        };
        dst.add(position, 1);
        src.add(position, 1);
        self.access(block.src.0, false, src, stmt)?;
        self.access(block.dst.0, true, dst, stmt)
    }

    /// Counters for dimensions, or none if there is nothing in them.
    fn dims(&mut self, dims: &[Dim]) -> Checked<(usize, Vec<Slot>)> {
        if dims.len() > MAX_DEPTH {
            return here(format!("more than {MAX_DEPTH} dimensions"));
        }
        let nonzero = dims.iter().map(|d| d.extent).filter(|&e| e != 0);
        let volume = nonzero.into_iter().try_fold(1usize, |n, e| n.checked_mul(e));
        match volume {
            Some(n) if n <= MAX_EXTENT => {}
            _ => return here("the dimensions are too large"),
        }
        let slots = dims.iter().map(|d| self.counters.free(d.extent.max(1))).collect();
        Ok((dims.iter().map(|d| d.extent).product(), slots))
    }

    pub(super) fn contract(&mut self, contract: &Contract, stmt: &'p Stmt) -> Checked<()> {
        let mut a = self.operand(&contract.a)?;
        let mut b = self.operand(&contract.b)?;
        let mut c = self.operand(&contract.c)?;
        if contract.inputs().any(|place| place.0 == contract.c.0) {
            return here("the result's memory is also an operand's");
        }
        has_form(&contract.epilogue, contract.rows.len())?;
        let first = self.counters.free(1);
        let (rows, row_slots) = self.dims(&contract.rows)?;
        let (cols, col_slots) = self.dims(&contract.cols)?;
        let (depth, depth_slots) = self.dims(&contract.depth)?;
        let Some(packed) = packed_elements(cols, depth).filter(|&n| n <= MAX_EXTENT) else {
            return here("the dimensions are too large");
        };
        for dim in contract.rows.iter().chain(&contract.cols) {
            if dim.extent > 1 && dim.output == 0 {
                return here("rows and columns meet in the result");
            }
        }
        for (dim, &slot) in contract.rows.iter().zip(&row_slots) {
            a.add(slot, dim.input.into());
            c.add(slot, dim.output.into());
        }
        let mut further = 1i128;
        for (dim, &slot) in contract.cols.iter().zip(&col_slots).rev() {
            c.add(slot, dim.output.into());
            if contract.channelwise {
                a.add(slot, further);
                further *= dim.extent as i128;
            }
        }
        for (dim, &slot) in contract.depth.iter().zip(&depth_slots) {
            a.add(slot, dim.input.into());
        }
        if rows == 0 || cols == 0 {
            return Ok(());
        }
        if !race::injective(&self.counters, first, &c) {
            return here("rows and columns may meet in the result");
        }
        if depth > 0 {
            if contract.packed {
                let position = self.counters.free(packed);
                b.add(position, 1);
            } else {
                source(&mut b, &contract.cols, &col_slots, &contract.depth, &depth_slots);
            }
            self.access(contract.a.0, false, a, stmt)?;
            self.access(contract.b.0, false, b, stmt)?;
        }
        if contract.accumulate {
            self.access(contract.c.0, false, c.clone(), stmt)?;
        }
        let columns = contract.cols.iter().zip(&col_slots).map(|(dim, &slot)| (slot, dim.output));
        self.epilogue(&contract.epilogue, &row_slots, cols, columns, stmt)?;
        self.access(contract.c.0, true, c, stmt)
    }

    /// What an epilogue reads, given the counters of the rows, how many columns there are, and their
    /// counters with the strides in the result.
    fn epilogue(
        &mut self,
        epilogue: &Epilogue,
        rows: &[Slot],
        count: usize,
        columns: impl Iterator<Item = (Slot, i64)>,
        stmt: &'p Stmt,
    ) -> Checked<()> {
        if let Some(bias) = &epilogue.bias {
            let mut at = self.operand(bias)?;
            at.add(self.counters.free(count), 1);
            self.access(bias.0, false, at, stmt)?;
        }
        let Some(residual) = &epilogue.residual else { return Ok(()) };
        let mut at = self.operand(&residual.at)?;
        for (&stride, &slot) in residual.rows.iter().zip(rows) {
            at.add(slot, stride.into());
        }
        for (slot, stride) in columns {
            at.add(slot, stride.into());
        }
        self.access(residual.at.0, false, at, stmt)
    }

    pub(super) fn pack(&mut self, pack: &Pack, stmt: &'p Stmt) -> Checked<()> {
        let (mut dst, mut src) = (self.operand(&pack.dst)?, self.operand(&pack.src)?);
        if pack.dst.0 == pack.src.0 {
            return here("the source's memory is also the destination's");
        }
        let (cols, col_slots) = self.dims(&pack.cols)?;
        let (depth, depth_slots) = self.dims(&pack.depth)?;
        let Some(packed) = packed_elements(cols, depth).filter(|&n| n <= MAX_EXTENT) else {
            return here("the dimensions are too large");
        };
        if packed == 0 {
            return Ok(());
        }
        source(&mut src, &pack.cols, &col_slots, &pack.depth, &depth_slots);
        let position = self.counters.free(packed);
        dst.add(position, 1);
        self.access(pack.src.0, false, src, stmt)?;
        self.access(pack.dst.0, true, dst, stmt)
    }
}

impl<'p> Verifier<'p> {
    pub(super) fn transform(&mut self, t: &Transform, stmt: &'p Stmt) -> Checked<()> {
        let (mut dst, mut src) = (self.operand(&t.dst)?, self.operand(&t.src)?);
        if t.inputs().any(|place| place.0 == t.dst.0) {
            return here("the memory of what is read is also the destination's");
        }
        has_form(&t.epilogue, 2)?;
        if t.len > MAX_EXTENT {
            return here("the channels are too many");
        }
        if t.len == 0 {
            return Ok(());
        }
        let first = self.counters.free(1);
        let [read, written] = t.map.sides();
        let mut add = |at: &mut Linear, strides: [i64; 3], side: usize| {
            let slots = [side, side, t.len].map(|extent| self.counters.free(extent));
            slots.iter().zip(strides).for_each(|(&slot, stride)| at.add(slot, stride.into()));
            slots
        };
        let [row, column, channel] = add(&mut dst, t.dst_strides, written);
        add(&mut src, t.src_strides, read);
        if !race::injective(&self.counters, first, &dst) {
            return here("the elements written may meet");
        }
        self.access(t.src.0, false, src, stmt)?;
        let channels = [(channel, t.dst_strides[2])].into_iter();
        self.epilogue(&t.epilogue, &[row, column], t.len, channels, stmt)?;
        self.access(t.dst.0, true, dst, stmt)
    }
}

/// Refuses an epilogue that does not fit so many dimensions of rows, whether there is anything in them.
fn has_form(epilogue: &Epilogue, rows: usize) -> Checked<()> {
    if let Some(cap) = epilogue.cap
        && !matches!(cap, Scalar::F32(x) if x > 0.0)
    {
        return here("the minimum is not with a positive f32");
    }
    if epilogue.residual.as_ref().is_some_and(|r| r.rows.len() != rows) {
        return here("the residual has another number of row dimensions");
    }
    Ok(())
}

/// Adds the strides of a contraction's second operand.
fn source(b: &mut Linear, cols: &[Dim], col_slots: &[Slot], depth: &[Dim], depth_slots: &[Slot]) {
    for (dim, &slot) in cols.iter().zip(col_slots) {
        b.add(slot, dim.input.into());
    }
    for (dim, &slot) in depth.iter().zip(depth_slots) {
        b.add(slot, dim.output.into());
    }
}
