//! Runs programs serially, one scalar at a time: what the code generator is compared with.
//!
//! Memory that a program has not written yet holds NaN (`i32::MIN`, `true`), so that a result that
//! depends on it shows.

mod scalar;

use kiln_tensor::{DataMut, Shape, Tensor, TensorError};

use crate::ir::*;
use crate::verify::{VerifyError, verify};

/// The values of a program's buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    tensors: Vec<Tensor>,
}

/// Why a program did not run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The program breaks a rule of the low IR.
    #[error(transparent)]
    Program(#[from] VerifyError),
    /// Memory could not be had.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A list of offsets is too long, or memory for it could not be had.
    #[error("a contraction with a list of {0} offsets is too large to interpret")]
    Offsets(usize),
    /// The value given for a buffer, or the memory as a whole, is of another program.
    #[error("buffer {id} is {expected}, not {found}")]
    Mismatch {
        /// The buffer.
        id: BufferId,
        /// Its type and shape in the program, or "absent".
        expected: String,
        /// The type and shape given, or "absent".
        found: String,
    },
}

impl Memory {
    /// Zeros for every buffer; constants hold their value.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn for_program(program: &Program) -> Result<Memory, TensorError> {
        let tensors = program.buffers.iter().map(|buffer| match &buffer.kind {
            BufferKind::Const(tensor) => Ok(tensor.clone()),
            _ => Tensor::zeros(buffer.shape.clone(), buffer.dtype),
        });
        Ok(Memory { tensors: tensors.collect::<Result<_, _>>()? })
    }

    /// Gives a buffer its value.
    ///
    /// # Errors
    /// If the buffer does not exist or has another type or shape.
    pub fn set(&mut self, id: BufferId, value: &Tensor) -> Result<(), RunError> {
        match self.tensors.get_mut(id.0 as usize) {
            Some(old) if describe(old) == describe(value) => old.clone_from(value),
            old => {
                let expected = old.map_or("absent".to_string(), |t| describe(t));
                return Err(RunError::Mismatch { id, expected, found: describe(value) });
            }
        }
        Ok(())
    }

    /// The value of a buffer.
    ///
    /// # Panics
    /// If the buffer is of another program.
    pub fn get(&self, id: BufferId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }
}

fn describe(tensor: &Tensor) -> String {
    format!("{}{}", tensor.dtype(), tensor.shape())
}

/// Runs a program once, on memory made for it.
///
/// # Errors
/// If the program breaks a rule, the memory is another program's, or scratch cannot be had.
pub fn run(program: &Program, memory: &mut Memory) -> Result<(), RunError> {
    Interp::new(program)?.run(memory)
}

/// A program that has been verified, ready to run any number of times.
#[derive(Clone, Copy, Debug)]
pub struct Interp<'p> {
    program: &'p Program,
}

impl<'p> Interp<'p> {
    /// Verifies the program.
    ///
    /// # Errors
    /// If it breaks a rule.
    pub fn new(program: &'p Program) -> Result<Interp<'p>, VerifyError> {
        verify(program)?;
        Ok(Interp { program })
    }

    /// Runs the kernels in order.
    ///
    /// # Errors
    /// If the memory is another program's, or scratch cannot be had.
    pub fn run(&self, memory: &mut Memory) -> Result<(), RunError> {
        let buffers = &self.program.buffers;
        for i in 0..buffers.len().max(memory.tensors.len()) {
            let expected = buffers.get(i).map(|b| format!("{}{}", b.dtype, b.shape));
            let found = memory.tensors.get(i).map(describe);
            if expected != found {
                let or_absent = |x: Option<String>| x.unwrap_or_else(|| "absent".to_string());
                return Err(RunError::Mismatch {
                    id: BufferId(i as u32),
                    expected: or_absent(expected),
                    found: or_absent(found),
                });
            }
        }
        for (buffer, tensor) in buffers.iter().zip(&mut memory.tensors) {
            if matches!(buffer.kind, BufferKind::Temp | BufferKind::Output | BufferKind::Prepared) {
                forget(&mut tensor.data_mut());
            }
        }
        for kernel in &self.program.kernels {
            run_kernel(kernel, memory)?;
        }
        Ok(())
    }
}

fn forget(array: &mut DataMut<'_>) {
    match array {
        DataMut::F32(v) => v.fill(f32::NAN),
        DataMut::I32(v) => v.fill(i32::MIN),
        DataMut::Bool(v) => v.fill(true),
    }
}

fn run_kernel(kernel: &Kernel, memory: &mut Memory) -> Result<(), RunError> {
    let locals = kernel.locals.iter().map(|l| Tensor::zeros(Shape::new([l.elements])?, l.dtype));
    let mut locals = locals.collect::<Result<Vec<_>, TensorError>>()?;
    let mut tensors: Vec<_> = memory.tensors.iter_mut().map(Some).collect();
    let args = kernel.args.iter().map(|id| tensors[id.0 as usize].take());
    let args = args.map(|tensor| tensor.expect("arguments are distinct").data_mut());
    let (mut vars, mut regs) = (0, 0);
    names(&kernel.body, &mut vars, &mut regs);
    let mut frame = Frame {
        arrays: args.chain(locals.iter_mut().map(Tensor::data_mut)).collect(),
        args: kernel.args.len(),
        vars: vec![0; vars],
        regs: vec![Scalar::I32(0); regs],
    };
    frame.forget_locals();
    frame.body(&kernel.body)
}

/// How many names of each sort the statements use; the verifier has bounded both.
fn names(body: &[Stmt], vars: &mut usize, regs: &mut usize) {
    for stmt in body {
        match stmt {
            Stmt::For(header) => {
                *vars = (*vars).max(header.var.0 as usize + 1);
                names(&header.body, vars, regs);
            }
            Stmt::Let(reg, _) | Stmt::Mut(reg, _) => *regs = (*regs).max(reg.0 as usize + 1),
            _ => {}
        }
    }
}

/// A running kernel.
struct Frame<'m> {
    /// Arguments, then locals.
    arrays: Vec<DataMut<'m>>,
    args: usize,
    vars: Vec<i64>,
    regs: Vec<Scalar>,
}

impl<'m> Frame<'m> {
    fn forget_locals(&mut self) {
        self.arrays[self.args..].iter_mut().for_each(forget);
    }

    fn body(&mut self, body: &[Stmt]) -> Result<(), RunError> {
        for stmt in body {
            match stmt {
                Stmt::For(header) => self.run_loop(header)?,
                Stmt::Let(reg, inst) => self.regs[reg.0 as usize] = self.inst(inst),
                Stmt::Mut(dst, src) | Stmt::Set(dst, src) => {
                    self.regs[dst.0 as usize] = self.reg(*src);
                }
                Stmt::Accumulate(dst, fold, src) => {
                    let value = scalar::binary(fold.binary(), self.reg(*dst), self.reg(*src));
                    self.regs[dst.0 as usize] = value;
                }
                Stmt::Store(mem, index, value) => {
                    let (at, value) = (self.index(index), self.reg(*value));
                    match (self.array(*mem), value) {
                        (DataMut::F32(v), Scalar::F32(x)) => v[at] = x,
                        (DataMut::I32(v), Scalar::I32(x)) => v[at] = x,
                        (DataMut::Bool(v), Scalar::Bool(x)) => v[at] = x,
                        _ => unreachable!("a verified store has the array's type"),
                    }
                }
                Stmt::Block(block) => self.block(block),
                Stmt::Contract(contract) => self.contract(contract)?,
                Stmt::Pack(pack) => self.pack(pack)?,
                Stmt::Transform(transform) => self.transform(transform),
            }
        }
        Ok(())
    }

    fn run_loop(&mut self, header: &For) -> Result<(), RunError> {
        let start = header.start.map_or(0, |v| self.vars[v.0 as usize]);
        let stop = (start + header.extent as i64).min(header.end as i64);
        let mut value = start;
        while value < stop {
            self.vars[header.var.0 as usize] = value;
            if header.kind == LoopKind::Parallel {
                self.forget_locals();
            }
            self.body(&header.body)?;
            value += header.step as i64;
        }
        Ok(())
    }

    fn reg(&self, reg: Reg) -> Scalar {
        self.regs[reg.0 as usize]
    }

    fn array(&mut self, mem: Mem) -> &mut DataMut<'m> {
        let at = self.position(mem);
        &mut self.arrays[at]
    }

    fn position(&self, mem: Mem) -> usize {
        match mem {
            Mem::Arg(n) => n as usize,
            Mem::Local(n) => self.args + n as usize,
        }
    }

    /// Partial sums may wrap where the whole does not, as they do in generated code.
    fn affine(&self, e: &Affine) -> i64 {
        e.terms.iter().fold(e.constant, |sum, &(var, c)| {
            sum.wrapping_add(c.wrapping_mul(self.vars[var.0 as usize]))
        })
    }

    fn index(&self, index: &Index) -> usize {
        let whole = index.dynamic.iter().fold(self.affine(&index.affine), |sum, &(reg, stride)| {
            let Scalar::I32(n) = self.reg(reg) else {
                unreachable!("a clamped register is an i32");
            };
            sum.wrapping_add(stride.wrapping_mul(n.into()))
        });
        whole as usize
    }

    fn inst(&self, inst: &Inst) -> Scalar {
        match inst {
            Inst::Const(x) => *x,
            Inst::Load(mem, index) => {
                let at = self.index(index);
                match &self.arrays[self.position(*mem)] {
                    DataMut::F32(v) => Scalar::F32(v[at]),
                    DataMut::I32(v) => Scalar::I32(v[at]),
                    DataMut::Bool(v) => Scalar::Bool(v[at]),
                }
            }
            Inst::Affine(e) => Scalar::I32(self.affine(e) as i32),
            Inst::Unary(op, x) => scalar::unary(*op, self.reg(*x)),
            Inst::Binary(op, a, b) => scalar::binary(*op, self.reg(*a), self.reg(*b)),
            Inst::Compare(op, a, b) => {
                Scalar::Bool(scalar::compare(*op, self.reg(*a), self.reg(*b)))
            }
            Inst::Select(cond, a, b) => match self.reg(*cond) {
                Scalar::Bool(true) => self.reg(*a),
                _ => self.reg(*b),
            },
            Inst::Cast(dtype, x) => scalar::cast(*dtype, self.reg(*x)),
            Inst::Call(function, x) => match self.reg(*x) {
                Scalar::F32(x) => Scalar::F32(scalar::call(*function, x)),
                other => other,
            },
            Inst::Clamp(x, extent) => match self.reg(*x) {
                Scalar::I32(x) => Scalar::I32(x.clamp(0, (*extent as i64 - 1) as i32)),
                other => other,
            },
        }
    }

    /// The elements of an f32 array.
    fn floats(&self, mem: Mem) -> &[f32] {
        match &self.arrays[self.position(mem)] {
            DataMut::F32(v) => v,
            _ => unreachable!("a verified operand is f32"),
        }
    }

    /// Takes an f32 array out, so that others can be read while it is written.
    fn with_floats(&mut self, mem: Mem, write: impl FnOnce(&Self, &mut [f32])) {
        let at = self.position(mem);
        let mut array = std::mem::replace(&mut self.arrays[at], DataMut::F32(&mut []));
        if let DataMut::F32(v) = &mut array {
            write(self, v);
        }
        self.arrays[at] = array;
    }

    fn block(&mut self, block: &Block) {
        let len = match block.until {
            None => block.len as i64,
            Some((var, end)) => (block.len as i64).min(end as i64 - self.vars[var.0 as usize]),
        };
        let (dst, src) = (self.affine(&block.dst.1), self.affine(&block.src.1));
        for i in 0..len.max(0) {
            let x = self.floats(block.src.0)[(src + i) as usize];
            if let DataMut::F32(v) = self.array(block.dst.0) {
                v[(dst + i) as usize] = scalar::call(block.function, x);
            }
        }
    }

    fn contract(&mut self, contract: &Contract) -> Result<(), RunError> {
        let input = |d: &Dim| d.input;
        let output = |d: &Dim| d.output;
        let (a, b) = (self.affine(&contract.a.1), self.affine(&contract.b.1));
        let c = self.affine(&contract.c.1);
        let a_rows = offsets(&contract.rows, a, input)?;
        let c_rows = offsets(&contract.rows, c, output)?;
        let a_depth = offsets(&contract.depth, 0, input)?;
        let c_cols = offsets(&contract.cols, 0, output)?;
        if c_rows.is_empty() || c_cols.is_empty() {
            return Ok(()); // nothing is said of where operands lie then
        }
        let (b_cols, b_depth) = if contract.packed {
            let (cols, depth) = (c_cols.len() as i64, a_depth.len() as i64);
            let plain = |extent, stride| Dim { extent, input: stride, output: stride };
            (
                offsets(&[plain(cols as usize, 1)], 0, input)?,
                offsets(&[plain(depth as usize, cols)], b, input)?,
            )
        } else {
            (offsets(&contract.cols, 0, input)?, offsets(&contract.depth, b, output)?)
        };
        let Epilogue { bias, residual, .. } = &contract.epilogue;
        let bias = bias.as_ref().map(|place| (place.0, self.affine(&place.1) as usize));
        let residual = match residual {
            Some(residual) => {
                let dims = contract.rows.iter().zip(&residual.rows);
                let dims: Vec<Dim> =
                    dims.map(|(d, &stride)| Dim { input: stride, ..d.clone() }).collect();
                let rows = offsets(&dims, self.affine(&residual.at.1), input)?;
                Some((residual.at.0, rows))
            }
            None => None,
        };
        let mut sums = filled(c_cols.len(), 0.0f64)?;
        self.with_floats(contract.c.0, |frame, c| {
            let (a, b) = (frame.floats(contract.a.0), frame.floats(contract.b.0));
            let bias = bias.map(|(mem, at)| &frame.floats(mem)[at..]);
            let residual = residual.as_ref().map(|(mem, rows)| (frame.floats(*mem), rows));
            for (row, (a_row, c_row)) in a_rows.iter().zip(&c_rows).enumerate() {
                sums.fill(0.0);
                for (a_k, b_k) in a_depth.iter().zip(&b_depth) {
                    let a = &a[(a_row + a_k) as usize..];
                    for (col, (sum, b_col)) in sums.iter_mut().zip(&b_cols).enumerate() {
                        let x = a[if contract.channelwise { col } else { 0 }];
                        *sum += f64::from(x) * f64::from(b[(b_k + b_col) as usize]);
                    }
                }
                for (col, (sum, c_col)) in sums.iter().zip(&c_cols).enumerate() {
                    let element = &mut c[(c_row + c_col) as usize];
                    let old = if contract.accumulate { f64::from(*element) } else { 0.0 };
                    let bias = bias.map(|bias| bias[col]);
                    let residual =
                        residual.map(|(residual, rows)| residual[(rows[row] + c_col) as usize]);
                    *element = finished(&contract.epilogue, (old + sum) as f32, bias, residual);
                }
            }
        });
        Ok(())
    }

    /// The order here is plain `[depth][cols]`, which only this interpreter's contraction reads.
    fn pack(&mut self, pack: &Pack) -> Result<(), RunError> {
        let (src, dst) = (self.affine(&pack.src.1), self.affine(&pack.dst.1) as usize);
        let cols = offsets(&pack.cols, 0, |d| d.input)?;
        let depth = offsets(&pack.depth, src, |d| d.output)?;
        self.with_floats(pack.dst.0, |frame, out| {
            let b = frame.floats(pack.src.0);
            let pairs = depth.iter().flat_map(|k| cols.iter().map(move |c| k + c));
            for (i, at) in pairs.enumerate() {
                out[dst + i] = b[at as usize];
            }
        });
        Ok(())
    }
}

impl Frame<'_> {
    fn transform(&mut self, t: &Transform) {
        if t.len == 0 {
            return; // nothing is said of where operands lie then
        }
        let (src, dst) = (self.affine(&t.src.1), self.affine(&t.dst.1));
        let place = |start: i64, strides: [i64; 3], at: [usize; 3]| {
            let distances = at.iter().zip(strides).map(|(&n, stride)| n as i64 * stride);
            (start + distances.sum::<i64>()) as usize
        };
        let (matrix, [n, m]) = (t.map.matrix(), t.map.sides());
        // Terms with a factor of 0 do not count, whatever the other factor is.
        let line = |row: &[f64], x: &dyn Fn(usize) -> f64| -> f64 {
            let terms = row.iter().enumerate().filter(|(_, a)| **a != 0.0);
            terms.map(|(k, a)| a * x(k)).sum()
        };
        let Epilogue { bias, residual, .. } = &t.epilogue;
        let bias = bias.as_ref().map(|at| (at.0, self.affine(&at.1) as usize));
        let residual = residual.as_ref().map(|r| (r, self.affine(&r.at.1)));
        self.with_floats(t.dst.0, |frame, out| {
            let x = frame.floats(t.src.0);
            let bias = bias.map(|(mem, at)| &frame.floats(mem)[at..]);
            let residual = residual.map(|(r, at)| {
                let strides = [r.rows[0], r.rows[1], t.dst_strides[2]];
                (frame.floats(r.at.0), at, strides)
            });
            for c in 0..t.len {
                let columns: Vec<f64> = (0..m * n)
                    .map(|at| {
                        let (i, j) = (at / n, at % n);
                        line(matrix[i], &|k| x[place(src, t.src_strides, [k, j, c])].into())
                    })
                    .collect();
                for (i, j) in (0..m).flat_map(|i| (0..m).map(move |j| (i, j))) {
                    let value = line(matrix[j], &|k| columns[i * n + k]) as f32;
                    let bias = bias.map(|bias| bias[c]);
                    let residual =
                        residual.map(|(x, at, strides)| x[place(at, strides, [i, j, c])]);
                    out[place(dst, t.dst_strides, [i, j, c])] =
                        finished(&t.epilogue, value, bias, residual);
                }
            }
        });
    }
}

/// What an epilogue makes of a value, given what it adds.
fn finished(epilogue: &Epilogue, mut value: f32, bias: Option<f32>, residual: Option<f32>) -> f32 {
    for added in [bias, residual].into_iter().flatten() {
        value += added;
    }
    if epilogue.relu {
        value = if value > 0.0 || value.is_nan() { value } else { 0.0 };
    }
    if let Some(Scalar::F32(cap)) = epilogue.cap {
        value = if value < cap || value.is_nan() { value } else { cap };
    }
    value
}

/// Lists of offsets of a contraction are refused beyond this length.
const MAX_OFFSETS: usize = 1 << 28;

fn filled<T: Clone>(n: usize, value: T) -> Result<Vec<T>, RunError> {
    let mut v = Vec::new();
    if n > MAX_OFFSETS || v.try_reserve_exact(n).is_err() {
        return Err(RunError::Offsets(n));
    }
    v.resize(n, value);
    Ok(v)
}

/// The offsets of a multi-index's values, outermost dimension first, from `base` on.
fn offsets(dims: &[Dim], base: i64, stride: impl Fn(&Dim) -> i64) -> Result<Vec<i64>, RunError> {
    let n = dims.iter().map(|d| d.extent).product();
    let mut v = filled(n, base)?;
    let mut repeat = 1;
    for dim in dims.iter().rev() {
        for (i, offset) in v.iter_mut().enumerate() {
            *offset =
                offset.wrapping_add(stride(dim).wrapping_mul((i / repeat % dim.extent) as i64));
        }
        repeat *= dim.extent;
    }
    Ok(v)
}
