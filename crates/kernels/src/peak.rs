//! The processor's peak, which benches compare with.

use std::hint::black_box;
use std::time::Instant;

use crate::isa::Isa;
use crate::simd::{Generic, Simd};

const STEPS: usize = 20_000;
/// Independent sums: more than a multiply-add takes steps, times how many begin at once.
const SUMS: usize = 12;
/// The fastest of so many runs counts.
const RUNS: usize = 200;

/// Multiplications and additions a second of one core, by a loop of independent multiply-adds.
pub fn peak(isa: Isa) -> f64 {
    let (lanes, run): (usize, unsafe fn() -> f32) = match isa {
        Isa::Generic => (Generic::LANES, generic),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => (<crate::isa::Avx2 as Simd>::LANES, avx2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => (<crate::isa::Avx512 as Simd>::LANES, avx512),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => (<crate::isa::Neon as Simd>::LANES, neon),
    };
    let fastest = (0..RUNS).map(|_| {
        let start = Instant::now();
        // SAFETY: `isa` is a proof.
        black_box(unsafe { run() });
        start.elapsed().as_secs_f64()
    });
    (STEPS * SUMS * lanes * 2) as f64 / fastest.fold(f64::INFINITY, f64::min)
}

/// The loop; its result depends on every sum.
#[inline(always)]
fn multiply_adds<S: Simd>(s: S) -> f32 {
    let x = s.splat(black_box(0.5));
    let mut sums: [S::F; SUMS] = std::array::from_fn(|_| s.splat(black_box(0.5)));
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = s.mul_add(*sum, x, x);
        }
    }
    let total = sums.into_iter().fold(x, |total, sum| s.add(total, sum));
    let mut first = 0.0;
    // SAFETY: one element is written.
    unsafe { s.store_first(&mut first, total, 1) };
    first
}

fn generic() -> f32 {
    multiply_adds(Generic)
}

/// One entry point for each instruction set, with its features enabled.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! entry {
    ($name:ident, $proof:path, $features:literal) => {
        /// # Safety
        /// The processor has these features.
        #[target_feature(enable = $features)]
        unsafe fn $name() -> f32 {
            // SAFETY: as our own contract.
            multiply_adds(unsafe { <$proof>::assume() })
        }
    };
}

#[cfg(target_arch = "x86_64")]
entry!(avx2, crate::isa::Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
entry!(avx512, crate::isa::Avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma");
#[cfg(target_arch = "aarch64")]
entry!(neon, crate::isa::Neon, "neon");
