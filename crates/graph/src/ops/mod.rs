//! The operators: one file each, one line each in [`OPS`].

mod abs;
mod add;
mod and;
mod argmax;
mod broadcast;
mod cast;
mod ceil;
mod concat;
mod constant;
mod conv;
mod cos;
mod detach;
mod div;
mod dot;
mod eq;
mod erf;
mod exp;
mod floor;
mod gather;
mod ge;
mod grad;
mod gt;
mod input;
mod iota;
mod le;
mod log;
mod lt;
mod max_pool;
mod maximum;
mod minimum;
mod mul;
mod ne;
mod neg;
mod not;
mod or;
mod pad;
mod pool_argmax;
mod pool_take;
mod random;
mod reduce_max;
mod reduce_min;
mod rem;
mod reshape;
mod reverse;
mod round;
pub mod rules;
mod scatter_add;
mod select;
mod sigmoid;
mod sin;
mod slice;
mod sqrt;
mod sub;
mod sum;
mod sum_pool;
mod tanh;
#[cfg(test)]
mod tests;
mod transpose;
mod unfold;
mod unpool;
mod windows;
mod winograd;
mod winograd_image;
mod winograd_result;
mod winograd_weights;
mod xor;

pub use abs::ABS;
pub use add::ADD;
pub use and::AND;
pub use argmax::ARGMAX;
pub use broadcast::BROADCAST;
pub use cast::CAST;
pub use ceil::CEIL;
pub use concat::CONCAT;
pub use constant::CONSTANT;
pub use conv::CONV;
pub use cos::COS;
pub use detach::DETACH;
pub use div::DIV;
pub use dot::DOT;
pub use eq::EQ;
pub use erf::ERF;
pub use exp::EXP;
pub use floor::FLOOR;
pub use gather::GATHER;
pub use ge::GE;
pub use grad::GRAD;
pub use gt::GT;
pub use input::INPUT;
pub use iota::IOTA;
pub use le::LE;
pub use log::LOG;
pub use lt::LT;
pub use max_pool::MAX_POOL;
pub use maximum::MAXIMUM;
pub use minimum::MINIMUM;
pub use mul::MUL;
pub use ne::NE;
pub use neg::NEG;
pub use not::NOT;
pub use or::OR;
pub use pad::PAD;
pub use pool_argmax::POOL_ARGMAX;
pub use pool_take::POOL_TAKE;
pub use random::RANDOM;
pub use reduce_max::REDUCE_MAX;
pub use reduce_min::REDUCE_MIN;
pub use rem::REM;
pub use reshape::RESHAPE;
pub use reverse::REVERSE;
pub use round::ROUND;
pub use scatter_add::SCATTER_ADD;
pub use select::SELECT;
pub use sigmoid::SIGMOID;
pub use sin::SIN;
pub use slice::SLICE;
pub use sqrt::SQRT;
pub use sub::SUB;
pub use sum::SUM;
pub use sum_pool::SUM_POOL;
pub use tanh::TANH;
pub use transpose::TRANSPOSE;
pub use unfold::UNFOLD;
pub use unpool::UNPOOL;
pub use winograd::Form as WinogradForm;
pub use winograd_image::WINOGRAD_IMAGE;
pub use winograd_result::WINOGRAD_RESULT;
pub use winograd_weights::WINOGRAD_WEIGHTS;
pub use xor::XOR;

use crate::op::OpDef;

/// Every operator, sorted by name.
pub static OPS: &[&OpDef] = &[
    &ABS,
    &ADD,
    &AND,
    &ARGMAX,
    &BROADCAST,
    &CAST,
    &CEIL,
    &CONCAT,
    &CONSTANT,
    &CONV,
    &COS,
    &DETACH,
    &DIV,
    &DOT,
    &EQ,
    &ERF,
    &EXP,
    &FLOOR,
    &GATHER,
    &GE,
    &GRAD,
    &GT,
    &INPUT,
    &IOTA,
    &LE,
    &LOG,
    &LT,
    &MAX_POOL,
    &MAXIMUM,
    &MINIMUM,
    &MUL,
    &NE,
    &NEG,
    &NOT,
    &OR,
    &PAD,
    &POOL_ARGMAX,
    &POOL_TAKE,
    &RANDOM,
    &REDUCE_MAX,
    &REDUCE_MIN,
    &REM,
    &RESHAPE,
    &REVERSE,
    &ROUND,
    &SCATTER_ADD,
    &SELECT,
    &SIGMOID,
    &SIN,
    &SLICE,
    &SQRT,
    &SUB,
    &SUM,
    &SUM_POOL,
    &TANH,
    &TRANSPOSE,
    &UNFOLD,
    &UNPOOL,
    &WINOGRAD_IMAGE,
    &WINOGRAD_RESULT,
    &WINOGRAD_WEIGHTS,
    &XOR,
];

/// The operator of this name.
pub fn find(name: &str) -> Option<&'static OpDef> {
    OPS.binary_search_by_key(&name, |op| op.name).ok().map(|i| OPS[i])
}
