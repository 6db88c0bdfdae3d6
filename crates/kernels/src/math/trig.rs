//! Sine and cosine.
//!
//! Up to [`LIMIT`] the argument is reduced by three parts of pi/2 (Cody & Waite 1980): the first
//! product is exact in a fused multiply-add, and the parts together have 72 bits. What is larger
//! goes lane by lane through f64, whose library function reduces by as many digits as it takes.

use super::{Function, abs, horner};
use crate::simd::Simd;

/// The largest magnitude that the vector path reduces.
const LIMIT: f32 = 65_536.0;

pub(super) struct Sin;

impl Function for Sin {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        s.xor_sign(quadrants(s, abs(s, x), 0, f64::sin), x)
    }
}

pub(super) struct Cos;

impl Function for Cos {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        quadrants(s, abs(s, x), 1, f64::cos)
    }
}

/// `sin(x + first * pi/2)` of `x >= 0`, which `exact` computes in f64.
#[inline(always)]
fn quadrants<S: Simd>(s: S, x: S::F, first: i32, exact: fn(f64) -> f64) -> S::F {
    let n = s.round(s.mul(x, s.splat(std::f32::consts::FRAC_2_PI)));
    let r = s.fma(n, s.splat(-1.570_796_4), x);
    let r = s.fma(n, s.splat(4.371_139e-8), r);
    let r = s.fma(n, s.splat(1.715_125e-15), r);

    let z = s.mul(r, r);
    let p = horner(s, z, [-1.666_665_5e-1, 8.332_161e-3, -1.951_529_6e-4]);
    let sine = s.fma(s.mul(p, z), r, r);
    let p = horner(s, z, [4.166_664_6e-2, -1.388_731_6e-3, 2.443_315_7e-5]);
    let cosine = s.fma(s.mul(z, z), p, s.fma(z, s.splat(-0.5), s.splat(1.0)));

    // Bit 0 of the quadrant chooses the function, bit 1 its sign.
    let quadrant = s.add_i(s.to_int(n), s.splat_i(first));
    let odd = s.to_float(s.and_i(quadrant, s.splat_i(1)));
    let value = s.select(s.lt(s.splat(0.5), odd), cosine, sine);
    let result = s.xor_sign(value, s.with_bits(s.shl_i::<30>(quadrant)));

    let large = s.lt(s.splat(LIMIT), x);
    if s.any(large) { s.select(large, lane_by_lane(s, x, exact), result) } else { result }
}

/// Every lane through f64.
#[inline(always)]
fn lane_by_lane<S: Simd>(s: S, x: S::F, exact: fn(f64) -> f64) -> S::F {
    let mut lanes = [0f32; 32];
    const { assert!(S::LANES <= 32) };
    // SAFETY: `LANES` elements are there.
    unsafe {
        s.store(lanes.as_mut_ptr(), x);
        for lane in lanes.iter_mut().take(S::LANES) {
            *lane = exact(f64::from(*lane)) as f32;
        }
        s.load(lanes.as_ptr())
    }
}
