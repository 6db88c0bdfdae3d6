//! The natural logarithm.

use super::{Function, horner};
use crate::simd::Simd;

/// `log(x) = e ln 2 + log(m)` with `2/3 <= m < 4/3` and a minimax polynomial of `m - 1`.
pub(super) struct Log;

impl Function for Log {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let zero = s.splat(0.0);
        // Denormals are scaled by 2^23 first.
        let small = s.lt(x, s.splat(f32::MIN_POSITIVE));
        let scaled = s.select(small, s.mul(x, s.splat(8_388_608.0)), x);
        let shift = s.select(small, s.splat(-23.0), zero);

        let bits = s.bits(scaled);
        let two_thirds = s.splat_i(0x3F2A_AAAB);
        let exponent = s.sar_i::<23>(s.sub_i(bits, two_thirds));
        let e = s.add(s.to_float(exponent), shift);
        let m = s.with_bits(s.sub_i(bits, s.shl_i::<23>(exponent)));

        let f = s.sub(m, s.splat(1.0));
        let z = s.mul(f, f);
        let even = horner(s, z, [-2.499_962e-1, -1.668_460_6e-1, -1.214_835_1e-1, -1.303_100_6e-1]);
        let odd = horner(s, z, [2.001_203_5e-1, 1.398_148_6e-1, 1.408_691_4e-1]);
        let p = s.fma(odd, f, even);
        let p = s.fma(p, f, s.splat(3.333_319_7e-1));
        let p = s.fma(p, f, s.splat(-0.5));
        let p = s.fma(p, z, f);
        let result = s.fma(e, s.splat(std::f32::consts::LN_2), p);

        // Infinity and NaN stay; zero has -infinity, and what is negative has none.
        let result = s.select(s.lt(x, s.splat(f32::INFINITY)), result, s.add(x, x));
        let below = s.select(s.lt(x, zero), s.splat(f32::NAN), s.splat(f32::NEG_INFINITY));
        s.select(s.lt(x, s.splat(f32::from_bits(1))), below, result)
    }
}
