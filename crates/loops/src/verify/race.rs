//! Shows that iterations of a loop touch different elements, and that two kernels do.
//!
//! Two accesses in two different iterations meet only if a linear equation has a solution: their
//! indices are equal, while the loop's variable differs by at least one step. Every unknown has a
//! range; narrowing the ranges by what the equation leaves possible ends in an empty one where the
//! coefficients are those of a mixed radix number, which is what indices of dense arrays are.

use std::collections::BTreeMap;

use super::range::{Counters, Linear, Slot};

/// An unknown of the equation: its coefficient and its least and greatest value.
type Unknown = (i128, i128, i128);

/// Whether no element is reached by both `a` and `b` in two different iterations of the loop that
/// counts `p`. Counters after `p` are those of the loop's body: each iteration has its own.
pub(crate) fn disjoint(counters: &Counters, p: Slot, a: &Linear, b: &Linear) -> bool {
    // The short way for most pairs of an array whose rows are shared out.
    // A variable over chunks of a range within the body counts from its chunk, or over the range.
    let by_variable = |whole: bool| {
        let [a, b] = [a, b].map(|e| tied(counters, p, e, whole));
        by_variable(counters, p, &a, &b, whole)
    };
    by_variable(false) || by_chunks(counters, p, a, b) || by_variable(true)
}

/// Whether no element is reached by both `a` and `b`, indices of two kernels, each with its counters.
pub(crate) fn apart(a: (&Counters, &Linear), b: (&Counters, &Linear)) -> bool {
    let unknowns = |(counters, e): (&Counters, &Linear), sign: i128| -> Vec<Unknown> {
        let unknown = |&(slot, c): &(Slot, i128)| {
            let counter = counters.get(slot);
            match counter.start {
                Some(_) => (sign * c, 0, counter.last),
                None => (sign * c * counter.step, 0, counter.last / counter.step),
            }
        };
        e.terms.iter().map(unknown).collect()
    };
    let mut all = unknowns(a, 1);
    all.extend(unknowns(b, -1));
    impossible(all, a.1.constant - b.1.constant)
}

/// The start of a counter of the body, unless it counts over the whole range.
fn start(counters: &Counters, p: Slot, slot: Slot, whole: bool) -> Option<Slot> {
    counters.get(slot).start.filter(|&start| !whole || start <= p)
}

/// Whether different iterations in different places of one index can coincide: no two values of
/// the counters from `first` on give the same value of `e`.
pub(crate) fn injective(counters: &Counters, first: Slot, e: &Linear) -> bool {
    let unknowns: Vec<Unknown> = inner(e, first)
        .map(|(slot, c)| {
            let reach = counters.get(slot).reach;
            (c, -reach, reach)
        })
        .collect();
    (0..unknowns.len()).all(|i| {
        let mut one = unknowns.clone();
        one[i].1 = 1;
        impossible(one, 0)
    })
}

fn inner(e: &Linear, first: Slot) -> impl Iterator<Item = (Slot, i128)> + '_ {
    e.terms.iter().copied().filter(move |t| t.0 >= first)
}

/// An index with the chunk variables of the loop's body replaced by start and distance; with
/// `whole` those whose chunks are the body's own stay, and their distance is their value.
struct Tied {
    constant: i128,
    /// Of counters up to the loop's, by value.
    values: Linear,
    /// Of the body's counters, by distance from their start.
    distances: Linear,
}

fn tied(counters: &Counters, p: Slot, e: &Linear, whole: bool) -> Tied {
    let mut rest = e.clone();
    let mut distances = Linear::default();
    while let Some(&(slot, c)) = rest.terms.last().filter(|t| t.0 > p) {
        rest.terms.pop();
        distances.terms.push((slot, c));
        if let Some(start) = start(counters, p, slot, whole) {
            rest.add(start, c);
        }
    }
    distances.terms.reverse();
    Tied { constant: rest.constant, values: rest, distances }
}

fn by_variable(counters: &Counters, p: Slot, a: &Tied, b: &Tied, whole: bool) -> bool {
    let mut unknowns = Vec::new();
    for (slot, c) in a.values.minus(&b.values).terms {
        if slot != p {
            unknowns.push((c, 0, counters.get(slot).last));
        }
    }
    let slots = a.distances.terms.iter().chain(&b.distances.terms).map(|t| t.0);
    let mut slots: Vec<Slot> = slots.collect();
    slots.sort_unstable();
    slots.dedup();
    for slot in slots {
        let mut counter = counters.get(slot);
        if counter.start != start(counters, p, slot, whole) {
            (counter.reach, counter.step) = (counter.last, 1);
        }
        let n = counter.reach / counter.step;
        let (x, y) = (a.distances.coefficient(slot), b.distances.coefficient(slot));
        if x == y {
            unknowns.push((x * counter.step, -n, n));
        } else {
            unknowns.push((x * counter.step, 0, n));
            unknowns.push((-y * counter.step, 0, n));
        }
    }
    let difference = a.constant - b.constant;
    let (x, y) = (a.values.coefficient(p), b.values.coefficient(p));
    let counter = counters.get(p);
    if x != y {
        unknowns.push((x, 0, counter.last));
        unknowns.push((-y, 0, counter.last));
        return impossible(unknowns, difference);
    }
    let n = counter.reach / counter.step;
    differ(unknowns, x * counter.step, n, difference)
}

/// As above where both indices hold one variable over the iteration's own chunk of the range:
/// different iterations have different values of it, and it is below the range's end.
fn by_chunks(counters: &Counters, p: Slot, a: &Linear, b: &Linear) -> bool {
    let chunk = |e: &Linear| {
        let mut own = inner(e, p + 1).filter(|&(slot, _)| {
            let counter = counters.get(slot);
            counter.start == Some(p) && counter.reach < counters.get(p).step
        });
        match (own.next(), own.next()) {
            (Some(one), None) if e.coefficient(p) == 0 => Some(one),
            _ => None,
        }
    };
    let (Some((i, x)), Some((j, y))) = (chunk(a), chunk(b)) else {
        return false;
    };
    if x != y {
        return false;
    }
    let mut unknowns = Vec::new();
    let mut outer = a.minus(b);
    let difference = outer.constant;
    outer.terms.retain(|t| t.0 < p);
    for (slot, c) in outer.terms {
        unknowns.push((c, 0, counters.get(slot).last));
    }
    // A variable of the body that both hold alike counts by its difference, others on their own.
    for (slot, c) in inner(a, p + 1).filter(|t| t.0 != i) {
        let last = counters.get(slot).last;
        let both = slot != j && b.coefficient(slot) == c;
        unknowns.push((c, if both { -last } else { 0 }, last));
    }
    for (slot, c) in inner(b, p + 1).filter(|t| t.0 != j) {
        if slot == i || a.coefficient(slot) != c {
            unknowns.push((-c, 0, counters.get(slot).last));
        }
    }
    let n = counters.get(i).last.max(counters.get(j).last);
    differ(unknowns, x, n, difference)
}

/// Whether the sum of the unknowns, of `c * d` and of `constant` cannot be 0 for any `d` but 0
/// between `-n` and `n`.
fn differ(unknowns: Vec<Unknown>, c: i128, n: i128, constant: i128) -> bool {
    [(1, n), (-n, -1)].into_iter().all(|(least, greatest)| {
        let mut unknowns = unknowns.clone();
        unknowns.push((c, least, greatest));
        impossible(unknowns, constant)
    })
}

/// Whether `constant + sum of coefficient * unknown = 0` is shown to have no solution in integers
/// within the ranges, by narrowing them.
fn impossible(unknowns: Vec<Unknown>, constant: i128) -> bool {
    if unknowns.iter().any(|u| u.1 > u.2) {
        return true;
    }
    // Unknowns of one coefficient matter by their sum alone.
    let mut sums: BTreeMap<i128, (i128, i128)> = BTreeMap::new();
    for (c, from, to) in unknowns {
        let (from, to) = if c < 0 { (-to, -from) } else { (from, to) };
        let sum = sums.entry(c.abs()).or_default();
        *sum = (sum.0 + from, sum.1 + to);
    }
    let mut unknowns: Vec<Unknown> =
        sums.into_iter().rev().map(|(c, (from, to))| (c, from, to)).collect();
    if by_residue(&unknowns, constant) {
        return true;
    }
    let least = |u: &Unknown| u.0 * u.1;
    let greatest = |u: &Unknown| u.0 * u.2;
    let mut low = constant + unknowns.iter().map(least).sum::<i128>();
    let mut high = constant + unknowns.iter().map(greatest).sum::<i128>();
    // Each round that matters fixes at least one unknown of a mixed radix number.
    for _ in 0..=unknowns.len() {
        if low > 0 || high < 0 {
            return true;
        }
        let mut changed = false;
        for u in unknowns.iter_mut().filter(|u| u.0 != 0) {
            // coefficient * unknown = -(the rest), which lies between these.
            let (from, to) = (greatest(u) - high, least(u) - low);
            let new = (u.0, u.1.max(ceil_div(from, u.0)), u.2.min(to.div_euclid(u.0)));
            if new.1 > new.2 {
                return true;
            }
            changed |= new != *u;
            low += least(&new) - least(u);
            high += greatest(&new) - greatest(u);
            *u = new;
        }
        if !changed {
            return false;
        }
    }
    false
}

/// Whether the unknowns of small coefficients never add up to a multiple of what the coefficients of
/// all others have in common. `unknowns` have positive coefficients, descending.
fn by_residue(unknowns: &[Unknown], constant: i128) -> bool {
    let (mut low, mut high) = (constant, constant);
    for split in (1..unknowns.len()).rev() {
        let (c, from, to) = unknowns[split];
        (low, high) = (low + c * from, high + c * to);
        let common = unknowns[..split].iter().fold(0, |g, u| gcd(g, u.0));
        // The least multiple not below `low` is above `high`.
        if common > 0 && ceil_div(low, common) * common > high {
            return true;
        }
    }
    false
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn ceil_div(n: i128, d: i128) -> i128 {
    -(-n).div_euclid(d)
}
