//! Orders that depend on a seed alone: the same on every platform and in every run.
//!
//! The numbers are those of Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3", 2011), a function of key and counter with no state to save or restore.

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What the key grows by each round.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// What an order is for: orders for different purposes have nothing to do with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The split of a data set into training and test examples.
    Split = 1,
    /// The order of an epoch.
    Epoch = 2,
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

/// The generator's block function.
fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let p = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let q = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [(q >> 32) as u32 ^ c[1] ^ k[0], q as u32, (p >> 32) as u32 ^ c[3] ^ k[1], p as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // The known answers of the authors' Random123 library, `philox4x32 10`.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = u32::MAX;
        assert_eq!(
            philox([ones; 4], [ones; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

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
}
