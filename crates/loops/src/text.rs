//! The text form of programs: what [`crate::parse`] reads back exactly.
//!
//! ```text
//! program arena 128 {
//!   buffer b0 "x": f32[16] input @0
//!   buffer b1 "y": f32[16] output @64
//!   kernel "scale"(b0, b1) {
//!     parallel i0 in 0..16 step 4 {
//!       vector i1 in i0..min(i0+4, 16) {
//!         %0 = load a0[i1]
//!         %1 = f32 0.5
//!         %2 = mul %0, %1
//!         store a1[i1] = %2
//!       }
//!     }
//!   }
//! }
//! ```
//!
//! `aN` is a kernel's argument, `lN` its scratch memory, `iN` a loop variable, `%N` a register,
//! `bN` a buffer. Dimensions of contractions are `extent:input:output`.

mod cursor;
mod lex;
mod parse;
mod print;

pub use parse::{ParseError, parse};
pub(crate) use print::{lines, quoted};
