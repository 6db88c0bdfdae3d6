//! The verifier against brute force: what it accepts is in bounds and free of races, and kernels that
//! it lets run at the same time do not meet.
//!
//! Random small nests are run by an enumeration of their loops that shares no code with the
//! verifier. Accepting a broken program fails the test; so does refusing too many sound ones.

use std::collections::{BTreeMap, BTreeSet};

use kiln_loops::{
    Affine, Buffer, BufferId, BufferKind, Conflicts, For, Index, Inst, Kernel, LoopKind, Mem,
    Program, Reg, Scalar, Stmt, Var, verify,
};
use kiln_tensor::{DType, Shape};

/// Numbers from a linear congruence (Knuth, MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A nest of up to four loops, the outermost of kind `kind`, around accesses to one buffer.
fn nest(random: &mut Random, kind: LoopKind) -> Vec<Stmt> {
    let depth = 1 + random.below(4);
    let mut headers: Vec<For> = Vec::new();
    for level in 0..depth {
        let var = Var(level as u32);
        let chunk = level > 0 && kind == LoopKind::Parallel && random.below(2) == 0;
        let outermost = level == 0;
        let mut step = 1;
        let (start, extent, end);
        if chunk {
            let of = &headers[random.below(level)];
            extent = if random.below(4) == 0 { 1 + random.below(5) } else { of.step };
            end = of.end;
            start = Some(of.var);
        } else {
            end = 1 + random.below(6);
            extent = end;
            start = None;
            if kind == LoopKind::Parallel {
                step = random.pick(&[1, 1, 2, 3]);
            }
        }
        let kind = if outermost { kind } else { LoopKind::Serial };
        headers.push(For { var, start, extent, end, step, kind, body: Vec::new() });
    }
    // Indices are mostly those of a dense array whose axes are some of the loops.
    let mut strides: BTreeMap<Var, i64> = BTreeMap::new();
    let mut stride = 1;
    let mut order: Vec<usize> = (0..depth).collect();
    for i in (1..depth).rev() {
        order.swap(i, random.below(i + 1));
    }
    if kind == LoopKind::Vector {
        order.retain(|&i| i != 0);
        order.insert(0, 0);
    }
    for level in order {
        strides.insert(headers[level].var, stride);
        stride *= headers[level].end as i64 + random.below(5) as i64 / 4;
    }
    let same = random.below(2) == 0;
    let mut index = || {
        let mut e = Affine::constant(random.pick(&[0, 0, 0, 0, 1, 2, -1]));
        for header in &headers {
            let c = match random.below(12) {
                0 if kind != LoopKind::Vector => random.below(7) as i64 - 2,
                0..=2 => 0,
                3..=4 if header.start.is_some() => {
                    // Within the chunk.
                    e = e.plus(&Affine::var(header.start.unwrap_or(Var(0))).times(-1));
                    1
                }
                _ => strides[&header.var],
            };
            e = e.plus(&Affine::var(header.var).times(c));
        }
        Index::from(e)
    };
    let shared = index();
    let other = if same { shared.clone() } else { index() };
    let mut body = vec![
        Stmt::Let(Reg(0), Inst::Const(Scalar::F32(1.0))),
        Stmt::Store(Mem::Arg(0), shared, Reg(0)),
        Stmt::Let(Reg(1), Inst::Load(Mem::Arg(0), other)),
    ];
    for mut header in headers.into_iter().rev() {
        header.body = body;
        body = vec![Stmt::For(header)];
    }
    body
}

/// Every access as (iteration of the outermost loop, element, written).
fn enumerate(
    body: &[Stmt],
    vars: &mut BTreeMap<Var, i64>,
    outer: Option<i64>,
    found: &mut Vec<(i64, i64, bool)>,
) {
    for stmt in body {
        match stmt {
            Stmt::For(f) => {
                let start = f.start.map_or(0, |v| vars[&v]);
                let stop = (start + f.extent as i64).min(f.end as i64);
                for value in (start..stop).step_by(f.step) {
                    vars.insert(f.var, value);
                    enumerate(&f.body, vars, Some(outer.unwrap_or(value)), found);
                }
            }
            Stmt::Store(_, index, _) => {
                found.push((outer.unwrap_or(0), index.affine.value(|v| vars[&v]), true));
            }
            Stmt::Let(_, Inst::Load(_, index)) => {
                found.push((outer.unwrap_or(0), index.affine.value(|v| vars[&v]), false));
            }
            _ => {}
        }
    }
}

/// Whether the accesses are within `elements`, and no element that one iteration writes is
/// touched by another.
fn sound(accesses: &[(i64, i64, bool)], elements: usize) -> bool {
    let mut touched: BTreeMap<i64, (BTreeSet<i64>, bool)> = BTreeMap::new();
    for &(iteration, element, write) in accesses {
        if element < 0 || element >= elements as i64 {
            return false;
        }
        let entry = touched.entry(element).or_default();
        entry.0.insert(iteration);
        entry.1 |= write;
    }
    touched.values().all(|(iterations, written)| iterations.len() == 1 || !written)
}

/// A kernel for each body, on the buffer beside it; buffers by their elements and places.
fn program(kernels: Vec<(BufferId, Vec<Stmt>)>, buffers: Vec<(usize, Option<usize>)>) -> Program {
    let buffers = buffers.into_iter().enumerate().map(|(n, (elements, offset))| Buffer {
        name: format!("x{n}"),
        dtype: DType::F32,
        shape: Shape::new([elements]).unwrap(),
        kind: BufferKind::Param,
        offset,
    });
    let kernels = kernels.into_iter().map(|(buffer, body)| Kernel {
        name: "k".into(),
        args: vec![buffer],
        locations: [].into(),
        locals: vec![],
        body,
    });
    let (buffers, kernels) = (buffers.collect(), kernels.collect());
    Program { buffers, kernels, arena_bytes: 0, prelude: 0 }
}

fn compare(kind: LoopKind, seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let elements = 1 + random.below(200);
        let body = nest(&mut random, kind);
        let mut accesses = Vec::new();
        enumerate(&body, &mut BTreeMap::new(), None, &mut accesses);
        let program = program(vec![(BufferId(0), body)], vec![(elements, None)]);
        let sound = sound(&accesses, elements);
        match verify(&program) {
            Ok(()) => {
                assert!(sound, "accepted, but it is broken:\n{program}");
                accepted += 1;
            }
            Err(_) if sound => refused += 1,
            Err(_) => {}
        }
    }
    (accepted, refused)
}

#[test]
fn what_is_accepted_in_parallel_loops_is_sound() {
    let (accepted, refused) = compare(LoopKind::Parallel, 1);
    assert!(accepted > 2000, "{accepted} accepted, {refused} sound ones refused");
    assert!(refused * 4 < accepted, "{accepted} accepted, {refused} sound ones refused");
}

#[test]
fn what_is_accepted_in_vector_loops_is_sound() {
    let (accepted, refused) = compare(LoopKind::Vector, 2);
    assert!(accepted > 2000, "{accepted} accepted, {refused} sound ones refused");
    assert!(refused * 4 < accepted, "{accepted} accepted, {refused} sound ones refused");
}

/// A nest whose first access, or both, begin at an element.
fn moved(mut body: Vec<Stmt>, by: i64) -> Vec<Stmt> {
    for stmt in &mut body {
        match stmt {
            Stmt::For(f) => f.body = moved(std::mem::take(&mut f.body), by),
            Stmt::Store(_, index, _) | Stmt::Let(_, Inst::Load(_, index)) => {
                *index = index.offset(by);
            }
            _ => {}
        }
    }
    body
}

#[test]
fn kernels_that_may_run_at_the_same_time_do_not_meet() {
    let mut random = Random(3);
    let (mut apart, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let bodies = [0, 1].map(|_| {
            let by = random.pick(&[0, 0, 1, 7, 40, 100]);
            moved(nest(&mut random, LoopKind::Serial), by)
        });
        // One buffer, or two that may share bytes.
        let one = random.below(3) > 0;
        let offset = 64 * random.below(16);
        let buffers = vec![(300, Some(0)), (300, Some(offset))];
        let ids = [BufferId(0), BufferId(if one { 0 } else { 1 })];
        let program = program(ids.into_iter().zip(bodies.clone()).collect(), buffers);
        let mut accesses = Vec::new();
        for (kernel, body) in bodies.iter().enumerate() {
            let mut own = Vec::new();
            enumerate(body, &mut BTreeMap::new(), Some(kernel as i64), &mut own);
            // Kernels that are not legal are not compared.
            if own.iter().any(|a| !(0..300).contains(&a.1)) {
                accesses.clear();
                break;
            }
            let moved = if one { 0 } else { offset as i64 / 4 * kernel as i64 };
            accesses.extend(own.into_iter().map(|(k, element, write)| (k, element + moved, write)));
        }
        if accesses.is_empty() {
            continue;
        }
        let sound = sound(&accesses, 600);
        match Conflicts::new(&program).meet(0, 1) {
            false => {
                assert!(sound, "said to be apart, but they meet:\n{program}");
                apart += 1;
            }
            // Of buffers it is bytes that count.
            true if sound && one => refused += 1,
            true => {}
        }
    }
    assert!(apart > 2000, "{apart} are apart, {refused} others too");
    assert!(refused * 4 < apart, "{apart} are apart, {refused} others too");
}
