//! The types of instructions.

use kiln_tensor::DType;

use crate::ir::{Binary, Compare, Inst, Unary};

/// The type of what an instruction computes from operands of these types.
///
/// Loads and affine values have no operands that tell: their types are their memory's and i32.
pub(crate) fn result(inst: &Inst, operands: &[DType]) -> Result<DType, String> {
    use DType::{Bool, F32, I32};
    let of = |allowed: &[DType], x: DType| {
        if allowed.contains(&x) { Ok(x) } else { Err(format!("`{inst}` does not take {x}")) }
    };
    let same = |a: DType, b: DType| {
        if a == b { Ok(a) } else { Err(format!("`{inst}` takes one type, not {a} and {b}")) }
    };
    match (inst, operands) {
        (Inst::Const(scalar), []) => Ok(scalar.dtype()),
        (Inst::Affine(_), []) => Ok(I32),
        (Inst::Unary(op, _), &[x]) => match op {
            Unary::Neg | Unary::Abs => of(&[F32, I32], x),
            Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Round => of(&[F32], x),
            Unary::Not => of(&[Bool, I32], x),
        },
        (Inst::Binary(op, ..), &[a, b]) => {
            let x = same(a, b)?;
            match op {
                Binary::Add
                | Binary::Sub
                | Binary::Mul
                | Binary::Div
                | Binary::Max
                | Binary::Min => of(&[F32, I32], x),
                Binary::And | Binary::Or | Binary::Xor => of(&[I32, Bool], x),
                Binary::Rem | Binary::Shl | Binary::Shr | Binary::MulHigh => of(&[I32], x),
            }
        }
        (Inst::Compare(op, ..), &[a, b]) => {
            let x = same(a, b)?;
            match op {
                Compare::Eq | Compare::Ne => Ok(Bool),
                Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => {
                    of(&[F32, I32], x).map(|_| Bool)
                }
            }
        }
        (Inst::Select(..), &[cond, a, b]) => {
            of(&[Bool], cond)?;
            same(a, b)
        }
        (Inst::Cast(dtype, _), [_]) => Ok(*dtype),
        (Inst::Call(..), &[x]) => of(&[F32], x),
        (Inst::Clamp(_, extent), &[x]) => match *extent {
            1..=0x8000_0000 => of(&[I32], x),
            _ => Err(format!("`{inst}` has an extent that is 0 or beyond an i32")),
        },
        _ => Err(format!("`{inst}` has the wrong number of operands")),
    }
}
