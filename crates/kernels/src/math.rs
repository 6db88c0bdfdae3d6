//! Element-wise functions over blocks of f32.
//!
//! Each is written once over [`Simd`] with fused multiply-adds and exact operations only, so an
//! element's bits depend on its value alone: not on its place in the block and not on the
//! instruction set. Errors are below the bars that [`BlockFunction::max_ulp`] states, over all
//! finite inputs; NaN gives NaN, and infinities and denormals give what the function gives.

mod exp;
mod log;
mod trace;
mod trig;

use crate::isa::Isa;
use crate::simd::{Generic, Simd, Twice};

pub use trace::{MathOp, MathStep, Place};

/// A block function in the C ABI: `n` elements from `src` to `dst`, which may be equal but may not
/// overlap otherwise.
pub type BlockFunctionPtr = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: usize);

/// A function of one element, for any vector.
trait Function {
    fn eval<S: Simd>(s: S, x: S::F) -> S::F;
}

/// Names, bars and entry points of all functions, from one list.
macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $symbol:literal, $ulp:literal, $function:path;)*) => {
        /// The functions there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum BlockFunction {
            $($(#[$doc])* $variant,)*
        }

        impl BlockFunction {
            /// Every function.
            pub const ALL: &[BlockFunction] = &[$(BlockFunction::$variant),*];

            /// Its mathematical name.
            pub fn name(self) -> &'static str {
                match self { $(BlockFunction::$variant => $name,)* }
            }

            /// The name of its C entry point.
            pub fn symbol(self) -> &'static str {
                match self { $(BlockFunction::$variant => $symbol,)* }
            }

            /// The largest error over all finite f32, in units in the last place.
            pub fn max_ulp(self) -> f64 {
                match self { $(BlockFunction::$variant => $ulp,)* }
            }

            /// Its C entry point for `isa`.
            pub fn entry(self, isa: Isa) -> BlockFunctionPtr {
                match isa {
                    Isa::Generic => match self {
                        $(BlockFunction::$variant => generic::<$function>,)*
                    },
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2(_) => match self {
                        $(BlockFunction::$variant => avx2::<$function>,)*
                    },
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(_) => match self {
                        $(BlockFunction::$variant => avx512::<$function>,)*
                    },
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon(_) => match self {
                        $(BlockFunction::$variant => neon::<$function>,)*
                    },
                }
            }
        }
    };
}

functions! {
    /// e to the power x.
    Exp = "exp", "kiln_exp", 1.5, exp::Exp;
    /// The natural logarithm.
    Log = "log", "kiln_log", 1.5, log::Log;
    /// The hyperbolic tangent.
    Tanh = "tanh", "kiln_tanh", 2.0, exp::Tanh;
    /// The logistic function, 1 / (1 + exp(-x)).
    Sigmoid = "sigmoid", "kiln_sigmoid", 3.0, exp::Sigmoid;
    /// The error function.
    Erf = "erf", "kiln_erf", 1.5, exp::Erf;
    /// The sine of x radians.
    Sin = "sin", "kiln_sin", 2.0, trig::Sin;
    /// The cosine of x radians.
    Cos = "cos", "kiln_cos", 2.0, trig::Cos;
}

impl BlockFunction {
    /// Its steps, of which the last is the result; `None` where numbers differ in what they take.
    pub fn steps(self) -> Option<Vec<MathStep>> {
        Some(match self {
            BlockFunction::Exp => trace::steps(|t, x| exp::Exp::eval(t, x)),
            BlockFunction::Log => trace::steps(|t, x| log::Log::eval(t, x)),
            BlockFunction::Tanh => trace::steps(|t, x| exp::Tanh::eval(t, x)),
            BlockFunction::Sigmoid => trace::steps(|t, x| exp::Sigmoid::eval(t, x)),
            BlockFunction::Erf => trace::steps(|t, x| exp::Erf::eval(t, x)),
            // Large numbers are reduced lane by lane.
            BlockFunction::Sin | BlockFunction::Cos => return None,
        })
    }

    /// Writes the function of each element of `src` to `dst`.
    ///
    /// # Panics
    /// The lengths differ.
    pub fn apply(self, isa: Isa, dst: &mut [f32], src: &[f32]) {
        assert_eq!(dst.len(), src.len(), "{}: blocks of unequal length", self.name());
        // SAFETY: both slices have `dst.len()` elements and cannot overlap; `isa` is a proof.
        unsafe { self.entry(isa)(dst.as_mut_ptr(), src.as_ptr(), dst.len()) }
    }

    /// Replaces each element by its function.
    pub fn apply_in_place(self, isa: Isa, block: &mut [f32]) {
        let p = block.as_mut_ptr();
        // SAFETY: `block.len()` elements at `p`, and equal pointers are allowed; `isa` is a proof.
        unsafe { self.entry(isa)(p, p, block.len()) }
    }
}

/// The body of every entry point.
///
/// # Safety
/// `n` elements at `src` are readable and at `dst` writable; equal or disjoint.
#[inline(always)]
unsafe fn map<S: Simd, F: Function>(s: S, dst: *mut f32, src: *const f32, n: usize) {
    let mut i = 0;
    while n - i >= S::LANES {
        // SAFETY: `i + LANES <= n`.
        unsafe { s.store(dst.add(i), F::eval(s, s.load(src.add(i)))) };
        i += S::LANES;
    }
    if i < n {
        // SAFETY: `n - i` elements remain.
        unsafe { s.store_first(dst.add(i), F::eval(s, s.load_first(src.add(i), n - i)), n - i) };
    }
}

/// # Safety
/// As [`BlockFunctionPtr`].
unsafe extern "C" fn generic<F: Function>(dst: *mut f32, src: *const f32, n: usize) {
    // SAFETY: as our own contract.
    unsafe { map::<Generic, F>(Generic, dst, src, n) }
}

/// One entry point for each instruction set, with its features enabled.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! entry {
    ($name:ident, $proof:path, $features:literal) => {
        /// # Safety
        /// As [`BlockFunctionPtr`], on a processor with these features.
        #[target_feature(enable = $features)]
        unsafe extern "C" fn $name<F: Function>(dst: *mut f32, src: *const f32, n: usize) {
            // SAFETY: as our own contract.
            unsafe { map::<Twice<$proof>, F>(<Twice<$proof>>::assume(), dst, src, n) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
entry!(avx2, crate::isa::Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
entry!(avx512, crate::isa::Avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma");
#[cfg(target_arch = "aarch64")]
entry!(neon, crate::isa::Neon, "neon");

/// The polynomial `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule.
#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = s.splat(c[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = s.fma(sum, x, s.splat(c[i]));
    }
    sum
}

/// The magnitude of `x`.
#[inline(always)]
fn abs<S: Simd>(s: S, x: S::F) -> S::F {
    s.with_bits(s.and_i(s.bits(x), s.splat_i(i32::MAX)))
}
