//! Which bytes of the arena are taken, when.

use std::ops::RangeInclusive;

/// Bytes from the first up to, not including, the second.
pub(crate) type Bytes = (usize, usize);

/// A tree over time, each node of which stands for a range of kernels and is halved by its two
/// children. What is taken at some time during a range is a union over few nodes, and adjacent
/// bytes are kept as one, so that asking takes time in the gaps rather than in what was placed.
pub(crate) struct Occupied {
    /// The number of kernels, rounded up to a power of two.
    width: usize,
    /// What is taken throughout each node's range; children of node `n` are `2n` and `2n + 1`.
    throughout: Vec<Union>,
    /// What is taken at some time within each node's range.
    sometime: Vec<Union>,
}

impl Occupied {
    /// Nothing is taken during that many kernels.
    pub fn new(kernels: usize) -> Occupied {
        let width = kernels.max(1).next_power_of_two();
        let empty = || (0..2 * width).map(|_| Union::default()).collect();
        Occupied { width, throughout: empty(), sometime: empty() }
    }

    /// Takes bytes during a range of kernels.
    pub fn take(&mut self, time: RangeInclusive<usize>, bytes: Bytes) {
        let mut open = vec![(1, 0, self.width)];
        while let Some((node, start, width)) = open.pop() {
            self.sometime[node].add(bytes);
            if *time.start() <= start && start + width - 1 <= *time.end() {
                self.throughout[node].add(bytes);
            } else {
                open.extend(halves(node, start, width, &time));
            }
        }
    }

    /// Adds to `taken`, in no order, what is taken at some time during a range of kernels.
    pub fn during(&self, time: RangeInclusive<usize>, taken: &mut Vec<Bytes>) {
        let mut open = vec![(1, 0, self.width)];
        while let Some((node, start, width)) = open.pop() {
            if *time.start() <= start && start + width - 1 <= *time.end() {
                taken.extend(&self.sometime[node].0);
            } else {
                taken.extend(&self.throughout[node].0);
                open.extend(halves(node, start, width, &time));
            }
        }
    }
}

/// The halves of a node that meet a range of time.
fn halves(
    node: usize,
    start: usize,
    width: usize,
    time: &RangeInclusive<usize>,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let (half, first, last) = (width / 2, *time.start(), *time.end());
    let both = [(2 * node, start, half), (2 * node + 1, start + half, half)];
    both.into_iter().filter(move |&(_, start, half)| start <= last && first < start + half)
}

/// Ascending ranges of bytes that neither overlap nor touch.
#[derive(Default)]
struct Union(Vec<Bytes>);

impl Union {
    fn add(&mut self, (mut from, mut to): Bytes) {
        let first = self.0.partition_point(|r| r.1 < from);
        let end = self.0.partition_point(|r| r.0 <= to);
        if first < end {
            from = from.min(self.0[first].0);
            to = to.max(self.0[end - 1].1);
        }
        self.0.splice(first..end, [(from, to)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_become_one() {
        let mut union = Union::default();
        for bytes in [(10, 20), (40, 50), (0, 5), (20, 30), (5, 6), (29, 41), (60, 70)] {
            union.add(bytes);
        }
        assert_eq!(union.0, [(0, 6), (10, 50), (60, 70)]);
        union.add((0, 100));
        assert_eq!(union.0, [(0, 100)]);
    }

    #[test]
    fn what_is_taken_is_what_plain_search_finds() {
        let mut state = 7u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for kernels in [1, 2, 13, 64] {
            let mut placed: Vec<(usize, usize, Bytes)> = Vec::new();
            let mut occupied = Occupied::new(kernels);
            for _ in 0..60 {
                let first = random(kernels);
                let last = first + random(kernels - first);
                let mut taken = Vec::new();
                occupied.during(first..=last, &mut taken);
                for byte in 0..120 {
                    let within = |b: &Bytes| b.0 <= byte && byte < b.1;
                    let meets = |p: &&(usize, usize, Bytes)| p.0 <= last && first <= p.1;
                    assert_eq!(
                        taken.iter().any(within),
                        placed.iter().filter(meets).any(|p| within(&p.2)),
                        "byte {byte} in {first}..={last}"
                    );
                }
                let from = random(100);
                let bytes = (from, from + 1 + random(20));
                occupied.take(first..=last, bytes);
                placed.push((first, last, bytes));
            }
        }
    }
}
