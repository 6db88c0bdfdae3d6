//! Vector loops as functions of full width: the same bits as the interpreter's, on every
//! instruction set, for every length.

mod harness;

use harness::{Case, Random, compare, numbers};
use kiln_jit::{Executable, Isa, Options};
use kiln_kernels::BlockFunction;
use kiln_loops::{
    Affine, Binary, BufferId, BufferKind, Builder, Compare, Fold, Index, Inst, LoopKind, Math, Reg,
    Scalar, Stmt, Unary, Var,
};
use kiln_tensor::{DType, Data};

const SIZE: usize = 500;

/// Ordinary numbers with everything that is special among them.
fn floats(n: usize) -> Vec<f32> {
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e-42,
        -1e-42,
        f32::MAX,
        f32::MIN_POSITIVE,
        2_147_483_648.0,
        -2_147_483_904.0,
        0.5,
        2.5,
    ];
    let mut values = numbers(n);
    for (i, value) in values.iter_mut().enumerate() {
        if i % 3 == 0 {
            *value = special[i / 3 % special.len()];
        }
    }
    values
}

fn integers(n: usize) -> Vec<i32> {
    (0..n as i32).map(|i| i.wrapping_mul(i).wrapping_mul(715_827_883) >> (i % 32)).collect()
}

/// Runs the case on every instruction set; all must give the interpreter's results. Whether the
/// first kernel's loop is a function of its own where the processor has those.
fn check(case: &Case, tolerance: f32) -> bool {
    let memory = case.interpret();
    let mut assembled = false;
    for isa in Isa::available() {
        let mut session = case.session_with(Options { threads: 1, isa });
        session.run().unwrap();
        for (n, buffer) in case.program.buffers.iter().enumerate() {
            if buffer.kind == BufferKind::Output {
                let id = BufferId(n as u32);
                let name = format!("{} {}", isa.name(), buffer.name);
                compare(&name, memory.get(id), &session.get(id).unwrap(), tolerance);
            }
        }
        let executable = Executable::compile(&case.program, &Options { threads: 1, isa }).unwrap();
        let text = executable.clif(0).unwrap();
        assert_eq!(text, executable.clif(0).unwrap());
        assert!(isa.name() == "avx512" || !text.contains("assembled"), "{text}");
        assembled |= text.contains("assembled");
    }
    assembled || !Isa::available().iter().any(|isa| isa.name() == "avx512")
}

/// The values that a random body has computed, by type.
struct Values {
    floats: Vec<Reg>,
    integers: Vec<Reg>,
    truths: Vec<Reg>,
    /// Variables of the loops around, the vector loop's last.
    vars: Vec<Var>,
}

impl Values {
    fn grow(&mut self, b: &mut Builder, r: &mut Random) {
        use Binary::*;
        let (x, y) = (r.one_of(&self.floats), r.one_of(&self.floats));
        let (k, l) = (r.one_of(&self.integers), r.one_of(&self.integers));
        let (p, q) = (r.one_of(&self.truths), r.one_of(&self.truths));
        match r.below(18) {
            0..4 => {
                self.floats.push(b.binary(r.one_of(&[Add, Sub, Mul, Div, Max, Min]), x, y));
            }
            4 => {
                let all =
                    [Unary::Neg, Unary::Abs, Unary::Sqrt, Unary::Floor, Unary::Ceil, Unary::Round];
                self.floats.push(b.unary(r.one_of(&all), x));
            }
            5 => {
                let constants = [0.0, -0.0, 1.5, -2.0, f32::NAN, 1e30, f32::NEG_INFINITY];
                let c = b.constant(Scalar::F32(r.one_of(&constants)));
                let (x, y) = if r.below(2) == 0 { (x, c) } else { (c, x) };
                self.floats.push(b.binary(r.one_of(&[Add, Mul, Max, Min]), x, y));
            }
            6 => self.truths.push(b.compare(r.one_of(Compare::ALL), x, y)),
            7 => self.truths.push(b.compare(r.one_of(Compare::ALL), k, l)),
            8 => self.truths.push(b.binary(r.one_of(&[And, Or, Xor]), p, q)),
            9 => self.truths.push(match r.below(2) {
                0 => b.unary(Unary::Not, p),
                _ => b.compare(r.one_of(&[Compare::Eq, Compare::Ne]), p, q),
            }),
            10 => self.floats.push(b.select(p, x, y)),
            11 => self.integers.push(b.select(p, k, l)),
            12 => {
                let ops = [Add, Sub, Mul, Max, Min, And, Or, Xor];
                self.integers.push(b.binary(r.one_of(&ops), k, l));
            }
            13 => {
                let n = b.constant(Scalar::I32(r.one_of(&[0, 1, 13, 31, 33, -1])));
                self.integers.push(b.binary(r.one_of(&[Shl, Shr, Add, Xor]), k, n));
            }
            14 => {
                let all = [Unary::Neg, Unary::Abs, Unary::Not];
                self.integers.push(b.unary(r.one_of(&all), k));
            }
            15 => {
                let product = b.binary(MulHigh, k, l);
                let most = r.one_of(&[1, 9, 1000]);
                self.integers.push(b.inst(Inst::Clamp(product, most)));
                self.integers.push(product);
            }
            16 => {
                let terms = self.vars.iter().fold(Affine::constant(3), |sum, &v| {
                    sum.plus(&Affine::var(v).times(r.below(7) as i64 - 3))
                });
                self.integers.push(b.inst(Inst::Affine(terms)));
                self.truths.push(b.select(p, q, self.truths[0]));
            }
            _ => match r.below(6) {
                0 => self.integers.push(b.cast(DType::I32, x)),
                1 => self.floats.push(b.cast(DType::F32, k)),
                2 => self.floats.push(b.cast(DType::F32, p)),
                3 => self.integers.push(b.cast(DType::I32, p)),
                4 => self.truths.push(b.cast(DType::Bool, x)),
                _ => self.truths.push(b.cast(DType::Bool, k)),
            },
        }
    }
}

/// A kernel that fills what it writes, and then writes, in each of two rows, the results of a random
/// body over `n` elements in the middle.
fn random_body(case: &mut Case, r: &mut Random, n: usize, inputs: [BufferId; 3]) {
    const AROUND: usize = 20;
    let row_length = n + 2 * AROUND;
    let outs = DType::ALL.map(|dtype| {
        case.output(&format!("{dtype} {}", case.program.buffers.len()), dtype, 2 * row_length)
    });
    let mut b = Builder::new();
    let [x, k, p] = [0, 1, 2].map(|i| b.arg(inputs[i], DType::ALL[i]));
    let outs = [0, 1, 2].map(|i| b.arg(outs[i], DType::ALL[i]));
    let j = b.open(2 * row_length);
    for (out, value) in outs.iter().zip([Scalar::F32(7.0), Scalar::I32(7), Scalar::Bool(true)]) {
        let value = b.constant(value);
        b.store(*out, Index::var(j), value);
    }
    b.close();
    let row = b.open(2);
    // Values from outside of the loop, of which more than one operand may be.
    let mut values = Values { floats: vec![], integers: vec![], truths: vec![], vars: vec![row] };
    for at in 0..2 {
        values.floats.push(b.load(x, Index::constant(at * 5)));
        values.integers.push(b.load(k, Index::constant(at * 5 + 1)));
    }
    values.truths.push(b.load(p, Index::var(row)));
    let i = b.open_loop(None, n, n, 1, LoopKind::Vector);
    values.vars.push(i);
    let at = Index::var(row).times(11).plus(&Index::var(i));
    for ahead in 0..1 + r.below(4) as i64 {
        values.floats.push(b.load(x, at.offset(ahead * 7)));
        values.integers.push(b.load(k, at.offset(ahead * 9)));
        values.truths.push(b.load(p, at.offset(ahead)));
    }
    for _ in 0..r.below(60) {
        values.grow(&mut b, r);
    }
    let to = Index::var(row).times(row_length as i64).plus(&Index::var(i)).offset(AROUND as i64);
    for back in 0..1 + r.below(2) {
        b.store(outs[0], to.clone(), values.floats[values.floats.len() - 1 - back]);
    }
    b.store(outs[1], to.clone(), *values.integers.last().unwrap());
    b.store(outs[2], to, *values.truths.last().unwrap());
    b.close();
    b.close();
    case.kernel(b.finish("body"));
}

#[test]
fn random_bodies_of_every_length() {
    let mut assembled = 0;
    for n in 0..200 {
        let mut case = Case::default();
        let inputs = [
            case.input("x", Data::F32(floats(SIZE))),
            case.input("k", Data::I32(integers(SIZE))),
            case.input("p", Data::Bool((0..SIZE).map(|i| i * i % 5 < 2).collect())),
        ];
        for seed in 0..2 {
            let mut r = Random(1000 * seed + n as u64);
            random_body(&mut case, &mut r, n, inputs);
        }
        assembled += usize::from(check(&case, 0.0));
    }
    assert!(assembled > 90, "{assembled} of 200 loops became functions");
}

/// A case of one kernel over an input of f32 and an output of `n`.
fn loops(n: usize, body: impl FnOnce(&mut Builder, kiln_loops::Mem, kiln_loops::Mem)) -> Case {
    let mut case = Case::default();
    let x = case.input("x", Data::F32(floats(20_000)));
    let y = case.output("y", DType::F32, n);
    let mut b = Builder::new();
    let (x, y) = (b.arg(x, DType::F32), b.arg(y, DType::F32));
    body(&mut b, x, y);
    case.kernel(b.finish("loops"));
    case
}

#[test]
fn loops_inside_are_written_out_or_stay() {
    for (rows, n, turns, fold) in [
        (1, 64, 3, Fold::Max),
        (3, 70, 40, Fold::Max),
        (5, 33, 70, Fold::Min),
        (2, 200, 41, Fold::Max),
    ] {
        // Windows, of which the inner loop's turns overlap.
        let case = loops(rows * n, |b, x, y| {
            let row = b.open(rows);
            let i = b.open_loop(None, n, n, 1, LoopKind::Vector);
            let start = b.constant(fold.identity(DType::F32));
            let most = b.mutable(start);
            let k = b.open(turns);
            let l = b.open(3);
            let at = Index::var(row).times(1000).plus(&Index::var(i)).plus(&Index::var(l));
            let value = b.load(x, at.plus(&Index::var(k).times(200)));
            b.push(Stmt::Accumulate(most, fold, value));
            b.close();
            // One element for all lanes.
            let value = b.load(x, Index::var(k).times(7).offset(1));
            b.push(Stmt::Accumulate(most, fold, value));
            b.close();
            b.store(y, Index::var(row).times(n as i64).plus(&Index::var(i)), most);
            b.close();
            b.close();
        });
        assert!(check(&case, 0.0), "{turns} turns");
    }
}

#[test]
fn runs_of_a_loop_inside_may_end_early() {
    for (length, run) in [(2000, 512), (2048, 512), (100, 99), (130, 1024)] {
        let case = loops(40, |b, x, y| {
            let i = b.open_loop(None, 40, 40, 1, LoopKind::Vector);
            let zero = b.constant(Scalar::F32(0.0));
            let sum = b.mutable(zero);
            let start = b.open_loop(None, length, length, run, LoopKind::Serial);
            let part = b.mutable(zero);
            let k = b.open_loop(Some(start), run, length, 1, LoopKind::Serial);
            let value = b.load(x, Index::var(i).plus(&Index::var(k).times(8)));
            // Numbers only, of one magnitude.
            let half = b.constant(Scalar::F32(0.5));
            let small = b.compare(Compare::Lt, value, half);
            let one = b.constant(Scalar::F32(1.0));
            let value = b.select(small, half, one);
            b.push(Stmt::Accumulate(part, Fold::Add, value));
            b.close();
            b.push(Stmt::Accumulate(sum, Fold::Add, part));
            b.close();
            b.store(y, Index::var(i), sum);
            b.close();
        });
        assert!(check(&case, 0.0), "{length} by {run}");
    }
}

#[test]
fn sums_over_the_loop() {
    for n in (44..200).step_by(7) {
        for fold in Fold::ALL {
            for dtype in [DType::F32, DType::I32] {
                let mut case = Case::default();
                let data = match (dtype, fold) {
                    (DType::I32, _) => Data::I32(integers(n)),
                    (_, Fold::Max | Fold::Min) => Data::F32(floats(n)),
                    _ => Data::F32(numbers(n).into_iter().map(|x| 1.0 + x / 64.0).collect()),
                };
                let x = case.input("x", data);
                let out = case.output("sum", dtype, 1);
                let again = case.output("x again", dtype, n);
                let mut b = Builder::new();
                let [x, out, again] = [x, out, again].map(|id| b.arg(id, dtype));
                let first = b.load(x, Index::constant(0));
                let sum = b.mutable(first);
                let i = b.open_loop(None, n, n, 1, LoopKind::Vector);
                let value = b.load(x, Index::var(i));
                b.push(Stmt::Accumulate(sum, *fold, value));
                b.store(again, Index::var(i), value);
                b.close();
                b.store(out, Index::constant(0), sum);
                case.kernel(b.finish("sum"));
                let exact = dtype == DType::I32 || matches!(fold, Fold::Max | Fold::Min);
                assert!(check(&case, if exact { 0.0 } else { 1e-5 }), "{fold:?} of {n}");
            }
        }
    }
}

#[test]
fn bodies_of_more_values_than_registers() {
    for (loads, wide) in [(10, true), (28, true), (31, false), (90, false)] {
        let case = loops(60, |b, x, y| {
            let i = b.open_loop(None, 60, 60, 1, LoopKind::Vector);
            let values: Vec<Reg> =
                (0..loads).map(|n| b.load(x, Index::var(i).offset(100 * n))).collect();
            let last = values.iter().rev().copied();
            let sum = last.reduce(|x, y| b.binary(Binary::Max, x, y)).unwrap();
            let product = values.into_iter().reduce(|x, y| b.binary(Binary::Min, x, y)).unwrap();
            let result = b.binary(Binary::Sub, sum, product);
            b.store(y, Index::var(i), result);
            b.close();
        });
        let assembled = check(&case, 0.0);
        let available = Isa::available().iter().any(|isa| isa.name() == "avx512");
        assert_eq!(assembled, wide || !available, "{loads} loads");
    }
}

#[test]
fn what_has_no_instruction_is_emitted_as_elsewhere() {
    let mut case = Case::default();
    let out = case.output("quotients", DType::I32, 50);
    case.map("quotients", 50, LoopKind::Vector, |b, i| {
        let out = b.arg(out, DType::I32);
        let position = b.inst(Inst::Affine(Affine::var(i).times(3)));
        let seven = b.constant(Scalar::I32(7));
        let value = b.binary(Binary::Div, position, seven);
        b.store(out, Index::var(i), value);
    });
    let available = Isa::available().iter().any(|isa| isa.name() == "avx512");
    assert_eq!(check(&case, 0.0), !available);
}

#[test]
fn large_results_pass_the_caches_if_every_vector_is_a_line_and_large_operands_are_asked_for_ahead()
{
    const N: usize = 8 << 20;
    let input: Vec<f32> = (0..N).map(|i| i as f32).collect();
    for (offset, chunk, passes) in
        [(0, 1 << 18, true), (1, 1 << 18, false), (0, (1 << 18) + 4, false), (0, 4096, false)]
    {
        let mut case = Case::default();
        let x = case.input("x", Data::F32(input.clone()));
        let out = case.output("out", DType::F32, N + offset as usize);
        let mut b = Builder::new();
        let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
        let first = b.constant(Scalar::F32(0.0));
        b.store(out, Index::constant(0), first);
        let start = b.open_loop(None, N, N, chunk, LoopKind::Serial);
        let i = b.open_loop(Some(start), chunk, N, 1, LoopKind::Vector);
        let value = b.load(x, Index::var(i));
        let value = b.unary(Unary::Neg, value);
        b.store(out, Index::var(i).offset(offset), value);
        b.close();
        b.close();
        case.kernel(b.finish("out"));
        assert!(check(&case, 0.0));
        let executable = Executable::compile(&case.program, &Options::detect().unwrap()).unwrap();
        let text = executable.clif(0).unwrap();
        let wide = Options::detect().unwrap().isa.name() == "avx512";
        assert_eq!(text.contains("vmovntps"), passes && wide, "{offset}, {chunk}");
        assert_eq!(text.contains("sfence"), passes && wide, "{offset}, {chunk}");
        assert_eq!(text.contains("prefetcht0"), chunk > 4096 && wide, "{chunk}");
    }
}

#[test]
fn rows_that_are_read_again_are_asked_for_ahead() {
    const N: usize = 200;
    // From row to row, and where the loops begin in it.
    for (by, begins, asked) in [
        (1000, [0, 0, 0], [false, true, false]),
        (1000, [0, 1, 0], [false, false, true]),
        (1000, [0, 1, 2], [false, false, false]),
        (0, [0, 0, 0], [false, false, false]),
        (1 << 16, [0, 0, 0], [false, false, false]),
    ] {
        let mut case = Case::default();
        let x = case.input("x", Data::F32(floats(3 * by + N + 2)));
        let outputs = ["first", "second", "third"].map(|y| case.output(y, DType::F32, 3 * N));
        let mut b = Builder::new();
        let x = b.arg(x, DType::F32);
        let row = b.open(3);
        for (n, output) in outputs.into_iter().enumerate() {
            let y = b.arg(output, DType::F32);
            let i = b.open_loop(None, N, N, 1, LoopKind::Vector);
            let at = Index::var(row).times(by as i64).plus(&Index::var(i));
            let value = b.load(x, at.offset(begins[n]));
            // Different bodies, which share no function.
            let scale = b.f32(n as f32 + 2.0);
            let value = b.binary(Binary::Mul, value, scale);
            b.store(y, Index::var(row).times(N as i64).plus(&Index::var(i)), value);
            b.close();
        }
        b.close();
        case.kernel(b.finish("rows"));
        assert!(check(&case, 0.0));
        let options = Options::detect().unwrap();
        let text = Executable::compile(&case.program, &options).unwrap().clif(0).unwrap();
        let functions = text.split("assembled").skip(1);
        let found: Vec<bool> = functions.map(|f| f.contains("prefetcht0")).collect();
        if options.isa.name() == "avx512" {
            assert_eq!(found, asked, "{by}, {begins:?}");
        }
    }
}

/// Long enough for whole turns of several vectors and a rest.
const FUNCTION_LENGTHS: [usize; 8] = [4, 15, 16, 17, 63, 130, 499, 500];

#[test]
fn functions_have_the_bits_of_block_functions() {
    let functions = [Math::Exp, Math::Log, Math::Tanh, Math::Sigmoid, Math::Erf];
    let mut input = floats(SIZE);
    input.iter_mut().step_by(2).for_each(|x| *x *= 40.0);
    for isa in Isa::available() {
        for n in FUNCTION_LENGTHS {
            let mut case = Case::default();
            let x = case.input("x", Data::F32(input.clone()));
            let mut outputs = Vec::new();
            for function in functions {
                let out = case.output(function.name(), DType::F32, n);
                case.map(function.name(), n, LoopKind::Vector, |b, i| {
                    let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
                    let x = b.load(x, Index::var(i));
                    let value = b.call(function, x);
                    b.store(out, Index::var(i), value);
                });
                outputs.push((function, out));
            }
            let mut session = case.session_with(Options { threads: 1, isa });
            session.run().unwrap();
            let options = Options { threads: 1, isa };
            let text = Executable::compile(&case.program, &options).unwrap().clif(0).unwrap();
            assert_eq!(text.contains("assembled"), isa.name() == "avx512", "{text}");
            for (function, out) in outputs {
                let mut expected = input[..n].to_vec();
                let mut all = BlockFunction::ALL.iter();
                let block = all.find(|f| f.name() == function.name()).unwrap();
                block.apply_in_place(isa, &mut expected);
                let found = session.get(out).unwrap();
                for (x, (e, f)) in input.iter().zip(expected.iter().zip(found.as_f32().unwrap())) {
                    let same = e.to_bits() == f.to_bits() || (e.is_nan() && f.is_nan());
                    assert!(same, "{} {function:?}({x:e}) of {n}: {e:e}, {f:e}", isa.name());
                }
            }
        }
    }
}

/// Two functions and what stands around them have more values than a pair of vectors has registers
/// for constants; sums of functions see every element once.
#[test]
fn functions_among_other_steps() {
    for n in FUNCTION_LENGTHS {
        let mut case = Case::default();
        let x = case.input("x", Data::F32(numbers(SIZE)));
        let (out, total) = (case.output("out", DType::F32, n), case.output("sum", DType::F32, 1));
        let mut b = Builder::new();
        let (x, out) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
        let total = b.arg(total, DType::F32);
        let zero = b.f32(0.0);
        let sum = b.mutable(zero);
        let i = b.open_loop(None, n, n, 1, LoopKind::Vector);
        let x = b.load(x, Index::var(i));
        let [scale, shift, half] = [1.5, 0.5, 0.7].map(|c| b.f32(c));
        let product = b.binary(Binary::Mul, x, scale);
        let affine = b.binary(Binary::Add, product, shift);
        let tanh = b.call(Math::Tanh, affine);
        let product = b.binary(Binary::Mul, x, half);
        let sigmoid = b.call(Math::Sigmoid, product);
        let erf = b.call(Math::Erf, sigmoid);
        let exp = b.call(Math::Exp, tanh);
        let value = b.binary(Binary::Mul, tanh, sigmoid);
        let more = b.binary(Binary::Div, erf, exp);
        let value = b.binary(Binary::Sub, value, more);
        let relu = b.binary(Binary::Max, x, zero);
        let value = b.binary(Binary::Add, value, relu);
        b.store(out, Index::var(i), value);
        b.push(Stmt::Accumulate(sum, Fold::Add, value));
        b.close();
        b.store(total, Index::constant(0), sum);
        case.kernel(b.finish("functions"));
        assert!(check(&case, 1e-6), "{n}");
    }
}
