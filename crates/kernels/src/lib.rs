//! Precompiled micro-kernels, chosen by instruction set at run time.
//!
//! The code generator stops at 128-bit vectors; what wants more is compiled here, once, for every
//! instruction set, and reached from generated code through a C ABI:
//!
//! - [`Contraction`]: every matrix product, convolution and convolution gradient, as loops around
//!   one register block ([`kiln_contract`], [`kiln_contract_packed`], [`kiln_pack_b`]);
//! - [`BlockFunction`]: exp, log, tanh, sigmoid, erf, sin and cos over blocks of elements, and as
//!   the steps they take ([`MathStep`]);
//! - [`TileTransform`]: the transforms of Winograd's convolutions, for many channels at once;
//! - [`symbols`]: the table of C entry points that a linker of generated code wants;
//! - [`Isa`]: the instruction set in use, `KILN_ISA=generic|avx2|avx512|neon` overrides it;
//! - [`peak`]: what a core can do at most, for benches to compare with;
//! - [`CacheSizes`]: what blocks are sized by, where that does not change a sum.
//!
//! Nothing here panics across the C ABI, allocates or keeps state: scratch memory is the caller's.

#![allow(unsafe_code)] // std::arch intrinsics and raw operands: safety is argued at each block
#![warn(clippy::undocumented_unsafe_blocks)]
#![allow(clippy::needless_range_loop)] // loops of constant extent over registers, unrolled

mod cache;
mod contract;
mod isa;
mod math;
mod peak;
mod simd;
mod symbols;
mod winograd;

pub use cache::CacheSizes;
pub use contract::{
    Contraction, ContractionError, Scratch, Tables, kiln_contract, kiln_contract_packed,
    kiln_pack_b,
};
#[cfg(target_arch = "aarch64")]
pub use isa::Neon;
#[cfg(target_arch = "x86_64")]
pub use isa::{Avx2, Avx512};
pub use isa::{Isa, IsaError};
pub use math::{BlockFunction, BlockFunctionPtr, MathOp, MathStep, Place};
pub use peak::peak;
pub use symbols::symbols;
pub use winograd::{TileTransform, TileTransformPtr};
