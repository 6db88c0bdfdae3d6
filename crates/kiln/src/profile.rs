//! What each kernel of a run takes.

use std::fmt;
use std::time::Duration;

use kiln_graph::Location;
use kiln_loops::{Cost, Program, cost};

/// What each kernel of a run takes, in the order they run.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The kernels.
    pub kernels: Vec<KernelTime>,
}

/// What one kernel takes.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Its name: the operators that it computes.
    pub name: String,
    /// The source text that it comes from.
    pub locations: Vec<Location>,
    /// The least time of all runs.
    pub least: Duration,
    /// Its arithmetic, and the bytes it moves at most.
    pub cost: Cost,
}

impl Profile {
    /// Each kernel's least time.
    pub(crate) fn new(program: &Program, least: &[Duration]) -> Profile {
        let pairs = program.kernels.iter().zip(least);
        let kernels = pairs.map(|(kernel, &least)| KernelTime {
            name: kernel.name.clone(),
            locations: kernel.locations.to_vec(),
            least,
            cost: cost(program, kernel),
        });
        Profile { kernels: kernels.collect() }
    }

    /// The least times of all kernels together.
    pub fn total(&self) -> Duration {
        self.kernels.iter().map(|k| k.least).sum()
    }
}

impl KernelTime {
    /// Bytes read and written, at most.
    pub fn bytes(&self) -> f64 {
        self.cost.read_bytes + self.cost.written_bytes
    }

    /// The share of a total.
    pub fn share(&self, total: Duration) -> f64 {
        match total.as_secs_f64() {
            0.0 => 0.0,
            total => self.least.as_secs_f64() / total,
        }
    }
}

impl fmt::Display for Profile {
    /// A table, the longest first; kernels that together take less than a hundredth are summed up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        let mut order: Vec<&KernelTime> = self.kernels.iter().collect();
        order.sort_by_key(|k| std::cmp::Reverse(k.least));
        writeln!(f, "{:>6} {:>11} {:>9} {:>9}  kernel", "share", "least us", "GB/s", "GFLOP/s")?;
        let mut shown = 0.0;
        for (rank, kernel) in order.iter().enumerate() {
            if shown > 0.99 {
                let rest = order.len() - rank;
                let share = 100.0 * (1.0 - shown);
                return writeln!(f, "{share:>5.1}% {:>11} {:>9} {:>9}  {rest} others", "", "", "");
            }
            let (share, seconds) = (kernel.share(total), kernel.least.as_secs_f64());
            let rate = |n: f64| if seconds > 0.0 { n / seconds / 1e9 } else { 0.0 };
            write!(
                f,
                "{:>5.1}% {:>11.2} {:>9.2} {:>9.2}  {}",
                100.0 * share,
                seconds * 1e6,
                rate(kernel.bytes()),
                rate(kernel.cost.flops),
                kernel.name
            )?;
            if let Some(at) = kernel.locations.first() {
                write!(f, " {at}")?;
            }
            if kernel.locations.len() > 1 {
                write!(f, " +{}", kernel.locations.len() - 1)?;
            }
            writeln!(f)?;
            shown += share;
        }
        Ok(())
    }
}
