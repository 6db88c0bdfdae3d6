//! The maps of lines of a square: the image by `B^T`, products by `A^T`, taps by `G`.

use super::{Doubles, Line, Taps};
use crate::simd::Simd;

pub(super) struct Image6;

impl Line<6, 6> for Image6 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, [x0, x1, x2, x3, x4, x5]: [S::F; 6]) -> [S::F; 6] {
        let [two, four, minus_four, minus_five] = [2.0, 4.0, -4.0, -5.0].map(|c| s.splat(c));
        let outer = |a, b, c| s.mul_add(minus_five, b, s.mul_add(four, a, c));
        let (even, odd) = (s.mul_add(minus_four, x2, x4), s.mul_add(minus_four, x1, x3));
        let (near, far) = (s.sub(x4, x2), s.mul(two, s.sub(x3, x1)));
        [
            outer(x0, x2, x4),
            s.add(even, odd),
            s.sub(even, odd),
            s.add(near, far),
            s.sub(near, far),
            outer(x1, x3, x5),
        ]
    }
}

pub(super) struct Result6To4;

impl Line<6, 4> for Result6To4 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, m: [S::F; 6]) -> [S::F; 4] {
        let [two, four, eight] = [2.0, 4.0, 8.0].map(|c| s.splat(c));
        let (s1, d1) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (s2, d2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.add(s.add(m[0], s1), s2),
            s.mul_add(two, d2, d1),
            s.mul_add(four, s2, s1),
            s.add(s.mul_add(eight, d2, d1), m[5]),
        ]
    }
}

pub(super) struct Result6To2;

impl Line<6, 2> for Result6To2 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, m: [S::F; 6]) -> [S::F; 2] {
        let two = s.splat(2.0);
        let (s1, d1) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (s2, d2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [s.add(s.add(m[0], s1), s2), s.add(s.mul_add(two, d2, d1), m[5])]
    }
}

pub(super) struct Image7;

impl Line<7, 7> for Image7 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, x: [S::F; 7]) -> [S::F; 7] {
        let [two, four, minus_half] = [2.0, 4.0, -0.5].map(|c| s.splat(c));
        let [minus_two, minus_four, minus_five] = [-2.0, -4.0, -5.0].map(|c| s.splat(c));
        // Zero at four of the points: 1, -1, 2 and -2. At two of them; at 1/2, where `a` is half `b`.
        let outer = |i: usize| s.mul_add(minus_five, x[i + 2], s.mul_add(four, x[i], x[i + 4]));
        let near = |i: usize| s.mul_add(minus_four, x[i], x[i + 2]);
        let far = |i: usize| s.sub(x[i + 2], x[i]);
        let half = |a, b| s.mul_add(minus_half, a, b);
        let (first, middle, last) = (outer(0), outer(1), outer(2));
        let (n0, n1) = (half(near(1), near(2)), half(near(2), near(3)));
        let (f0, f1) = (half(far(1), far(2)), half(far(2), far(3)));
        [
            s.mul_add(minus_two, middle, first),
            s.add(n1, n0),
            s.sub(n1, n0),
            s.mul_add(two, f0, f1),
            s.mul_add(minus_two, f0, f1),
            middle,
            s.mul_add(minus_half, middle, last),
        ]
    }
}

pub(super) struct Result7To4;

impl Line<7, 4> for Result7To4 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, m: [S::F; 7]) -> [S::F; 4] {
        let [two, four, eight] = [2.0, 4.0, 8.0].map(|c| s.splat(c));
        let [half, quarter, eighth] = [0.5, 0.25, 0.125].map(|c| s.splat(c));
        let (s1, d1) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (s2, d2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.add(s.add(m[0], m[5]), s.add(s1, s2)),
            s.mul_add(half, m[5], s.mul_add(two, d2, d1)),
            s.mul_add(quarter, m[5], s.mul_add(four, s2, s1)),
            s.mul_add(eighth, m[5], s.mul_add(eight, d2, s.add(d1, m[6]))),
        ]
    }
}

pub(super) struct Image4;

impl Line<4, 4> for Image4 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, [x0, x1, x2, x3]: [S::F; 4]) -> [S::F; 4] {
        [s.sub(x0, x2), s.add(x1, x2), s.sub(x2, x1), s.sub(x1, x3)]
    }
}

pub(super) struct Result4To2;

impl Line<4, 2> for Result4To2 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, m: [S::F; 4]) -> [S::F; 2] {
        [s.add(s.add(m[0], m[1]), m[2]), s.sub(s.sub(m[1], m[2]), m[3])]
    }
}

pub(super) struct Weights3To6;

impl Taps<3, 6> for Weights3To6 {
    #[inline(always)]
    fn eval([a, b, c]: [Doubles; 3]) -> [Doubles; 6] {
        let (outer, inner) = (scale(add(a, c), -1.0 / 6.0), scale(b, 1.0 / 6.0));
        let even = add(scale(a, 1.0 / 24.0), scale(c, 1.0 / 6.0));
        let odd = scale(b, 1.0 / 12.0);
        [scale(a, 0.25), sub(outer, inner), add(outer, inner), add(even, odd), sub(even, odd), c]
    }
}

pub(super) struct Weights5To6;

impl Taps<5, 6> for Weights5To6 {
    #[inline(always)]
    fn eval([a, b, c, d, e]: [Doubles; 5]) -> [Doubles; 6] {
        let (outer, inner) = (scale(add(add(a, c), e), -1.0 / 6.0), scale(add(b, d), 1.0 / 6.0));
        let even = add(add(scale(a, 1.0 / 24.0), scale(c, 1.0 / 6.0)), scale(e, 2.0 / 3.0));
        let odd = add(scale(b, 1.0 / 12.0), scale(d, 1.0 / 3.0));
        [scale(a, 0.25), sub(outer, inner), add(outer, inner), add(even, odd), sub(even, odd), e]
    }
}

pub(super) struct Weights4To7;

impl Taps<4, 7> for Weights4To7 {
    #[inline(always)]
    fn eval([a, b, c, d]: [Doubles; 4]) -> [Doubles; 7] {
        let (outer, inner) = (add(a, c), add(b, d));
        let even = add(scale(a, 1.0 / 36.0), scale(c, 1.0 / 9.0));
        let odd = add(scale(b, 1.0 / 18.0), scale(d, 2.0 / 9.0));
        let half = add(add(scale(a, 8.0), scale(b, 4.0)), add(scale(c, 2.0), d));
        [
            scale(a, 0.25),
            scale(add(outer, inner), -1.0 / 3.0),
            scale(sub(outer, inner), 1.0 / 9.0),
            add(even, odd),
            scale(sub(odd, even), 0.6),
            scale(half, 4.0 / 45.0),
            d,
        ]
    }
}

pub(super) struct Weights3To4;

impl Taps<3, 4> for Weights3To4 {
    #[inline(always)]
    fn eval([a, b, c]: [Doubles; 3]) -> [Doubles; 4] {
        let (outer, inner) = (scale(add(a, c), 0.5), scale(b, 0.5));
        [a, add(outer, inner), sub(outer, inner), c]
    }
}

#[inline(always)]
fn add(mut a: Doubles, b: Doubles) -> Doubles {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}

#[inline(always)]
fn sub(mut a: Doubles, b: Doubles) -> Doubles {
    a.iter_mut().zip(b).for_each(|(a, b)| *a -= b);
    a
}

#[inline(always)]
fn scale(mut a: Doubles, factor: f64) -> Doubles {
    a.iter_mut().for_each(|a| *a *= factor);
    a
}
