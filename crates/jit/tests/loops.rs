//! Loops of every kind against the interpreter: remainders, chunks, nests, sums, gathers.

mod harness;

use harness::{Case, numbers};
use kiln_loops::{
    Affine, Binary, Block, BufferKind, Builder, Compare, Fold, Index, Inst, LoopKind, Math, Mem,
    Stmt, Var,
};
use kiln_tensor::{DType, Data};

const KINDS: [LoopKind; 2] = [LoopKind::Serial, LoopKind::Vector];

#[test]
fn every_remainder() {
    let mut case = Case::default();
    let (x, y) = (case.input("x", Data::F32(numbers(80))), case.input("y", Data::F32(numbers(80))));
    for n in (0..40).chain([63, 64, 65, 80]) {
        let out = case.output(&format!("out {n}"), DType::F32, n);
        case.map("axpy", n, LoopKind::Vector, |b, i| {
            let (x, y, out) = (b.arg(x, DType::F32), b.arg(y, DType::F32), b.arg(out, DType::F32));
            let (x, y) = (b.load(x, Index::var(i)), b.load(y, Index::var(i)));
            let c = b.f32(3.0);
            let product = b.binary(Binary::Mul, x, c);
            let sum = b.binary(Binary::Add, product, y);
            b.store(out, Index::var(i), sum);
        });
    }
    case.check(0.0);
}

#[test]
fn chunks_of_a_parallel_loop() {
    for (n, chunk) in [(100, 7), (96, 16), (97, 32), (5, 8), (64, 12), (1, 1)] {
        let mut case = Case::default();
        let x = case.input("x", Data::F32(numbers(n)));
        let mask = case.input("mask", Data::Bool((0..n).map(|i| i % 3 == 0).collect()));
        let out = case.output("out", DType::F32, n);
        let flags = case.output("flags", DType::Bool, n);
        for kind in KINDS {
            let mut b = Builder::new();
            let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
            let (mask, flags) = (b.arg(mask, DType::Bool), b.arg(flags, DType::Bool));
            let tile = b.local(DType::F32, chunk);
            let start = b.open_loop(None, n, n, chunk, LoopKind::Parallel);
            let i = b.open_loop(Some(start), chunk, n, 1, kind);
            let value = b.load(x, Index::var(i));
            let inside = Affine::var(i).plus(&Affine::var(start).times(-1));
            b.store(tile, inside, value);
            b.close();
            b.push(Stmt::Block(Block {
                function: Math::Tanh,
                dst: (tile, Affine::default()),
                src: (tile, Affine::default()),
                len: chunk,
                until: Some((start, n)),
            }));
            let i = b.open_loop(Some(start), chunk, n, 1, kind);
            let inside = Affine::var(i).plus(&Affine::var(start).times(-1));
            let value = b.load(tile, inside);
            let (mask, zero) = (b.load(mask, Index::var(i)), b.f32(0.0));
            let value = b.select(mask, value, zero);
            b.store(out, Index::var(i), value);
            let flag = b.compare(Compare::Gt, value, zero);
            b.store(flags, Index::var(i), flag);
            b.close();
            b.close();
            case.kernel(b.finish("chunks"));
        }
        case.check(1e-6);
    }
}

#[test]
fn sums_in_vectors_and_over_them() {
    for n in [3, 4, 7, 16, 33, 200] {
        let mut case = Case::default();
        let rows = 5;
        let x = case.input("x", Data::F32(numbers(rows * n)));
        let k = case.input(
            "k",
            Data::I32((0..(rows * n) as i32).map(|i| i.wrapping_mul(1_234_567_891)).collect()),
        );
        for kind in KINDS {
            for &fold in Fold::ALL {
                let name = format!("{} {kind:?}", fold.name());
                let out = case.output(&format!("f32 {name}"), DType::F32, rows);
                let ints = case.output(&format!("i32 {name}"), DType::I32, rows);
                let mut b = Builder::new();
                let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
                let (k, ints) = (b.arg(k, DType::I32), b.arg(ints, DType::I32));
                let row = b.open(rows);
                let start = b.constant(fold.identity(DType::F32));
                let sum = b.mutable(start);
                let start = b.constant(fold.identity(DType::I32));
                let whole = b.mutable(start);
                let i = b.open_loop(None, n, n, 1, kind);
                let at = Index::var(row).times(n as i64).plus(&Index::var(i));
                let (value, integer) = (b.load(x, at.clone()), b.load(k, at));
                b.push(Stmt::Accumulate(sum, fold, value));
                b.push(Stmt::Accumulate(whole, fold, integer));
                b.close();
                b.store(out, Index::var(row), sum);
                b.store(ints, Index::var(row), whole);
                b.close();
                case.kernel(b.finish("rows"));
            }
        }
        case.check(1e-5);
    }
}

#[test]
fn maxima_see_every_nan() {
    let n = 37;
    for at in 0..n {
        let mut values = numbers(n);
        values[at] = f32::NAN;
        let mut case = Case::default();
        let x = case.input("x", Data::F32(values));
        let out = case.output("out", DType::F32, 1);
        let mut b = Builder::new();
        let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
        let start = b.f32(f32::NEG_INFINITY);
        let most = b.mutable(start);
        let i = b.open_loop(None, n, n, 1, LoopKind::Vector);
        let value = b.load(x, Index::var(i));
        b.push(Stmt::Accumulate(most, Fold::Max, value));
        b.close();
        b.store(out, Index::constant(0), most);
        case.kernel(b.finish("most"));
        case.check(0.0);
    }
}

/// Pooling: a vector loop over channels with serial loops and mutable registers in it.
fn pool(b: &mut Builder, x: Mem, out: Mem, size: usize, channels: usize, window: usize) {
    let places = size - window + 1;
    let (row, col) = (b.open(places), b.open(places));
    let c = b.open_loop(None, channels, channels, 1, LoopKind::Vector);
    let start = b.f32(f32::NEG_INFINITY);
    let most = b.mutable(start);
    let zero = b.f32(0.0);
    let mean = b.mutable(zero);
    let (kr, kc) = (b.open(window), b.open(window));
    let (size, channels) = (size as i64, channels as i64);
    let at = [row, kr].map(|v| Index::var(v).times(size * channels));
    let along = [col, kc].map(|v| Index::var(v).times(channels));
    let at = at.iter().chain(&along).fold(Index::var(c), |sum, i| sum.plus(i));
    let value = b.load(x, at);
    b.push(Stmt::Accumulate(most, Fold::Max, value));
    let sum = b.binary(Binary::Add, mean, value);
    b.push(Stmt::Set(mean, sum));
    b.close();
    b.close();
    let part = b.f32(0.125);
    let part = b.binary(Binary::Mul, mean, part);
    let value = b.binary(Binary::Add, most, part);
    let at = Index::var(row).times(places as i64).plus(&Index::var(col)).times(channels);
    b.store(out, at.plus(&Index::var(c)), value);
    b.close();
    b.close();
    b.close();
}

#[test]
fn vector_loops_around_serial_ones() {
    for (channels, window) in [(3, 2), (6, 2), (21, 3), (32, 5)] {
        let mut case = Case::default();
        let size = 7;
        let places = size - window + 1;
        let x = case.input("x", Data::F32(numbers(size * size * channels)));
        let out = case.output("out", DType::F32, places * places * channels);
        let mut b = Builder::new();
        let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
        pool(&mut b, x, out, size, channels, window);
        case.kernel(b.finish("pool"));
        case.check(0.0);
    }
}

#[test]
fn gathers_stay_in_bounds() {
    let mut case = Case::default();
    let table = case.input("table", Data::F32(numbers(50)));
    let rows = case.input("rows", Data::I32(vec![0, 4, -3, 9, 100, i32::MIN, i32::MAX, 2]));
    let out = case.output("out", DType::F32, 40);
    case.map("gather", 8, LoopKind::Serial, |b, i| {
        let (table, rows, out) =
            (b.arg(table, DType::F32), b.arg(rows, DType::I32), b.arg(out, DType::F32));
        let row = b.load(rows, Index::var(i));
        let row = b.inst(Inst::Clamp(row, 10));
        let j = b.open(5);
        let value = b.load(table, Index::dynamic(row, 5).plus(&Index::var(j)));
        b.store(out, Index::var(i).times(5).plus(&Index::var(j)), value);
        b.close();
    });
    case.check(0.0);
}

#[test]
fn loads_that_do_not_change_move_out_only_if_nothing_writes_them() {
    let mut case = Case::default();
    let x = case.input("x", Data::F32(numbers(16)));
    let state = case.buffer("state", DType::F32, 16, BufferKind::State);
    let out = case.output("out", DType::F32, 16);
    let empty = case.output("empty", DType::F32, 16);
    // Each turn reads what the turn before wrote.
    case.map("running", 16, LoopKind::Serial, |b, i| {
        let (x, state, out) =
            (b.arg(x, DType::F32), b.arg(state, DType::F32), b.arg(out, DType::F32));
        let before = b.load(state, Index::constant(3));
        let value = b.load(x, Index::var(i));
        let after = b.binary(Binary::Add, before, value);
        b.store(state, Index::constant(3), after);
        b.store(out, Index::var(i), after);
    });
    // The innermost loop has no turn, and its load would be out of bounds.
    let mut b = Builder::new();
    let (x, empty) = (b.arg(x, DType::F32), b.arg(empty, DType::F32));
    let i = b.open_loop(None, 16, 16, 1, LoopKind::Vector);
    let zero = b.f32(0.0);
    let sum = b.mutable(zero);
    b.open(0);
    let far = b.load(x, Index::constant(1 << 33));
    b.push(Stmt::Accumulate(sum, Fold::Add, far));
    b.close();
    b.store(empty, Index::var(i), sum);
    b.close();
    case.kernel(b.finish("never"));
    case.check(0.0);
}

#[test]
fn steps_and_strides() {
    let mut case = Case::default();
    let x = case.input("x", Data::F32(numbers(400)));
    let flags = case.input("flags", Data::Bool((0..400).map(|i| i % 7 < 3).collect()));
    let out = case.output("out", DType::F32, 400);
    let copies = case.output("copies", DType::Bool, 400);
    let mut b = Builder::new();
    let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
    let (flags, copies) = (b.arg(flags, DType::Bool), b.arg(copies, DType::Bool));
    let zero = b.f32(0.0);
    let i = b.open(400);
    b.store(out, Index::var(i), zero);
    let no = b.compare(Compare::Ne, zero, zero);
    b.store(copies, Index::var(i), no);
    b.close();
    let i = b.open_loop(None, 20, 20, 3, LoopKind::Serial);
    let j = b.open_loop(Some(i), 3, 20, 2, LoopKind::Serial);
    let k = b.open(6);
    let transposed = |u: Var, v: Var| Index::var(u).times(20).plus(&Index::var(v).times(3));
    let value = b.load(x, transposed(k, j).offset(2));
    let flag = b.load(flags, transposed(j, k));
    b.store(out, transposed(j, k).offset(1), value);
    b.store(copies, transposed(j, k), flag);
    b.close();
    b.close();
    b.close();
    case.kernel(b.finish("strides"));
    case.check(0.0);
}

#[test]
fn truth_values_in_memory_are_bytes() {
    let mut case = Case::default();
    let n = 45;
    let p = case.input("p", Data::Bool((0..n).map(|i| i % 5 < 2).collect()));
    let x = case.input("x", Data::F32(numbers(n)));
    let out = case.output("out", DType::Bool, n);
    let count = case.output("count", DType::I32, 1);
    let mut b = Builder::new();
    let (p, x) = (b.arg(p, DType::Bool), b.arg(x, DType::F32));
    let (out, count) = (b.arg(out, DType::Bool), b.arg(count, DType::I32));
    let zero = b.i32(0);
    let total = b.mutable(zero);
    let i = b.open_loop(None, n, n, 1, LoopKind::Vector);
    let (p, x) = (b.load(p, Index::var(i)), b.load(x, Index::var(i)));
    let low = b.f32(0.25);
    let above = b.compare(Compare::Gt, x, low);
    let either = b.binary(Binary::Or, p, above);
    b.store(out, Index::var(i), either);
    let one = b.cast(DType::I32, either);
    b.push(Stmt::Accumulate(total, Fold::Add, one));
    b.close();
    b.store(count, Index::constant(0), total);
    case.kernel(b.finish("truth"));
    case.check(0.0);
}
