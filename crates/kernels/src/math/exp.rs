//! The exponential and what is made of it: tanh, the logistic function, the error function.

use super::{Function, abs, horner};
use crate::simd::Simd;

/// `exp(x)`. What gives 0 is kept out of the arithmetic: a product that underflows takes a hundred
/// times as long, and half of a causal mask is -inf.
pub(super) struct Exp;

impl Function for Exp {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let zero = s.splat(0.0);
        let vanishes = s.lt(x, s.splat(-104.0));
        // From 90 on the result is infinity already.
        let x = s.min(s.splat(90.0), s.select(vanishes, zero, x));
        s.select(vanishes, zero, exp_between(s, x))
    }
}

/// `exp(x)` for `-104 <= x <= 90`, and NaN for NaN: a minimax polynomial of what the reduction
/// leaves, and a scale that rounds denormal results once more only.
#[inline(always)]
fn exp_between<S: Simd>(s: S, x: S::F) -> S::F {
    let (n, _) = nearest(s, x, std::f32::consts::LOG2_E, 0.0);
    s.scale(exp_of_rest(s, x, n), n)
}

/// `exp(x)` for `-87 <= x <= 88`, where the scale is a number that one step multiplies by.
#[inline(always)]
fn exp_normal<S: Simd>(s: S, x: S::F) -> S::F {
    let (n, power) = nearest(s, x, std::f32::consts::LOG2_E, 0.0);
    s.mul(exp_of_rest(s, x, n), power)
}

/// `exp(r)` for `|r| <= ln 2 / 2`, where `x = n ln 2 + r`.
#[inline(always)]
fn exp_of_rest<S: Simd>(s: S, x: S::F, n: S::F) -> S::F {
    let r = s.fma(n, s.splat(-LN_2_HIGH), x);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    horner(
        s,
        r,
        [1.0, 1.0, 4.999_998_5e-1, 1.666_647_2e-1, 4.166_953_6e-2, 8.373_124_5e-3, 1.378_059_4e-3],
    )
}

/// ln 2 in two parts, the first short enough for exact products.
const LN_2_HIGH: f32 = 6.931_457_5e-1;
const LN_2_LOW: f32 = 1.428_606_8e-6;

/// The whole number `n` nearest to `factor * x`, and `2^(n + bias)` if that is a normal number;
/// `|n| < 2^20`.
#[inline(always)]
fn nearest<S: Simd>(s: S, x: S::F, factor: f32, bias: f32) -> (S::F, S::F) {
    // A number this large has whole numbers as its neighbours: adding it rounds to one, which
    // stands in the last bits of the sum. The last nine of 1.5 * 2^23 are 0; moved to the front,
    // those of the sum are sign and exponent.
    let shift = s.splat(12_582_912.0 + 127.0 + bias);
    let shifted = s.fma(x, s.splat(factor), shift);
    (s.sub(shifted, shift), s.with_bits(s.shl_i::<23>(s.bits(shifted))))
}

/// `tanh(x)`: `1 - exp(-2|x|)`, whose relative error stays small where it vanishes, by
/// `1 + exp(-2|x|)`.
pub(super) struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        // From here on the result is 1; NaN stays.
        let t = s.min(s.splat(9.25), abs(s, x));
        // -2 t = n ln 2 - 2 r with whole n and `|r| <= ln 2 / 4`. One part of ln 2 is enough: the
        // larger n is, the less exp(-2 t) counts.
        let (n, power) = nearest(s, t, -2.0 * std::f32::consts::LOG2_E, 1.0);
        let r = s.fma(n, s.splat(0.5 * std::f32::consts::LN_2), t);
        // (1 - exp(-2r)) / 2
        let q = horner(
            s,
            r,
            [-9.999_999_4e-1, 6.666_618e-1, -3.333_394_8e-1, 1.338_632_6e-1, -4.438_686_4e-2],
        );
        let half = s.fma(s.mul(r, r), q, r);
        // 1 - 2^n exp(-2r) and 1 + 2^n exp(-2r), with twice the power: 2 less the first would be
        // off by what that is.
        let one = s.splat(1.0);
        let numerator = s.fma(power, half, s.fma(power, s.splat(-0.5), one));
        let denominator = s.fnma(power, half, s.fma(power, s.splat(0.5), one));
        s.xor_sign(s.div(numerator, denominator), x)
    }
}

/// `1 / (1 + exp(-x))`, where exp(-r) of what the reduction leaves is a quotient itself.
pub(super) struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        // From there on it rounds to 1 and to 0; NaN stays.
        let x = s.max(s.splat(-104.0), s.min(s.splat(43.0), x));
        // -x = n ln 2 - r. Powers go up to 2^150, so all is multiplied by 2^-64.
        let (n, power) = nearest(s, x, -std::f32::consts::LOG2_E, -64.0);
        let r = s.fma(n, s.splat(LN_2_HIGH), x);
        let r = s.fma(n, s.splat(LN_2_LOW), r);
        // With t = tanh(r/2), exp(-r) is 1 - t by 1 + t. 13/16 of either lies below 1, where
        // rounding is finer, and the second is exact given the first.
        const PART: f32 = 0.8125;
        const SCALE: f32 = 1.0 / (1u128 << 64) as f32;
        let tanh = horner(s, s.mul(r, r), [4.062_499_4e-1, -3.384_993_2e-2, 3.314_535_6e-3]);
        let above = s.fnma(r, tanh, s.splat(PART));
        let below = s.fma(above, s.splat(-SCALE), s.splat(2.0 * PART * SCALE));
        s.div(below, s.fma(power, above, below))
    }
}

/// `erf(x)`: an odd polynomial near 0, `1 - exp(q(|x|))` beyond.
pub(super) struct Erf;

impl Function for Erf {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let t = abs(s, x);
        let z = s.mul(x, x);
        let p = horner(
            s,
            z,
            [
                1.283_791_7e-1,
                -3.761_253_4e-1,
                1.128_199_3e-1,
                -2.676_813_5e-2,
                4.991_194_2e-3,
                -5.967_617e-4,
            ],
        );
        let near = s.fma(p, t, t);

        // From 4 on the result is 1; the polynomial is good up to there only.
        let four = s.splat(4.0);
        let t = s.select(s.lt(four, t), four, t);
        let q = horner(
            s,
            t,
            [
                -1.287_175_1e-1,
                -6.348_468_7e-1,
                -1.067_778_8e-1,
                2.425_462_2e-2,
                -3.883_964_4e-3,
                3.831_971_3e-4,
                -1.728_534_7e-5,
            ],
        );
        let negated = s.with_bits(s.xor_i(s.bits(t), s.splat_i(i32::MIN)));
        let q = s.fma(q, t, negated);
        let far = s.sub(s.splat(1.0), exp_normal(s, q));
        s.xor_sign(s.select(s.lt(t, s.splat(0.927_734_4)), near, far), x)
    }
}
