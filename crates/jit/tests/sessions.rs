//! Sessions: threads, memory, errors, profiles.

mod harness;

use harness::{Case, Random, numbers};
use kiln_jit::{Error, Executable, Options, Session};
use kiln_kernels::Isa;
use kiln_loops::{
    Affine, Binary, Block, Buffer, BufferId, BufferKind, Builder, Contract, Dim, Epilogue, Fold,
    Index, LoopKind, Math, Program, Stmt,
};
use kiln_tensor::{DType, Data, Shape, Tensor};

fn options(threads: usize) -> Options {
    Options { threads, isa: Isa::detect().unwrap() }
}

/// Several parallel kernels with a small one between: a product, a function, row sums, a total.
fn network(rows: usize) -> Case {
    let (depth, cols) = (96, 160);
    let mut case = Case::default();
    let a = case.input("a", Data::F32(numbers(rows * depth)));
    let w = case.input("w", Data::F32(numbers(depth * cols)));
    let c = case.buffer("c", DType::F32, rows * cols, BufferKind::Temp);
    let sums = case.output("sums", DType::F32, rows);
    let total = case.output("total", DType::F32, 1);
    let out = case.output("out", DType::F32, rows * cols);
    let chunk = 8;
    let mut b = Builder::new();
    let (x, y, z) = (b.arg(a, DType::F32), b.arg(w, DType::F32), b.arg(c, DType::F32));
    let half = cols / 2;
    let i = b.open_loop(None, rows, rows, chunk, LoopKind::Parallel);
    let j = b.open_loop(None, cols, cols, half, LoopKind::Parallel);
    let dim = |extent, input: usize, output: usize| Dim {
        extent,
        input: input as i64,
        output: output as i64,
    };
    b.push(Stmt::Contract(Box::new(Contract {
        a: (x, Affine::var(i).times(depth as i64)),
        b: (y, Affine::var(j)),
        c: (z, Affine::var(i).times(cols as i64).plus(&Affine::var(j))),
        rows: vec![dim(chunk, depth, cols)],
        cols: vec![dim(half, 1, 1)],
        depth: vec![dim(depth, 1, cols)],
        accumulate: false,
        packed: false,
        channelwise: false,
        epilogue: Epilogue::default(),
    })));
    b.close();
    b.close();
    case.kernel(b.finish("product"));
    let mut b = Builder::new();
    let (x, y) = (b.arg(c, DType::F32), b.arg(sums, DType::F32));
    let i = b.open_loop(None, rows, rows, 1, LoopKind::Parallel);
    let tile = b.local(DType::F32, cols);
    let row = (x, Affine::var(i).times(cols as i64));
    b.push(Stmt::Block(Block {
        function: Math::Tanh,
        dst: (tile, Affine::default()),
        src: row,
        len: cols,
        until: None,
    }));
    let zero = b.f32(0.0);
    let sum = b.mutable(zero);
    let j = b.open_loop(None, cols, cols, 1, LoopKind::Vector);
    let value = b.load(tile, Index::var(j));
    b.push(Stmt::Accumulate(sum, Fold::Add, value));
    b.close();
    b.store(y, Index::var(i), sum);
    b.close();
    case.kernel(b.finish("tanh.sum"));
    let mut b = Builder::new();
    let (x, y) = (b.arg(sums, DType::F32), b.arg(total, DType::F32));
    let zero = b.f32(0.0);
    let sum = b.mutable(zero);
    let j = b.open_loop(None, rows, rows, 1, LoopKind::Vector);
    let value = b.load(x, Index::var(j));
    b.push(Stmt::Accumulate(sum, Fold::Add, value));
    b.close();
    b.store(y, Index::constant(0), sum);
    case.kernel(b.finish("total"));
    let mut b = Builder::new();
    let (x, t, y) = (b.arg(c, DType::F32), b.arg(total, DType::F32), b.arg(out, DType::F32));
    let n = rows * cols;
    let start = b.open_loop(None, n, n, 1000, LoopKind::Parallel);
    let i = b.open_loop(Some(start), 1000, n, 1, LoopKind::Vector);
    let (value, total) = (b.load(x, Index::var(i)), b.load(t, Index::constant(0)));
    let value = b.binary(Binary::Sub, value, total);
    b.store(y, Index::var(i), value);
    b.close();
    b.close();
    case.kernel(b.finish("centre"));
    case
}

fn outputs(session: &Session) -> Vec<Tensor> {
    ["sums", "total", "out"].map(|name| session.get(name).unwrap()).to_vec()
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let case = network(512);
    case.check(1e-4);
    let mut alone = case.session(1);
    alone.run().unwrap();
    let expected = outputs(&alone);
    for threads in [2, 3, 4, 7] {
        let mut session = case.session(threads);
        session.set_profiling(threads == 3);
        for _ in 0..20 {
            session.run().unwrap();
            assert_eq!(outputs(&session), expected, "{threads} threads");
        }
        let profile = session.profile();
        if threads == 3 {
            let names: Vec<&str> = profile.iter().map(|p| p.0).collect();
            assert_eq!(names, ["product", "tanh.sum", "total", "centre"]);
            assert!(profile.iter().all(|p| !p.1.is_zero()), "{profile:?}");
        } else {
            assert!(profile.is_empty());
        }
    }
}

/// Kernels of random order on buffers that lie over each other at random: whatever the plan, kernels
/// that threads run at the same time are those that do not see each other.
#[test]
fn any_plan_gives_the_same_bits_on_any_number_of_threads() {
    let (rows, cols) = (34, 512);
    let n = rows * cols;
    let mut random = Random(5);
    for _ in 0..12 {
        let mut case = Case::default();
        let x = case.input("x", Data::F32(numbers(n)));
        let temps: Vec<BufferId> = (0..6)
            .map(|i| case.buffer(&format!("t{i}"), DType::F32, n, BufferKind::Temp))
            .collect();
        let first = case.program.buffers[temps[0].0 as usize].offset.unwrap();
        for id in &temps {
            let place = first + random.below(6) * n * 2;
            case.program.buffers[id.0 as usize].offset = Some(place.next_multiple_of(64));
        }
        let outs: Vec<BufferId> =
            (0..3).map(|i| case.output(&format!("out{i}"), DType::F32, n)).collect();
        let place =
            |case: &Case, id: BufferId| case.program.buffers[id.0 as usize].offset.unwrap() as i64;
        let mut written = vec![x];
        for step in 0..30 {
            let from = random.one_of(&written);
            let to = if step < 24 { random.one_of(&temps) } else { outs[step % 3] };
            // Within a kernel the plan is kept.
            if place(&case, from).abs_diff(place(&case, to)) < 4 * n as u64 {
                continue;
            }
            let whole = !written.contains(&to) || random.below(3) == 0;
            let mut b = Builder::new();
            let (source, target) = (b.arg(from, DType::F32), b.arg(to, DType::F32));
            if whole || random.below(2) == 0 {
                // The interior, or all.
                let border = if whole { 0 } else { 1 };
                let height = rows - 2 * border;
                let i = b.open_loop(None, height, height, 1, LoopKind::Parallel);
                let j = b.open_loop(None, cols, cols, 1, LoopKind::Vector);
                let at = Index::var(i).times(cols as i64).plus(&Index::var(j));
                let value = b.load(source, at.clone());
                let value = b.binary(Binary::Add, value, value);
                b.store(target, at.offset((border * cols) as i64), value);
                b.close();
            } else {
                let j = b.open_loop(None, cols, cols, 1, LoopKind::Vector);
                let value = b.load(source, Index::var(j));
                b.store(target, Index::var(j), value);
                b.store(target, Index::var(j).offset((n - cols) as i64), value);
            }
            b.close();
            case.kernel(b.finish("rows"));
            if !written.contains(&to) {
                written.push(to);
            }
        }
        let results = |session: &Session| -> Vec<Tensor> {
            outs.iter().map(|&id| session.get(id).unwrap()).collect()
        };
        let mut alone = case.session(1);
        alone.run().unwrap();
        let expected = results(&alone);
        for threads in [2, 3, 7] {
            let mut session = case.session(threads);
            for _ in 0..50 {
                session.run().unwrap();
                assert_eq!(results(&session), expected, "{threads} threads");
            }
        }
    }
}

#[test]
fn sessions_of_one_executable_run_side_by_side() {
    let case = network(512);
    let executable = Executable::compile(&case.program, &options(3)).unwrap();
    assert!(executable.report().parallel);
    let mut alone = case.session(1);
    alone.run().unwrap();
    let expected = outputs(&alone);
    let inputs = ["a", "w"].map(|name| (name, alone.get(name).unwrap()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut session = executable.session().unwrap();
                for (name, value) in &inputs {
                    session.set(*name, value).unwrap();
                }
                for _ in 0..10 {
                    session.run().unwrap();
                    assert_eq!(outputs(&session), expected);
                }
            });
        }
    });
}

#[test]
fn small_programs_use_one_thread() {
    let case = network(8);
    let executable = Executable::compile(&case.program, &options(4)).unwrap();
    assert!(!executable.report().parallel);
    let mut session = case.session(4);
    session.set_profiling(true);
    session.run().unwrap();
    assert_eq!(session.profile().len(), 4);
}

#[test]
fn equal_kernels_share_their_code() {
    let mut case = Case::default();
    let x = case.input("x", Data::F32(numbers(100)));
    let k = case.input("k", Data::I32(vec![3; 100]));
    for n in 0..5 {
        let (source, dtype) = if n == 4 { (k, DType::I32) } else { (x, DType::F32) };
        let out = case.output(&format!("out {n}"), dtype, 100);
        case.map(&format!("copy {n}"), 100, LoopKind::Vector, |b, i| {
            let (source, out) = (b.arg(source, dtype), b.arg(out, dtype));
            let value = b.load(source, Index::var(i));
            b.store(out, Index::var(i), value);
        });
    }
    case.check(0.0);
    let executable = Executable::compile(&case.program, &options(1)).unwrap();
    let report = executable.report();
    assert_eq!((report.kernels, report.distinct_kernels), (5, 2));
    assert!(report.code_bytes > 0 && report.scratch_bytes == 0);
    assert_eq!(executable.clif(0).unwrap(), executable.clif(3).unwrap());
    assert!(!executable.disassembly(0).unwrap().is_empty());
    assert!(executable.clif(5).is_err());
}

#[test]
fn values_live_across_runs_and_constants_are_given() {
    let mut case = Case::default();
    let constant = Tensor::f32(&[3], vec![1.0, 2.0, 4.0]).unwrap();
    let steps = case.buffer("steps", DType::F32, 3, BufferKind::Const(constant.clone()));
    let state = case.buffer("state", DType::F32, 3, BufferKind::State);
    let temp = case.buffer("temp", DType::F32, 3, BufferKind::Temp);
    case.map("count", 3, LoopKind::Serial, |b, i| {
        let (steps, state) = (b.arg(steps, DType::F32), b.arg(state, DType::F32));
        let (step, value) = (b.load(steps, Index::var(i)), b.load(state, Index::var(i)));
        let value = b.binary(Binary::Add, value, step);
        b.store(state, Index::var(i), value);
        let temp = b.arg(temp, DType::F32);
        b.store(temp, Index::var(i), value);
    });
    let mut session = case.session(2);
    for _ in 0..3 {
        session.run().unwrap();
    }
    assert_eq!(session.f32("state").unwrap(), [3.0, 6.0, 12.0]);
    session.f32_mut(state).unwrap()[0] = 10.0;
    session.run().unwrap();
    assert_eq!(session.f32(state).unwrap(), [11.0, 8.0, 16.0]);
    assert_eq!(session.get("steps").unwrap(), constant);

    let access = |name: &str, role| Error::Access { name: name.to_string(), role };
    assert_eq!(session.set(steps, &constant).unwrap_err(), access("steps", "a constant"));
    assert_eq!(session.get(temp).unwrap_err(), access("temp", "a temporary"));
    assert_eq!(session.get("nothing").unwrap_err(), Error::Unknown("nothing".into()));
    assert_eq!(session.get(BufferId(99)).unwrap_err(), Error::Unknown("b99".into()));
    let message = session.set("state", &Tensor::scalar(1.0)).unwrap_err().to_string();
    assert_eq!(message, "buffer `state` is f32[3], not f32[]");
    assert!(matches!(session.i32("state").unwrap_err(), Error::Mismatch { .. }));
}

#[test]
fn what_cannot_be_compiled_or_held_is_an_error() {
    let case = network(8);
    for threads in [0, 1025, usize::MAX] {
        let error = Executable::compile(&case.program, &options(threads)).unwrap_err();
        assert_eq!(error, Error::Threads(threads));
    }
    let mut unplanned = case.program.clone();
    unplanned.buffers[2].offset = None;
    let error = Executable::compile(&unplanned, &options(1)).unwrap_err();
    assert_eq!(error, Error::Plan("c".into()));
    let mut outside = case.program.clone();
    outside.arena_bytes = 64;
    assert!(matches!(Executable::compile(&outside, &options(1)).unwrap_err(), Error::Program(_)));

    // Half a tebibyte a buffer, far more than there is: compiled, but not held.
    let shape = Shape::new([1 << 37]).unwrap();
    let buffers = (0..64)
        .map(|n| Buffer {
            name: format!("x{n}"),
            dtype: DType::F32,
            shape: shape.clone(),
            kind: BufferKind::Input,
            offset: Some(n << 39),
        })
        .collect();
    let huge = Program { buffers, arena_bytes: 64 << 39, ..Program::default() };
    let executable = Executable::compile(&huge, &options(2)).unwrap();
    let error = executable.session().unwrap_err();
    assert!(matches!(error, Error::Memory { bytes, .. } if bytes == 64 << 39), "{error}");
}

#[test]
fn a_contraction_that_is_too_large_is_refused_by_name() {
    let mut case = Case::default();
    let x = case.input("x", Data::F32(vec![1.0]));
    let out = case.output("out", DType::F32, 1);
    let mut b = Builder::new();
    let (x, y) = (b.arg(x, DType::F32), b.arg(out, DType::F32));
    b.push(Stmt::Contract(Box::new(Contract {
        a: (x, Affine::default()),
        b: (x, Affine::default()),
        c: (y, Affine::default()),
        rows: vec![],
        cols: vec![],
        depth: vec![Dim { extent: 1 << 35, input: 0, output: 0 }],
        accumulate: false,
        packed: false,
        channelwise: false,
        epilogue: Epilogue::default(),
    })));
    case.kernel(b.finish("vast"));
    let error = Executable::compile(&case.program, &options(1)).unwrap_err();
    assert!(error.to_string().starts_with("kernel `vast`: "), "{error}");
}

/// Weights that only the prelude reads can be changed until their memory is given back.
#[test]
fn released_weights_are_used_but_not_reached() {
    let text = r#"program arena 384 prelude 1 {
  buffer b0 "w": f32[4] param @0
  buffer b1 "u": f32[4] param @64
  buffer b2 "p": f32[4] prepared @128
  buffer b3 "x": f32[4] input @192
  buffer b4 "y": f32[4] output @256
  buffer b5 "v": f32[4] param @320
  kernel "mul"(b0, b5, b2) {
    for i0 in 0..4 {
      %0 = load a0[i0]
      %1 = load a1[i0]
      %2 = mul %0, %1
      store a2[i0] = %2
    }
  }
  kernel "sum"(b1, b2, b3, b5, b4) {
    for i0 in 0..4 {
      %0 = load a0[i0]
      %1 = load a1[i0]
      %2 = add %0, %1
      %3 = load a2[i0]
      %4 = add %2, %3
      %5 = load a3[i0]
      %6 = add %4, %5
      store a4[i0] = %6
    }
  }
}
"#;
    let executable = Executable::compile(&kiln_loops::parse(text).unwrap(), &options(1)).unwrap();
    assert_eq!(executable.report().source_bytes, 64);
    let tensor = |x: f32| Tensor::f32(&[4], vec![x; 4]).unwrap();
    let mut session = executable.session().unwrap();
    let result = |session: &mut Session, x: f32| {
        session.set("x", &tensor(x)).unwrap();
        session.run().unwrap();
        session.f32("y").unwrap()[3]
    };
    session.set("u", &tensor(100.0)).unwrap();
    session.set("v", &tensor(-1.0)).unwrap();
    session.set("w", &tensor(1.0)).unwrap();
    assert_eq!(result(&mut session, 10.0), 108.0);
    session.set("w", &tensor(2.0)).unwrap();
    assert_eq!(result(&mut session, 10.0), 107.0);
    session.f32_mut("w").unwrap()[3] = 3.0;
    session.release_weights();
    assert_eq!(result(&mut session, 20.0), 116.0);
    let refused = Error::Access { name: "w".into(), role: "a weight whose memory was given back" };
    assert_eq!(session.get("w").unwrap_err(), refused);
    assert_eq!(session.set("w", &tensor(4.0)).unwrap_err(), refused);
    // What was prepared cannot follow `v`, which runs read too; nothing was prepared from `u`.
    assert_eq!(session.get("v").unwrap(), tensor(-1.0));
    let refused = session.set("v", &tensor(4.0)).unwrap_err().to_string();
    assert!(refused.contains("`v`") && refused.contains("prepared"), "{refused}");
    session.set("u", &tensor(200.0)).unwrap();
    assert_eq!(result(&mut session, 20.0), 216.0);
}

/// The memory of weights goes while the prelude still runs, and that of its temporaries after it:
/// pages that a later kernel reads are not among them.
#[test]
fn weights_are_given_back_in_the_order_in_which_they_are_read() {
    const N: usize = 1 << 18;
    let bytes = 4 * N;
    let offsets: Vec<usize> = (0..7).map(|n| n * bytes).collect();
    let [u, v, w, p, q, y, t] = offsets[..] else { unreachable!("seven") };
    // Kernels of the prelude read w, then u and w, then v.
    let text = format!(
        r#"program arena {} prelude 3 {{
  buffer b0 "u": f32[{N}] param @{u}
  buffer b1 "v": f32[{N}] param @{v}
  buffer b2 "w": f32[{N}] param @{w}
  buffer b3 "p": f32[{N}] prepared @{p}
  buffer b4 "q": f32[{N}] prepared @{q}
  buffer b5 "y": f32[{N}] output @{y}
  buffer b6 "t": f32[{N}] temp @{t}
  kernel "copy"(b2, b6) {{
    for i0 in 0..{N} {{
      %0 = load a0[i0]
      store a1[i0] = %0
    }}
  }}
  kernel "add"(b0, b2, b6, b3) {{
    for i0 in 0..{N} {{
      %0 = load a0[i0]
      %1 = load a1[i0]
      %2 = add %0, %1
      %3 = load a2[i0]
      %4 = add %2, %3
      store a3[i0] = %4
    }}
  }}
  kernel "copy"(b1, b4) {{
    for i0 in 0..{N} {{
      %0 = load a0[i0]
      store a1[i0] = %0
    }}
  }}
  kernel "sub"(b3, b4, b5) {{
    for i0 in 0..{N} {{
      %0 = load a0[i0]
      %1 = load a1[i0]
      %2 = sub %0, %1
      store a2[i0] = %2
    }}
  }}
}}
"#,
        7 * bytes
    );
    let executable = Executable::compile(&kiln_loops::parse(&text).unwrap(), &options(2)).unwrap();
    assert_eq!(executable.report().source_bytes, 3 * bytes);
    let mut session = executable.session().unwrap();
    let value = |scale: f32| (0..N).map(|i| scale * (i % 1000) as f32).collect::<Vec<_>>();
    for (name, scale) in [("u", 1.0), ("v", 10.0), ("w", 100.0)] {
        session.set(name, &Tensor::f32(&[N], value(scale)).unwrap()).unwrap();
    }
    session.release_weights();
    for _ in 0..2 {
        session.run().unwrap();
        assert_eq!(session.f32("y").unwrap(), value(191.0));
    }
}
