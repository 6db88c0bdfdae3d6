//! A team of threads that runs one program at a time: one parallel region for a whole run, in which
//! atomic counters hand out the parts of each step.
//!
//! A step is over when its parts are done, not when every worker has come by: a worker that the
//! system lets wait holds up nothing but the part it has taken. Nor does a region wait for a worker
//! that has yet to wake up: the thread that calls is a worker and begins at once. Who has nothing to
//! do, within a region or between two, spins for a while, then yields, then sleeps, so that runs one
//! after the other find everyone awake, and a machine with fewer cores than workers, or busy with
//! something else, loses little.

use std::cell::UnsafeCell;
use std::ops::Range;
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

/// A step of a region; all of it is done before the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One worker does it.
    Alone,
    /// Parts `0..total`, handed out in runs of `grain`: to each worker first those of its own share,
    /// so that it finds in its caches what it wrote in the steps before.
    Shared { total: i64, grain: i64 },
}

/// What a worker is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// A step of its own.
    Alone,
    /// These parts of a shared step.
    Parts(i64, i64),
    /// A shared step is over; done by one worker before any begins the next.
    Over,
}

/// The steps of a run with the state that the workers share.
///
/// What a step wrote reaches the next one on processors of any memory order: whoever has done parts
/// counts them in `done`, releasing what it wrote and acquiring what those before it did, so that the
/// one that completes the count has seen all of it; it releases that by `over`, which the others
/// acquire. `taken` hands out numbers and orders nothing. The gate does the same around the region.
#[derive(Debug)]
pub(crate) struct Region {
    steps: Vec<Step>,
    /// Of each step, one for each worker's share.
    taken: Vec<Line<AtomicI64>>,
    /// Of each step.
    done: Vec<Line<AtomicI64>>,
    workers: usize,
    /// Steps that are over.
    over: AtomicUsize,
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
            over: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            sleepers: Sleepers::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn reset(&mut self) {
        self.taken.iter_mut().chain(&mut self.done).for_each(|line| *line.0.get_mut() = 0);
        *self.over.get_mut() = 0;
        *self.failed.get_mut() = false;
    }

    /// One worker's part; ends early if another failed.
    fn work(&self, worker: usize, spins: usize, f: &(impl Fn(usize, usize, Task) + Sync)) {
        for (number, step) in self.steps.iter().enumerate() {
            let (total, grain) = match *step {
                Step::Alone => (1, 1),
                Step::Shared { total, grain } => (total, grain),
            };
            let workers = self.workers as i64;
            let mut parts = 0;
            for share in (worker..worker + self.workers).map(|w| w % self.workers) {
                let bound = |n: i64| (n * total + workers - 1) / workers;
                let (start, end) = (bound(share as i64), bound(share as i64 + 1));
                let taken = &self.taken[number * self.workers + share].0;
                loop {
                    let first = start + taken.fetch_add(grain, Ordering::Relaxed);
                    if first >= end {
                        break;
                    }
                    let last = end.min(first + grain);
                    match step {
                        Step::Alone => f(worker, number, Task::Alone),
                        Step::Shared { .. } => f(worker, number, Task::Parts(first, last)),
                    }
                    parts += last - first;
                }
            }
            // Once a step: the others' caches wait for this line.
            let done = &self.done[number].0;
            if parts > 0 && done.fetch_add(parts, Ordering::AcqRel) + parts == total {
                if let Step::Shared { .. } = step {
                    f(worker, number, Task::Over);
                }
                self.over.store(number + 1, Ordering::SeqCst);
                self.sleepers.wake();
            }
            let is_last = number + 1 == self.steps.len();
            if !is_last && !self.wait(number, spins) {
                return;
            }
        }
    }

    /// Waits until the step is over; `false` if a worker failed.
    fn wait(&self, step: usize, spins: usize) -> bool {
        self.sleepers.wait(spins, || {
            self.over.load(Ordering::SeqCst) <= step && !self.failed.load(Ordering::SeqCst)
        });
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
    fn wait(&self, spins: usize, waiting: impl Fn() -> bool) {
        let mut tries = 0;
        while waiting() {
            match tries {
                n if n < spins => std::hint::spin_loop(),
                n if n < spins + YIELDS => std::thread::yield_now(),
                _ => self.sleep(&waiting),
            }
            tries += 1;
        }
    }

    /// The count of sleepers is raised before the condition is looked at again, and the condition
    /// is changed before the count is looked at: one of the two sees the other.
    fn sleep(&self, waiting: impl Fn() -> bool) {
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

/// Runs of parts: sixteen for each thread, which leaves little waiting at the end.
pub(crate) fn grain(parts: i64, threads: usize) -> i64 {
    (parts / (threads as i64 * 16)).max(1)
}

/// The steps `range` of `steps` are all there is to do in parallel: what stands before and after
/// needs no team.
pub(crate) fn shared_range(steps: &[Step]) -> Range<usize> {
    let shared = |step: &Step| matches!(step, Step::Shared { .. });
    match (steps.iter().position(shared), steps.iter().rposition(shared)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
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

    #[test]
    fn every_part_is_done_once_and_steps_do_not_overlap() {
        for threads in [1, 2, 3, 7] {
            let team = Team::new(threads).unwrap();
            let shared = Step::Shared { total: 100, grain: 3 };
            let steps = [shared.clone(), shared.clone(), Step::Alone, shared.clone(), Step::Alone];
            let mut region = Region::new(steps.to_vec(), threads);
            for _ in 0..500 {
                let done: Vec<AtomicI64> = steps.iter().map(|_| AtomicI64::new(0)).collect();
                let (early, over) = (AtomicU64::new(0), AtomicU64::new(0));
                let result = team.run(&mut region, |worker, step, task| {
                    assert!(worker < threads);
                    let whole = |s: usize| if steps[s] == Step::Alone { 1 } else { 100 };
                    if (0..step).any(|s| done[s].load(Ordering::SeqCst) != whole(s)) {
                        early.fetch_add(1, Ordering::SeqCst);
                    }
                    let n = match task {
                        Task::Alone => 1,
                        Task::Parts(first, last) => last - first,
                        Task::Over => {
                            over.fetch_add(1, Ordering::SeqCst);
                            0
                        }
                    };
                    done[step].fetch_add(n, Ordering::SeqCst);
                });
                assert_eq!(result, Some(Ok(())));
                let counts: Vec<i64> = done.iter().map(|d| d.load(Ordering::SeqCst)).collect();
                assert_eq!(counts, [100, 100, 1, 100, 1]);
                assert_eq!((early.into_inner(), over.into_inner()), (0, 3));
            }
        }
    }

    #[test]
    fn a_panic_ends_the_region_with_an_error_and_leaves_the_team_usable() {
        let team = Team::new(3).unwrap();
        let shared = Step::Shared { total: 9, grain: 1 };
        let mut region = Region::new(vec![shared.clone(), Step::Alone, shared], 3);
        for bad in 0..3 {
            let result = team.run(&mut region, |_, step, task| {
                let hit = matches!(task, Task::Alone | Task::Parts(4, _));
                // `resume_unwind` unwinds without printing a message.
                if step == bad && hit {
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
        let mut outer = Region::new(vec![Step::Alone], 2);
        let refused = AtomicBool::new(false);
        let result = team.run(&mut outer, |_, _, _| {
            let mut inner = Region::new(vec![Step::Alone], 2);
            refused.store(team.run(&mut inner, |_, _, _| ()).is_none(), Ordering::SeqCst);
        });
        assert_eq!(result, Some(Ok(())));
        assert!(refused.into_inner());
    }

    #[test]
    fn only_what_lies_between_shared_steps_needs_the_team() {
        let shared = Step::Shared { total: 2, grain: 1 };
        let steps = [Step::Alone, shared.clone(), Step::Alone, shared, Step::Alone];
        assert_eq!(shared_range(&steps), 1..4);
        assert_eq!(shared_range(&[Step::Alone]), 0..0);
    }
}
