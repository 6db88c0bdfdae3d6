//! Where in a source file something comes from.

use std::fmt;
use std::sync::Arc;

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file, as the user named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The most places that one node or kernel remembers; a constant that all of a network shares
/// comes from everywhere.
pub const MAX_LOCATIONS: usize = 16;

/// Where something comes from that is made of others: the union of their places, sorted, of which
/// the first [`MAX_LOCATIONS`] are kept.
pub fn merge<'a>(sets: impl IntoIterator<Item = &'a Arc<[Location]>>) -> Arc<[Location]> {
    let mut sets = sets.into_iter();
    let Some(first) = sets.next() else { return [].into() };
    let mut all: Option<Vec<Location>> = None;
    for set in sets.filter(|set| !Arc::ptr_eq(set, first) && set != &first) {
        let all = all.get_or_insert_with(|| first.to_vec());
        all.extend_from_slice(set);
        if all.len() > 4 * MAX_LOCATIONS {
            shorten(all);
        }
    }
    match all {
        None => first.clone(),
        Some(mut all) => {
            shorten(&mut all);
            if all[..] == first[..] { first.clone() } else { all.into() }
        }
    }
}

fn shorten(list: &mut Vec<Location>) {
    list.sort_unstable();
    list.dedup();
    list.truncate(MAX_LOCATIONS);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(lines: &[u32]) -> Arc<[Location]> {
        let at = |&line| Location { file: "a.kiln".into(), line, column: 1 };
        lines.iter().map(at).collect()
    }

    #[test]
    fn sets_grow_are_sorted_and_bounded() {
        let lines = |sets: &[&Arc<[Location]>]| -> Vec<u32> {
            merge(sets.iter().copied()).iter().map(|l| l.line).collect()
        };
        let (a, b) = (set(&[2, 7]), set(&[1, 7, 9]));
        assert_eq!(lines(&[]), [0; 0]);
        assert_eq!(lines(&[&a, &b, &a]), [1, 2, 7, 9]);
        assert!(Arc::ptr_eq(&merge([&a, &a.clone()]), &a), "nothing new, no new memory");
        let many: Vec<Arc<[Location]>> = (0..200).rev().map(|line| set(&[line])).collect();
        let kept = merge(&many);
        assert_eq!(kept.iter().map(|l| l.line).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    }
}
