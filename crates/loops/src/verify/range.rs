//! What values loop variables take, and what linear expressions of them reach.

/// Position in [`Counters`]; a counter's start, if any, has a smaller one.
pub(crate) type Slot = usize;

/// Something that counts: a loop's variable, a register bounded by a clamp, or a position within
/// a block or a dimension.
///
/// Its value is `start + step * n` for an `n >= 0`, where `start` is 0 or another counter's value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    /// Where it starts.
    pub start: Option<Slot>,
    /// The greatest value.
    pub last: i128,
    /// The greatest distance from the start.
    pub reach: i128,
    /// The distance of neighbouring values.
    pub step: i128,
}

/// `constant + sum of coefficient * counter`; terms sorted by slot, none of them 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Linear {
    pub constant: i128,
    pub terms: Vec<(Slot, i128)>,
}

impl Linear {
    pub fn coefficient(&self, slot: Slot) -> i128 {
        self.terms.binary_search_by_key(&slot, |t| t.0).map_or(0, |i| self.terms[i].1)
    }

    pub fn add(&mut self, slot: Slot, c: i128) {
        match self.terms.binary_search_by_key(&slot, |t| t.0) {
            Ok(i) => {
                self.terms[i].1 += c;
                if self.terms[i].1 == 0 {
                    self.terms.remove(i);
                }
            }
            Err(i) if c != 0 => self.terms.insert(i, (slot, c)),
            Err(_) => {}
        }
    }

    /// The difference of two expressions.
    pub fn minus(&self, other: &Linear) -> Linear {
        let mut result = self.clone();
        result.constant -= other.constant;
        for &(slot, c) in &other.terms {
            result.add(slot, -c);
        }
        result
    }

    fn negated(&self) -> Linear {
        Linear {
            constant: -self.constant,
            terms: self.terms.iter().map(|&(slot, c)| (slot, -c)).collect(),
        }
    }
}

/// Every counter of a kernel.
#[derive(Debug, Default)]
pub(crate) struct Counters(Vec<Counter>);

impl Counters {
    /// A counter over `0..extent` (`extent` is at least 1).
    pub fn free(&mut self, extent: usize) -> Slot {
        self.add(None, extent, extent, 1)
    }

    /// A counter over `start .. min(start + extent, end)`; every size is at least 1.
    pub fn add(&mut self, start: Option<Slot>, extent: usize, end: usize, step: usize) -> Slot {
        let (extent, end, step) = (extent as i128, end as i128, step as i128);
        let reach = (extent.min(end) - 1) / step * step;
        let last = start.map_or(reach, |s| (self.0[s].last + reach).min(end - 1));
        self.0.push(Counter { start, last, reach, step });
        self.0.len() - 1
    }

    pub fn get(&self, slot: Slot) -> Counter {
        self.0[slot]
    }

    /// The greatest value `e` can take; an upper bound where its counters depend on one another.
    pub fn upper(&self, e: &Linear) -> i128 {
        // Each dependent counter offers two bounds; the budget keeps their combinations few.
        let mut budget = 256;
        e.constant + self.upper_of(e.terms.clone(), &mut budget)
    }

    /// The least value `e` can take, or a lower bound.
    pub fn lower(&self, e: &Linear) -> i128 {
        -self.upper(&e.negated())
    }

    fn upper_of(&self, mut terms: Vec<(Slot, i128)>, budget: &mut usize) -> i128 {
        let mut sum = 0;
        while let Some((slot, c)) = terms.pop() {
            let counter = self.0[slot];
            let free = (c * counter.last).max(0);
            if let Some(start) = counter.start
                && self.reaches(start, &terms)
                && *budget > 0
            {
                *budget -= 1;
                // The counter on its own range, or as its start and the distance from there.
                let mut tied = Linear { constant: 0, terms: terms.clone() };
                tied.add(start, c);
                let tied = (c * counter.reach).max(0) + self.upper_of(tied.terms, budget);
                return sum + tied.min(free + self.upper_of(terms, budget));
            }
            sum += free;
        }
        sum
    }

    /// Whether `slot`, or what it starts at, is among the terms.
    fn reaches(&self, mut slot: Slot, terms: &[(Slot, i128)]) -> bool {
        loop {
            if terms.binary_search_by_key(&slot, |t| t.0).is_ok() {
                return true;
            }
            match self.0[slot].start {
                Some(start) => slot = start,
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_variables_are_bounded_by_the_better_of_two_ways() {
        let mut counters = Counters::default();
        let tile = counters.add(None, 61, 61, 8);
        let i = counters.add(Some(tile), 8, 61, 1);
        assert_eq!((counters.get(tile).last, counters.get(i).last), (56, 60));

        let whole = Linear { constant: 3, terms: vec![(i, 4)] };
        assert_eq!((counters.lower(&whole), counters.upper(&whole)), (3, 243));
        let within = Linear { constant: 0, terms: vec![(tile, -1), (i, 1)] };
        assert_eq!((counters.lower(&within), counters.upper(&within)), (0, 7));
        let away = within.minus(&Linear { constant: 1, terms: vec![(tile, 1)] });
        assert_eq!(counters.upper(&away), 6);
    }

    #[test]
    fn long_chains_stay_cheap() {
        let mut counters = Counters::default();
        let mut slot = counters.add(None, 10, 10, 1);
        let mut e = Linear { constant: 0, terms: vec![(slot, 1)] };
        for _ in 0..200 {
            slot = counters.add(Some(slot), 3, 1000, 1);
            e.add(slot, 1);
        }
        assert!(counters.upper(&e) >= 9);
    }
}
