//! Vector loops in 512 bits.
//!
//! Cranelift's vectors have 128. Where the processor has AVX-512, a vector loop whose body consists
//! of what [`evex`] has instructions for becomes one call of a function that is assembled here: no
//! calls, no memory of its own, registers that need not be saved. Which loops those are is decided
//! before any code is generated; the others are emitted as on every processor
//! ([decision 42](../../../../docs/decisions/0042-wide-loops.md)).

mod assemble;
mod body;
mod evex;
mod functions;
mod nest;
mod read;

use std::collections::HashMap;

use kiln_kernels::Isa;
use kiln_loops::Var;
use rayon::prelude::*;

use crate::emit::Source;
pub(crate) use body::Passed;
use body::{Arguments, Body};
use nest::{Nest, nests};
use read::Registers;

/// Whether vector loops are assembled here, with the steps of functions among their own. They take
/// their arguments as System V says.
pub fn has_wide_loops(isa: Isa) -> bool {
    isa.name() == "avx512" && !cfg!(windows)
}

/// The call that stands for a loop.
#[derive(Debug)]
pub(crate) struct Call {
    /// The position of the function.
    pub function: usize,
    pub arguments: Arguments,
}

impl Call {
    /// Bytes of the arguments; sums are at their end, a vector each.
    pub fn bytes(&self) -> usize {
        self.sum(self.arguments.sums.len())
    }

    /// Where among the arguments a sum is.
    pub fn sum(&self, sum: usize) -> usize {
        let Arguments { streams, scalars, .. } = &self.arguments;
        8 * (streams.len() + scalars.len()) + assemble::VECTOR as usize * sum
    }
}

/// The loops of one kernel that are calls, by their variables.
pub(crate) type Calls = HashMap<Var, Call>;

/// The functions of a program's vector loops, each once.
#[derive(Debug, Default)]
pub(crate) struct Wide {
    /// For each kernel.
    pub calls: Vec<Calls>,
    bodies: Vec<Body>,
    /// Machine code of the bodies.
    pub functions: Vec<Vec<u8>>,
}

impl Wide {
    /// Those of the kernels, if the instruction set has any.
    pub fn of(sources: &[Source<'_>], isa: Isa) -> Wide {
        if !has_wide_loops(isa) {
            return Wide {
                calls: sources.iter().map(|_| Calls::new()).collect(),
                ..Wide::default()
            };
        }
        let found: Vec<Vec<(Var, Body, Arguments)>> = sources.par_iter().map(loops).collect();
        let mut positions: HashMap<Body, Option<usize>> = HashMap::new();
        let mut wide = Wide::default();
        for loops in found {
            let mut calls = Calls::new();
            for (var, body, arguments) in loops {
                let function = *positions.entry(body).or_insert_with_key(|body| {
                    let code = assemble::assemble(body, false)?;
                    wide.bodies.push(body.clone());
                    wide.functions.push(code.bytes);
                    Some(wide.functions.len() - 1)
                });
                if let Some(function) = function {
                    calls.insert(var, Call { function, arguments });
                }
            }
            wide.calls.push(calls);
        }
        wide
    }

    /// The instructions of a function.
    pub fn listing(&self, function: usize) -> String {
        let code = assemble::assemble(&self.bodies[function], true);
        code.map(|code| code.listing()).unwrap_or_default()
    }
}

/// The vector loops of a kernel that have a body.
fn loops(source: &Source<'_>) -> Vec<(Var, Body, Arguments)> {
    let found = nests(&source.kernel.body);
    if found.is_empty() {
        return Vec::new();
    }
    let registers = Registers::of(source.kernel, source.dtypes);
    let read = |nest: &Nest<'_>| {
        let (body, arguments) = read::read(source.kernel, source.dtypes, &registers, nest)?;
        Some((nest.f.var, body, arguments))
    };
    found.iter().filter_map(read).collect()
}
