//! Calls of the precompiled kernels, and the descriptors of contractions they take.

use std::collections::HashMap;

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::I64;
use kiln_kernels::{CacheSizes, Contraction, ContractionError, Isa, Tables};
use kiln_loops::{Block, Contract, Dim, Epilogue, Kernel, Mem, Pack, Scalar, Stmt, Transform};
use rayon::prelude::*;

use super::{Emitter, ScratchLayout};

/// What the offsets of a contraction's operands are too large for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Tables of 32-bit offsets cannot hold the strides.
    #[error("a contraction's operand spans more than 2^32 elements")]
    Span,
    /// Too many rows, columns or terms.
    #[error("a contraction over {0} rows, columns or terms is too large")]
    Length(usize),
    /// The micro-kernels refuse it.
    #[error(transparent)]
    Kernel(#[from] ContractionError),
}

/// The most rows, columns or terms: their tables take 256 MiB.
const MAX_TABLE: usize = 1 << 26;

/// The shape of a contraction: what its descriptor depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    rows: Vec<Dim>,
    cols: Vec<Dim>,
    depth: Vec<Dim>,
    accumulate: bool,
    /// The strides along the rows of what is added to the result.
    residual: Option<Vec<i64>>,
    relu: bool,
    cap: Option<Scalar>,
    channelwise: bool,
    far: bool,
}

impl Shape {
    fn of_contract(kernel: &Kernel, c: &Contract) -> Shape {
        Shape {
            rows: c.rows.clone(),
            cols: c.cols.clone(),
            depth: c.depth.clone(),
            accumulate: c.accumulate,
            residual: c.epilogue.residual.as_ref().map(|r| r.rows.clone()),
            relu: c.epilogue.relu,
            cap: c.epilogue.cap,
            channelwise: c.channelwise,
            far: bytes_read(kernel, c) > CacheSizes::detect().l2 as i128,
        }
    }

    /// A product without rows: packing asks for the second operand alone.
    fn of_pack(p: &Pack) -> Shape {
        Shape {
            rows: vec![Dim { extent: 0, input: 0, output: 0 }],
            cols: p.cols.clone(),
            depth: p.depth.clone(),
            accumulate: false,
            residual: None,
            relu: false,
            cap: None,
            channelwise: false,
            far: false,
        }
    }
}

/// Bytes between the first and the last element of a contraction's first operand that the kernel's turns
/// read; 0 of a thread's own memory.
fn bytes_read(kernel: &Kernel, c: &Contract) -> i128 {
    let (Mem::Arg(_), index) = &c.a else { return 0 };
    let reach = |extent: usize, stride: i64| (extent as i128 - 1) * i128::from(stride.abs());
    let turns = std::iter::successors(kernel.parallel(), |l| l.parallel());
    let turns: i128 = turns.map(|l| reach(l.extent, index.coefficient(l.var))).sum();
    let dims: i128 = c.rows.iter().chain(&c.depth).map(|d| reach(d.extent, d.input)).sum();
    (turns + dims + 1) * size_of::<f32>() as i128
}

/// A descriptor, at a fixed address.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub contraction: Box<Contraction>,
    /// Elements from the index at row, depth and column 0 to the lowest one, of each operand:
    /// tables have no negative offsets. The last is what is added to the result.
    base: [i64; 4],
}

/// The descriptors of a program, each once.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    positions: HashMap<Shape, usize>,
    pub list: Vec<Descriptor>,
}

impl Descriptors {
    /// Those that the kernels need.
    pub fn of<'k>(
        kernels: impl Iterator<Item = &'k Kernel>,
        isa: Isa,
    ) -> Result<Descriptors, (usize, TableError)> {
        let mut shapes = Vec::new();
        let mut positions = HashMap::new();
        for (number, kernel) in kernels.enumerate() {
            each_shape(kernel, &kernel.body, &mut |shape| {
                positions.entry(shape).or_insert_with_key(|shape| {
                    shapes.push((number, shape.clone()));
                    shapes.len() - 1
                });
            });
        }
        let describe =
            |(number, shape): &(usize, Shape)| descriptor(shape, isa).map_err(|e| (*number, e));
        let list: Vec<Result<Descriptor, _>> = shapes.par_iter().map(describe).collect();
        Ok(Descriptors { positions, list: list.into_iter().collect::<Result<_, _>>()? })
    }

    fn find(&self, shape: &Shape) -> (usize, &Descriptor) {
        let position = self.positions[shape];
        (position, &self.list[position])
    }

    /// Bytes of scratch that the contractions among the statements need.
    fn scratch_bytes(&self, kernel: &Kernel, body: &[Stmt]) -> usize {
        body.iter()
            .map(|stmt| match stmt {
                Stmt::For(inner) => self.scratch_bytes(kernel, &inner.body),
                Stmt::Contract(c) => {
                    let contraction = &self.find(&Shape::of_contract(kernel, c)).1.contraction;
                    match c.packed {
                        true => contraction.packed_scratch_bytes(),
                        false => contraction.scratch_bytes(),
                    }
                }
                _ => 0,
            })
            .max()
            .unwrap_or(0)
    }
}

/// The places of a kernel's locals and of its contractions' scratch, each 64-byte aligned; `None`
/// if the sizes overflow.
pub(crate) fn scratch_layout(kernel: &Kernel, descriptors: &Descriptors) -> Option<ScratchLayout> {
    let mut layout = ScratchLayout::default();
    let mut end = 0usize;
    for local in &kernel.locals {
        layout.locals.push(end);
        let bytes = local.elements.checked_mul(local.dtype.bytes())?;
        end = end.checked_add(bytes.checked_next_multiple_of(64)?)?;
    }
    layout.contract = end;
    let scratch = descriptors.scratch_bytes(kernel, &kernel.body).checked_next_multiple_of(64)?;
    layout.bytes = end.checked_add(scratch)?;
    Some(layout)
}

fn each_shape(kernel: &Kernel, body: &[Stmt], f: &mut impl FnMut(Shape)) {
    for stmt in body {
        match stmt {
            Stmt::For(inner) => each_shape(kernel, &inner.body, f),
            Stmt::Contract(c) => f(Shape::of_contract(kernel, c)),
            Stmt::Pack(p) => f(Shape::of_pack(p)),
            _ => {}
        }
    }
}

fn descriptor(shape: &Shape, isa: Isa) -> Result<Descriptor, TableError> {
    let (a_row, a0) = offsets(&shape.rows, |d| d.input)?;
    let (a_depth, a1) = offsets(&shape.depth, |d| d.input)?;
    let (b_depth, b0) = offsets(&shape.depth, |d| d.output)?;
    let (b_col, b1) = offsets(&shape.cols, |d| d.input)?;
    let (c_row, c0) = offsets(&shape.rows, |d| d.output)?;
    let (c_col, c1) = offsets(&shape.cols, |d| d.output)?;
    let tables = Tables { a_row, a_depth, b_depth, b_col, c_row, c_col };
    let (residual, r0) = match &shape.residual {
        None => (Vec::new(), 0),
        Some(strides) => {
            let dims = shape.rows.iter().zip(strides);
            let dims: Vec<Dim> = dims.map(|(d, &input)| Dim { input, ..d.clone() }).collect();
            offsets(&dims, |d| d.input)?
        }
    };
    let mut contraction = Contraction::new(isa, tables, shape.accumulate)?;
    if shape.channelwise {
        contraction = contraction.channelwise();
    }
    if shape.far {
        contraction = contraction.far();
    }
    let cap = match shape.cap {
        Some(Scalar::F32(cap)) => Some(cap),
        _ => None,
    };
    let contraction = Box::new(contraction.with_epilogue(residual, shape.relu, cap)?);
    Ok(Descriptor { contraction, base: [a0 + a1, b0 + b1, c0 + c1, r0 + c1] })
}

/// The offsets of a multi-index's values from the lowest one, outermost dimension first, and the
/// lowest one, which is not positive.
fn offsets(dims: &[Dim], stride: impl Fn(&Dim) -> i64) -> Result<(Vec<u32>, i64), TableError> {
    let length = dims.iter().try_fold(1usize, |n, d| n.checked_mul(d.extent));
    let length = length.filter(|&n| n <= MAX_TABLE).ok_or_else(|| {
        TableError::Length(dims.iter().fold(1, |n, d| n.saturating_mul(d.extent)))
    })?;
    if length == 0 {
        return Ok((Vec::new(), 0));
    }
    let reach = |d: &Dim| (d.extent as i128 - 1) * i128::from(stride(d));
    let lowest: i128 = dims.iter().map(|d| reach(d).min(0)).sum();
    let highest: i128 = dims.iter().map(|d| reach(d).max(0)).sum();
    if highest - lowest > i128::from(u32::MAX) {
        return Err(TableError::Span);
    }
    // All differences fit 32 bits, so arithmetic modulo 2^32 is exact.
    let mut table = Vec::with_capacity(length);
    table.push((-lowest) as u32);
    for dim in dims {
        let before = std::mem::replace(&mut table, Vec::with_capacity(length));
        for start in before {
            let step = stride(dim) as u32;
            table.extend((0..dim.extent as u32).map(|n| start.wrapping_add(n.wrapping_mul(step))));
        }
    }
    Ok((table, lowest as i64))
}

impl Emitter<'_, '_> {
    pub(super) fn contract(&mut self, c: &Contract) {
        let (position, descriptor) = self.descriptors.find(&Shape::of_contract(self.kernel, c));
        let [a_base, b_base, c_base, r_base] = descriptor.base;
        let a = self.pointer(c.a.0, &c.a.1, a_base);
        let b = self.pointer(c.b.0, &c.b.1, if c.packed { 0 } else { b_base });
        let result = self.pointer(c.c.0, &c.c.1, c_base);
        let none = self.b.ins().iconst(I64, 0);
        let bias = c.epilogue.bias.as_ref().map_or(none, |p| self.pointer(p.0, &p.1, 0));
        let residual = c.epilogue.residual.as_ref();
        let residual = residual.map_or(none, |r| self.pointer(r.at.0, &r.at.1, r_base));
        let address = self.data(self.link.descriptors[position]);
        let function = match c.packed {
            true => self.link.contract_packed,
            false => self.link.contract,
        };
        let scratch = self.contract_scratch;
        self.call(function, &[address, a, b, result, scratch, bias, residual]);
    }

    pub(super) fn pack(&mut self, p: &Pack) {
        let (position, descriptor) = self.descriptors.find(&Shape::of_pack(p));
        let src = self.pointer(p.src.0, &p.src.1, descriptor.base[1]);
        let dst = self.pointer(p.dst.0, &p.dst.1, 0);
        let address = self.data(self.link.descriptors[position]);
        let (part, parts) = (self.b.ins().iconst(I64, 0), self.b.ins().iconst(I64, 1));
        self.call(self.link.pack, &[address, src, dst, part, parts]);
    }

    pub(super) fn transform(&mut self, t: &Transform) {
        let dst = self.pointer(t.dst.0, &t.dst.1, 0);
        let src = self.pointer(t.src.0, &t.src.1, 0);
        let none = self.b.ins().iconst(I64, 0);
        let Epilogue { bias, residual, relu, cap } = &t.epilogue;
        let bias = bias.as_ref().map_or(none, |p| self.pointer(p.0, &p.1, 0));
        let (residual, strides) = match residual {
            Some(r) => (self.pointer(r.at.0, &r.at.1, 0), [r.rows[0], r.rows[1]]),
            None => (none, [0; 2]),
        };
        let cap = match cap {
            Some(Scalar::F32(cap)) => *cap,
            _ => f32::INFINITY,
        };
        let mut arguments = vec![dst, src];
        let numbers = t.dst_strides.into_iter().chain(t.src_strides).chain([t.len as i64]);
        arguments.extend(numbers.map(|n| self.b.ins().iconst(I64, n)));
        arguments.extend([bias, residual]);
        let numbers = strides.into_iter().chain([i64::from(*relu), i64::from(cap.to_bits())]);
        arguments.extend(numbers.map(|n| self.b.ins().iconst(I64, n)));
        self.call(self.link.maps[t.map as usize], &arguments);
    }

    pub(super) fn block(&mut self, block: &Block) {
        let dst = self.pointer(block.dst.0, &block.dst.1, 0);
        let src = self.pointer(block.src.0, &block.src.1, 0);
        let mut n = self.b.ins().iconst(I64, block.len as i64);
        if let Some((var, end)) = block.until {
            let at = self.affine(&kiln_loops::Affine::var(var));
            let end = self.b.ins().iconst(I64, end as i64);
            let zero = self.b.ins().iconst(I64, 0);
            let left = self.b.ins().isub(end, at);
            let left = self.b.ins().smax(left, zero);
            n = self.b.ins().smin(n, left);
        }
        self.call(self.link.math[block.function as usize], &[dst, src, n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_count_from_the_lowest_element() {
        let dim = |extent, input| Dim { extent, input, output: 0 };
        let (table, lowest) = offsets(&[dim(2, 10), dim(3, -2)], |d| d.input).unwrap();
        assert_eq!((table, lowest), (vec![4, 2, 0, 14, 12, 10], -4));
        let huge = offsets(&[dim(2, 1 << 33)], |d| d.input);
        assert_eq!(huge.unwrap_err(), TableError::Span);
        let long = offsets(&[dim(1 << 20, 0), dim(1 << 20, 0)], |d| d.input);
        assert_eq!(long.unwrap_err(), TableError::Length(1 << 40));
        assert_eq!(offsets(&[dim(0, 5)], |d| d.input).unwrap(), (vec![], 0));
    }
}
