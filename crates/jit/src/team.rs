//! A team of threads that runs one program at a time: one parallel region for a whole run, in which
//! atomic counters hand out the parts of each step.
//!
//! A step is over when its parts are done, not when every worker has come by: a worker that the
//! system lets wait holds up nothing but the part it has taken. Who runs ahead spins for a while,
//! then yields, then sleeps, so that a machine with fewer cores than workers, or busy with something
//! else, loses little.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, TryLockError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::Error;

/// Checks of a waiting worker before it begins to yield: some 20 to 100 microseconds of them.
const SPINS: usize = 2000;
/// Yields of a waiting worker before it goes to sleep.
const YIELDS: usize = 64;

/// Workers of one Rayon pool, each on a core of its own if there are enough.
#[derive(Debug)]
pub(crate) struct Team {
    pool: ThreadPool,
    busy: Mutex<()>,
    spins: usize,
}

/// A step of a region; all of it is done before the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One worker does it.
    Alone,
    /// Parts `0..total`, handed out in runs of `grain`.
    Shared { total: i64, grain: i64 },
}

impl Step {
    fn total(&self) -> i64 {
        match *self {
            Step::Alone => 1,
            Step::Shared { total, .. } => total,
        }
    }
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
#[derive(Debug)]
pub(crate) struct Region {
    steps: Vec<Step>,
    counters: Vec<Counters>,
    /// Steps that are over.
    over: AtomicUsize,
    failed: AtomicBool,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Parts of a step, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counters {
    taken: AtomicI64,
    done: AtomicI64,
}

/// A worker panicked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

impl Region {
    pub fn new(steps: Vec<Step>) -> Region {
        Region {
            counters: steps.iter().map(|_| Counters::default()).collect(),
            steps,
            over: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn reset(&mut self) {
        for counters in &mut self.counters {
            *counters = Counters::default();
        }
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
            let counters = &self.counters[number];
            loop {
                let first = counters.taken.fetch_add(grain, Ordering::Relaxed);
                if first >= total {
                    break;
                }
                let last = total.min(first + grain);
                match step {
                    Step::Alone => f(worker, number, Task::Alone),
                    Step::Shared { .. } => f(worker, number, Task::Parts(first, last)),
                }
                let parts = last - first;
                if counters.done.fetch_add(parts, Ordering::AcqRel) + parts == step.total() {
                    if let Step::Shared { .. } = step {
                        f(worker, number, Task::Over);
                    }
                    self.over.store(number + 1, Ordering::SeqCst);
                    self.wake_sleepers();
                }
            }
            let is_last = number + 1 == self.steps.len();
            if !is_last && !self.wait(number, spins) {
                return;
            }
        }
    }

    /// Waits until the step is over; `false` if a worker failed.
    fn wait(&self, step: usize, spins: usize) -> bool {
        let waiting =
            || self.over.load(Ordering::SeqCst) <= step && !self.failed.load(Ordering::SeqCst);
        let mut tries = 0;
        while waiting() {
            match tries {
                n if n < spins => std::hint::spin_loop(),
                n if n < spins + YIELDS => std::thread::yield_now(),
                _ => self.sleep(waiting),
            }
            tries += 1;
        }
        !self.failed.load(Ordering::Acquire)
    }

    /// The count of sleepers is raised before the condition is looked at again, and the condition
    /// is changed before the count is looked at: one of the two sees the other.
    fn sleep(&self, waiting: impl Fn() -> bool) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while waiting() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.wake_sleepers();
    }
}

impl Team {
    /// Starts the threads.
    pub fn new(threads: usize) -> Result<Team, Error> {
        let cores = affinity::cores();
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("kiln-{n}"))
            .start_handler(move |n| {
                if cores.len() >= threads {
                    affinity::pin(cores[n]);
                }
            })
            .build()
            .map_err(|e| Error::Team(e.to_string()))?;
        let spins = if threads <= available { SPINS } else { 0 };
        Ok(Team { pool, busy: Mutex::new(()), spins })
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
        region.reset();
        let region = &*region;
        self.pool.broadcast(|worker| {
            let work = || region.work(worker.index(), self.spins, &f);
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                region.fail();
            }
        });
        let failed = region.failed.load(Ordering::Acquire);
        Some(if failed { Err(Panicked) } else { Ok(()) })
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

    /// Keeps the calling thread on a core; a refusal changes speed only, and is ignored.
    pub fn pin(core: usize) {
        // SAFETY: the core came from a set of the same size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut set);
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
            let mut region = Region::new(steps.to_vec());
            for _ in 0..50 {
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
        let mut region = Region::new(vec![shared.clone(), Step::Alone, shared]);
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
        let mut outer = Region::new(vec![Step::Alone]);
        let refused = AtomicBool::new(false);
        let result = team.run(&mut outer, |_, _, _| {
            let mut inner = Region::new(vec![Step::Alone]);
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
