//! `rem`.

use kiln_loops::Binary;

use super::rules;
use crate::attrs::Attrs;
use crate::op::{Arity, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static REM: OpDef = OpDef {
    name: "rem",
    doc: "Remainder of two i32 with the sign of the dividend; 0 where the divisor is 0.",
    arity: Arity::Exact(2),
    infer: rules::same_i32,
    lower: Lower::Map(|b, _, x| b.binary(Binary::Rem, x[0], x[1])),
    eval: |_, x| rules::map_i32(x, |x| if x[1] == 0 { 0 } else { x[0].wrapping_rem(x[1]) }),
    samples: &[
        Sample {
            operands: &[Operand::i32(&[7], -9, 9), Operand::i32(&[7], -9, 9)],
            attrs: Attrs::new,
        },
        Sample {
            operands: &[Operand::i32(&[7], -9, 9), Operand::i32(&[], 3, 4)],
            attrs: Attrs::new,
        },
    ],
    ..OpDef::BASE
};

rules::binary_operator!(Rem, rem, REM);
