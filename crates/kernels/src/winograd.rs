//! The transforms of Winograd's convolutions, F(4x4, 3x3), F(2x2, 5x5), F(4x4, 4x4) and F(2x2, 3x3)
//! of Lavin & Gray 2015, "Fast algorithms for convolutional neural networks".
//!
//! A transform takes a square of elements to another along its columns, then along its rows, for
//! many channels at once. Arithmetic is in one order on every instruction set. Transforms of images
//! and of products are in f32, so their bits differ where fused multiply-adds are not to be had;
//! those of weights, which are computed once, are in f64 without any, and have the same everywhere.

use std::marker::PhantomData;

use crate::isa::Isa;
use crate::simd::{Generic, Simd};

/// A transform in the C ABI: `len` channels from each place of the square at `src` to each of the one
/// at `dst`, whose rows, columns and channels are so many elements apart.
pub type TileTransformPtr = unsafe extern "C" fn(
    dst: *mut f32,
    src: *const f32,
    dst_row: isize,
    dst_column: isize,
    dst_channel: isize,
    src_row: isize,
    src_column: isize,
    src_channel: isize,
    len: usize,
);

/// A transform of a square of `N * N` elements to one of `M * M`.
trait Square<const N: usize, const M: usize> {
    /// # Safety
    /// `len` elements are readable at each place of the square at `src`, writable at each of the one
    /// at `dst`, and those do not overlap.
    unsafe fn eval<S: Simd>(s: S, dst: Places<*mut f32>, src: Places<*const f32>, len: usize);
}

/// The first element of a square and how far rows, columns and channels lie apart.
#[derive(Clone, Copy)]
struct Places<P> {
    first: P,
    row: isize,
    column: isize,
    channel: isize,
}

impl<P> Places<P> {
    fn offset(&self, row: usize, column: usize, channel: usize) -> isize {
        row as isize * self.row + column as isize * self.column + channel as isize * self.channel
    }
}

/// A transform of `N` values to `M`, for any vector.
trait Line<const N: usize, const M: usize> {
    fn eval<S: Simd>(s: S, x: [S::F; N]) -> [S::F; M];
}

/// Channels whose weights are transformed together.
const CHANNELS: usize = 8;
/// A value of each in f64. Loops over them become vectors on every instruction set.
type Doubles = [f64; CHANNELS];

/// A transform of `N` taps to `M` factors.
trait Taps<const N: usize, const M: usize> {
    fn eval(taps: [Doubles; N]) -> [Doubles; M];
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

/// Names, sizes and entry points of all transforms, from one list.
macro_rules! transforms {
    ($($(#[$doc:meta])* $variant:ident = $symbol:literal, $n:literal, $m:literal, $square:path;)*) => {
        /// The transforms there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum TileTransform {
            $($(#[$doc])* $variant,)*
        }

        impl TileTransform {
            /// Every transform.
            pub const ALL: &[TileTransform] = &[$(TileTransform::$variant),*];

            /// The name of its C entry point.
            pub fn symbol(self) -> &'static str {
                match self { $(TileTransform::$variant => $symbol,)* }
            }

            /// The sides of the square it reads and of the one it writes.
            pub fn sides(self) -> [usize; 2] {
                match self { $(TileTransform::$variant => [$n, $m],)* }
            }

            /// Its C entry point for `isa`.
            pub fn entry(self, isa: Isa) -> TileTransformPtr {
                match isa {
                    Isa::Generic => match self {
                        $(TileTransform::$variant => generic::<$square, $n, $m>,)*
                    },
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2(_) => match self {
                        $(TileTransform::$variant => avx2::<$square, $n, $m>,)*
                    },
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(_) => match self {
                        $(TileTransform::$variant => avx512::<$square, $n, $m>,)*
                    },
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon(_) => match self {
                        $(TileTransform::$variant => neon::<$square, $n, $m>,)*
                    },
                }
            }
        }
    };
}

transforms! {
    /// Elements of an image to factors, F(4x4, 3x3) and F(2x2, 5x5).
    Image6 = "kiln_winograd_image6", 6, 6, InVectors<Image6>;
    /// Products of factors to results, F(4x4, 3x3).
    Result6To4 = "kiln_winograd_result6to4", 6, 4, InVectors<Result6To4>;
    /// Products of factors to results, F(2x2, 5x5).
    Result6To2 = "kiln_winograd_result6to2", 6, 2, InVectors<Result6To2>;
    /// Elements of an image to factors, F(4x4, 4x4).
    Image7 = "kiln_winograd_image7", 7, 7, InVectors<Image7>;
    /// Products of factors to results, F(4x4, 4x4).
    Result7To4 = "kiln_winograd_result7to4", 7, 4, InVectors<Result7To4>;
    /// Elements of an image to factors, F(2x2, 3x3).
    Image4 = "kiln_winograd_image4", 4, 4, InVectors<Image4>;
    /// Products of factors to results, F(2x2, 3x3).
    Result4To2 = "kiln_winograd_result4to2", 4, 2, InVectors<Result4To2>;
    /// Taps of a kernel to factors, F(4x4, 3x3).
    Weights3To6 = "kiln_winograd_weights3to6", 3, 6, InDoubles<Weights3To6>;
    /// Taps of a kernel to factors, F(2x2, 5x5).
    Weights5To6 = "kiln_winograd_weights5to6", 5, 6, InDoubles<Weights5To6>;
    /// Taps of a kernel to factors, F(4x4, 4x4).
    Weights4To7 = "kiln_winograd_weights4to7", 4, 7, InDoubles<Weights4To7>;
    /// Taps of a kernel to factors, F(2x2, 3x3).
    Weights3To4 = "kiln_winograd_weights3to4", 3, 4, InDoubles<Weights3To4>;
}

struct Image6;

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

struct Result6To4;

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

struct Result6To2;

impl Line<6, 2> for Result6To2 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, m: [S::F; 6]) -> [S::F; 2] {
        let two = s.splat(2.0);
        let (s1, d1) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (s2, d2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [s.add(s.add(m[0], s1), s2), s.add(s.mul_add(two, d2, d1), m[5])]
    }
}

struct Image7;

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

struct Result7To4;

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

struct Image4;

impl Line<4, 4> for Image4 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, [x0, x1, x2, x3]: [S::F; 4]) -> [S::F; 4] {
        [s.sub(x0, x2), s.add(x1, x2), s.sub(x2, x1), s.sub(x1, x3)]
    }
}

struct Result4To2;

impl Line<4, 2> for Result4To2 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, m: [S::F; 4]) -> [S::F; 2] {
        [s.add(s.add(m[0], m[1]), m[2]), s.sub(s.sub(m[1], m[2]), m[3])]
    }
}

struct Weights3To6;

impl Taps<3, 6> for Weights3To6 {
    #[inline(always)]
    fn eval([a, b, c]: [Doubles; 3]) -> [Doubles; 6] {
        let (outer, inner) = (scale(add(a, c), -1.0 / 6.0), scale(b, 1.0 / 6.0));
        let even = add(scale(a, 1.0 / 24.0), scale(c, 1.0 / 6.0));
        let odd = scale(b, 1.0 / 12.0);
        [scale(a, 0.25), sub(outer, inner), add(outer, inner), add(even, odd), sub(even, odd), c]
    }
}

struct Weights5To6;

impl Taps<5, 6> for Weights5To6 {
    #[inline(always)]
    fn eval([a, b, c, d, e]: [Doubles; 5]) -> [Doubles; 6] {
        let (outer, inner) = (scale(add(add(a, c), e), -1.0 / 6.0), scale(add(b, d), 1.0 / 6.0));
        let even = add(add(scale(a, 1.0 / 24.0), scale(c, 1.0 / 6.0)), scale(e, 2.0 / 3.0));
        let odd = add(scale(b, 1.0 / 12.0), scale(d, 1.0 / 3.0));
        [scale(a, 0.25), sub(outer, inner), add(outer, inner), add(even, odd), sub(even, odd), e]
    }
}

struct Weights4To7;

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

struct Weights3To4;

impl Taps<3, 4> for Weights3To4 {
    #[inline(always)]
    fn eval([a, b, c]: [Doubles; 3]) -> [Doubles; 4] {
        let (outer, inner) = (scale(add(a, c), 0.5), scale(b, 0.5));
        [a, add(outer, inner), sub(outer, inner), c]
    }
}

/// Channels side by side in vectors; one after the other where they do not lie so.
struct InVectors<L>(PhantomData<L>);

impl<L: Line<N, M>, const N: usize, const M: usize> Square<N, M> for InVectors<L> {
    #[inline(always)]
    unsafe fn eval<S: Simd>(s: S, dst: Places<*mut f32>, src: Places<*const f32>, len: usize) {
        let most = if [dst.channel, src.channel] == [1, 1] { S::LANES } else { 1 };
        let mut at = 0;
        while at < len {
            let n = most.min(len - at);
            // SAFETY: channels `at..at + n` of places of the squares.
            unsafe {
                if n == S::LANES {
                    square::<S, L, N, M>(s, dst, src, at, |p| s.load(p), |p, y| s.store(p, y));
                } else {
                    let load = |p| s.load_first(p, n);
                    square::<S, L, N, M>(s, dst, src, at, load, |p, y| s.store_first(p, y, n));
                }
            }
            at += n;
        }
    }
}

/// The transform of as many channels from `at` on as `load` and `store` take at once.
#[inline(always)]
fn square<S: Simd, L: Line<N, M>, const N: usize, const M: usize>(
    s: S,
    dst: Places<*mut f32>,
    src: Places<*const f32>,
    at: usize,
    load: impl Fn(*const f32) -> S::F,
    store: impl Fn(*mut f32, S::F),
) {
    // By column: M values of each.
    let mut columns = [[s.splat(0.0); N]; M];
    for j in 0..N {
        let mut x = [s.splat(0.0); N];
        for (i, x) in x.iter_mut().enumerate() {
            *x = load(src.first.wrapping_offset(src.offset(i, j, at)));
        }
        for (row, y) in columns.iter_mut().zip(L::eval(s, x)) {
            row[j] = y;
        }
    }
    for (i, &row) in columns.iter().enumerate() {
        for (j, y) in L::eval(s, row).into_iter().enumerate() {
            store(dst.first.wrapping_offset(dst.offset(i, j, at)), y);
        }
    }
}

/// Several channels in f64, rounded once.
struct InDoubles<T>(PhantomData<T>);

impl<T: Taps<N, M>, const N: usize, const M: usize> Square<N, M> for InDoubles<T> {
    #[inline(always)]
    unsafe fn eval<S: Simd>(_: S, dst: Places<*mut f32>, src: Places<*const f32>, len: usize) {
        for at in (0..len).step_by(CHANNELS) {
            let n = CHANNELS.min(len - at);
            let mut columns = [[[0.0; CHANNELS]; N]; M];
            for j in 0..N {
                let mut taps = [[0.0; CHANNELS]; N];
                for (i, taps) in taps.iter_mut().enumerate() {
                    for (k, tap) in taps.iter_mut().enumerate().take(n) {
                        // SAFETY: channel `at + k < len` of a place of the square.
                        *tap = unsafe { *src.first.offset(src.offset(i, j, at + k)) }.into();
                    }
                }
                for (row, y) in columns.iter_mut().zip(T::eval(taps)) {
                    row[j] = y;
                }
            }
            for (i, &row) in columns.iter().enumerate() {
                for (j, y) in T::eval(row).into_iter().enumerate() {
                    let y = y.map(|y| y as f32);
                    // SAFETY: channels `at..at + n` of a place of the square.
                    unsafe {
                        let p = dst.first.offset(dst.offset(i, j, at));
                        if n == CHANNELS && dst.channel == 1 {
                            p.cast::<[f32; CHANNELS]>().write(y);
                        } else {
                            for (k, y) in y.into_iter().enumerate().take(n) {
                                *p.offset(k as isize * dst.channel) = y;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One entry point for each instruction set, with its features enabled.
macro_rules! entry {
    ($name:ident, $proof:path $(, $features:literal)?) => {
        /// # Safety
        /// As [`TileTransformPtr`], on a processor with these features.
        $(#[target_feature(enable = $features)])?
        unsafe extern "C" fn $name<T: Square<N, M>, const N: usize, const M: usize>(
            dst: *mut f32,
            src: *const f32,
            dst_row: isize,
            dst_column: isize,
            dst_channel: isize,
            src_row: isize,
            src_column: isize,
            src_channel: isize,
            len: usize,
        ) {
            let (row, column, channel) = (dst_row, dst_column, dst_channel);
            let dst = Places { first: dst, row, column, channel };
            let (row, column, channel) = (src_row, src_column, src_channel);
            let src = Places { first: src, row, column, channel };
            // SAFETY: as our own contract.
            unsafe { T::eval(<$proof>::assume(), dst, src, len) }
        }
    };
}

entry!(generic, Generic);
#[cfg(target_arch = "x86_64")]
entry!(avx2, crate::isa::Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
entry!(avx512, crate::isa::Avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma");
#[cfg(target_arch = "aarch64")]
entry!(neon, crate::isa::Neon, "neon");

#[cfg(test)]
mod tests {
    use super::*;

    /// How far the places of a square of `side` and its channels lie apart.
    type Strides = fn(side: usize, len: usize) -> [usize; 3];
    const BESIDE: Strides = |side, len| [side * len, len, 1];
    const APART: Strides = |side, _| [side, 1, side * side];

    /// The transform of `len` channels by every instruction set of the machine, from squares that lie
    /// so to squares that lie side by side.
    fn all(transform: TileTransform, src: &[f32], from: Strides, len: usize) -> Vec<Vec<f32>> {
        let [n, m] = transform.sides();
        assert_eq!(src.len(), n * n * len);
        let run = |isa: &Isa| {
            let mut dst = vec![f32::NAN; m * m * len];
            let [a, b, c] = BESIDE(m, len).map(|stride| stride as isize);
            let [d, e, f] = from(n, len).map(|stride| stride as isize);
            // SAFETY: both squares are dense and of these sizes; `isa` is a proof.
            unsafe {
                transform.entry(*isa)(dst.as_mut_ptr(), src.as_ptr(), a, b, c, d, e, f, len);
            }
            dst
        };
        Isa::available().iter().map(run).collect()
    }

    /// y = A^T ((G w) * (B^T x)) along both axes; each channel has weights of its own.
    fn convolution([image, weights, result]: [TileTransform; 3], len: usize) {
        let [n, m] = result.sides();
        let x: Vec<f32> = (0..n * n * len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let taps = weights.sides()[0];
        let all_taps = taps * taps;
        let w: Vec<f32> = (0..all_taps * len).map(|i| ((i * 29 % 17) as f32 - 8.0) / 8.0).collect();
        let scales = all(weights, &w, APART, len);
        for (factors, scales) in all(image, &x, BESIDE, len).iter().zip(scales) {
            let products: Vec<f32> = factors.iter().zip(scales).map(|(f, w)| f * w).collect();
            for y in all(result, &products, BESIDE, len) {
                for (k, y) in y.iter().enumerate() {
                    let (i, j, c) = (k / len / m, k / len % m, k % len);
                    let place = |t: usize| ((i + t / taps) * n + j + t % taps) * len + c;
                    let term = |t: usize| w[all_taps * c + t] * x[place(t)];
                    let expected: f32 = (0..all_taps).map(term).sum();
                    assert!((y - expected).abs() < 2e-5, "{y} for {expected}");
                }
            }
        }
    }

    #[test]
    fn the_transforms_compute_a_convolution() {
        use TileTransform::*;
        for len in [1, 5, 16, 35] {
            convolution([Image6, Weights3To6, Result6To4], len);
            convolution([Image6, Weights5To6, Result6To2], len);
            convolution([Image7, Weights4To7, Result7To4], len);
            convolution([Image4, Weights3To4, Result4To2], len);
        }
    }

    #[test]
    fn channels_lie_anywhere() {
        for &transform in TileTransform::ALL {
            let (n, len) = (transform.sides()[0], 35);
            let places = n * n;
            let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
            let beside: Vec<f32> = (0..places * len).map(value).collect();
            let at = |i: usize| beside[i % places * len + i / places];
            let apart: Vec<f32> = (0..places * len).map(at).collect();
            assert_eq!(
                all(transform, &beside, BESIDE, len),
                all(transform, &apart, APART, len),
                "{transform:?}"
            );
        }
    }

    #[test]
    fn factors_of_weights_are_rounded_once_and_equal_on_every_instruction_set() {
        let value = |i: usize| ((i * 7919 % 9973) as f32 - 4986.5) / 9973.0;
        let g6: [[f64; 5]; 6] = [
            [1.0 / 4.0, 0.0, 0.0, 0.0, 0.0],
            [-1.0 / 6.0; 5],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, -1.0 / 3.0, 2.0 / 3.0],
            [0.0, 0.0, 0.0, 0.0, 1.0],
        ];
        let g4 = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
        // Three taps have the first three of five, and at infinity their own last one.
        let five: Vec<&[f64]> = g6.iter().map(|row| &row[..]).collect();
        let mut three: Vec<&[f64]> = g6.iter().map(|row| &row[..3]).collect();
        three[5] = &g4[3];
        let small: Vec<&[f64]> = g4.iter().map(|row| &row[..]).collect();
        let g7 = [
            [1.0 / 4.0, 0.0, 0.0, 0.0],
            [-1.0 / 3.0; 4],
            [1.0 / 9.0, -1.0 / 9.0, 1.0 / 9.0, -1.0 / 9.0],
            [1.0 / 36.0, 1.0 / 18.0, 1.0 / 9.0, 2.0 / 9.0],
            [-1.0 / 60.0, 1.0 / 30.0, -1.0 / 15.0, 2.0 / 15.0],
            [32.0 / 45.0, 16.0 / 45.0, 8.0 / 45.0, 4.0 / 45.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        let four: Vec<&[f64]> = g7.iter().map(|row| &row[..]).collect();
        use TileTransform::*;
        for (transform, g) in
            [(Weights3To6, three), (Weights5To6, five), (Weights4To7, four), (Weights3To4, small)]
        {
            let taps = transform.sides()[0];
            let all_taps = taps * taps;
            let w: Vec<f32> = (0..all_taps * 21).map(value).collect();
            let results = all(transform, &w, APART, 21);
            for (k, factor) in results[0].iter().enumerate() {
                let (i, j, c) = (k / 21 / g.len(), k / 21 % g.len(), k % 21);
                let tap = |t: usize| f64::from(w[all_taps * c + t]);
                let term = |t: usize| g[i][t / taps] * g[j][t % taps] * tap(t);
                let (exact, terms) = (0..all_taps)
                    .map(term)
                    .fold((0.0, 0.0), |(sum, all), t| (sum + t, all + t.abs()));
                // Half a unit in the last place of the factor, and what f64 loses.
                let most = exact.abs() * 2f64.powi(-24) + terms * 1e-15;
                assert!((f64::from(*factor) - exact).abs() <= most, "{factor} for {exact}");
            }
            assert!(results.iter().all(|other| *other == results[0]));
        }
    }
}
