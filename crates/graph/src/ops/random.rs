//! `random`: uniform numbers of the counter-based generator Philox 4x32-10.
//!
//! Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011. A number is
//! a function of where it stands and what it is for, never of what was drawn before, so recomputing
//! it or the number of threads cannot change it.

use kiln_loops::{Binary, Builder as Loops, Index, Reg};
use kiln_tensor::{DType, PHILOX_MULTIPLIERS, PHILOX_ROUNDS, PHILOX_WEYL, philox};

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::builder::{Builder, Var};
use crate::eval::Value;
use crate::graph::Type;
use crate::op::{Arity, AttrDef, Lower, OpDef, Operand, Sample};

/// See the record's `doc`.
pub static RANDOM: OpDef = OpDef {
    name: "random",
    doc: "Uniform f32 in [0, 1), multiples of 2^-24, from seed and step (i32 of rank 0): the first word of Philox \
          4x32-10 with key (seed, low half of `key`) and counter (flat index, step, high half of `key`, 0).",
    arity: Arity::Exact(2),
    attrs: &[
        AttrDef { name: "shape", kind: AttrKind::Ints, doc: "sizes of the result" },
        AttrDef { name: "key", kind: AttrKind::Int, doc: "what the numbers are for, 64 bits" },
    ],
    infer: |x, attrs| {
        if x.iter().any(|t| **t != Type::scalar(DType::I32)) {
            return Err(format!("seed and step are i32 of rank 0, got {} and {}", x[0], x[1]));
        }
        let ty = Type::checked(DType::F32, rules::sizes(attrs, "shape")?)?;
        if u32::try_from(ty.shape.elements()).is_err() {
            return Err(format!("{ty} has more elements than the counter counts"));
        }
        Ok(ty)
    },
    lower: Lower::Element(|p, v, index| {
        let [seed, step] = [p.operand(0, &[]), p.operand(1, &[])];
        let b = p.loops();
        let flat = rules::index_value(b, &Index::flat(index, &v.ty.shape.strides()));
        let [low, high] = halves(v.attrs).map(|half| b.i32(half as i32));
        let zero = b.i32(0);
        let word = emit(b, [flat, step, high, zero], [seed, low]);
        let eight = b.i32(8);
        let bits = b.binary(Binary::Shr, word, eight);
        let (bits, unit) = (b.cast(DType::F32, bits), b.f32(UNIT as f32));
        b.binary(Binary::Mul, bits, unit)
    }),
    eval: |v, x| {
        let [seed, step] = [0, 1].map(|i| x[i].data[0] as i32 as u32);
        let [low, high] = halves(v.attrs);
        let data = (0..v.ty.shape.elements())
            .map(|i| f64::from(philox([i as u32, step, high, 0], [seed, low])[0] >> 8) * UNIT)
            .collect();
        Value { shape: v.ty.shape.clone(), data }
    },
    samples: &[Sample {
        operands: &[Operand::i32(&[], 0, 1000), Operand::i32(&[], 0, 1000)],
        attrs: || attrs(&[3, 5], 0x0123_4567_89AB_CDEF),
    }],
    ..OpDef::BASE
};

/// 2^-24.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

fn attrs(shape: &[usize], key: i64) -> Attrs {
    Attrs::new().with("shape", shape).with("key", key)
}

/// The low and high half of `key`.
fn halves(attrs: &Attrs) -> [u32; 2] {
    let key = attrs.int("key") as u64;
    [key as u32, (key >> 32) as u32]
}

/// The first word of the block function, as instructions.
fn emit(b: &mut Loops, mut c: [Reg; 4], mut k: [Reg; 2]) -> Reg {
    for _ in 0..PHILOX_ROUNDS {
        let [m, n] = PHILOX_MULTIPLIERS.map(|m| b.i32(m as i32));
        let [p, q] = [(m, c[0]), (n, c[2])]
            .map(|(m, x)| [b.binary(Binary::MulHigh, m, x), b.binary(Binary::Mul, m, x)]);
        let mut mix = |high, word, key| {
            let mixed = b.binary(Binary::Xor, high, word);
            b.binary(Binary::Xor, mixed, key)
        };
        c = [mix(q[0], c[1], k[0]), q[1], mix(p[0], c[3], k[1]), p[1]];
        k = [0, 1].map(|i| {
            let weyl = b.i32(PHILOX_WEYL[i] as i32);
            b.binary(Binary::Add, k[i], weyl)
        });
    }
    c[0]
}

impl Builder {
    /// Uniform f32 in `[0, 1)`: another array for every seed and step (i32 of rank 0) and key.
    pub fn random(&self, dims: &[usize], key: i64, seed: Var<'_>, step: Var<'_>) -> Var<'_> {
        self.op(&RANDOM, attrs(dims, key), &[seed, step])
    }
}
