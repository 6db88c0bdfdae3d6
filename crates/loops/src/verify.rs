//! The rules every program keeps, checked before anything runs it.
//!
//! This is the safety argument of the code generator: in a verified program every access of every
//! kernel lies within its buffer or scratch memory, and no two threads touch the same element
//! unless both read. Shapes are static and indices affine, so both are proved, not tested.
//!
//! The proofs hold for statements that run: an access in a loop may be out of bounds where the
//! loop runs zero times, so nothing that touches memory may be moved out of a loop that can.

use std::collections::HashSet;

use kiln_tensor::MAX_BYTES;

use crate::ir::*;

pub(crate) use kernel::Elements;

mod kernel;
mod operands;
mod race;
mod range;
mod types;

/// Loops may be nested this deep.
pub const MAX_DEPTH: usize = 256;

/// Numbers of registers and loop variables are below this, so that tables of them are small.
pub const MAX_NAMES: u32 = 1 << 20;

/// No loop, dimension or step is greater: products with coefficients stay far within 128 bits.
const MAX_EXTENT: usize = MAX_BYTES;

/// Pairs of accesses to one argument that are compared in one parallel or vector loop.
pub const MAX_PAIRS: usize = 1 << 16;

/// The alignment of planned offsets, in bytes.
pub const ALIGNMENT: usize = 64;

/// The rule a program breaks, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct VerifyError {
    /// The kernel and statement, or the buffer.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

type Result<T> = std::result::Result<T, VerifyError>;

fn fail<T>(place: impl ToString, message: impl ToString) -> Result<T> {
    Err(VerifyError { place: place.to_string(), message: message.to_string() })
}

/// Checks the rules that concern one kernel alone, which need not be one of the program's but works on
/// its buffers.
///
/// # Errors
/// As [`verify`].
pub fn verify_kernel(program: &Program, kernel: &Kernel) -> Result<()> {
    kernel::arguments(program, kernel)?;
    kernel::verify(program, kernel).map(|_| ())
}

/// Checks every rule of the low IR.
///
/// # Errors
/// The first rule that is broken, with its place.
pub fn verify(program: &Program) -> Result<()> {
    buffers(program)?;
    let mut written: Vec<bool> = program
        .buffers
        .iter()
        .map(|b| !matches!(b.kind, BufferKind::Temp | BufferKind::Output | BufferKind::Prepared))
        .collect();
    let at = |number: usize| {
        move |e: VerifyError| VerifyError {
            place: format!(
                "kernel {number} {}: {}",
                crate::text::quoted(&program.kernels[number].name),
                e.place
            ),
            message: e.message,
        }
    };
    for (number, kernel) in program.kernels.iter().enumerate() {
        kernel::arguments(program, kernel).map_err(at(number))?;
    }
    // What is proved of a kernel holds for those that do the same to buffers of the same sizes.
    let read_only = |b: &Buffer| matches!(b.kind, BufferKind::Input | BufferKind::Const(_));
    let first = crate::alike(program, |b| (b.dtype, b.shape.elements(), read_only(b)));
    let mut touches = Vec::with_capacity(program.kernels.len());
    for (number, kernel) in program.kernels.iter().enumerate() {
        touches.push(match first[number] == number {
            true => kernel::verify(program, kernel).map_err(at(number))?,
            false => Vec::new(),
        });
        kernel::order(program, kernel, &touches[first[number]], &mut written)
            .map_err(at(number))?;
    }
    prelude(program)
}

/// The prelude reads what lives across runs and leaves behind what is prepared from it; the kernels
/// after it change neither, and share nothing else with it.
fn prelude(program: &Program) -> Result<()> {
    let n = program.prelude;
    if n > program.kernels.len() {
        return fail("prelude", format!("it has {n} kernels of {}", program.kernels.len()));
    }
    let mut touched = vec![false; program.buffers.len()];
    for (number, kernel) in program.kernels.iter().enumerate() {
        let place = || format!("kernel {number} {}", crate::text::quoted(&kernel.name));
        let mut wrong = None;
        crate::visit(&kernel.body, &mut |stmt| {
            for access in crate::accesses(stmt) {
                let Mem::Arg(arg) = access.mem else { continue };
                let id = kernel.args[arg as usize];
                let (kind, seen) = (&program.buffer(id).kind, &mut touched[id.0 as usize]);
                let legal = match (kind, access.write) {
                    (BufferKind::Temp | BufferKind::Prepared, _) if number < n => true,
                    (BufferKind::Input | BufferKind::Output, _) | (_, true) if number < n => false,
                    (BufferKind::Prepared, write) => !write,
                    (BufferKind::Temp, _) => !*seen,
                    (_, write) => !(write && *seen),
                };
                *seen |= number < n;
                if !legal {
                    let does = if access.write { "writes" } else { "reads" };
                    let side = if number < n { "part of" } else { "after" };
                    wrong.get_or_insert(format!("{side} the prelude, it {does} {id}"));
                }
            }
        });
        if let Some(message) = wrong {
            return fail(place(), message);
        }
    }
    Ok(())
}

fn buffers(program: &Program) -> Result<()> {
    let mut names = HashSet::new();
    for (i, buffer) in program.buffers.iter().enumerate() {
        let place = || format!("buffer b{i} {}", crate::text::quoted(&buffer.name));
        if !names.insert(&buffer.name) {
            return fail(place(), "another buffer has the same name");
        }
        if let BufferKind::Const(tensor) = &buffer.kind
            && (tensor.dtype() != buffer.dtype || *tensor.shape() != buffer.shape)
        {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            return fail(place(), format!("its constant is {dtype}{shape}"));
        }
        if let Some(offset) = buffer.offset {
            if !offset.is_multiple_of(ALIGNMENT) {
                return fail(place(), format!("offset {offset} is not a multiple of {ALIGNMENT}"));
            }
            if offset.checked_add(buffer.bytes()).is_none_or(|end| end > program.arena_bytes) {
                let arena = program.arena_bytes;
                return fail(place(), format!("it ends beyond the arena's {arena} bytes"));
            }
        }
    }
    Ok(())
}
