//! The compiler passes, one file each, and the two pipelines that order them.

pub mod autodiff;
pub mod collapse;
pub mod contract;
pub mod cse;
pub mod dce;
pub mod fold;
pub mod fuse;
pub mod inplace;
pub mod layout;
mod lower;
pub mod parallel;
pub mod pass;
pub mod plan;
mod rewrite;
pub mod rules;
pub mod schedule;
pub mod simplify;
pub mod sums;
#[cfg(test)]
mod testing;
pub mod vectorize;
mod views;
mod walk;

pub use lower::{LowerError, lower};

pub use pass::{Notes, Pass, PassError, PassOptions, PassReport, Remark, UnknownPass, run, select};

use kiln_graph::Graph;
use kiln_loops::Program;

/// The passes over graphs, in order.
pub static GRAPH_PASSES: &[&Pass<Graph>] = &[
    &contract::PASS, // sums of products become matrix products
    &autodiff::PASS, // `grad` nodes become the backward graph
    &fold::PASS,     // what is known now is computed now
    &simplify::PASS, // the rule table, to a fixed point
    &cse::PASS,      // equal values are computed once
    &dce::PASS,      // what no result needs goes
    &fuse::PASS,     // nodes are grouped into kernels
    &layout::PASS,   // images lie channels-last in memory
];

/// The passes over programs, in order.
pub static PROGRAM_PASSES: &[&Pass<Program>] = &[
    &inplace::PASS,   // results are written over what is read no more
    &schedule::PASS,  // updates run as soon as their gradients can be computed
    &collapse::PASS,  // loops over contiguous memory become one
    &parallel::PASS,  // outermost loops are cut into chunks for the threads
    &sums::PASS,      // long sums are cut into runs
    &vectorize::PASS, // one loop of each nest runs in vector registers
    &plan::PASS,      // every buffer gets its place in one arena
];
