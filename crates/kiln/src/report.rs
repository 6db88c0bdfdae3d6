//! What compiling gave: kernels, bytes, time per pass.

use std::fmt;
use std::time::Duration;

use kiln_loops::{BufferKind, Program, live_ranges};
use kiln_passes::{PassReport, Remark};

/// What compiling gave.
#[derive(Clone, Debug)]
pub struct Report {
    /// Kernels a run executes.
    pub kernels: usize,
    /// Where the bytes go.
    pub memory: Memory,
    /// Every pass, in order.
    pub passes: Vec<PassReport>,
    /// Wall time of the verification after each pass, all together.
    pub verification: Duration,
    /// What passes declined to do, and why.
    pub remarks: Vec<Remark>,
    /// From text to executable.
    pub time: Duration,
}

/// Where the bytes of the arena go. The classes of temporary buffers are each the most that is
/// alive at one time, so they add up to more than the arena, in which they share places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The whole arena, scratch of the threads included.
    pub arena: usize,
    /// What the program allows it, if it does.
    pub limit: Option<usize>,
    /// Weights and states of the model.
    pub weights: usize,
    /// What is prepared from them once, such as packed weights.
    pub prepared: usize,
    /// Weights that only this preparation reads: [`crate::Session::release_weights`] gives their
    /// memory back.
    pub sources: usize,
    /// Values computed after the loss: gradients of weights and activations.
    pub gradients: usize,
    /// States of the optimiser.
    pub optimiser: usize,
    /// Values computed before the loss.
    pub saved: usize,
    /// Inputs, outputs and constants.
    pub boundary: usize,
    /// Scratch of kernels, all threads.
    pub scratch: usize,
    /// The greatest sum of bytes alive at any kernel: no plan of this schedule can need less.
    pub bound: usize,
}

impl Memory {
    pub(crate) fn of(program: &Program, scratch: usize, limit: Option<usize>) -> Memory {
        let mut memory =
            Memory { arena: program.arena_bytes + scratch, limit, scratch, ..Memory::default() };
        let ranges = live_ranges(program);
        memory.bound =
            scratch + kiln_loops::bound_bytes(program, &ranges).unwrap_or(program.arena_bytes);
        let loss = program.buffers.iter().position(|b| b.kind == BufferKind::Output);
        let writes_loss = |k: &kiln_loops::Kernel| {
            let mut found = false;
            kiln_loops::visit(&k.body, &mut |s| {
                found |= kiln_loops::accesses(s).any(|a| match a.mem {
                    kiln_loops::Mem::Arg(i) => {
                        a.write && Some(k.args[i as usize].0 as usize) == loss
                    }
                    kiln_loops::Mem::Local(_) => false,
                });
            });
            found
        };
        let turn = program.kernels.iter().position(writes_loss).unwrap_or(program.kernels.len());
        // Bytes that are born at each kernel, and that die at it.
        let mut saved = vec![(0usize, 0usize); program.kernels.len() + 1];
        let mut gradients = saved.clone();
        let sources = kiln_loops::sources(program);
        for ((buffer, range), is_source) in program.buffers.iter().zip(&ranges).zip(sources) {
            let bytes = buffer.bytes();
            if is_source {
                memory.sources += bytes;
            }
            match (&buffer.kind, range) {
                (BufferKind::Param | BufferKind::State, _) => memory.weights += bytes,
                (BufferKind::Prepared, _) => memory.prepared += bytes,
                (BufferKind::Slot, _) => memory.optimiser += bytes,
                (BufferKind::Temp, Some(range)) => {
                    let class = if range.first > turn { &mut gradients } else { &mut saved };
                    class[range.first].0 += bytes;
                    class[range.last + 1].1 += bytes;
                }
                (BufferKind::Temp, None) => {}
                _ => memory.boundary += bytes,
            }
        }
        memory.saved = most(&saved);
        memory.gradients = most(&gradients);
        memory
    }
}

/// The most bytes alive at once, given those born and those that die at each time.
fn most(changes: &[(usize, usize)]) -> usize {
    let mut live = 0;
    let alive = changes.iter().map(|(born, dead)| {
        live = live + born - dead;
        live
    });
    alive.max().unwrap_or(0)
}

/// Bytes as a person reads them: `13.4 MiB`.
pub fn bytes(n: usize) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory  arena {}", bytes(self.arena))?;
        if let Some(limit) = self.limit {
            write!(f, " of {}", bytes(limit))?;
        }
        write!(f, " (weights {}", bytes(self.weights))?;
        if self.prepared > 0 {
            let sources = bytes(self.sources);
            write!(f, " of which {sources} can be released, prepared {}", bytes(self.prepared))?;
        }
        write!(
            f,
            ", gradients {}, optimiser {}, saved {}, scratch {}) | bound {} | \
             recomputed 0 ops, +0.0 % flops | smallest possible {}",
            bytes(self.gradients),
            bytes(self.optimiser),
            bytes(self.saved),
            bytes(self.scratch),
            bytes(self.bound),
            bytes(self.arena),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |t: Duration| t.as_secs_f64() * 1e3;
        writeln!(f, "compile {} kernels in {:.1} ms", self.kernels, ms(self.time))?;
        for pass in &self.passes {
            let (name, before, after) = (pass.pass, pass.before, pass.after);
            writeln!(f, "  {name:<10} {before:>6} -> {after:<6} {:>8.2} ms", ms(pass.time))?;
        }
        writeln!(f, "  {:<10} {:>16} {:>8.2} ms", "verify", "", ms(self.verification))?;
        write!(f, "{}", self.memory)
    }
}
