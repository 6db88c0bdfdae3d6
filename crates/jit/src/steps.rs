//! What the threads of a team share of a program, and what waits for what.

use std::ops::Range;

use kiln_loops::{Conflicts, Program};

use crate::cost;
use crate::team::Step;

/// Nanoseconds of work below which a kernel stays on one thread: waiting for another costs about a
/// microsecond.
const SHARED_KERNEL: f64 = 4_000.0;
/// Nanoseconds of work below which a kernel is no step of its own.
const TINY_KERNEL: f64 = 300.0;
/// Nanoseconds that threads must save in a whole run to be worth waking.
const SHARED_PROGRAM: f64 = 10_000.0;
/// Steps that may go on at the same time.
const OPEN: usize = 16;

/// The kernels from the first to the last that threads share, as steps; nothing if one thread is as
/// good as many.
pub(crate) fn steps(program: &Program, threads: usize) -> Vec<(Step, Range<usize>)> {
    let mut saved = 0.0;
    // Of each kernel its parts, and whether it is tiny.
    let mut kernels = Vec::new();
    for kernel in &program.kernels[program.prelude..] {
        let (cost, iterations) = (cost::nanoseconds(kernel), kernel.iterations());
        let is_shared = iterations > 1 && cost >= SHARED_KERNEL;
        if is_shared {
            saved += cost * (1.0 - 1.0 / iterations.min(threads) as f64);
        }
        kernels.push((if is_shared { iterations as i64 } else { 1 }, cost < TINY_KERNEL));
    }
    if threads == 1 || saved < SHARED_PROGRAM {
        return Vec::new();
    }
    let conflicts = Conflicts::new(program);
    let meet = |a: &Range<usize>, b: &Range<usize>| {
        a.clone().any(|a| b.clone().any(|b| conflicts.meet(a, b)))
    };
    let mut steps: Vec<(Step, Range<usize>)> = Vec::new();
    let last = kernels.iter().rposition(|k| k.0 > 1).map_or(0, |n| n + 1);
    let shared = kernels.into_iter().take(last).enumerate().skip_while(|k| k.1.0 == 1);
    for (number, (parts, is_tiny)) in shared {
        let own = program.prelude + number..program.prelude + number + 1;
        let step = Step { parts, grain: grain(parts, threads), after: 0 };
        let at = steps.len();
        match steps.last_mut() {
            _ if parts > 1 => steps.push((step, own)),
            // Nobody need wait between what one thread does.
            Some((before, kernels)) if before.parts == 1 && (is_tiny || meet(kernels, &own)) => {
                kernels.end = own.end;
            }
            // One does this while the others begin with what they share.
            Some((before, kernels)) if before.parts > 1 && !meet(kernels, &own) => {
                steps.insert(at - 1, (step, own));
            }
            _ => steps.push((step, own)),
        }
    }
    for number in 0..steps.len() {
        let nearest = number.saturating_sub(OPEN);
        let mut before = (nearest..number).rev();
        let after = before.find(|&n| meet(&steps[n].1, &steps[number].1));
        steps[number].0.after = after.map_or(nearest, |n| n + 1);
    }
    steps
}

/// Runs of parts: sixteen for each thread, which leaves little waiting at the end.
fn grain(parts: i64, threads: usize) -> i64 {
    (parts / (threads as i64 * 16)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 1024 elements in each buffer; the first and the last are the border.
    const ROWS: usize = 66;

    /// A kernel that threads share: the rows of `from` to those of `to` between the borders.
    fn rows(from: usize, to: usize) -> String {
        format!(
            "kernel \"rows\"(b{from}, b{to}) {{ parallel i0 in 0..64 {{ for i1 in 0..1024 {{
                %0 = load a0[1024*i0 + i1] store a1[1024*i0 + i1 + 1024] = %0 }} }} }}"
        )
    }

    /// One that they do not share: so many elements at the beginning of the border and at the end.
    fn border(of: usize, elements: usize) -> String {
        let last = 1024 * (ROWS - 1);
        format!(
            "kernel \"border\"(b{of}) {{ %0 = f32 0.0 for i0 in 0..{elements} {{
                store a0[i0] = %0 store a0[i0 + {last}] = %0 }} }}"
        )
    }

    /// The steps on two threads, by what they wait for and their kernels. The buffers are an input
    /// and as many others as there are places, by numbers of buffers.
    fn found(places: &[usize], kernels: &[String]) -> Vec<(i64, usize, Range<usize>)> {
        let bytes = 4 * 1024 * ROWS;
        let buffers = places.iter().enumerate().map(|(n, place)| {
            let kind = if n == 0 { "input" } else { "temp" };
            format!("buffer b{n} \"x{n}\": f32[{ROWS},1024] {kind} @{}\n", place * bytes)
        });
        let buffers: String = buffers.collect();
        let text = format!("program arena {} {{ {buffers} {} }}", bytes * 9, kernels.join("\n"));
        let program = kiln_loops::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        kiln_loops::verify(&program).unwrap_or_else(|e| panic!("{e}"));
        assert!(steps(&program, 1).is_empty());
        let steps = steps(&program, 2);
        assert!(steps.iter().all(|(step, _)| step.parts == 1 || step.grain == 2));
        steps.into_iter().map(|(step, kernels)| (step.parts, step.after, kernels)).collect()
    }

    #[test]
    fn a_step_waits_for_the_last_that_it_follows_from() {
        let chain = [rows(0, 1), rows(1, 2), rows(2, 3)];
        assert_eq!(found(&[0, 1, 2, 3], &chain), [(64, 0, 0..1), (64, 1, 1..2), (64, 2, 2..3)]);
        let branches = [rows(0, 1), rows(0, 2), rows(1, 3), rows(2, 4)];
        assert_eq!(
            found(&[0, 1, 2, 3, 4], &branches),
            [(64, 0, 0..1), (64, 0, 1..2), (64, 1, 2..3), (64, 2, 3..4)]
        );
        // What is read is not written before.
        assert_eq!(found(&[0, 1, 2], &[rows(0, 1), rows(1, 2), rows(0, 1)])[2], (64, 2, 2..3));
    }

    #[test]
    fn a_step_waits_for_those_whose_bytes_it_takes() {
        // The second buffer is dead when the third is written.
        let kernels = [rows(0, 1), rows(1, 2), rows(0, 3), rows(0, 4)];
        let apart = found(&[0, 1, 2, 3, 4], &kernels);
        assert_eq!(apart.iter().map(|s| s.1).collect::<Vec<_>>(), [0, 1, 0, 0]);
        let shared = found(&[0, 1, 2, 1, 4], &kernels);
        assert_eq!(shared.iter().map(|s| s.1).collect::<Vec<_>>(), [0, 1, 2, 0]);
    }

    #[test]
    fn what_one_thread_does_begins_before_the_shared_step_it_does_not_follow_from() {
        let kernels = [rows(0, 1), rows(1, 2), border(2, 1000), rows(2, 3)];
        assert_eq!(
            found(&[0, 1, 2, 3], &kernels),
            [(64, 0, 0..1), (1, 0, 2..3), (64, 1, 1..2), (64, 3, 3..4)]
        );
        // The step before reads the border.
        let kernels = [rows(0, 1), rows(1, 2), border(1, 1000), rows(2, 3)];
        assert_eq!(found(&[0, 1, 2, 3], &kernels)[2], (1, 2, 2..3));
    }

    #[test]
    fn kernels_of_one_thread_are_one_step_if_they_follow_from_each_other_or_are_tiny() {
        let ends = |kernels: &[String]| {
            let mut all = vec![rows(0, 1), rows(1, 5)];
            all.extend_from_slice(kernels);
            all.push(rows(0, 3));
            let steps = found(&[0, 1, 2, 3, 4, 5], &all);
            let alone = steps.into_iter().filter(|s| s.0 == 1);
            alone.map(|s| (s.2.start, s.2.end)).collect::<Vec<_>>()
        };
        assert_eq!(ends(&[border(1, 1000), border(1, 1000)]), [(2, 4)]);
        assert_eq!(ends(&[border(1, 1000), border(2, 10)]), [(2, 4)]);
        assert_eq!(ends(&[border(1, 1000), border(2, 1000)]), [(2, 3), (3, 4)]);
    }

    #[test]
    fn what_stands_before_and_after_needs_no_team() {
        let kernels = [border(1, 1000), rows(0, 2), rows(2, 3), border(4, 1000)];
        assert_eq!(found(&[0, 1, 2, 3, 4], &kernels), [(64, 0, 1..2), (64, 1, 2..3)]);
        assert!(found(&[0, 1], &[border(1, 1000)]).is_empty());
    }
}
