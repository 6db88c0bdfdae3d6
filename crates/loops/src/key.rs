//! Which kernels do the same.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::ir::{Buffer, Kernel, Program};

/// For each kernel the position of the first that does the same to arguments that are alike: with
/// the same scratch memory and body, and the same `facts` of every argument's buffer. Neither names
/// nor places count. Every argument must be a buffer of the program.
pub fn alike<F: Eq + Hash>(program: &Program, facts: impl Fn(&Buffer) -> F) -> Vec<usize> {
    let mut first: HashMap<u64, Vec<usize>, BuildHasherDefault<Mix>> = HashMap::default();
    let args = |k: &Kernel| k.args.iter().map(|&id| facts(program.buffer(id))).collect::<Vec<F>>();
    let mut found = Vec::with_capacity(program.kernels.len());
    for (position, kernel) in program.kernels.iter().enumerate() {
        let own = args(kernel);
        let mut hash = Mix::default();
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

/// A quick hash of many small numbers: rotate, exclusive or, multiply by an odd number near
/// 2^64 / pi (FxHash, as in rustc).
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(b.into()));
    }

    fn write_u8(&mut self, x: u8) {
        self.write_u64(x.into());
    }

    fn write_u32(&mut self, x: u32) {
        self.write_u64(x.into());
    }

    fn write_u64(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(5) ^ x).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    fn write_usize(&mut self, x: usize) {
        self.write_u64(x as u64);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}
