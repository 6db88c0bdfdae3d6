//! Small programs, planned, compiled and compared with the interpreter.

#![allow(dead_code)] // each test binary uses a part

use kiln_jit::{Executable, Options, Session};
use kiln_loops::{Buffer, BufferId, BufferKind, Interp, Kernel, Memory, Program, Var};
use kiln_loops::{Builder, LoopKind};
use kiln_tensor::{DType, Data, Shape, Tensor};

/// A linear congruential generator (Knuth's MMIX constants).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// A program under construction.
#[derive(Default)]
pub struct Case {
    pub program: Program,
    inputs: Vec<(BufferId, Tensor)>,
}

impl Case {
    pub fn buffer(
        &mut self,
        name: &str,
        dtype: DType,
        elements: usize,
        kind: BufferKind,
    ) -> BufferId {
        let shape = Shape::new([elements]).unwrap();
        let (name, offset) = (name.to_string(), Some(self.program.arena_bytes));
        let buffer = Buffer { name, dtype, shape, kind, offset };
        self.program.arena_bytes += buffer.bytes().next_multiple_of(64);
        self.program.buffers.push(buffer);
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    pub fn input(&mut self, name: &str, data: Data) -> BufferId {
        let dtype = match &data {
            Data::F32(_) => DType::F32,
            Data::I32(_) => DType::I32,
            Data::Bool(_) => DType::Bool,
        };
        let id = self.buffer(name, dtype, data.len(), BufferKind::Input);
        let shape = Shape::new([data.len()]).unwrap();
        self.inputs.push((id, Tensor::new(shape, data).unwrap()));
        id
    }

    pub fn output(&mut self, name: &str, dtype: DType, elements: usize) -> BufferId {
        self.buffer(name, dtype, elements, BufferKind::Output)
    }

    pub fn kernel(&mut self, kernel: Kernel) {
        self.program.kernels.push(kernel);
    }

    /// A kernel of one loop over `0..n`.
    pub fn map(&mut self, name: &str, n: usize, kind: LoopKind, f: impl FnOnce(&mut Builder, Var)) {
        let mut b = Builder::new();
        let i = b.open_loop(None, n, n, 1, kind);
        f(&mut b, i);
        b.close();
        self.kernel(b.finish(name));
    }

    /// What the interpreter makes of it.
    pub fn interpret(&self) -> Memory {
        let mut memory = Memory::for_program(&self.program).unwrap();
        for (id, value) in &self.inputs {
            memory.set(*id, value).unwrap();
        }
        Interp::new(&self.program).unwrap().run(&mut memory).unwrap();
        memory
    }

    pub fn session(&self, threads: usize) -> Session {
        self.session_with(Options { threads, ..Options::detect().unwrap() })
    }

    pub fn session_with(&self, options: Options) -> Session {
        let mut session = Executable::compile(&self.program, &options).unwrap().session().unwrap();
        for (id, value) in &self.inputs {
            session.set(*id, value).unwrap();
        }
        session
    }

    /// Compiles, runs, and compares outputs; `tolerance` is relative to the greatest magnitude of
    /// the output, and 0 asks for the same bits (any NaN for NaN).
    pub fn check(&self, tolerance: f32) {
        let memory = self.interpret();
        let mut session = self.session(1);
        session.run().unwrap();
        for (n, buffer) in self.program.buffers.iter().enumerate() {
            if buffer.kind != BufferKind::Output {
                continue;
            }
            let id = BufferId(n as u32);
            compare(&buffer.name, memory.get(id), &session.get(id).unwrap(), tolerance);
        }
    }
}

/// Compares bit by bit, or within a part of the greatest magnitude expected; any NaN for NaN.
pub fn compare(name: &str, expected: &Tensor, found: &Tensor, tolerance: f32) {
    let (Some(expected), Some(found)) = (expected.as_f32(), found.as_f32()) else {
        assert_eq!(expected.data(), found.data(), "{name}");
        return;
    };
    let finite = expected.iter().filter(|x| x.is_finite());
    let allowed = tolerance * finite.fold(0.0f32, |m, x| m.max(x.abs()));
    for (i, (e, f)) in expected.iter().zip(found).enumerate() {
        let same = e.to_bits() == f.to_bits() || (e.is_nan() && f.is_nan());
        assert!(same || (e - f).abs() <= allowed, "{name}[{i}]: {e:?} expected, {f:?} found");
    }
}

/// Reproducible numbers between -1 and 1.
pub fn numbers(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}
