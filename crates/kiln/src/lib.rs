//! Kiln: a static compiler for neural networks.
//!
//! A program in the Kiln language says what a network is and how it is trained. It becomes a graph,
//! the graph a program of loop nests, the program machine code:
//!
//! ```standalone_crate
//! use kiln::{Options, Tensor};
//!
//! fn main() -> kiln::Result<()> {
//! #   // The files that the example reads.
//! #   let folder = tempfile::tempdir().expect("a folder");
//! #   std::fs::create_dir_all(folder.path().join("dsl/models")).expect("a folder");
//! #   std::fs::copy("../../dsl/models/lenet.kiln", folder.path().join("dsl/models/lenet.kiln")).expect("a copy");
//! #   std::env::set_current_dir(folder.path()).expect("a folder");
//! #   let lenet = kiln::parse_file("dsl/models/lenet.kiln")?;
//! #   let weights = kiln::initial_weights(&lenet, &Options::default())?;
//! #   kiln::train::save_weights("lenet.safetensors", &weights)?;
//! #   Tensor::f32(&[1, 1, 28, 28], vec![0.5; 784])?.write_npy("x.npy")?;
//!     let model = kiln::parse_file("dsl/models/lenet.kiln")?; // text -> Model
//!     let exe = kiln::compile(&model.inference()?, &Options::default().bind("N", 1))?;
//!     println!("{}", exe.report()); // kernels, arena bytes, time per pass
//!
//!     let mut session = exe.session()?; // arena + weights; one per thread
//!     session.load("lenet.safetensors")?;
//!     let out = session.run(&[("image", &Tensor::read_npy("x.npy")?)])?;
//!     println!("{:?}", out["prob"]);
//! #   let sum: f32 = out["prob"].as_f32().expect("numbers").iter().sum();
//! #   assert!((sum - 1.0).abs() < 1e-6);
//!     Ok(())
//! }
//! ```
//!
//! | | |
//! |---|---|
//! | [`parse_file`], [`parse`] | text to a [`Model`], from which several graphs are made: [`Network`] |
//! | [`compile`] | a network, or a [`Graph`] made by [`Builder`], to an [`Executable`] |
//! | [`Session`] | weights and memory: set, run, get |
//! | [`Training`] | data, batches, steps, validation: what `kiln train` does |
//! | [`stages`] | what every pass makes of it, for dumps |
//! | [`check_gradients`] | gradients against finite differences |

mod compile;
mod data;
mod error;
mod gradients;
mod network;
mod options;
mod profile;
mod random;
mod report;
mod session;
mod training;
mod tune;

pub use compile::{Executable, Stages, compile, pass_options, stages};
pub use error::{Error, Result};
pub use gradients::{GradientCheck, GradientRow, check_gradients};
pub use network::{Model, Network, Source, parse, parse_file};
pub use options::{Engine, Options};
pub use profile::{KernelTime, Profile};
pub use random::random_inputs;
pub use report::{Memory, Report, bytes};
pub use session::{Outputs, Session};
pub use training::{Training, initial_values, initial_weights};

pub use kiln_graph::{Builder, Graph, Var};
pub use kiln_tensor::{DType, Data, Shape, Tensor, check_writable, write_atomic};

/// The high IR: graphs, operators, the reference evaluator.
pub use kiln_graph as graph;
/// The language: syntax trees, diagnostics, the formatter.
pub use kiln_lang as lang;
/// The low IR: programs of loop nests, their text, verifier and interpreter.
pub use kiln_loops as loops;
/// The passes and the two pipelines.
pub use kiln_passes as passes;
/// Data sets, the training loop, weight files.
pub use kiln_train as train;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
