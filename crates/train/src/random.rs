//! Orders and draws that depend on a seed alone: the same on every platform, in every run, and whatever the threads.

use kiln_tensor::philox;

/// What random numbers are for: those for different purposes have nothing to do with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The split of a data set into training and test examples.
    Split = 1,
    /// The order of an epoch.
    Epoch = 2,
    /// What is done to one example in one epoch.
    Example = 3,
}

/// The numbers `0..n` in random order: all orders are equally likely (Fisher and Yates).
pub(crate) fn shuffled(n: u32, seed: u32, purpose: Purpose, epoch: u64) -> Vec<u32> {
    let mut numbers = Numbers::new(seed, purpose, epoch);
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i as usize, numbers.below(i + 1) as usize);
    }
    order
}

/// A sequence of uniform 32-bit numbers.
struct Numbers {
    key: [u32; 2],
    /// Block, epoch's low and high half, and 1: the generator of the language's `random` operator has 0 there, so
    /// the two never draw the same block.
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Numbers {
    fn new(seed: u32, purpose: Purpose, epoch: u64) -> Numbers {
        let counter = [0, epoch as u32, (epoch >> 32) as u32, 1];
        Numbers { key: [seed, purpose as u32], counter, block: [0; 4], used: 4 }
    }

    fn next(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            // At most 2^32 numbers are drawn, with few rejected: a quarter as many blocks.
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// A number below `bound`, each equally likely (Lemire, "Fast random integer generation in an interval", 2019).
    fn below(&mut self, bound: u32) -> u32 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }
}

/// One example in one epoch of one run: whatever is random about it is a function of these three.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws {
    /// The seed of the run.
    pub seed: u32,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The example's number in the data set.
    pub example: u32,
}

impl Draws {
    /// Two uniform numbers for what stands at this place of the pipeline.
    pub fn at(self, place: u32) -> [Uniform; 2] {
        // The last word tells these blocks from those of orders and of the language's `random`, which have 1 and 0.
        let counter =
            [self.example, self.epoch as u32, (self.epoch >> 32) as u32, place.wrapping_add(2)];
        let [a, b, c, d] = philox(counter, [self.seed, Purpose::Example as u32]);
        [(a, b), (c, d)].map(|(high, low)| Uniform(u64::from(high) << 32 | u64::from(low)))
    }
}

/// 64 random bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uniform(u64);

impl Uniform {
    /// A whole number below `bound`; none is likelier than another by more than `bound` in 2^64.
    pub fn below(self, bound: usize) -> usize {
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }

    /// Whether what has this probability happens.
    pub fn happens(self, probability: f64) -> bool {
        // The upper 53 bits are a number in [0, 1) exactly.
        ((self.0 >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_that_differ_by_seed_epoch_and_purpose() {
        let order = shuffled(1000, 1, Purpose::Epoch, 1);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_eq!(order, shuffled(1000, 1, Purpose::Epoch, 1));
        assert_ne!(order, shuffled(1000, 2, Purpose::Epoch, 1));
        assert_ne!(order, shuffled(1000, 1, Purpose::Epoch, 2));
        assert_ne!(order, shuffled(1000, 1, Purpose::Epoch, 1 + (1 << 32)));
        assert_ne!(order, shuffled(1000, 1, Purpose::Split, 1));
        assert!(shuffled(0, 1, Purpose::Epoch, 1).is_empty());
    }

    #[test]
    fn every_order_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(shuffled(4, 7, Purpose::Epoch, epoch)).or_insert(0) += 1;
        }
        // Chi-squared with 23 degrees of freedom is above 49.7 once in a thousand seeds.
        let chi: f64 = counts.values().map(|&n| f64::from(n - 1000).powi(2) / 1000.0).sum();
        assert_eq!(counts.len(), 24);
        assert!(chi < 49.7, "{chi}");
    }

    #[test]
    fn draws_are_uniform_and_differ_by_seed_epoch_example_and_place() {
        let draws = Draws { seed: 3, epoch: 1, example: 7 };
        let bits = |draws: Draws, place| draws.at(place).map(|u| u.0);
        let first = bits(draws, 0);
        assert_eq!(first, bits(draws, 0));
        for other in [
            bits(Draws { seed: 4, ..draws }, 0),
            bits(Draws { epoch: 2, ..draws }, 0),
            bits(Draws { epoch: 1 + (1 << 32), ..draws }, 0),
            bits(Draws { example: 8, ..draws }, 0),
            bits(draws, 1),
        ] {
            assert_ne!(first, other);
        }
        let (mut counts, mut happened) = ([0; 9], 0);
        for example in 0..9000 {
            let [a, b] = Draws { example, ..draws }.at(0);
            counts[a.below(9)] += 1;
            happened += u32::from(b.happens(0.25));
            assert!(b.happens(1.0) && !b.happens(0.0));
        }
        // Chi-squared with 8 degrees of freedom is above 26.1 once in a thousand seeds; 2250 within 4 deviations.
        let chi: f64 = counts.iter().map(|&n| f64::from(n - 1000).powi(2) / 1000.0).sum();
        assert!(chi < 26.1, "{counts:?}");
        assert!((2090..2410).contains(&happened), "{happened}");
    }
}
