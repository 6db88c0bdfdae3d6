//! The operators: one file each, one line each in [`OPS`].

mod add;
mod constant;
mod conv;
mod dot;
mod grad;
mod input;
pub mod rules;
mod tanh;

pub use add::ADD;
pub use constant::CONSTANT;
pub use conv::CONV;
pub use dot::DOT;
pub use grad::GRAD;
pub use input::INPUT;
pub use tanh::TANH;

use crate::op::OpDef;

/// Every operator, sorted by name.
pub static OPS: &[&OpDef] = &[&ADD, &CONSTANT, &CONV, &DOT, &GRAD, &INPUT, &TANH];

/// The operator of this name.
pub fn find(name: &str) -> Option<&'static OpDef> {
    OPS.iter().copied().find(|op| op.name == name)
}
