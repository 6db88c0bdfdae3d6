//! A team of threads that runs one program at a time: one parallel region for a whole run, in which
//! atomic counters hand out the parts of each step.
//!
//! A step is over when its parts are done, not when every worker has come by: a worker that the
//! system lets wait holds up nothing but the part it has taken. Nor does a worker wait for a step to
//! be over before it begins one that does not follow from it. Nor does a region wait for a worker
//! that has yet to wake up: the thread that calls is a worker and begins at once. Who has nothing to
//! do, within a region or between two, spins for a while, then yields, then sleeps, so that runs one
//! after the other find everyone awake, and a machine with fewer cores than workers, or busy with
//! something else, loses little.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::Error;

/// Checks of a waiting worker before it begins to yield: some 20 to 100 microseconds of them.
const SPINS: usize = 2000;
/// Yields of a waiting worker before it goes to sleep.
const YIELDS: usize = 64;

/// Workers, each on a core of its own if there are enough: the thread that calls, and those of a
/// Rayon pool, which wait for it.
#[derive(Debug)]
pub(crate) struct Team {
    shared: Arc<Shared>,
    /// None if the caller is the only worker.
    _pool: Option<ThreadPool>,
    busy: Mutex<()>,
    spins: usize,
    /// The core that is left to the caller.
    home: Option<usize>,
}

/// A step of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Parts `0..parts`, each done by one worker.
    pub parts: i64,
    /// They are handed out in runs of so many: to each worker first those of its own share, so that
    /// it finds in its caches what it wrote in the steps before.
    pub grain: i64,
    /// How many steps at the region's beginning are over before it begins; those between them and it
    /// may still go on.
    pub after: usize,
}

/// What a worker is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// A step of one part.
    Alone,
    /// These parts of a step.
    Parts(i64, i64),
    /// Nothing more of a step of which it did parts; no step that waits for this one has begun.
    Leave,
}

/// The steps of a run with the state that the workers share.
///
/// What a step wrote reaches those that wait for it on processors of any memory order: whoever has
/// done parts counts them in `done`, releasing what it wrote, and whoever finds the count complete
/// acquires what all wrote. `taken` hands out numbers and orders nothing. The gate does the same
/// around the region.
#[derive(Debug)]
pub(crate) struct Region {
    steps: Vec<Step>,
    /// Of each step, one for each worker's share.
    taken: Vec<Line<AtomicI64>>,
    /// Of each step.
    done: Vec<Line<AtomicI64>>,
    workers: usize,
    failed: AtomicBool,
    sleepers: Sleepers,
}

/// Something on a pair of cache lines of its own: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// A worker panicked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

impl Region {
    pub fn new(steps: Vec<Step>, workers: usize) -> Region {
        let lines = |n: usize| (0..n).map(|_| Line::default()).collect();
        Region {
            taken: lines(steps.len() * workers),
            done: lines(steps.len()),
            workers,
            steps,
            failed: AtomicBool::new(false),
            sleepers: Sleepers::default(),
        }
    }

    fn reset(&mut self) {
        self.taken.iter_mut().chain(&mut self.done).for_each(|line| *line.0.get_mut() = 0);
        *self.failed.get_mut() = false;
    }

    /// One worker's part; ends early if another failed.
    fn work(&self, worker: usize, spins: usize, f: &(impl Fn(usize, usize, Task) + Sync)) {
        let workers = self.workers as i64;
        // Steps at the beginning that this worker knows to be over.
        let mut over = 0;
        for (number, step) in self.steps.iter().enumerate() {
            if !self.wait(&mut over, step.after, spins) {
                return;
            }
            let mut parts = 0;
            for share in (worker..worker + self.workers).map(|w| w % self.workers) {
                let bound = |n: i64| (n * step.parts + workers - 1) / workers;
                let (start, end) = (bound(share as i64), bound(share as i64 + 1));
                let taken = &self.taken[number * self.workers + share].0;
                loop {
                    let first = start + taken.fetch_add(step.grain, Ordering::Relaxed);
                    if first >= end {
                        break;
                    }
                    let last = end.min(first + step.grain);
                    let task = if step.parts == 1 { Task::Alone } else { Task::Parts(first, last) };
                    f(worker, number, task);
                    parts += last - first;
                }
            }
            if parts > 0 {
                f(worker, number, Task::Leave);
                // Once a step: the others' caches wait for this line.
                if self.done[number].0.fetch_add(parts, Ordering::SeqCst) + parts == step.parts {
                    self.sleepers.wake();
                }
            }
        }
    }

    /// Waits until the first `after` steps are over, of which the first `over` are; `false` if a
    /// worker failed.
    fn wait(&self, over: &mut usize, after: usize, spins: usize) -> bool {
        let is_over = |n: usize| self.done[n].0.load(Ordering::SeqCst) == self.steps[n].parts;
        let mut waiting = || {
            while *over < after && is_over(*over) {
                *over += 1;
            }
            *over < after && !self.failed.load(Ordering::SeqCst)
        };
        self.sleepers.wait(spins, &mut waiting);
        !self.failed.load(Ordering::Acquire)
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.sleepers.wake();
    }
}

impl Team {
    /// Starts the threads; the one that asks for a run is a worker as well.
    pub fn new(threads: usize) -> Result<Team, Error> {
        let cores = affinity::cores();
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let spins = if threads <= available { SPINS } else { 0 };
        let home = (cores.len() >= threads).then(|| cores.first().copied()).flatten();
        let shared = Arc::new(Shared::default());
        let pool = |others: usize| -> Result<ThreadPool, Error> {
            let pool = ThreadPoolBuilder::new()
                .num_threads(others)
                .thread_name(|n| format!("kiln-{}", n + 1))
                .start_handler(move |n| {
                    home.and(cores.get(n + 1)).inspect(|&&core| affinity::pin(core));
                })
                .build()
                .map_err(|e| Error::Team(e.to_string()))?;
            let shared = shared.clone();
            pool.spawn_broadcast(move |worker| shared.work(worker.index() + 1, spins));
            Ok(pool)
        };
        let pool = (threads > 1).then(|| pool(threads - 1)).transpose()?;
        Ok(Team { shared, _pool: pool, busy: Mutex::new(()), spins, home })
    }

    /// Runs the steps: `f` gets the number of the worker and of the step. `None` if the team is
    /// busy with another region.
    pub fn run(
        &self,
        region: &mut Region,
        f: impl Fn(usize, usize, Task) + Sync,
    ) -> Option<Result<(), Panicked>> {
        let _guard = match self.busy.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.home.inspect(|&core| affinity::go_to(core));
        region.reset();
        let region = &*region;
        let job = |worker: usize| {
            let work = || region.work(worker, self.spins, &f);
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                region.fail();
            }
        };
        self.shared.open(&job);
        job(0);
        self.shared.close();
        let failed = region.failed.load(Ordering::Acquire);
        Some(if failed { Err(Panicked) } else { Ok(()) })
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.opened.fetch_add(1, Ordering::SeqCst);
        self.shared.sleepers.wake();
    }
}

/// What a worker does in a region, given its number.
type Job<'a> = &'a (dyn Fn(usize) + Sync);

/// Where the workers wait for a region, and its gate.
#[derive(Default)]
struct Shared {
    /// Regions so far.
    opened: AtomicUsize,
    /// [`OPEN`] while workers may come in, plus the number of those inside.
    gate: AtomicUsize,
    /// Written while the gate is shut and nobody is inside, read by those inside.
    job: UnsafeCell<Option<Job<'static>>>,
    /// The team is no more.
    over: AtomicBool,
    sleepers: Sleepers,
}

// SAFETY: the gate orders all access to the job (see there); everything else is shared by nature.
unsafe impl Sync for Shared {}

/// The flag of the gate; far more than workers.
const OPEN: usize = 1 << 32;

impl Shared {
    /// Lets the workers in. Whoever comes late, or not at all, holds up nobody.
    fn open(&self, job: Job<'_>) {
        // SAFETY: the caller shuts the gate by `close` before the job's borrows end, and no one
        // reads it outside; nobody is inside now, and only the team's one caller writes.
        unsafe { *self.job.get() = Some(std::mem::transmute::<Job<'_>, Job<'static>>(job)) };
        self.gate.store(OPEN, Ordering::Release);
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.sleepers.wake();
    }

    /// Shuts the gate and waits for those inside.
    fn close(&self) {
        self.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut tries = 0;
        while self.gate.load(Ordering::Acquire) != 0 {
            // All parts are done: who is inside is on the way out, unless the system lets it wait.
            match tries {
                n if n < SPINS => std::hint::spin_loop(),
                _ => std::thread::yield_now(),
            }
            tries += 1;
        }
    }

    /// The life of a worker.
    fn work(&self, worker: usize, spins: usize) {
        let mut seen = 0;
        loop {
            self.sleepers.wait(spins, || self.opened.load(Ordering::SeqCst) == seen);
            seen = self.opened.load(Ordering::SeqCst);
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let enter = |gate| (gate & OPEN != 0).then_some(gate + 1);
            if self.gate.fetch_update(Ordering::AcqRel, Ordering::Relaxed, enter).is_ok() {
                // SAFETY: inside the gate the job is there and is not written.
                if let Some(job) = unsafe { *self.job.get() } {
                    job(worker);
                }
                self.gate.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("opened", &self.opened).finish_non_exhaustive()
    }
}

/// Threads that wait for a condition on atomics.
#[derive(Debug, Default)]
struct Sleepers {
    count: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Sleepers {
    /// Returns once the condition no longer holds: spins for a while, then yields, then sleeps.
    fn wait(&self, spins: usize, mut waiting: impl FnMut() -> bool) {
        let mut tries = 0;
        while waiting() {
            match tries {
                n if n < spins => std::hint::spin_loop(),
                n if n < spins + YIELDS => std::thread::yield_now(),
                _ => self.sleep(&mut waiting),
            }
            tries += 1;
        }
    }

    /// The count of sleepers is raised before the condition is looked at again, and the condition
    /// is changed before the count is looked at: one of the two sees the other.
    fn sleep(&self, waiting: &mut impl FnMut() -> bool) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.count.fetch_add(1, Ordering::SeqCst);
        while waiting() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// To be called after the condition has changed.
    fn wake(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }
}

#[cfg(target_os = "linux")]
mod affinity {
    /// The cores this process may run on.
    pub fn cores() -> Vec<usize> {
        // SAFETY: an empty set is all zeros, and the size is that of the set.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
                return Vec::new();
            }
            set
        };
        // SAFETY: every number is below the set's size.
        let is_set = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
        (0..libc::CPU_SETSIZE as usize).filter(is_set).collect()
    }

    /// Moves the calling thread to a core, where the system will leave it as long as the others are
    /// taken; its own choice of cores stays.
    pub fn go_to(core: usize) {
        // SAFETY: asks for a number.
        if unsafe { libc::sched_getcpu() } == core as libc::c_int {
            return;
        }
        let before = cores();
        pin_to(&[core]);
        if !before.is_empty() {
            pin_to(&before);
        }
    }

    /// Keeps the calling thread on a core; a refusal changes speed only, and is ignored.
    pub fn pin(core: usize) {
        pin_to(&[core]);
    }

    fn pin_to(cores: &[usize]) {
        // SAFETY: an empty set is all zeros; the cores came from a set of the same size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            cores.iter().for_each(|&core| libc::CPU_SET(core, &mut set));
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    pub fn cores() -> Vec<usize> {
        Vec::new()
    }

    pub fn pin(_core: usize) {}

    pub fn go_to(_core: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn step(parts: i64, grain: i64, after: usize) -> Step {
        Step { parts, grain, after }
    }

    #[test]
    fn every_part_is_done_once_and_no_step_begins_before_those_it_waits_for_are_over() {
        for threads in [1, 2, 3, 7] {
            let team = Team::new(threads).unwrap();
            let steps = [
                step(100, 3, 0),
                step(100, 3, 1),
                step(1, 1, 1),
                step(100, 3, 3),
                step(1, 1, 3),
                step(50, 1, 4),
            ];
            let mut region = Region::new(steps.to_vec(), threads);
            for _ in 0..500 {
                let done: Vec<AtomicI64> = steps.iter().map(|_| AtomicI64::new(0)).collect();
                let (early, late) = (AtomicU64::new(0), AtomicU64::new(0));
                let result = team.run(&mut region, |worker, number, task| {
                    assert!(worker < threads);
                    let is_over = |n: usize| done[n].load(Ordering::SeqCst) == steps[n].parts;
                    let parts = match task {
                        Task::Alone => 1,
                        Task::Parts(first, last) => last - first,
                        Task::Leave => {
                            let waiting = (0..steps.len()).filter(|&n| steps[n].after > number);
                            let begun = waiting.filter(|&n| done[n].load(Ordering::SeqCst) > 0);
                            late.fetch_add(begun.count() as u64, Ordering::SeqCst);
                            return;
                        }
                    };
                    let waits = !(0..steps[number].after).all(is_over);
                    early.fetch_add(waits.into(), Ordering::SeqCst);
                    done[number].fetch_add(parts, Ordering::SeqCst);
                });
                assert_eq!(result, Some(Ok(())));
                let counts: Vec<i64> = done.iter().map(|d| d.load(Ordering::SeqCst)).collect();
                assert_eq!(counts, steps.each_ref().map(|s| s.parts));
                assert_eq!((early.into_inner(), late.into_inner()), (0, 0));
            }
        }
    }

    /// Were there a barrier, the first step's part would wait for the second's in vain.
    #[test]
    fn a_step_that_waits_for_nothing_is_begun_while_another_goes_on() {
        let team = Team::new(2).unwrap();
        let mut region = Region::new(vec![step(1, 1, 0), step(1, 1, 0), step(2, 1, 2)], 2);
        let begun = AtomicBool::new(false);
        let result = team.run(&mut region, |_, number, task| match (number, task) {
            (0, Task::Alone) => {
                while !begun.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            }
            (1, _) => begun.store(true, Ordering::SeqCst),
            _ => {}
        });
        assert_eq!(result, Some(Ok(())));
    }

    #[test]
    fn a_panic_ends_the_region_with_an_error_and_leaves_the_team_usable() {
        let team = Team::new(3).unwrap();
        let mut region = Region::new(vec![step(9, 1, 0), step(1, 1, 0), step(9, 1, 2)], 3);
        for bad in 0..3 {
            let result = team.run(&mut region, |_, number, task| {
                let hit = matches!(task, Task::Alone | Task::Parts(4, _));
                // `resume_unwind` unwinds without printing a message.
                if number == bad && hit {
                    std::panic::resume_unwind(Box::new(()));
                }
            });
            assert_eq!(result, Some(Err(Panicked)));
            assert_eq!(team.run(&mut region, |_, _, _| ()), Some(Ok(())));
        }
    }

    #[test]
    fn a_busy_team_says_so() {
        let team = Team::new(2).unwrap();
        let mut outer = Region::new(vec![step(1, 1, 0)], 2);
        let refused = AtomicBool::new(false);
        let result = team.run(&mut outer, |_, _, task| {
            let mut inner = Region::new(vec![step(1, 1, 0)], 2);
            if let Task::Alone = task {
                refused.store(team.run(&mut inner, |_, _, _| ()).is_none(), Ordering::SeqCst);
            }
        });
        assert_eq!(result, Some(Ok(())));
        assert!(refused.into_inner());
    }
}
