//! The exponential and what is made of it: tanh, the logistic function, the error function.

use super::{Function, flip, horner, split_sign};
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
    let (shifted, p) = reduced(s, x);
    s.scale(p, s.sub(shifted, s.splat(SHIFT)))
}

/// `exp(x)` for `-87 <= x <= 88`, where the scale is a number that one step multiplies by.
#[inline(always)]
fn exp_normal<S: Simd>(s: S, x: S::F) -> S::F {
    let (shifted, p) = reduced(s, x);
    let power = s.add_i(s.shl_i::<23>(s.bits(shifted)), s.bits(s.splat(1.0)));
    s.mul(p, s.with_bits(power))
}

/// Of `exp(r)` for `|r| <= ln 2 / 2`.
const POLYNOMIAL: [f32; 7] =
    [1.0, 1.0, 4.999_998_5e-1, 1.666_647_2e-1, 4.166_953_6e-2, 8.373_124_5e-3, 1.378_059_4e-3];

/// `exp(-t)` for `0 <= t <= 104`, and NaN for NaN.
#[inline(always)]
fn exp_of_negated<S: Simd>(s: S, t: S::F) -> S::F {
    // As in `reduced`, but for the sign of r.
    let shifted = s.fma(t, s.splat(-std::f32::consts::LOG2_E), s.splat(SHIFT));
    let n = s.sub(shifted, s.splat(SHIFT));
    let r = s.fma(n, s.splat(6.931_457_5e-1), t);
    let r = s.fma(n, s.splat(1.428_606_8e-6), r);
    let [c0, c1, c2, c3, c4, c5, c6] = POLYNOMIAL;
    s.scale(horner(s, r, [c0, -c1, c2, -c3, c4, -c5, c6]), n)
}

/// A number this large has whole numbers as its neighbours: adding it rounds to one, which stands
/// in the last bits of the sum.
const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23

/// `SHIFT + n` and `exp(r)`, where `x = n ln 2 + r` and `|r| <= ln 2 / 2`; `|n| < 2^20`.
#[inline(always)]
fn reduced<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(SHIFT));
    let n = s.sub(shifted, s.splat(SHIFT));
    // ln 2 in two parts, the first short enough for an exact product.
    let r = s.fma(n, s.splat(-6.931_457_5e-1), x);
    let r = s.fma(n, s.splat(-1.428_606_8e-6), r);
    let p = horner(s, r, POLYNOMIAL);
    (shifted, p)
}

/// `tanh(x)`: `1 - exp(-2|x|)`, whose relative error stays small where it vanishes, by
/// `1 + exp(-2|x|)`.
pub(super) struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let (magnitude, sign) = split_sign(s, x);
        // From here on the result is 1; NaN stays.
        let t = s.min(s.splat(9.25), magnitude);
        // -2 t = n ln 2 - 2 r with whole n and `|r| <= ln 2 / 4`.
        let shifted = s.fma(t, s.splat(-2.0 * std::f32::consts::LOG2_E), s.splat(SHIFT));
        let n = s.sub(shifted, s.splat(SHIFT));
        let r = s.fma(n, s.splat(0.5 * 6.931_457_5e-1), t);
        let r = s.fma(n, s.splat(0.5 * 1.428_606_8e-6), r);
        // (1 - exp(-2r)) / 2
        let q = horner(
            s,
            r,
            [-9.999_999_4e-1, 6.666_618e-1, -3.333_394_8e-1, 1.338_632_6e-1, -4.438_686_4e-2],
        );
        let half = s.fma(s.mul(r, r), q, r);
        // 1 - 2^n exp(-2r) and 1 + 2^n exp(-2r), with twice the power of either sign: 2 less the first
        // would be off by what that is.
        let exponent = s.shl_i::<23>(s.bits(shifted));
        let power = s.with_bits(s.add_i(exponent, s.bits(s.splat(2.0))));
        let minus = s.with_bits(s.add_i(exponent, s.bits(s.splat(-2.0))));
        let one = s.splat(1.0);
        let numerator = s.fma(power, half, s.fma(power, s.splat(-0.5), one));
        let denominator = s.fma(minus, half, s.fma(power, s.splat(0.5), one));
        flip(s, s.div(numerator, denominator), sign)
    }
}

/// `1 / (1 + exp(-x))`: by `z = exp(-|x|)`, which neither overflows nor loses the tail.
pub(super) struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let (magnitude, _) = split_sign(s, x);
        // From here on it rounds to 0; NaN stays.
        let t = s.min(s.splat(104.0), magnitude);
        let z = exp_of_negated(s, t);
        let one = s.splat(1.0);
        let numerator = s.select(s.lt(x, s.splat(0.0)), z, one);
        s.div(numerator, s.add(one, z))
    }
}

/// `erf(x)`: an odd polynomial near 0, `1 - exp(q(|x|))` beyond.
pub(super) struct Erf;

impl Function for Erf {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let (t, sign) = split_sign(s, x);
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
        let q = s.fma(q, t, flip(s, t, s.splat_i(i32::MIN)));
        let far = s.sub(s.splat(1.0), exp_normal(s, q));
        flip(s, s.select(s.lt(t, s.splat(0.927_734_4)), near, far), sign)
    }
}
