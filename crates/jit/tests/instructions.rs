//! Every instruction on special values, in scalar and in vector loops, as the interpreter has it.

mod harness;

use harness::Case;
use kiln_loops::{
    Binary, BufferId, Builder, Compare, Index, LoopKind, Math, Reg, Scalar, Unary, Var,
};
use kiln_tensor::{DType, Data};

const FLOATS: [f32; 26] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.0,
    1e-45,
    -1e-40,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::from_bits(0xffc0_1234),
    2_147_483_520.0,
    2_147_483_648.0,
    -2_147_483_648.0,
    3e9,
    8_388_609.0,
    -0.99999994,
    123.456,
];

const INTEGERS: [i32; 19] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    7,
    31,
    32,
    33,
    -31,
    255,
    65_537,
    0x7fff,
    i32::MAX,
    i32::MIN,
    i32::MIN + 1,
    0x1234_5678,
    -0x1234_5678,
];

const KINDS: [LoopKind; 2] = [LoopKind::Serial, LoopKind::Vector];

/// All pairs of the values, first and second components.
fn pairs<T: Copy>(values: &[T]) -> (Vec<T>, Vec<T>) {
    values.iter().flat_map(|&x| values.iter().map(move |&y| (x, y))).unzip()
}

/// All pairs of a type's values in two inputs.
struct Pairs {
    case: Case,
    dtype: DType,
    x: BufferId,
    y: BufferId,
    len: usize,
}

impl Pairs {
    fn of(dtype: DType) -> Pairs {
        let (x, y) = match dtype {
            DType::F32 => {
                let (x, y) = pairs(&FLOATS);
                (Data::F32(x), Data::F32(y))
            }
            DType::I32 => {
                let (x, y) = pairs(&INTEGERS);
                (Data::I32(x), Data::I32(y))
            }
            DType::Bool => {
                let (x, y) = pairs(&[true, false, false, true, true]);
                (Data::Bool(x), Data::Bool(y))
            }
        };
        // Vector loops leave a remainder: the numbers of pairs but the last are odd.
        let (mut case, len) = (Case::default(), (x.len() - 1) | 1);
        let (x, y) = (case.input("x", x), case.input("y", y));
        Pairs { case, dtype, x, y, len }
    }

    /// A scalar and a vector kernel that store what `f` makes of each pair.
    fn each(&mut self, name: &str, to: DType, f: impl Fn(&mut Builder, Reg, Reg, Var) -> Reg) {
        for kind in KINDS {
            let out = self.case.output(&format!("{name} {kind:?}"), to, self.len);
            let (x, y, dtype) = (self.x, self.y, self.dtype);
            self.case.map(name, self.len, kind, |b, i| {
                let (x, y) = (b.arg(x, dtype), b.arg(y, dtype));
                let (x, y) = (b.load(x, Index::var(i)), b.load(y, Index::var(i)));
                let value = f(b, x, y, i);
                let out = b.arg(out, to);
                b.store(out, Index::var(i), value);
            });
        }
    }
}

#[test]
fn unary_instructions() {
    let mut floats = Pairs::of(DType::F32);
    for op in [Unary::Neg, Unary::Abs, Unary::Sqrt, Unary::Floor, Unary::Ceil, Unary::Round] {
        floats.each(op.name(), DType::F32, |b, x, _, _| b.unary(op, x));
    }
    floats.case.check(0.0);
    let mut integers = Pairs::of(DType::I32);
    for op in [Unary::Neg, Unary::Abs, Unary::Not] {
        integers.each(op.name(), DType::I32, |b, x, _, _| b.unary(op, x));
    }
    integers.case.check(0.0);
    let mut truths = Pairs::of(DType::Bool);
    truths.each("not", DType::Bool, |b, x, _, _| b.unary(Unary::Not, x));
    truths.case.check(0.0);
}

#[test]
fn binary_instructions() {
    use Binary::*;
    for (dtype, ops) in [
        (DType::F32, &[Add, Sub, Mul, Div, Max, Min][..]),
        (DType::I32, &[Add, Sub, Mul, Div, Rem, Max, Min, And, Or, Xor, Shl, Shr, MulHigh][..]),
        (DType::Bool, &[And, Or, Xor][..]),
    ] {
        let mut pairs = Pairs::of(dtype);
        for &op in ops {
            pairs.each(op.name(), dtype, |b, x, y, _| b.binary(op, x, y));
        }
        pairs.case.check(0.0);
    }
}

#[test]
fn binary_instructions_with_constants_on_either_side() {
    let mut floats = Pairs::of(DType::F32);
    for op in [Binary::Max, Binary::Min] {
        for c in [0.0, -0.0, 1.0, -2.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let name = op.name();
            floats.each(&format!("{name} x {c:?}"), DType::F32, |b, x, _, _| {
                let c = b.f32(c);
                b.binary(op, x, c)
            });
            floats.each(&format!("{name} {c:?} x"), DType::F32, |b, x, _, _| {
                let c = b.f32(c);
                b.binary(op, c, x)
            });
        }
    }
    floats.case.check(0.0);
    let mut integers = Pairs::of(DType::I32);
    for op in [Binary::Div, Binary::Rem, Binary::Shl, Binary::Shr, Binary::MulHigh] {
        for c in [0, 1, -1, 3, 32, 37, i32::MIN] {
            integers.each(&format!("{} {c}", op.name()), DType::I32, |b, x, _, _| {
                let c = b.i32(c);
                b.binary(op, x, c)
            });
        }
    }
    integers.case.check(0.0);
}

#[test]
fn values_that_all_lanes_share() {
    let mut integers = Pairs::of(DType::I32);
    for op in [Binary::Shl, Binary::Shr, Binary::Div, Binary::Sub, Binary::MulHigh] {
        for at in [5, 9, 14] {
            let source = integers.x;
            let name = format!("{} by x[{at} * 19]", op.name());
            integers.each(&name, DType::I32, |b, x, _, _| {
                let source = b.arg(source, DType::I32);
                let amount = b.load(source, Index::constant(at * 19));
                let doubled = b.binary(Binary::Add, amount, amount);
                let once = b.binary(op, x, amount);
                b.binary(op, once, doubled)
            });
        }
    }
    integers.case.check(0.0);
}

#[test]
fn comparisons_and_choices() {
    for dtype in DType::ALL {
        let mut pairs = Pairs::of(dtype);
        for &op in Compare::ALL {
            if dtype == DType::Bool && !matches!(op, Compare::Eq | Compare::Ne) {
                continue;
            }
            pairs.each(op.name(), DType::Bool, |b, x, y, _| b.compare(op, x, y));
            pairs.each(&format!("select {}", op.name()), dtype, |b, x, y, _| {
                let cond = b.compare(op, x, y);
                b.select(cond, y, x)
            });
            pairs.each(&format!("select not {}", op.name()), dtype, |b, x, y, _| {
                let cond = b.compare(op, x, y);
                let other = b.compare(Compare::Eq, x, y);
                let cond = b.binary(Binary::Xor, cond, other);
                b.select(cond, y, x)
            });
        }
        pairs.case.check(0.0);
    }
}

#[test]
fn conversions_and_clamps() {
    for dtype in DType::ALL {
        let mut pairs = Pairs::of(dtype);
        for to in DType::ALL {
            pairs.each(&format!("to {to}"), to, |b, x, _, _| b.cast(to, x));
        }
        if dtype == DType::I32 {
            for extent in [1, 2, 7, 65_536, 1 << 31] {
                pairs.each(&format!("clamp {extent}"), dtype, |b, x, _, _| {
                    b.inst(kiln_loops::Inst::Clamp(x, extent))
                });
            }
        }
        pairs.case.check(0.0);
    }
}

#[test]
fn constants_and_affine_values() {
    let mut pairs = Pairs::of(DType::I32);
    for scalar in [Scalar::F32(f32::from_bits(0x7fc0_0001)), Scalar::I32(-7), Scalar::Bool(true)] {
        pairs.each(&format!("{scalar:?}"), scalar.dtype(), |b, _, _, _| b.constant(scalar));
    }
    for c in [1i64, 0, -3, 1 << 20, i64::from(i32::MAX)] {
        pairs.each(&format!("affine {c}"), DType::I32, |b, x, _, i| {
            let index = kiln_loops::Affine::var(i).times(c).offset(-5);
            let index = b.inst(kiln_loops::Inst::Affine(index));
            b.binary(Binary::Xor, index, x)
        });
    }
    pairs.case.check(0.0);
}

#[test]
fn functions_called_for_single_values() {
    let mut case = Case::default();
    let n = 37;
    let x = case.input("x", Data::F32((0..n).map(|i| 0.1 + i as f32 / 11.0).collect()));
    for &function in Math::ALL {
        for kind in KINDS {
            let out = case.output(&format!("{} {kind:?}", function.name()), DType::F32, n as usize);
            case.map(function.name(), n as usize, kind, |b, i| {
                let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
                let value = b.load(x, Index::var(i));
                let first = b.load(x, Index::constant(3));
                let shared = b.call(function, first);
                let value = b.call(function, value);
                let sum = b.binary(Binary::Add, value, shared);
                b.store(out, Index::var(i), sum);
            });
        }
    }
    case.check(1e-6);
}
