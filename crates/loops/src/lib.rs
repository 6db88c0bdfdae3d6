//! The low IR: programs of buffers and loop-nest kernels, with text, verifier and interpreter.
//!
//! [`Program`] is the waist of Kiln: above it nobody knows machine code, below it nobody knows
//! operators, gradients or the language.

mod access;
mod affine;
mod builder;
mod check_plan;
mod conflict;
mod cost;
pub mod dump;
pub mod interp;
pub mod ir;
mod key;
mod location;
pub mod text;
mod tile_map;
mod verify;

pub use access::{Access, accesses, sources, visit};
pub use builder::{Builder, operands};
pub use check_plan::{LiveRange, Plan, PlanError, bound_bytes, check_plan, live_ranges};
pub use conflict::Conflicts;
pub use cost::{Cost, cost};
pub use interp::{Interp, Memory, RunError, run};
pub use ir::*;
pub use key::alike;
pub use location::{Location, MAX_LOCATIONS, merge};
pub use text::{ParseError, parse};
pub use tile_map::TileMap;
pub use verify::{ALIGNMENT, MAX_DEPTH, MAX_NAMES, MAX_PAIRS, VerifyError, verify, verify_kernel};
