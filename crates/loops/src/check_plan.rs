//! Checks a memory plan from the program alone, by code that shares nothing with the planner.

use std::collections::BTreeMap;

use crate::access::{accesses, visit};
use crate::ir::{BufferId, BufferKind, Mem, Program};
use crate::text::quoted;

/// The kernels during which a buffer holds a value that matters, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveRange {
    /// The first of them.
    pub first: usize,
    /// The last of them.
    pub last: usize,
}

/// A plan that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// For each buffer when it is live; `None` for temporary buffers that no kernel touches.
    pub ranges: Vec<Option<LiveRange>>,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// The greatest number of bytes that are live at one kernel: no arena is smaller.
    pub bound_bytes: usize,
}

impl Plan {
    /// Arena over bound; 1 if both are 0.
    pub fn ratio(&self) -> f64 {
        match self.bound_bytes {
            0 if self.arena_bytes == 0 => 1.0,
            bound => self.arena_bytes as f64 / bound as f64,
        }
    }
}

/// Why a plan does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A buffer has no offset.
    #[error("buffer {0} has no place in the arena")]
    Unplanned(String),
    /// A buffer lies partly or wholly outside the arena.
    #[error("buffer {0} ends beyond the arena's {1} bytes")]
    Outside(String, usize),
    /// Two buffers that are live at the same time share bytes.
    #[error("buffers {0} and {1} overlap in the arena, and both are live at kernel {2}")]
    Overlap(String, String, usize),
    /// Their bytes do not fit 64 bits.
    #[error("the live buffers take more bytes than 64 bits count")]
    TooLarge,
}

/// When each buffer is live: temporary ones from the first kernel that touches them to the last,
/// all others throughout. `None` for temporary buffers that no kernel touches.
pub fn live_ranges(program: &Program) -> Vec<Option<LiveRange>> {
    let end = program.kernels.len().saturating_sub(1);
    let always = Some(LiveRange { first: 0, last: end });
    let is_temp = |kind: &BufferKind| *kind == BufferKind::Temp;
    let kinds = program.buffers.iter().map(|b| &b.kind);
    let mut ranges: Vec<_> = kinds.map(|k| if is_temp(k) { None } else { always }).collect();
    for (position, kernel) in program.kernels.iter().enumerate() {
        visit(&kernel.body, &mut |stmt| {
            for access in accesses(stmt) {
                let Mem::Arg(arg) = access.mem else { continue };
                let Some(id) = kernel.args.get(arg as usize) else { continue };
                let Some(range) = ranges.get_mut(id.0 as usize) else { continue };
                let first = LiveRange { first: position, last: position };
                let range = range.get_or_insert(first);
                range.last = range.last.max(position);
            }
        });
    }
    ranges
}

/// The greatest number of bytes live at one kernel; `None` if that does not fit.
pub fn bound_bytes(program: &Program, ranges: &[Option<LiveRange>]) -> Option<usize> {
    let mut changes: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (buffer, range) in program.buffers.iter().zip(ranges) {
        let Some(range) = range else { continue };
        let born = &mut changes.entry(range.first).or_default().0;
        *born = born.checked_add(buffer.bytes())?;
        let dead = &mut changes.entry(range.last + 1).or_default().1;
        *dead = dead.checked_add(buffer.bytes())?;
    }
    let (mut live, mut bound) = (0usize, 0);
    for (born, dead) in changes.into_values() {
        live = (live - dead).checked_add(born)?;
        bound = bound.max(live);
    }
    Some(bound)
}

/// Checks that every buffer has its place within the arena and that no two buffers that are live
/// at one kernel share a byte.
///
/// # Errors
/// The first buffer without a place, or the first pair that overlaps.
pub fn check_plan(program: &Program) -> Result<Plan, PlanError> {
    let ranges = live_ranges(program);
    let bound_bytes = bound_bytes(program, &ranges).ok_or(PlanError::TooLarge)?;
    let name = |i: usize| {
        let id = BufferId(i as u32);
        format!("{id} {}", quoted(&program.buffers[i].name))
    };
    // For each kernel the buffers that become live there, and those that were live last there.
    let mut born: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut dying: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut places = Vec::with_capacity(program.buffers.len());
    for (i, (buffer, range)) in program.buffers.iter().zip(&ranges).enumerate() {
        let Some(range) = range else {
            places.push(0..0);
            continue;
        };
        let start = buffer.offset.ok_or_else(|| PlanError::Unplanned(name(i)))?;
        let end = start.checked_add(buffer.bytes()).filter(|&end| end <= program.arena_bytes);
        let end = end.ok_or_else(|| PlanError::Outside(name(i), program.arena_bytes))?;
        places.push(start..end);
        if start < end {
            born.entry(range.first).or_default().push(i);
            dying.entry(range.last + 1).or_default().push(i);
        }
    }
    // Live buffers by where they start; they do not overlap, so neighbours tell.
    let mut live: BTreeMap<usize, usize> = BTreeMap::new();
    for (kernel, buffers) in born {
        while let Some(entry) = dying.first_entry().filter(|e| *e.key() <= kernel) {
            for i in entry.remove() {
                live.remove(&places[i].start);
            }
        }
        for i in buffers {
            let before = live.range(..places[i].end).next_back();
            if let Some((_, &other)) = before
                && places[other].end > places[i].start
            {
                return Err(PlanError::Overlap(name(other), name(i), kernel));
            }
            live.insert(places[i].start, i);
        }
    }
    Ok(Plan { ranges, arena_bytes: program.arena_bytes, bound_bytes })
}
