//! Element types, shapes and dense tensors: the vocabulary every Kiln crate shares.
//!
//! A [`Tensor`] is a dense row-major array of one [`DType`]. It is what crosses Kiln's boundary
//! (weights, inputs, outputs); inside a running session values live in the arena instead.

mod dtype;
mod file;
mod nearest;
mod npy;
mod random;
mod shape;
mod tensor;

pub use dtype::DType;
pub use file::{check_writable, write_atomic};
pub use nearest::nearest;
pub use npy::{NpyData, NpyError, NpyProblem, read_npy};
pub use random::{PHILOX_MULTIPLIERS, PHILOX_ROUNDS, PHILOX_WEYL, philox};
pub use shape::{MAX_BYTES, Shape, ShapeError};
pub use tensor::{Data, DataMut, Tensor, TensorError};
