//! The known name nearest to a mistyped one.

/// The candidate nearest to `name`, if one is near enough to have been meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of one or two letters is near to every other one.
    let limit = match name.chars().count() {
        0..=2 => return None,
        n => (n / 3).max(1),
    };
    let scored = candidates.into_iter().filter(|c| *c != name).map(|c| (distance(name, c), c));
    scored.filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

/// Edit distance: insertions, deletions, replacements and swaps of neighbours each count 1 (optimal string
/// alignment). Names beyond 64 characters are never near.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(65).collect(), b.chars().take(65).collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("lienar", ["linear", "conv"]), Some("linear"));
        assert_eq!(nearest("optimiser", ["optimizer", "epochs"]), Some("optimizer"));
        assert_eq!(nearest("cat", ["logits", "prob"]), None);
        assert_eq!(nearest("Q", ["C", "H"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
