//! Sessions: the memory of a program, and its runs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kiln_loops::BufferId;
use kiln_tensor::{DType, DataMut, Tensor};

use crate::arena::{ALIGNMENT, Arena, trim_allocator};
use crate::error::Error;
use crate::executable::{BufferInfo, Inner, Role, write_tensor};
use crate::team::{Region, Step, Task};

/// Names a buffer: by its id or by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// Its id.
    Id(BufferId),
    /// Its name.
    Name(&'a str),
}

impl From<BufferId> for Key<'_> {
    fn from(id: BufferId) -> Self {
        Key::Id(id)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Key::Name(name)
    }
}

impl<'a> From<&'a String> for Key<'a> {
    fn from(name: &'a String) -> Self {
        Key::Name(name)
    }
}

/// The memory of a compiled program. Values of weights, state and the optimiser live as long as
/// the session; all start as 0.
#[derive(Debug)]
pub struct Session {
    executable: Arc<Inner>,
    /// The beginning of the program's arena, that only the prelude reads.
    sources: Arena,
    /// The rest of the program's arena, then scratch for each thread.
    arena: Arena,
    /// The arguments of all launches, one after the other, and where each launch's begin.
    table: Table,
    /// Bytes of `arena` before the scratch, and of each thread's scratch.
    scratch: (usize, usize),
    /// The steps that the team does.
    region: Region,
    times: Option<Times>,
    /// Whether the prelude has run since weights were last set.
    prepared: bool,
    /// Whether the sources' memory was given back.
    released: bool,
    lost: bool,
}

#[derive(Debug)]
struct Table {
    pointers: Vec<*mut u8>,
    starts: Vec<usize>,
}

// SAFETY: the pointers point into the session's arenas and the executable's constants, which are
// only reached through the session and live as long, but for sources that were given back; their
// launches are the prelude's, which then never runs again.
unsafe impl Send for Table {}
// SAFETY: as above; nothing is written through a shared reference.
unsafe impl Sync for Table {}

/// Times of the last run, in nanoseconds.
#[derive(Debug)]
struct Times {
    /// That each launch took which one thread did.
    launches: Vec<AtomicU64>,
    /// When each step of the region ended, since the region began; 0 if it did not run.
    ends: Vec<AtomicU64>,
}

impl Session {
    pub(crate) fn new(executable: Arc<Inner>) -> Result<Session, Error> {
        let report = &executable.report;
        let what = "the arena and scratch memory of a session";
        let planned = report.arena_bytes - report.source_bytes;
        let planned = planned.checked_next_multiple_of(ALIGNMENT);
        let all = report.scratch_bytes.checked_mul(report.threads);
        let sizes = planned.zip(all).and_then(|(a, b)| Some((a, a.checked_add(b)?)));
        let (planned, bytes) = sizes.ok_or(Error::Memory { what, bytes: usize::MAX })?;
        let scratch = (planned, report.scratch_bytes);
        let arena = Arena::new(bytes, what)?;
        let sources = Arena::new(report.source_bytes, what)?;
        executable.team()?;

        let mut table = Table { pointers: Vec::new(), starts: Vec::new() };
        for launch in &executable.launches {
            table.starts.push(table.pointers.len());
            for id in &launch.args {
                let buffer = &executable.buffers[id.0 as usize];
                table.pointers.push(base(&executable, [&sources, &arena], buffer));
            }
        }
        let region = region(&executable, false);
        Ok(Session {
            executable,
            sources,
            arena,
            table,
            scratch,
            region,
            times: None,
            prepared: false,
            released: false,
            lost: false,
        })
    }

    /// The buffers; a [`BufferId`] is a position here.
    pub fn buffers(&self) -> &[BufferInfo] {
        &self.executable.buffers
    }

    /// Runs the program once, after the prelude if weights were set since it last ran. Allocates
    /// nothing itself.
    ///
    /// # Errors
    /// If a thread panics, or did in an earlier run.
    pub fn run(&mut self) -> Result<(), Error> {
        if self.lost {
            return Err(Error::Panicked);
        }
        self.prepare(false);
        let (prelude, launches) = (self.executable.report.prelude, self.executable.launches.len());
        let executable = self.executable.clone();
        let team = executable.team()?;
        let Some(team) = team else {
            self.alone(prelude..launches, 0);
            return Ok(());
        };
        let Range { start: first, end: last } = executable.shared;
        self.alone(prelude..first, 0);
        let mut region = std::mem::replace(&mut self.region, Region::new(Vec::new(), 0));
        let begin = Instant::now();
        if let Some(times) = &self.times {
            times.ends.iter().for_each(|end| end.store(0, Ordering::Relaxed));
        }
        let this = &*self;
        let result = team.run(&mut region, |worker, step, task| {
            let launches = executable.steps[step].1.clone();
            match (task, &this.times) {
                (Task::Parts(lo, hi), _) => this.launch(launches.start, worker, lo, hi),
                (Task::Alone, _) => this.alone(launches, worker),
                (Task::Leave, None) => {}
                (Task::Leave, Some(times)) => {
                    let now = begin.elapsed().as_nanos() as u64;
                    times.ends[step].fetch_max(now, Ordering::Relaxed);
                }
            }
        });
        self.region = region;
        match result {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                self.lost = true;
                return Err(Error::Panicked);
            }
            // The team is busy with another session: the bits are the same on this thread.
            None => self.alone(first..last, 0),
        }
        self.alone(last..launches, 0);
        Ok(())
    }

    /// Runs the prelude, unless it has run since weights were last set. With `release` the memory
    /// of weights goes as soon as no other kernel reads them.
    fn prepare(&mut self, release: bool) {
        if self.prepared {
            return;
        }
        let executable = self.executable.clone();
        let mut given = 0;
        for (number, &read) in executable.sources_read.iter().enumerate() {
            self.alone(number..number + 1, 0);
            if release && read > given {
                self.sources.give_back(given..read);
                given = read;
            }
        }
        // The prelude's own temporaries may be larger than those of runs.
        if let Some(temporaries) = executable.temporaries(self.scratch.0) {
            self.arena.give_back(temporaries);
        }
        self.prepared = true;
    }

    /// Prepares what depends on weights alone, and gives back the memory of the weights and states
    /// that nothing else reads ([`Report::source_bytes`]). They can no longer be read or set, and
    /// other weights that were prepared with them can no longer be set. What the allocator keeps of
    /// freed memory goes too.
    ///
    /// [`Report::source_bytes`]: crate::Report::source_bytes
    pub fn release_weights(&mut self) {
        self.prepare(true);
        self.sources = Arena::empty();
        self.released = true;
        trim_allocator();
    }

    /// Runs whole kernels on the calling thread.
    fn alone(&self, launches: Range<usize>, worker: usize) {
        for number in launches {
            let iterations = self.executable.launches[number].iterations;
            match &self.times {
                None => self.launch(number, worker, 0, iterations),
                Some(times) => {
                    let begin = Instant::now();
                    self.launch(number, worker, 0, iterations);
                    let time = begin.elapsed().as_nanos() as u64;
                    times.launches[number].store(time, Ordering::Relaxed);
                }
            }
        }
    }

    /// Runs iterations of a kernel.
    fn launch(&self, number: usize, worker: usize, lo: i64, hi: i64) {
        let launch = &self.executable.launches[number];
        let args = self.table.pointers[self.table.starts[number]..].as_ptr();
        let scratch = self.arena.at(self.scratch.0 + worker * self.scratch.1);
        // SAFETY: the kernel was verified: it touches its arguments within their buffers, which
        // lie within the arena and the constants, and scratch that no other thread uses. Other
        // threads touch nothing that it writes: they run iterations of the same kernel, which is
        // verified, or kernels that do not meet it. Runs borrow the session exclusively, so nothing
        // else reads or writes the arena.
        unsafe { (launch.entry)(args, scratch, lo, hi) }
    }

    /// Gives a buffer its value.
    ///
    /// # Errors
    /// If there is no such buffer, it is a constant or a temporary, or the value has another type
    /// or shape.
    pub fn set<'a>(&mut self, key: impl Into<Key<'a>>, value: &Tensor) -> Result<(), Error> {
        let buffer = self.reachable(key.into(), true)?;
        if value.dtype() != buffer.dtype || *value.shape() != buffer.shape {
            return Err(mismatch(buffer, format!("{}{}", value.dtype(), value.shape())));
        }
        write_tensor(value, self.base(buffer));
        self.prepared &= !buffer.feeds_prelude;
        Ok(())
    }

    /// The value of a buffer.
    ///
    /// # Errors
    /// If there is no such buffer, it is a temporary, or memory cannot be had.
    pub fn get<'a>(&self, key: impl Into<Key<'a>>) -> Result<Tensor, Error> {
        let buffer = self.reachable(key.into(), false)?;
        let mut tensor = Tensor::zeros(buffer.shape.clone(), buffer.dtype)?;
        match tensor.data_mut() {
            DataMut::F32(v) => v.copy_from_slice(self.elements(buffer)),
            DataMut::I32(v) => v.copy_from_slice(self.elements(buffer)),
            DataMut::Bool(v) => {
                let bytes: &[u8] = self.elements(buffer);
                v.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from != 0);
            }
        }
        Ok(tensor)
    }

    /// The elements of an f32 buffer, without copying.
    ///
    /// # Errors
    /// If there is no such buffer, it is a temporary, or it has another type.
    pub fn f32<'a>(&self, key: impl Into<Key<'a>>) -> Result<&[f32], Error> {
        Ok(self.elements(self.typed(key.into(), DType::F32, false)?))
    }

    /// The elements of an i32 buffer, without copying.
    ///
    /// # Errors
    /// As [`Session::f32`].
    pub fn i32<'a>(&self, key: impl Into<Key<'a>>) -> Result<&[i32], Error> {
        Ok(self.elements(self.typed(key.into(), DType::I32, false)?))
    }

    /// The elements of an f32 buffer, for writing in place.
    ///
    /// # Errors
    /// As [`Session::f32`], or if it is a constant.
    pub fn f32_mut<'a>(&mut self, key: impl Into<Key<'a>>) -> Result<&mut [f32], Error> {
        let buffer = self.typed(key.into(), DType::F32, true)?;
        let (at, len) = (self.base(buffer), buffer.shape.elements());
        self.prepared &= !buffer.feeds_prelude;
        // SAFETY: as in `elements`; the session is borrowed exclusively.
        Ok(unsafe { std::slice::from_raw_parts_mut(at.cast(), len) })
    }

    /// The elements of an i32 buffer, for writing in place.
    ///
    /// # Errors
    /// As [`Session::f32_mut`].
    pub fn i32_mut<'a>(&mut self, key: impl Into<Key<'a>>) -> Result<&mut [i32], Error> {
        let buffer = self.typed(key.into(), DType::I32, true)?;
        let (at, len) = (self.base(buffer), buffer.shape.elements());
        self.prepared &= !buffer.feeds_prelude;
        // SAFETY: as in `elements`; the session is borrowed exclusively.
        Ok(unsafe { std::slice::from_raw_parts_mut(at.cast(), len) })
    }

    /// Measures each kernel of the runs that follow, or no longer. Then kernels run one after the
    /// other, and threads look at the clock once for each.
    pub fn set_profiling(&mut self, on: bool) {
        self.region = region(&self.executable, on);
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        self.times = on.then(|| Times {
            launches: zeros(self.executable.launches.len()),
            ends: zeros(self.executable.steps.len()),
        });
    }

    /// The names of the kernels, in order, with the time each took in the last run; empty unless
    /// profiling is on.
    pub fn profile(&self) -> Vec<(&str, Duration)> {
        let Some(times) = &self.times else { return Vec::new() };
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let mut launches: Vec<u64> = times.launches.iter().map(load).collect();
        let mut begin = 0;
        for (end, (step, range)) in times.ends.iter().map(load).zip(&self.executable.steps) {
            // What several threads did took from the end of the step before.
            if step.parts > 1 && end > 0 {
                launches[range.start] = end.saturating_sub(begin);
            }
            begin = end;
        }
        let times = launches.into_iter().map(Duration::from_nanos);
        self.executable.launches.iter().map(|l| l.name.as_str()).zip(times).collect()
    }

    fn find(&self, key: Key<'_>) -> Result<&BufferInfo, Error> {
        let id = match key {
            Key::Id(id) => Some(id),
            Key::Name(name) => self.executable.names.get(name).copied(),
        };
        id.and_then(|id| self.executable.buffers.get(id.0 as usize)).ok_or_else(|| {
            Error::Unknown(match key {
                Key::Id(id) => format!("b{}", id.0),
                Key::Name(name) => name.to_string(),
            })
        })
    }

    fn reachable(&self, key: Key<'_>, write: bool) -> Result<&BufferInfo, Error> {
        let buffer = self.find(key)?;
        let role = match buffer.role {
            Role::Temp => "a temporary",
            Role::Prepared => "prepared from weights",
            Role::Const if write => "a constant",
            Role::Const => return Ok(buffer),
            _ if self.released && buffer.offset < self.executable.report.source_bytes => {
                "a weight whose memory was given back"
            }
            _ if self.released && write && buffer.feeds_prelude => {
                "a weight that others have been prepared with, whose memory was given back"
            }
            _ => return Ok(buffer),
        };
        Err(Error::Access { name: buffer.name.clone(), role })
    }

    fn typed(&self, key: Key<'_>, dtype: DType, write: bool) -> Result<&BufferInfo, Error> {
        let buffer = self.reachable(key, write)?;
        match buffer.dtype == dtype {
            true => Ok(buffer),
            false => Err(mismatch(buffer, format!("of {dtype}"))),
        }
    }

    fn base(&self, buffer: &BufferInfo) -> *mut u8 {
        base(&self.executable, [&self.sources, &self.arena], buffer)
    }

    /// The elements of a buffer whose type the caller knows: `f32`, `i32`, or bytes for truth
    /// values.
    fn elements<T: Element>(&self, buffer: &BufferInfo) -> &[T] {
        assert!(T::matches(buffer.dtype), "an element type is the buffer's");
        let at = self.base(buffer);
        // SAFETY: a buffer lies within its arena (verified), is aligned to 64 bytes and has been
        // initialised (with zeros at first); every bit pattern is a value of these types; and
        // only `&mut self` writes.
        unsafe { std::slice::from_raw_parts(at.cast(), buffer.shape.elements()) }
    }
}

/// Rust types of elements, each of which holds any bits.
trait Element {
    fn matches(dtype: DType) -> bool;
}

impl Element for f32 {
    fn matches(dtype: DType) -> bool {
        dtype == DType::F32
    }
}

impl Element for i32 {
    fn matches(dtype: DType) -> bool {
        dtype == DType::I32
    }
}

impl Element for u8 {
    fn matches(dtype: DType) -> bool {
        dtype == DType::Bool
    }
}

/// The steps that the team does; `apart` if each is to wait for the one before.
fn region(executable: &Inner, apart: bool) -> Region {
    let steps = executable.steps.iter().enumerate().map(|(number, &(step, _))| match apart {
        true => Step { after: number, ..step },
        false => step,
    });
    Region::new(steps.collect(), executable.report.threads)
}

/// The address of a buffer's first element.
fn base(executable: &Inner, [sources, arena]: [&Arena; 2], buffer: &BufferInfo) -> *mut u8 {
    let before = executable.report.source_bytes;
    match buffer.role {
        Role::Const => executable.constants.at(buffer.offset),
        _ if buffer.offset < before => sources.at(buffer.offset),
        _ => arena.at(buffer.offset - before),
    }
}

fn mismatch(buffer: &BufferInfo, found: String) -> Error {
    let expected = format!("{}{}", buffer.dtype, buffer.shape);
    Error::Mismatch { name: buffer.name.clone(), expected, found }
}
