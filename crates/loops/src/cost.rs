//! What a kernel costs, from its text alone.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::access::accesses;
use crate::ir::*;

/// Counts for one run of a kernel. Upper bounds where a loop's last chunk is short.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Cost {
    /// Arithmetic operations on f32: a fused multiply-add is two.
    pub flops: f64,
    /// Transcendental functions of one element.
    pub functions: f64,
    /// Bytes of distinct elements of arguments that are read, at most.
    pub read_bytes: f64,
    /// Bytes of distinct elements of arguments that are written, at most.
    pub written_bytes: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.flops += other.flops;
        self.functions += other.functions;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
    }
}

/// The cost of one run of a kernel of the program.
pub fn cost(program: &Program, kernel: &Kernel) -> Cost {
    let mut count = Count::default();
    count.body(&kernel.body, 1.0);
    let mut cost = Cost { flops: count.flops, functions: count.functions, ..Cost::default() };
    for ((mem, write), elements) in count.elements {
        let Mem::Arg(arg) = mem else { continue };
        let id = kernel.args.get(arg as usize);
        let Some(buffer) = id.and_then(|id| program.buffers.get(id.0 as usize)) else { continue };
        let touched = elements.min(buffer.shape.elements() as f64);
        let bytes = touched * buffer.dtype.bytes() as f64;
        *if write { &mut cost.written_bytes } else { &mut cost.read_bytes } += bytes;
    }
    cost
}

/// Accesses of a statement, at most: two operands, bias, residual, the result read and written.
const MOST: usize = 6;

#[derive(Default)]
struct Count {
    flops: f64,
    functions: f64,
    /// Elements touched, each time counted, of memory that is read (false) or written (true).
    elements: BTreeMap<(Mem, bool), f64>,
    /// How often the body of each open loop runs.
    trips: BTreeMap<Var, f64>,
}

impl Count {
    /// Counts statements that run `times`.
    fn body(&mut self, body: &[Stmt], times: f64) {
        for stmt in body {
            let size = match stmt {
                Stmt::For(header) => {
                    let trips = self.trips(header);
                    self.trips.insert(header.var, trips);
                    self.body(&header.body, times * trips);
                    continue;
                }
                Stmt::Block(block) => {
                    let end = block.until.map_or(block.len, |u| u.1.min(block.len));
                    self.functions += times * end as f64;
                    [end as f64; MOST]
                }
                Stmt::Contract(contract) => {
                    let [rows, cols] = [&contract.rows, &contract.cols].map(|d| volume(d));
                    let depth = volume(&contract.depth);
                    self.flops += times * 2.0 * rows * cols * depth;
                    self.flops += times * rows * cols * contract.epilogue.steps() as f64;
                    // The operands, the bias, and what has the size of the result.
                    let mut size = [rows * cols; MOST];
                    let own = if contract.channelwise { cols } else { 1.0 };
                    (size[0], size[1]) = (rows * depth * own, depth * cols);
                    if contract.epilogue.bias.is_some() {
                        size[2] = cols;
                    }
                    size
                }
                Stmt::Transform(t) => {
                    let [n, m] = t.map.sides().map(|side| (side * side * t.len) as f64);
                    self.flops += times * (t.map.operations() * t.len) as f64;
                    self.flops += times * m * t.epilogue.steps() as f64;
                    // The operand, the bias, and what has the size of the result.
                    let mut size = [m; MOST];
                    size[0] = n;
                    if t.epilogue.bias.is_some() {
                        size[1] = t.len as f64;
                    }
                    size
                }
                Stmt::Pack(pack) => [volume(&pack.cols) * volume(&pack.depth); MOST],
                Stmt::Let(_, Inst::Call(..)) => {
                    self.functions += times;
                    [0.0; MOST]
                }
                Stmt::Let(_, Inst::Load(..)) | Stmt::Store(..) => [1.0; MOST],
                Stmt::Let(_, Inst::Const(_) | Inst::Affine(_)) => [0.0; MOST],
                Stmt::Let(_, Inst::Cast(..) | Inst::Clamp(..)) => [0.0; MOST],
                Stmt::Let(..) | Stmt::Accumulate(..) => {
                    self.flops += times;
                    [0.0; MOST]
                }
                Stmt::Mut(..) | Stmt::Set(..) => [0.0; MOST],
            };
            for (access, elements) in accesses(stmt).zip(size) {
                *self.elements.entry((access.mem, access.write)).or_default() += times * elements;
            }
        }
    }

    /// How often a loop's body runs each time the loop is reached, on average.
    fn trips(&self, header: &For) -> f64 {
        let step = header.step.max(1) as f64;
        let (extent, end) = (header.extent as f64, header.end as f64);
        match header.start {
            None => (extent.min(end) / step).ceil(),
            // Chunks share the range out: all of them together go over it once.
            Some(start) => {
                let chunks = self.trips.get(&start).copied().unwrap_or(1.0).max(1.0);
                let share = if extent * chunks >= end { end / chunks } else { extent };
                (share / step).max(if share > 0.0 { 1.0 } else { 0.0 })
            }
        }
    }
}

fn volume(dims: &[Dim]) -> f64 {
    dims.iter().map(|d| d.extent as f64).product()
}
