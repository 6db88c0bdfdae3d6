//! Which kernels may run at the same time.

use std::cell::OnceCell;
use std::ops::Range;

use crate::access::{accesses, visit};
use crate::ir::{BufferId, BufferKind, Mem, Program};
use crate::verify::Elements;

/// What the kernels of a program touch, for asking whether two of them meet.
#[derive(Debug)]
pub struct Conflicts<'p> {
    program: &'p Program,
    touched: Vec<Vec<Touched>>,
    /// Of each kernel, once somebody asked.
    elements: Vec<OnceCell<Option<Elements>>>,
}

/// A buffer that a kernel touches.
#[derive(Debug)]
struct Touched {
    id: BufferId,
    write: bool,
    /// Its bytes in the arena; none before the plan.
    bytes: Range<usize>,
}

impl<'p> Conflicts<'p> {
    /// Of a program that has been verified.
    pub fn new(program: &'p Program) -> Conflicts<'p> {
        let touched = program.kernels.iter().map(|kernel| {
            let mut touched: Vec<Touched> = Vec::new();
            visit(&kernel.body, &mut |stmt| {
                for access in accesses(stmt) {
                    let Mem::Arg(arg) = access.mem else { continue };
                    let id = kernel.args[arg as usize];
                    match touched.iter_mut().find(|t| t.id == id) {
                        Some(known) => known.write |= access.write,
                        None => {
                            let bytes = bytes(program, id);
                            touched.push(Touched { id, write: access.write, bytes });
                        }
                    }
                }
            });
            touched
        });
        let elements = program.kernels.iter().map(|_| OnceCell::new()).collect();
        Conflicts { program, touched: touched.collect(), elements }
    }

    /// Whether one of two kernels may write what the other touches, so that they must run one after
    /// the other: elements of one buffer, or bytes of the arena, which buffers share that are not
    /// alive together.
    pub fn meet(&self, a: usize, b: usize) -> bool {
        self.touched[a].iter().any(|x| {
            self.touched[b].iter().any(|y| {
                let overlap = x.bytes.start < y.bytes.end && y.bytes.start < x.bytes.end;
                match (x.write, y.write) {
                    (false, false) => false,
                    _ if x.id != y.id => overlap,
                    (true, true) => !self.are_apart(a, b, x.id),
                    // Who reads a buffer mostly reads all of it.
                    _ => true,
                }
            })
        })
    }

    /// Whether two kernels are shown to touch different elements of a buffer, where one writes.
    fn are_apart(&self, a: usize, b: usize, id: BufferId) -> bool {
        let of = |kernel: usize| {
            let find = || Elements::of(self.program, &self.program.kernels[kernel]);
            self.elements[kernel].get_or_init(find).as_ref()
        };
        of(a).zip(of(b)).is_some_and(|(a, b)| a.are_apart(b, id))
    }
}

/// Constants are written by nobody, wherever they lie.
fn bytes(program: &Program, id: BufferId) -> Range<usize> {
    let buffer = program.buffer(id);
    match (&buffer.kind, buffer.offset) {
        (BufferKind::Const(_), _) | (_, None) => 0..0,
        (_, Some(offset)) => offset..offset + buffer.bytes(),
    }
}
