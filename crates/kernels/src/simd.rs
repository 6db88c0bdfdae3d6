//! One small trait over the vector types, so that each algorithm is written once.
//!
//! A value of an implementing type proves the instruction set (see [`crate::isa`]), so arithmetic
//! is safe; only memory is not. Every method is inlined into a function that enables the
//! instruction set with `#[target_feature]`: the entry points of [`crate::math`] and the kernel
//! sets of [`crate::contract`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;
mod twice;

pub(crate) use generic::Generic;
pub(crate) use twice::Twice;

/// Lanes of the widest vector.
const MOST_LANES: usize = 16;

/// A vector of f32 and what the kernels do with it.
pub(crate) trait Simd: Copy {
    /// Elements of a vector.
    const LANES: usize;
    /// A vector of f32.
    type F: Copy;
    /// A vector of i32, as many lanes.
    type I: Copy;
    /// A truth value for every lane.
    type M: Copy;

    /// The proof, taken on trust.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn assume() -> Self;

    /// Asks for the cache line at `p`, whatever lies there, to be brought to the second-level cache,
    /// where the processor can be asked.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    fn splat(self, x: f32) -> Self::F;
    /// # Safety
    /// `LANES` elements at `p` are readable.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// The first `n` elements (at most `LANES` count), zeros in the other lanes.
    /// # Safety
    /// `min(n, LANES)` elements at `p` are readable.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::F;
    /// # Safety
    /// `LANES` elements at `p` are writable.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// Stores the first `n` lanes (at most `LANES` count); other memory stays as it is.
    /// # Safety
    /// `min(n, LANES)` elements at `p` are writable.
    unsafe fn store_first(self, p: *mut f32, v: Self::F, n: usize);

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c` rounded once, on every instruction set.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b` rounded once, on every instruction set.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the hardware does so at full speed, else twice.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// To the nearest integer, halves to the even one.
    fn round(self, a: Self::F) -> Self::F;

    /// `a` if `a < b`, else `b`: where either is NaN, `b`.
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        self.select(self.lt(a, b), a, b)
    }
    /// `a` if `b < a`, else `b`: where either is NaN, `b`.
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        self.select(self.lt(b, a), a, b)
    }
    /// `a 2^n` rounded once, for whole `n` from -252 to 254 and `a` from 0.5 to 2.
    #[inline(always)]
    fn scale(self, a: Self::F, n: Self::F) -> Self::F {
        // In two steps, of which only the second can leave the normal numbers.
        let n = self.to_int(n);
        let half = self.sar_i::<1>(n);
        let power = |n| self.with_bits(self.shl_i::<23>(self.add_i(n, self.splat_i(127))));
        self.mul(self.mul(a, power(half)), power(self.sub_i(n, half)))
    }

    /// `a`, negated where the sign of `b` is set.
    #[inline(always)]
    fn xor_sign(self, a: Self::F, b: Self::F) -> Self::F {
        let sign = self.and_i(self.bits(b), self.splat_i(i32::MIN));
        self.with_bits(self.xor_i(self.bits(a), sign))
    }

    /// The sum of the lanes by halves: lane `i` and the one half a vector further, until one is left.
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        let mut lanes = [0f32; MOST_LANES];
        // SAFETY: no vector has more lanes.
        unsafe { self.store(lanes.as_mut_ptr(), a) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// `a < b`; false where either is NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a` where `m` holds, else `b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// Whether `m` holds in any lane.
    fn any(self, m: Self::M) -> bool;

    fn splat_i(self, x: i32) -> Self::I;
    fn bits(self, a: Self::F) -> Self::I;
    fn with_bits(self, a: Self::I) -> Self::F;
    /// The integer that `a` holds exactly; any value where `a` is not an i32.
    fn to_int(self, a: Self::F) -> Self::I;
    /// The nearest f32.
    fn to_float(self, a: Self::I) -> Self::F;
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn and_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn shl_i<const N: u32>(self, a: Self::I) -> Self::I;
    /// Shifts right and keeps the sign.
    fn sar_i<const N: u32>(self, a: Self::I) -> Self::I;
}

/// A vector of eight f32: the unit in which operands are packed.
pub(crate) trait Octet: Simd {
    /// Row `i`, lane `j` becomes row `j`, lane `i`.
    fn transpose(self, rows: [Self::F; 8]) -> [Self::F; 8];
}

/// Methods of [`Simd`] that are one expression over intrinsics.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! ops {
    ($(fn $name:ident($($arg:ident: $t:ty),*) -> $r:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $t),*) -> $r {
            // SAFETY: `self` proves that the processor has these instructions.
            unsafe { $body }
        }
    )*};
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use ops;
