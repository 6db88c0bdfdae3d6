//! `schedule`: what only feeds next values runs as soon as it can.
//!
//! The gradient of a weight and the update that consumes it need the layer's activation and
//! cotangent, which nothing else reads afterwards: computed at once, they free memory early, and
//! the gradient itself lives for one step of the schedule. Everything else keeps its order.

use kiln_loops::{BufferKind, Program};

use crate::pass::{Notes, Pass, PassError};
use crate::walk::Touched;

/// See the module.
pub static PASS: Pass<Program> =
    Pass { name: "schedule", doc: "run updates as soon as their gradients can be computed", run };

fn run(mut program: Program, _: &mut Notes) -> Result<Program, PassError> {
    let order = order(&program);
    let mut kernels: Vec<_> = program.kernels.into_iter().map(Some).collect();
    program.kernels = order.into_iter().filter_map(|k| kernels[k].take()).collect();
    Ok(program)
}

/// For each kernel the later kernels that must wait for it.
fn followers(program: &Program, touched: &[Touched]) -> Vec<Vec<usize>> {
    let mut followers = vec![Vec::new(); program.kernels.len()];
    let mut writer: Vec<Option<usize>> = vec![None; program.buffers.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); program.buffers.len()];
    for (position, Touched { reads, writes }) in touched.iter().enumerate() {
        for buffer in reads {
            if let Some(before) = writer[buffer.0 as usize] {
                followers[before].push(position);
            }
            readers[buffer.0 as usize].push(position);
        }
        for buffer in writes {
            let b = buffer.0 as usize;
            if let Some(before) = writer[b].filter(|w| *w != position) {
                followers[before].push(position);
            }
            for before in readers[b].drain(..).filter(|r| *r != position) {
                followers[before].push(position);
            }
            writer[b] = Some(position);
        }
    }
    for list in &mut followers {
        list.sort_unstable();
        list.dedup();
    }
    followers
}

fn order(program: &Program) -> Vec<usize> {
    let n = program.kernels.len();
    let touched: Vec<Touched> = program.kernels.iter().map(Touched::by).collect();
    let followers = followers(program, &touched);
    let mut waits = vec![0usize; n];
    followers.iter().flatten().for_each(|&f| waits[f] += 1);
    let early = feeds_only_updates(program, &touched);

    let mut order = Vec::with_capacity(n);
    let mut done = vec![false; n];
    for start in 0..n {
        let in_prelude = start < program.prelude;
        let mut ready = vec![start];
        while let Some(kernel) = ready.pop() {
            if done[kernel] {
                continue;
            }
            done[kernel] = true;
            order.push(kernel);
            for &follower in followers[kernel].iter().rev() {
                waits[follower] -= 1;
                if waits[follower] == 0 && early[follower] && !in_prelude {
                    ready.push(follower);
                }
            }
        }
    }
    order
}

/// Whether all a kernel computes ends in values that live across runs, and in nothing else.
fn feeds_only_updates(program: &Program, touched: &[Touched]) -> Vec<bool> {
    let mut early = vec![false; program.kernels.len()];
    // Temporary buffers that a kernel which is not early reads.
    let mut needed = vec![false; program.buffers.len()];
    for (position, Touched { reads, writes }) in touched.iter().enumerate().rev() {
        early[position] = writes.iter().all(|b| match program.buffer(*b).kind {
            BufferKind::Temp => !needed[b.0 as usize],
            BufferKind::Output => false,
            _ => true,
        });
        if !early[position] {
            reads.iter().for_each(|b| needed[b.0 as usize] = true);
        }
    }
    early
}
