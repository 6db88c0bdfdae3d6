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
        s.select(vanishes, zero, exp_above(s, s.select(vanishes, zero, x)))
    }
}

/// `exp(x)` for `x >= -104`, and NaN for NaN: reduction to `|r| <= ln 2 / 2`, a minimax polynomial,
/// and a scale in two steps so that denormal results are rounded once more only.
#[inline(always)]
fn exp_above<S: Simd>(s: S, x: S::F) -> S::F {
    // Beyond this the result is infinity already; NaN compares false and stays.
    let high = s.splat(90.0);
    let x = s.select(s.lt(high, x), high, x);

    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first short enough for an exact product.
    let r = s.fma(n, s.splat(-6.931_457_5e-1), x);
    let r = s.fma(n, s.splat(-1.428_606_8e-6), r);
    let p = horner(
        s,
        r,
        [1.0, 1.0, 4.999_998_5e-1, 1.666_647_2e-1, 4.166_953_6e-2, 8.373_124_5e-3, 1.378_059_4e-3],
    );

    let n = s.to_int(n);
    let half = s.sar_i::<1>(n);
    s.mul(s.mul(p, power_of_two(s, half)), power_of_two(s, s.sub_i(n, half)))
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two<S: Simd>(s: S, n: S::I) -> S::F {
    s.with_bits(s.shl_i::<23>(s.add_i(n, s.splat_i(127))))
}

/// `tanh(x)`: an odd polynomial near 0, `1 - 2 / (exp(2|x|) + 1)` beyond.
pub(super) struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let (magnitude, sign) = split_sign(s, x);
        let z = s.mul(x, x);
        let p = horner(
            s,
            z,
            [-3.333_328e-1, 1.333_144_2e-1, -5.373_971_6e-2, 2.063_909e-2, -5.704_988_7e-3],
        );
        let near = s.fma(s.mul(p, z), magnitude, magnitude);

        let e = exp_above(s, s.add(magnitude, magnitude));
        let one = s.splat(1.0);
        let far = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
        flip(s, s.select(s.lt(magnitude, s.splat(0.625)), near, far), sign)
    }
}

/// `1 / (1 + exp(-x))`: by `z = exp(-|x|)`, which neither overflows nor loses the tail.
pub(super) struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: S::F) -> S::F {
        let (magnitude, _) = split_sign(s, x);
        let z = Exp::eval(s, flip(s, magnitude, s.splat_i(i32::MIN)));
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
        let far = s.sub(s.splat(1.0), exp_above(s, q));
        flip(s, s.select(s.lt(t, s.splat(0.927_734_4)), near, far), sign)
    }
}
