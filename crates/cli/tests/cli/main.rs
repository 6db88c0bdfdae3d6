//! The command as its users meet it: the binary is run, its output and its files are looked at.

mod data;
mod names;
mod process;
mod refusals;
mod results;
mod streams;
mod training;
mod tuning;
mod tutorial;
