//! The transforms of Winograd's convolutions, F(4x4, 3x3) and F(2x2, 3x3) of Lavin & Gray 2015,
//! "Fast algorithms for convolutional neural networks".
//!
//! A transform takes a square of elements to another along its columns, then along its rows, for
//! many channels at once that lie side by side. Arithmetic is in one order on every instruction set,
//! so bits differ between them only where fused multiply-adds are not to be had.

use crate::isa::Isa;
use crate::simd::{Generic, Simd};

/// A transform in the C ABI: `len` channels side by side from each place of the square at `src` to
/// each of the one at `dst`, whose rows and columns are so many elements apart.
pub type TileTransformPtr = unsafe extern "C" fn(
    dst: *mut f32,
    src: *const f32,
    dst_row: isize,
    dst_column: isize,
    src_row: isize,
    src_column: isize,
    len: usize,
);

/// A transform of `N` values to `M`, for any vector.
trait Line<const N: usize, const M: usize> {
    fn eval<S: Simd>(s: S, x: [S::F; N]) -> [S::F; M];
}

/// Names, sizes and entry points of all transforms, from one list.
macro_rules! transforms {
    ($($(#[$doc:meta])* $variant:ident = $symbol:literal, $n:literal, $m:literal, $line:path;)*) => {
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
                        $(TileTransform::$variant => generic::<$line, $n, $m>,)*
                    },
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2(_) => match self {
                        $(TileTransform::$variant => avx2::<$line, $n, $m>,)*
                    },
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(_) => match self {
                        $(TileTransform::$variant => avx512::<$line, $n, $m>,)*
                    },
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon(_) => match self {
                        $(TileTransform::$variant => neon::<$line, $n, $m>,)*
                    },
                }
            }
        }
    };
}

transforms! {
    /// Elements of an image to factors, F(4x4, 3x3).
    Image4 = "kiln_winograd_image4", 6, 6, Image4;
    /// Products of factors to results, F(4x4, 3x3).
    Result4 = "kiln_winograd_result4", 6, 4, Result4;
    /// Elements of an image to factors, F(2x2, 3x3).
    Image2 = "kiln_winograd_image2", 4, 4, Image2;
    /// Products of factors to results, F(2x2, 3x3).
    Result2 = "kiln_winograd_result2", 4, 2, Result2;
}

struct Image4;

impl Line<6, 6> for Image4 {
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

struct Result4;

impl Line<6, 4> for Result4 {
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

struct Image2;

impl Line<4, 4> for Image2 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, [x0, x1, x2, x3]: [S::F; 4]) -> [S::F; 4] {
        [s.sub(x0, x2), s.add(x1, x2), s.sub(x2, x1), s.sub(x1, x3)]
    }
}

struct Result2;

impl Line<4, 2> for Result2 {
    #[inline(always)]
    fn eval<S: Simd>(s: S, m: [S::F; 4]) -> [S::F; 2] {
        [s.add(s.add(m[0], m[1]), m[2]), s.sub(s.sub(m[1], m[2]), m[3])]
    }
}

/// The body of every entry point.
///
/// # Safety
/// `len` elements are readable at each place of the square at `src`, writable at each of the one at
/// `dst`, and those do not overlap.
#[inline(always)]
unsafe fn square<S: Simd, L: Line<N, M>, const N: usize, const M: usize>(
    s: S,
    dst: *mut f32,
    src: *const f32,
    [dst_row, dst_column, src_row, src_column]: [isize; 4],
    len: usize,
) {
    let mut at = 0;
    while at < len {
        let n = len - at;
        // By column: M values of each.
        let mut columns = [[s.splat(0.0); N]; M];
        for j in 0..N {
            let mut x = [s.splat(0.0); N];
            for (i, x) in x.iter_mut().enumerate() {
                // SAFETY: a place of the square, `n` elements before its end.
                *x = unsafe {
                    let p = src.offset(i as isize * src_row + j as isize * src_column).add(at);
                    if n >= S::LANES { s.load(p) } else { s.load_first(p, n) }
                };
            }
            for (row, y) in columns.iter_mut().zip(L::eval(s, x)) {
                row[j] = y;
            }
        }
        for (i, &row) in columns.iter().enumerate() {
            for (j, y) in L::eval(s, row).into_iter().enumerate() {
                // SAFETY: as above.
                unsafe {
                    let p = dst.offset(i as isize * dst_row + j as isize * dst_column).add(at);
                    if n >= S::LANES { s.store(p, y) } else { s.store_first(p, y, n) }
                }
            }
        }
        at += S::LANES.min(n);
    }
}

/// One entry point for each instruction set, with its features enabled.
macro_rules! entry {
    ($name:ident, $proof:path $(, $features:literal)?) => {
        /// # Safety
        /// As [`TileTransformPtr`], on a processor with these features.
        $(#[target_feature(enable = $features)])?
        unsafe extern "C" fn $name<L: Line<N, M>, const N: usize, const M: usize>(
            dst: *mut f32,
            src: *const f32,
            dst_row: isize,
            dst_column: isize,
            src_row: isize,
            src_column: isize,
            len: usize,
        ) {
            let strides = [dst_row, dst_column, src_row, src_column];
            // SAFETY: as our own contract.
            unsafe { square::<_, L, N, M>(<$proof>::assume(), dst, src, strides, len) }
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

    /// The transform of `len` channels by every instruction set of the machine.
    fn all(transform: TileTransform, src: &[f32], len: usize) -> Vec<Vec<f32>> {
        let [n, m] = transform.sides();
        assert_eq!(src.len(), n * n * len);
        let run = |isa: &Isa| {
            let mut dst = vec![f32::NAN; m * m * len];
            let (row, column) = ((m * len) as isize, len as isize);
            // SAFETY: both squares are dense and of these sizes; `isa` is a proof.
            unsafe {
                let (to, from) = (dst.as_mut_ptr(), src.as_ptr());
                transform.entry(*isa)(to, from, row, column, (n * len) as isize, column, len);
            }
            dst
        };
        Isa::available().iter().map(run).collect()
    }

    /// y = A^T ((G w) * (B^T x)) along both axes.
    fn convolution(image: TileTransform, result: TileTransform, g: &[[f32; 3]], len: usize) {
        let [n, m] = result.sides();
        let x: Vec<f32> = (0..n * n * len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let w: Vec<f32> = (0..9).map(|i| ((i * 29 % 17) as f32 - 8.0) / 8.0).collect();
        let factor =
            |i: usize, j: usize| -> f32 { (0..9).map(|t| g[i][t / 3] * g[j][t % 3] * w[t]).sum() };
        for factors in all(image, &x, len) {
            let at = |k: usize| factor(k / len / n, k / len % n);
            let products: Vec<f32> = factors.iter().enumerate().map(|(k, f)| f * at(k)).collect();
            for y in all(result, &products, len) {
                for (k, y) in y.iter().enumerate() {
                    let (i, j, c) = (k / len / m, k / len % m, k % len);
                    let place = |t: usize| ((i + t / 3) * n + j + t % 3) * len + c;
                    let expected: f32 = (0..9).map(|t| w[t] * x[place(t)]).sum();
                    assert!((y - expected).abs() < 2e-5, "{y} for {expected}");
                }
            }
        }
    }

    #[test]
    fn the_transforms_compute_a_convolution() {
        let g4 = [
            [0.25, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ];
        let g2 = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
        for len in [1, 5, 16, 35] {
            convolution(TileTransform::Image4, TileTransform::Result4, &g4, len);
            convolution(TileTransform::Image2, TileTransform::Result2, &g2, len);
        }
    }
}
