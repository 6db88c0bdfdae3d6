//! The compiler passes, one file each, and the two pipelines that order them.

pub mod autodiff;
pub mod contract;
pub mod cse;
pub mod dce;
pub mod fold;
pub mod pass;
mod rewrite;
pub mod rules;
pub mod simplify;

pub use pass::{Notes, Pass, PassError, PassOptions, PassReport, Remark, UnknownPass, run, select};

use kiln_graph::Graph;

/// The passes over graphs, in order.
pub static GRAPH_PASSES: &[&Pass<Graph>] = &[
    &contract::PASS, // sums of products become matrix products
    &autodiff::PASS, // `grad` nodes become the backward graph
    &fold::PASS,     // what is known now is computed now
    &simplify::PASS, // the rule table, to a fixed point
    &cse::PASS,      // equal values are computed once
    &dce::PASS,      // what no result needs goes
];
