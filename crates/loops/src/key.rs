//! Which kernels do the same.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::ir::{Buffer, Kernel, Program};

/// For each kernel the position of the first that does the same to arguments that are alike: with
/// the same scratch memory and body, and the same `facts` of every argument's buffer. Neither names
/// nor places count. Every argument must be a buffer of the program.
pub fn alike<F: Eq + Hash>(program: &Program, facts: impl Fn(&Buffer) -> F) -> Vec<usize> {
    let mut first: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
    let args = |k: &Kernel| k.args.iter().map(|&id| facts(program.buffer(id))).collect::<Vec<F>>();
    let mut found = Vec::with_capacity(program.kernels.len());
    for (position, kernel) in program.kernels.iter().enumerate() {
        let own = args(kernel);
        let mut hash = FxHasher::default();
        (&own, &kernel.locals, &kernel.body).hash(&mut hash);
        let same = first.entry(hash.finish()).or_default();
        let earlier = same.iter().copied().find(|&other| {
            let other = &program.kernels[other];
            other.locals == kernel.locals && other.body == kernel.body && args(other) == own
        });
        found.push(earlier.unwrap_or(position));
        if earlier.is_none() {
            same.push(position);
        }
    }
    found
}
