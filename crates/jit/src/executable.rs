//! Compiled programs: immutable, shared by sessions and threads.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kiln_kernels::{Isa, IsaError};
use kiln_loops::{BufferId, BufferKind, Kernel, Program, alike, sources, verify};
use kiln_tensor::{DType, Data, Shape, Tensor};

use crate::arena::{ALIGNMENT, Arena};
use crate::code::{Code, Entry};
use crate::emit::contract::{Descriptors, scratch_layout};
use crate::emit::{ScratchLayout, Source};
use crate::error::Error;
use crate::session::Session;
use crate::steps::steps;
use crate::team::{Step, Team};

/// The most threads a session may have.
pub(crate) const MAX_THREADS: usize = 1024;

/// How to compile and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads of a session, 1 to 1024.
    pub threads: usize,
    /// The instruction set of the precompiled micro-kernels.
    pub isa: Isa,
}

impl Options {
    /// All cores that this process may use, and the widest instruction set they have.
    ///
    /// # Errors
    /// If `KILN_ISA` asks for an instruction set that is not there.
    pub fn detect() -> Result<Options, IsaError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Options { threads: threads.min(MAX_THREADS), isa: Isa::detect()? })
    }
}

/// What a buffer is to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Written before every run.
    Input,
    /// A trained weight.
    Param,
    /// A value of the model that lives across runs.
    State,
    /// A value of the optimiser that lives across runs.
    Slot,
    /// Read after every run.
    Output,
    /// Known at compile time.
    Const,
    /// Computed from weights; not reachable from outside.
    Prepared,
    /// Between kernels of one run; not reachable from outside.
    Temp,
}

impl Role {
    fn of(kind: &BufferKind) -> Role {
        match kind {
            BufferKind::Input => Role::Input,
            BufferKind::Param => Role::Param,
            BufferKind::State => Role::State,
            BufferKind::Slot => Role::Slot,
            BufferKind::Output => Role::Output,
            BufferKind::Const(_) => Role::Const,
            BufferKind::Prepared => Role::Prepared,
            BufferKind::Temp => Role::Temp,
        }
    }
}

/// A buffer of a compiled program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferInfo {
    /// Unique.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Shape,
    /// What it is to the caller.
    pub role: Role,
    /// Byte offset: of constants among the constants, of others in the arena.
    pub(crate) offset: usize,
    /// Whether the prelude reads it.
    pub(crate) feeds_prelude: bool,
}

/// What compilation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Kernels that a run launches, those of the prelude included.
    pub kernels: usize,
    /// Kernels that run once after weights were set.
    pub prelude: usize,
    /// Kernels that were compiled; others share their code.
    pub distinct_kernels: usize,
    /// Descriptors of contractions.
    pub contractions: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Bytes of the arena of each session.
    pub arena_bytes: usize,
    /// Of these the first, which hold weights and states that only the prelude reads:
    /// [`Session::release_weights`] gives them back.
    pub source_bytes: usize,
    /// Bytes of scratch memory for each thread of a session.
    pub scratch_bytes: usize,
    /// Bytes of constants, shared by all sessions.
    pub constant_bytes: usize,
    /// Threads of a session.
    pub threads: usize,
    /// Whether runs use more than one thread; small programs do not.
    pub parallel: bool,
    /// Time that compilation took.
    pub compile_time: Duration,
}

/// A kernel as a run launches it.
#[derive(Debug)]
pub(crate) struct Launch {
    pub name: String,
    pub entry: Entry,
    pub args: Vec<BufferId>,
    /// Of its parallel loop; 1 if it has none.
    pub iterations: i64,
    /// Position of its code.
    distinct: usize,
}

/// A kernel that was compiled.
#[derive(Debug)]
struct Distinct {
    kernel: Kernel,
    dtypes: Vec<DType>,
    scratch: ScratchLayout,
}

impl Distinct {
    fn source(&self) -> Source<'_> {
        Source { kernel: &self.kernel, dtypes: &self.dtypes, scratch: &self.scratch }
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    code: Code,
    /// Referred to by the code.
    descriptors: Descriptors,
    distinct: Vec<Distinct>,
    pub launches: Vec<Launch>,
    /// What the threads of a team do, with the launches of each step; empty if one does all.
    pub steps: Vec<(Step, Range<usize>)>,
    /// All launches of these.
    pub shared: Range<usize>,
    pub buffers: Vec<BufferInfo>,
    pub names: HashMap<String, BufferId>,
    /// For each launch of the prelude, bytes at the beginning of the arena, of weights alone, that no
    /// later one reads.
    pub sources_read: Vec<usize>,
    pub constants: Arena,
    pub report: Report,
    team: OnceLock<Result<Team, Error>>,
}

/// A compiled program. Cheap to clone; free to share between threads.
#[derive(Clone, Debug)]
pub struct Executable {
    inner: Arc<Inner>,
}

impl Executable {
    /// Compiles a verified, planned program.
    ///
    /// # Errors
    /// If the program breaks a rule of the low IR or has not been planned, the number of threads
    /// is 0 or more than 1024, a size exceeds the address space or what the micro-kernels take,
    /// memory cannot be had, or the processor is unknown to the code generator.
    pub fn compile(program: &Program, options: &Options) -> Result<Executable, Error> {
        let begin = Instant::now();
        if !(1..=MAX_THREADS).contains(&options.threads) {
            return Err(Error::Threads(options.threads));
        }
        verify(program)?;
        let (buffers, constants, constant_bytes) = place(program)?;
        let (kernels, positions) = distinct_kernels(program);
        let descriptors = Descriptors::of(kernels.iter().copied(), options.isa).map_err(
            |(position, source)| Error::Contraction {
                kernel: kernels[position].describe(),
                source,
            },
        )?;
        let mut distinct = Vec::with_capacity(kernels.len());
        for &kernel in &kernels {
            let scratch = scratch_layout(kernel, &descriptors)
                .ok_or_else(|| Error::Scratch(kernel.describe()))?;
            let dtypes = kernel.args.iter().map(|&id| program.buffer(id).dtype).collect();
            distinct.push(Distinct { kernel: kernel.clone(), dtypes, scratch });
        }
        let sources: Vec<_> = distinct.iter().map(Distinct::source).collect();
        let code = Code::new(&sources, &descriptors, options.isa)?;
        let launches: Vec<Launch> = program
            .kernels
            .iter()
            .zip(positions)
            .map(|(kernel, position)| Launch {
                name: kernel.name.clone(),
                entry: code.entries[position],
                args: kernel.args.clone(),
                iterations: kernel.iterations() as i64,
                distinct: position,
            })
            .collect();
        let steps = steps(program, options.threads);
        let report = Report {
            kernels: launches.len(),
            prelude: program.prelude,
            distinct_kernels: distinct.len(),
            contractions: descriptors.list.len(),
            code_bytes: code.bytes,
            arena_bytes: program.arena_bytes,
            source_bytes: source_bytes(program),
            scratch_bytes: distinct.iter().map(|d| d.scratch.bytes).max().unwrap_or(0),
            constant_bytes,
            threads: options.threads,
            parallel: !steps.is_empty(),
            compile_time: begin.elapsed(),
        };
        let names = buffers.iter().zip(0..).map(|(b, n)| (b.name.clone(), BufferId(n))).collect();
        let team = OnceLock::new();
        let inner = Inner {
            code,
            descriptors,
            distinct,
            launches,
            shared: shared(&steps),
            steps,
            buffers,
            names,
            sources_read: sources_read(program),
            constants,
            report,
            team,
        };
        Ok(Executable { inner: Arc::new(inner) })
    }

    /// Memory to run the program in. Sessions are independent of each other.
    ///
    /// # Errors
    /// If the memory cannot be had or the threads cannot be started.
    pub fn session(&self) -> Result<Session, Error> {
        Session::new(self.inner.clone())
    }

    /// What compilation came to.
    pub fn report(&self) -> &Report {
        &self.inner.report
    }

    /// The buffers; a [`BufferId`] is a position here.
    pub fn buffers(&self) -> &[BufferInfo] {
        &self.inner.buffers
    }

    /// The buffer of this name.
    pub fn buffer(&self, name: &str) -> Option<BufferId> {
        self.inner.names.get(name).copied()
    }

    /// Cranelift's intermediate form of a kernel, by its position in the program.
    ///
    /// # Errors
    /// As [`Executable::disassembly`].
    pub fn clif(&self, kernel: usize) -> Result<String, Error> {
        self.text(kernel).map(|t| t.0)
    }

    /// The machine code of a kernel, by its position in the program, as Cranelift prints it.
    ///
    /// # Errors
    /// If there is no such kernel.
    pub fn disassembly(&self, kernel: usize) -> Result<String, Error> {
        self.text(kernel).map(|t| t.1)
    }

    fn text(&self, kernel: usize) -> Result<(String, String), Error> {
        let launch = self.inner.launches.get(kernel);
        let launch = launch.ok_or_else(|| Error::Unknown(format!("kernel {kernel}")))?;
        let source = self.inner.distinct[launch.distinct].source();
        self.inner.code.text(launch.distinct, source, &self.inner.descriptors)
    }
}

impl Inner {
    /// The threads, started when first asked for; `None` if runs need no more than one.
    pub fn team(&self) -> Result<Option<&Team>, Error> {
        if self.steps.is_empty() {
            return Ok(None);
        }
        match self.team.get_or_init(|| Team::new(self.report.threads)) {
            Ok(team) => Ok(Some(team)),
            Err(error) => Err(error.clone()),
        }
    }

    /// The bytes at the end of the arena's first `end` without sources, in which nothing lies but
    /// temporaries.
    pub fn temporaries(&self, end: usize) -> Option<Range<usize>> {
        let lasting = |b: &&BufferInfo| !matches!(b.role, Role::Temp | Role::Const);
        let reach = |b: &BufferInfo| b.offset + b.shape.bytes(b.dtype);
        let begin = self.buffers.iter().filter(lasting).map(reach).max().unwrap_or(0);
        let begin = begin.saturating_sub(self.report.source_bytes);
        (begin < end).then_some(begin..end)
    }
}

/// The buffers with their places, and the constants.
fn place(program: &Program) -> Result<(Vec<BufferInfo>, Arena, usize), Error> {
    let mut buffers = Vec::with_capacity(program.buffers.len());
    let mut constant_bytes = 0usize;
    for buffer in &program.buffers {
        let role = Role::of(&buffer.kind);
        let mut offset = buffer.offset.unwrap_or(0);
        if role == Role::Const {
            offset = constant_bytes;
            constant_bytes = buffer
                .bytes()
                .checked_next_multiple_of(ALIGNMENT)
                .and_then(|n| n.checked_add(constant_bytes))
                .ok_or(Error::Memory { what: "constants", bytes: usize::MAX })?;
        } else if buffer.offset.is_none() && is_used(program, buffers.len()) {
            return Err(Error::Plan(buffer.name.clone()));
        }
        let (name, dtype, shape) = (buffer.name.clone(), buffer.dtype, buffer.shape.clone());
        buffers.push(BufferInfo { name, dtype, shape, role, offset, feeds_prelude: false });
    }
    for kernel in &program.kernels[..program.prelude] {
        kernel.args.iter().for_each(|id| buffers[id.0 as usize].feeds_prelude = true);
    }
    let constants = Arena::new(constant_bytes, "constants")?;
    for (buffer, info) in program.buffers.iter().zip(&buffers) {
        if let BufferKind::Const(tensor) = &buffer.kind {
            write_tensor(tensor, constants.at(info.offset));
        }
    }
    Ok((buffers, constants, constant_bytes))
}

/// The bytes at the beginning of the arena in which no buffer lies but the prelude's sources.
fn source_bytes(program: &Program) -> usize {
    let sources = sources(program);
    let all = || program.buffers.iter().zip(&sources).filter_map(|(b, s)| Some((b, b.offset?, s)));
    let others = all().filter(|b| !b.2).map(|b| b.1).min().unwrap_or(program.arena_bytes);
    let reach = all().filter(|b| *b.2 && b.1 < others).map(|b| b.1 + b.0.bytes()).max();
    if reach.is_some_and(|end| end <= others) { others } else { 0 }
}

/// For each kernel of the prelude, the bytes at the beginning of the arena in which nothing lies but
/// sources that no later kernel reads.
fn sources_read(program: &Program) -> Vec<usize> {
    let sources = sources(program);
    let mut unread = source_bytes(program);
    let mut read = vec![0; program.prelude];
    for (read, kernel) in read.iter_mut().zip(&program.kernels[..program.prelude]).rev() {
        *read = unread;
        let here = kernel.args.iter().filter(|id| sources[id.0 as usize]);
        let first = here.filter_map(|&id| program.buffer(id).offset).min();
        unread = unread.min(first.unwrap_or(unread));
    }
    read
}

/// The launches from the first to the last of the steps, which leave out none between them.
fn shared(steps: &[(Step, Range<usize>)]) -> Range<usize> {
    let launches = steps.iter().map(|s| &s.1);
    let (first, last) = (launches.clone().map(|l| l.start).min(), launches.map(|l| l.end).max());
    first.unwrap_or(0)..last.unwrap_or(0)
}

/// Temporaries that no kernel names need no place.
fn is_used(program: &Program, buffer: usize) -> bool {
    let id = BufferId(buffer as u32);
    program.buffers[buffer].kind != BufferKind::Temp
        || program.kernels.iter().any(|k| k.args.contains(&id))
}

/// Copies the elements to memory that has room for them.
pub(crate) fn write_tensor(tensor: &Tensor, to: *mut u8) {
    // SAFETY: callers pass the place of a buffer of the tensor's type and shape, which lies within
    // an arena and is aligned to 64 bytes; the tensor's memory is its own.
    unsafe {
        match tensor.data() {
            Data::F32(v) => std::ptr::copy_nonoverlapping(v.as_ptr(), to.cast(), v.len()),
            Data::I32(v) => std::ptr::copy_nonoverlapping(v.as_ptr(), to.cast(), v.len()),
            Data::Bool(v) => std::ptr::copy_nonoverlapping(v.as_ptr(), to.cast(), v.len()),
        }
    }
}

/// Kernels that differ in more than name and buffers, and for each kernel its position there.
fn distinct_kernels(program: &Program) -> (Vec<&Kernel>, Vec<usize>) {
    let mut found: Vec<&Kernel> = Vec::new();
    let mut positions = Vec::with_capacity(program.kernels.len());
    for (number, first) in alike(program, |b| b.dtype).into_iter().enumerate() {
        positions.push(match first == number {
            true => {
                found.push(&program.kernels[number]);
                found.len() - 1
            }
            false => positions[first],
        });
    }
    (found, positions)
}
