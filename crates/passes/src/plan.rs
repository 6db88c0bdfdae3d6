//! `plan`: every buffer gets its place in one arena.
//!
//! Buffers that live across runs, inputs and outputs have places of their own, first of all those
//! that only the prelude reads, whose memory a session can give back; temporary buffers
//! share the rest, two of them the same bytes if they are never alive together. Offsets are found
//! by placing buffers one by one, in several orders, at the lowest or the tightest gap, and keeping
//! the best; the bound that no plan can beat is the greatest sum of live bytes at any kernel.
//! (Sekiyama et al. 2018, "Profile-guided memory optimization for deep neural networks", and
//! Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference", compare such
//! orders.)

use kiln_loops::{BufferKind, Program};

use crate::occupied::Occupied;
use crate::pass::{Notes, Pass, PassError};
use crate::walk::Touched;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "plan", doc: "give every buffer its place in one arena", run };

/// Every buffer begins at a multiple of this, in bytes: a cache line, a vector of AVX-512.
pub const ALIGNMENT: usize = 64;

/// With more temporary buffers than this a plan within 0.5 % of the bound is good enough.
const MANY: usize = 4000;

fn run(mut program: Program, _: &mut Notes) -> Result<Program, PassError> {
    let too_large = || PassError::limit("the arena would not fit the address space");
    let mut spans = spans(&program).ok_or_else(too_large)?;
    let sources = kiln_loops::sources(&program);
    let mut last_reads = vec![0; program.buffers.len()];
    for (position, kernel) in program.kernels[..program.prelude].iter().enumerate() {
        kernel.args.iter().for_each(|id| last_reads[id.0 as usize] = position);
    }
    let mut kept: Vec<usize> = (0..program.buffers.len()).collect();
    kept.retain(|&b| program.buffers[b].kind != BufferKind::Temp);
    // What is read for the last time first comes first: its memory can go while the prelude runs.
    kept.sort_by_key(|&b| if sources[b] { (false, last_reads[b]) } else { (true, 0) });
    let mut base = 0usize;
    for b in kept {
        let buffer = &mut program.buffers[b];
        let bytes = aligned(buffer.bytes()).ok_or_else(too_large)?;
        buffer.offset = Some(base);
        base = base.checked_add(bytes).ok_or_else(too_large)?;
    }
    let height = place(&mut spans);
    for span in &spans {
        program.buffers[span.buffer].offset = Some(base + span.offset);
    }
    program.arena_bytes = base.checked_add(height).ok_or_else(too_large)?;
    Ok(program)
}

fn aligned(bytes: usize) -> Option<usize> {
    bytes.max(1).checked_next_multiple_of(ALIGNMENT)
}

/// A temporary buffer in time and, once placed, in space.
#[derive(Clone, Debug)]
struct Span {
    buffer: usize,
    bytes: usize,
    first: usize,
    last: usize,
    offset: usize,
}

impl Span {
    fn length(&self) -> usize {
        self.last - self.first + 1
    }
}

/// The temporary buffers; `None` if their bytes overflow.
fn spans(program: &Program) -> Option<Vec<Span>> {
    let mut spans: Vec<Option<Span>> = vec![None; program.buffers.len()];
    let mut total = 0usize;
    for (position, kernel) in program.kernels.iter().enumerate() {
        let Touched { reads, writes } = Touched::by(kernel);
        for id in reads.iter().chain(&writes) {
            let buffer = program.buffer(*id);
            if buffer.kind != BufferKind::Temp {
                continue;
            }
            let bytes = aligned(buffer.bytes())?;
            let span = spans[id.0 as usize].get_or_insert(Span {
                buffer: id.0 as usize,
                bytes,
                first: position,
                last: position,
                offset: 0,
            });
            span.last = position;
        }
    }
    for span in spans.iter().flatten() {
        total = total.checked_add(span.bytes)?;
    }
    Some(spans.into_iter().flatten().collect())
}

/// Gives every span an offset; the bytes they need together.
fn place(spans: &mut [Span]) -> usize {
    type Key = fn(&Span) -> f64;
    // Long lives first leaves the fewest gaps to look through, so it is the quickest.
    const KEYS: [Key; 6] = [
        |s| -(s.length() as f64),
        |s| -(s.bytes as f64 * s.length() as f64),
        |s| -(s.bytes as f64),
        |s| s.first as f64,
        |s| s.last as f64,
        |s| -(s.bytes as f64 * (s.length() as f64).sqrt()),
    ];
    let bound = bound(spans);
    let enough = if spans.len() > MANY { bound + bound / 200 } else { bound };
    let mut best = (usize::MAX, Vec::new(), Vec::new());
    for key in KEYS {
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by(|&a, &b| key(&spans[a]).total_cmp(&key(&spans[b])));
        for tightest in [false, true] {
            if best.0 > enough {
                let (offsets, height) = fit(spans, &order, tightest);
                if height < best.0 {
                    best = (height, offsets, order.clone());
                }
            }
        }
    }
    let (height, offsets, order) = best;
    let (height, offsets) = improve(spans, enough, height, offsets, order);
    for (span, offset) in spans.iter_mut().zip(offsets) {
        span.offset = offset;
    }
    height
}

/// Local search: a span that ends at the top is placed earlier, as long as that helps.
fn improve(
    spans: &[Span],
    enough: usize,
    mut height: usize,
    mut offsets: Vec<usize>,
    mut order: Vec<usize>,
) -> (usize, Vec<usize>) {
    // The search stops after placing this many spans.
    const PLACED: usize = 50_000;
    let mut tries = PLACED / spans.len().max(1);
    while height > enough {
        let Some(at) = order.iter().position(|&s| offsets[s] + spans[s].bytes == height) else {
            break;
        };
        let mut better = false;
        for to in 0..at.min(tries) {
            tries -= 1;
            let mut trial = order.clone();
            let top = trial.remove(at);
            trial.insert(to, top);
            let (moved, reached) = fit(spans, &trial, true);
            if reached < height {
                (height, offsets, order) = (reached, moved, trial);
                better = true;
                break;
            }
        }
        if !better {
            break;
        }
    }
    (height, offsets)
}

/// Places spans in order, each at the lowest gap among those it meets in time, or at the tightest;
/// their offsets and the height they reach.
fn fit(spans: &[Span], order: &[usize], tightest: bool) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; spans.len()];
    let mut occupied = Occupied::new(spans.iter().map(|s| s.last + 1).max().unwrap_or(0));
    let mut height = 0;
    let mut taken = Vec::new();
    for &new in order {
        let span = &spans[new];
        taken.clear();
        occupied.during(span.first..=span.last, &mut taken);
        taken.sort(); // ascending runs, which this sort merges
        let (mut end, mut best): (usize, Option<(usize, usize)>) = (0, None);
        for &(from, to) in &taken {
            if from >= end + span.bytes {
                let gap = from - end;
                if best.is_none_or(|b| tightest && gap < b.0) {
                    best = Some((gap, end));
                }
                if !tightest {
                    break;
                }
            }
            end = end.max(to);
        }
        let offset = best.map_or(end, |b| b.1);
        offsets[new] = offset;
        height = height.max(offset + span.bytes);
        occupied.take(span.first..=span.last, (offset, offset + span.bytes));
    }
    (offsets, height)
}

/// The greatest sum of bytes alive at one kernel.
fn bound(spans: &[Span]) -> usize {
    let mut changes: Vec<(usize, isize)> = Vec::new();
    for span in spans {
        changes.push((span.first, span.bytes as isize));
        changes.push((span.last + 1, -(span.bytes as isize)));
    }
    changes.sort_unstable();
    let (mut live, mut most) = (0isize, 0isize);
    for (_, change) in changes {
        live += change;
        most = most.max(live);
    }
    most as usize
}
