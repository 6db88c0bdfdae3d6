//! Random loop nests against the interpreter, bit by bit; and nests as deep as the rules allow.

mod harness;

use harness::{Case, Random, numbers};
use kiln_jit::{Executable, Options};
use kiln_loops::{
    Affine, Binary, Builder, Compare, Fold, Index, Inst, LoopKind, MAX_DEPTH, Mem, Reg, Scalar,
    Stmt, Unary, Var,
};
use kiln_tensor::{DType, Data};

/// Elements of the inputs.
const SIZE: usize = 600;

/// The values in scope, by type.
#[derive(Clone, Default)]
struct Scope {
    floats: Vec<Reg>,
    integers: Vec<Reg>,
    truths: Vec<Reg>,
}

impl Scope {
    fn of(&mut self, dtype: DType) -> &mut Vec<Reg> {
        match dtype {
            DType::F32 => &mut self.floats,
            DType::I32 => &mut self.integers,
            DType::Bool => &mut self.truths,
        }
    }

    fn pick(&mut self, r: &mut Random, dtype: DType) -> Reg {
        let regs = self.of(dtype);
        // Recent values more often than old ones.
        let back = r.below(regs.len()).min(r.below(regs.len()));
        regs[regs.len() - 1 - back]
    }
}

/// The loops around a statement, and the inputs.
struct Place {
    inputs: [Mem; 3],
    /// Loop variables with the most they may be multiplied by.
    vars: Vec<(Var, i64)>,
    vector: Option<Var>,
}

impl Place {
    fn load(&self, b: &mut Builder, r: &mut Random, dtype: DType) -> Reg {
        let mut index = Index::constant(r.below(9) as i64);
        for &(var, most) in &self.vars {
            let coefficient = match self.vector == Some(var) {
                true => r.below(2) as i64,
                false => r.below(most as usize + 1) as i64,
            };
            index = index.plus(&Index::var(var).times(coefficient));
        }
        let dynamic = self.vector.is_none() && r.below(3) == 0;
        if dynamic {
            let at = b.load(self.inputs[1], Index::constant(r.below(SIZE) as i64));
            let at = b.inst(Inst::Clamp(at, 20));
            index = index.plus(&Index::dynamic(at, 2));
        }
        let input = match dtype {
            DType::F32 => self.inputs[0],
            DType::I32 => self.inputs[1],
            DType::Bool => self.inputs[2],
        };
        b.load(input, index)
    }

    /// Adds a random value to the scope.
    fn grow(&self, b: &mut Builder, r: &mut Random, scope: &mut Scope) {
        use Binary::*;
        let dtype = r.one_of(&DType::ALL);
        let (x, y) = (scope.pick(r, dtype), scope.pick(r, dtype));
        let reg = match r.below(9) {
            0 | 1 => self.load(b, r, dtype),
            2 => {
                let scalar = match dtype {
                    DType::F32 => Scalar::F32(r.one_of(&[0.0, -0.0, 1.5, -2.0, f32::NAN, 1e30])),
                    DType::I32 => Scalar::I32(r.one_of(&[0, 1, -1, 5, 31, i32::MIN, 123_456])),
                    DType::Bool => Scalar::Bool(r.below(2) == 0),
                };
                b.constant(scalar)
            }
            3 => match dtype {
                DType::F32 => {
                    let all = [Unary::Neg, Unary::Abs, Unary::Sqrt, Unary::Floor, Unary::Round];
                    b.unary(r.one_of(&all), x)
                }
                DType::I32 => b.unary(r.one_of(&[Unary::Neg, Unary::Abs, Unary::Not]), x),
                DType::Bool => b.unary(Unary::Not, x),
            },
            4 | 5 => match dtype {
                DType::F32 => b.binary(r.one_of(&[Add, Sub, Mul, Div, Max, Min]), x, y),
                DType::I32 => b.binary(
                    r.one_of(&[Add, Sub, Mul, Div, Rem, Max, Min, And, Xor, Shl, Shr, MulHigh]),
                    x,
                    y,
                ),
                DType::Bool => b.binary(r.one_of(&[And, Or, Xor]), x, y),
            },
            6 => {
                let op = match dtype {
                    DType::Bool => r.one_of(&[Compare::Eq, Compare::Ne]),
                    _ => r.one_of(Compare::ALL),
                };
                let reg = b.compare(op, x, y);
                scope.truths.push(reg);
                return;
            }
            7 => {
                let cond = scope.pick(r, DType::Bool);
                b.select(cond, x, y)
            }
            _ => {
                let to = r.one_of(&DType::ALL);
                let reg = match r.below(3) {
                    0 => {
                        let terms = self.vars.iter().fold(Affine::constant(3), |sum, &(v, _)| {
                            sum.plus(&Affine::var(v).times(r.below(7) as i64 - 3))
                        });
                        let reg = b.inst(Inst::Affine(terms));
                        scope.integers.push(reg);
                        return;
                    }
                    _ => b.cast(to, x),
                };
                scope.of(to).push(reg);
                return;
            }
        };
        scope.of(dtype).push(reg);
    }
}

/// A nest: rows, in them a loop that may be a vector loop, in it a serial loop that accumulates.
fn nest(case: &mut Case, r: &mut Random, inputs: [kiln_loops::BufferId; 3], name: &str) {
    let (rows, n, inner) = (1 + r.below(5), 1 + r.below(40), 1 + r.below(7));
    let (chunk, chunked) = (1 + r.below(n + 3), r.below(2) == 0);
    // The verifier does not see that rows cut into chunks with a remainder stay apart.
    let outer = if chunked { LoopKind::Serial } else { LoopKind::Parallel };
    let kind = r.one_of(&[LoopKind::Vector, LoopKind::Vector, LoopKind::Serial]);
    let outs = DType::ALL.map(|d| case.output(&format!("{name} {d}"), d, rows * n));
    let total = case.output(&format!("{name} total"), DType::I32, rows);
    let mut b = Builder::new();
    let inputs = [0, 1, 2].map(|i| b.arg(inputs[i], DType::ALL[i]));
    let outs = [0, 1, 2].map(|i| b.arg(outs[i], DType::ALL[i]));
    let total = b.arg(total, DType::I32);
    let row = b.open_loop(None, rows, rows, 1, outer);
    let mut place = Place { inputs, vars: vec![(row, 20)], vector: None };
    let mut scope = Scope::default();
    for dtype in DType::ALL {
        let reg = place.load(&mut b, r, dtype);
        scope.of(dtype).push(reg);
    }
    let fold = r.one_of(Fold::ALL);
    let start = b.constant(fold.identity(DType::I32));
    let across = b.mutable(start);
    let i = if chunked {
        let start = b.open_loop(None, n, n, chunk, LoopKind::Serial);
        b.open_loop(Some(start), chunk, n, 1, kind)
    } else {
        b.open_loop(None, n, n, 1, kind)
    };
    place.vars.push((i, 5));
    place.vector = (kind == LoopKind::Vector).then_some(i);
    let mut here = scope.clone();
    for _ in 0..r.below(12) {
        place.grow(&mut b, r, &mut here);
    }
    let (float, integer) = (here.pick(r, DType::F32), here.pick(r, DType::I32));
    let (float, integer) = (b.mutable(float), b.mutable(integer));
    if r.below(3) > 0 {
        let j = b.open_loop(None, inner, inner, 1 + r.below(2), LoopKind::Serial);
        place.vars.push((j, 20));
        let mut inside = here.clone();
        for _ in 0..r.below(8) {
            place.grow(&mut b, r, &mut inside);
        }
        let (x, k) = (inside.pick(r, DType::F32), inside.pick(r, DType::I32));
        b.push(Stmt::Accumulate(float, r.one_of(Fold::ALL), x));
        let sum = b.binary(Binary::Add, integer, k);
        b.push(Stmt::Set(integer, sum));
        b.push(Stmt::Accumulate(across, fold, k));
        b.close();
        place.vars.pop();
    }
    here.floats.push(float);
    here.integers.push(integer);
    for _ in 0..r.below(6) {
        place.grow(&mut b, r, &mut here);
    }
    let at = Index::var(row).times(n as i64).plus(&Index::var(i));
    for (dtype, out) in DType::ALL.into_iter().zip(outs) {
        let value = here.pick(r, dtype);
        b.store(out, at.clone(), value);
    }
    let k = here.pick(r, DType::I32);
    b.push(Stmt::Accumulate(across, fold, k));
    b.close();
    if chunked {
        b.close();
    }
    b.store(total, Index::var(row), across);
    b.close();
    case.kernel(b.finish(name));
}

#[test]
fn random_nests() {
    let seeds = std::env::var("KILN_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(400);
    for batch in 0..seeds / 40 {
        let mut case = Case::default();
        let mut floats = numbers(SIZE);
        for (i, special) in [f32::NAN, 0.0, -0.0, f32::INFINITY, 1e-42].into_iter().enumerate() {
            floats[i * 7] = special;
        }
        let integers: Vec<i32> = (0..SIZE as i32)
            .map(|i| i.wrapping_mul(i).wrapping_mul(715_827_883) >> (i % 32))
            .collect();
        let inputs = [
            case.input("x", Data::F32(floats)),
            case.input("k", Data::I32(integers)),
            case.input("p", Data::Bool((0..SIZE).map(|i| i * i % 5 < 2).collect())),
        ];
        for seed in batch * 40..(batch + 1) * 40 {
            nest(&mut case, &mut Random(seed), inputs, &format!("seed {seed}"));
        }
        case.check(0.0);
    }
}

#[test]
fn nests_as_deep_as_the_rules_allow() {
    for turns in [1, 2, 9] {
        let mut case = Case::default();
        let x = case.buffer("x", DType::F32, 1, kiln_loops::BufferKind::State);
        let mut b = Builder::new();
        let x = b.arg(x, DType::F32);
        for _ in 0..MAX_DEPTH {
            b.open(turns);
        }
        let value = b.load(x, Index::constant(0));
        let value = b.unary(Unary::Neg, value);
        b.store(x, Index::constant(0), value);
        for _ in 0..MAX_DEPTH {
            b.close();
        }
        case.kernel(b.finish("deep"));
        let options = Options { threads: 1, ..Options::detect().unwrap() };
        let executable = Executable::compile(&case.program, &options).unwrap();
        assert!(executable.report().code_bytes < 100_000);
    }
}
