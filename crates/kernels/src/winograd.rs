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

mod maps;

use maps::*;

/// A transform in the C ABI: `len` channels from each place of the square at `src` to each of the one
/// at `dst`, whose rows, columns and channels are so many elements apart. Before they are stored, `bias`
/// has a value for each channel that is added, unless it is null; `residual` is null or a square like the
/// one at `dst`, which is added, with rows and columns of its own; if `relu` is not 0 the maximum with 0 is
/// taken, and then the minimum with the f32 that has the bits `cap`, infinity for none.
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
    bias: *const f32,
    residual: *const f32,
    residual_row: isize,
    residual_column: isize,
    relu: usize,
    cap: usize,
);

/// A transform of a square of `N * N` elements to one of `M * M`.
trait Square<const N: usize, const M: usize> {
    /// # Safety
    /// `len` elements are readable at each place of the square at `src` and of what `finish` adds, writable
    /// at each of the one at `dst`, and those do not overlap.
    unsafe fn eval<S: Simd>(
        s: S,
        dst: Places<*mut f32>,
        src: Places<*const f32>,
        finish: Finish,
        len: usize,
    );
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

impl Places<*const f32> {
    fn at(&self, row: usize, column: usize, channel: usize) -> *const f32 {
        self.first.wrapping_offset(self.offset(row, column, channel))
    }
}

/// What is done to values before they are stored, as [`TileTransformPtr`] says.
#[derive(Clone, Copy)]
struct Finish {
    bias: *const f32,
    residual: Places<*const f32>,
    relu: bool,
    cap: f32,
}

/// A [`Finish`] for the channels of a vector. What is not to be done changes nothing, to the bit.
struct Finishing<S: Simd> {
    bias: S::F,
    /// The maximum with the first, plus the second.
    relu: [S::F; 2],
    cap: S::F,
}

impl Finish {
    fn is_nothing(&self) -> bool {
        self.bias.is_null() && self.residual.first.is_null() && !self.relu && self.cap.is_infinite()
    }

    /// What becomes of a value, given where its bias and its residual lie, if any do.
    ///
    /// # Safety
    /// These are readable.
    unsafe fn one(&self, mut y: f32, bias: *const f32, residual: *const f32) -> f32 {
        for (array, at) in [(self.bias, bias), (self.residual.first, residual)] {
            if !array.is_null() {
                // SAFETY: as our own contract.
                y += unsafe { *at };
            }
        }
        if self.relu {
            y = if y < 0.0 { 0.0 } else { y + 0.0 };
        }
        if self.cap < y { self.cap } else { y }
    }

    /// For the channels from `at` on, as many as `load` takes at once.
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, at: usize, load: impl Fn(*const f32) -> S::F) -> Finishing<S> {
        let bias =
            if self.bias.is_null() { s.splat(-0.0) } else { load(self.bias.wrapping_add(at)) };
        let relu = if self.relu { [0.0, 0.0] } else { [f32::NEG_INFINITY, -0.0] };
        Finishing { bias, relu: relu.map(|x| s.splat(x)), cap: s.splat(self.cap) }
    }
}

impl<S: Simd> Finishing<S> {
    /// What becomes of a value, given its residual. Where a maximum's or minimum's operands are equal or NaN
    /// it is the second.
    #[inline(always)]
    fn of(&self, s: S, y: S::F, residual: Option<S::F>) -> S::F {
        let mut y = s.add(y, self.bias);
        if let Some(residual) = residual {
            y = s.add(y, residual);
        }
        let [zero, plus] = self.relu;
        s.min(self.cap, s.add(s.max(zero, y), plus))
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

/// Channels side by side in vectors; one after the other where they do not lie so.
struct InVectors<L>(PhantomData<L>);

/// What is done to values: nothing, what a [`Finish`] without a residual says, and with one.
const NOTHING: usize = 0;
const ALONE: usize = 1;
const WITH_RESIDUAL: usize = 2;

impl<L: Line<N, M>, const N: usize, const M: usize> Square<N, M> for InVectors<L> {
    #[inline(always)]
    unsafe fn eval<S: Simd>(
        s: S,
        dst: Places<*mut f32>,
        src: Places<*const f32>,
        finish: Finish,
        len: usize,
    ) {
        // SAFETY: as our own contract.
        unsafe {
            match (finish.is_nothing(), finish.residual.first.is_null()) {
                (true, _) => channels::<S, L, N, M, NOTHING>(s, dst, src, finish, len),
                (_, true) => channels::<S, L, N, M, ALONE>(s, dst, src, finish, len),
                _ => channels::<S, L, N, M, WITH_RESIDUAL>(s, dst, src, finish, len),
            }
        }
    }
}

/// # Safety
/// As [`Square::eval`].
#[inline(always)]
unsafe fn channels<S: Simd, L: Line<N, M>, const N: usize, const M: usize, const DONE: usize>(
    s: S,
    dst: Places<*mut f32>,
    src: Places<*const f32>,
    finish: Finish,
    len: usize,
) {
    let most = if [dst.channel, src.channel] == [1, 1] { S::LANES } else { 1 };
    let mut at = 0;
    while at < len {
        let n = most.min(len - at);
        // SAFETY: channels `at..at + n` of places of the squares.
        unsafe {
            if n == S::LANES {
                let (load, store) = (|p| s.load(p), |p, y| s.store(p, y));
                square::<S, L, N, M, DONE>(s, dst, src, finish, at, load, store);
            } else {
                let (load, store) = (|p| s.load_first(p, n), |p, y| s.store_first(p, y, n));
                square::<S, L, N, M, DONE>(s, dst, src, finish, at, load, store);
            }
        }
        at += n;
    }
}

/// The transform of as many channels from `at` on as `load` and `store` take at once.
#[inline(always)]
fn square<S: Simd, L: Line<N, M>, const N: usize, const M: usize, const DONE: usize>(
    s: S,
    dst: Places<*mut f32>,
    src: Places<*const f32>,
    finish: Finish,
    at: usize,
    load: impl Fn(*const f32) -> S::F,
    store: impl Fn(*mut f32, S::F),
) {
    // By column: M values of each.
    let mut columns = [[s.splat(0.0); N]; M];
    for j in 0..N {
        let mut x = [s.splat(0.0); N];
        for (i, x) in x.iter_mut().enumerate() {
            *x = load(src.at(i, j, at));
        }
        for (row, y) in columns.iter_mut().zip(L::eval(s, x)) {
            row[j] = y;
        }
    }
    let finishing = finish.at(s, at, &load);
    for (i, &row) in columns.iter().enumerate() {
        for (j, y) in L::eval(s, row).into_iter().enumerate() {
            let residual = || load(finish.residual.at(i, j, at));
            let y = match DONE {
                NOTHING => y,
                ALONE => finishing.of(s, y, None),
                _ => finishing.of(s, y, Some(residual())),
            };
            store(dst.first.wrapping_offset(dst.offset(i, j, at)), y);
        }
    }
}

/// Several channels in f64, rounded once.
struct InDoubles<T>(PhantomData<T>);

impl<T: Taps<N, M>, const N: usize, const M: usize> Square<N, M> for InDoubles<T> {
    #[inline(always)]
    unsafe fn eval<S: Simd>(
        _: S,
        dst: Places<*mut f32>,
        src: Places<*const f32>,
        finish: Finish,
        len: usize,
    ) {
        let done = !finish.is_nothing();
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
                    let mut y = y.map(|y| y as f32);
                    if done {
                        let (bias, residual) = (finish.bias, finish.residual);
                        for (k, y) in y.iter_mut().enumerate().take(n) {
                            let residual = residual.at(i, j, at + k);
                            // SAFETY: a channel, and a place of the square.
                            *y = unsafe { finish.one(*y, bias.wrapping_add(at + k), residual) };
                        }
                    }
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
            bias: *const f32,
            residual: *const f32,
            residual_row: isize,
            residual_column: isize,
            relu: usize,
            cap: usize,
        ) {
            let (row, column, channel) = (residual_row, residual_column, dst_channel);
            let residual = Places { first: residual, row, column, channel };
            let cap = f32::from_bits(cap as u32);
            let finish = Finish { bias, residual, relu: relu != 0, cap };
            let (row, column, channel) = (dst_row, dst_column, dst_channel);
            let dst = Places { first: dst, row, column, channel };
            let (row, column, channel) = (src_row, src_column, src_channel);
            let src = Places { first: src, row, column, channel };
            // SAFETY: as our own contract.
            unsafe { T::eval(<$proof>::assume(), dst, src, finish, len) }
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

    /// What is done to each value.
    #[derive(Clone, Copy, Default)]
    struct Epilogue<'a> {
        /// A value for each channel.
        bias: Option<&'a [f32]>,
        /// A square like the result, of rows one column longer.
        residual: Option<&'a [f32]>,
        relu: bool,
        cap: Option<f32>,
    }

    /// The transform of `len` channels by every instruction set of the machine, from squares that lie
    /// so to squares that lie side by side.
    fn all(transform: TileTransform, src: &[f32], from: Strides, len: usize) -> Vec<Vec<f32>> {
        finished(transform, src, from, len, Epilogue::default())
    }

    /// The same with an epilogue.
    fn finished(
        transform: TileTransform,
        src: &[f32],
        from: Strides,
        len: usize,
        epilogue: Epilogue<'_>,
    ) -> Vec<Vec<f32>> {
        let [n, m] = transform.sides();
        assert_eq!(src.len(), n * n * len);
        let first = |x: Option<&[f32]>| x.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let (bias, residual) = (first(epilogue.bias), first(epilogue.residual));
        let (row, column) = (((m + 1) * len) as isize, len as isize);
        let relu = usize::from(epilogue.relu);
        let cap = epilogue.cap.unwrap_or(f32::INFINITY).to_bits() as usize;
        let run = |isa: &Isa| {
            let mut dst = vec![f32::NAN; m * m * len];
            let [a, b, c] = BESIDE(m, len).map(|stride| stride as isize);
            let [d, e, f] = from(n, len).map(|stride| stride as isize);
            let (to, src) = (dst.as_mut_ptr(), src.as_ptr());
            // SAFETY: the squares are of these sizes and lie so; `isa` is a proof.
            unsafe {
                transform.entry(*isa)(
                    to, src, a, b, c, d, e, f, len, bias, residual, row, column, relu, cap,
                );
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
    fn an_epilogue_is_done_to_each_value() {
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
        for (&transform, len) in
            TileTransform::ALL.iter().flat_map(|t| [1, 5, 16, 35].map(|len| (t, len)))
        {
            let [n, m] = transform.sides();
            let mut src: Vec<f32> = (0..n * n * len).map(value).collect();
            src[..len].fill(0.0); // a channel of zeros, and one that is no number
            (0..n * n).for_each(|at| src[at * len + len / 2] = -0.0);
            src[len - 1] = f32::NAN;
            let bias: Vec<f32> = (0..len).map(|i| value(i * 5) * 2.0).collect();
            let residual: Vec<f32> = (0..m * (m + 1) * len).map(|i| value(i * 3)).collect();
            let plain = all(transform, &src, BESIDE, len);
            for which in 0..16usize {
                let has = |bit: usize| which >> bit & 1 == 1;
                let epilogue = Epilogue {
                    bias: has(0).then_some(&bias[..]),
                    residual: has(1).then_some(&residual[..]),
                    relu: has(2),
                    cap: has(3).then_some(0.75),
                };
                let results = finished(transform, &src, BESIDE, len, epilogue);
                for (plain, result) in plain.iter().zip(results) {
                    for (k, (&plain, y)) in plain.iter().zip(result).enumerate() {
                        let (at, c) = (k / len, k % len);
                        let mut x = plain;
                        x = epilogue.bias.map_or(x, |bias| x + bias[c]);
                        let place = (at / m * (m + 1) + at % m) * len + c;
                        x = epilogue.residual.map_or(x, |residual| x + residual[place]);
                        if epilogue.relu && (x <= 0.0) {
                            x = 0.0;
                        }
                        x = epilogue.cap.map_or(x, |cap| if cap < x { cap } else { x });
                        let same = x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
                        assert!(same, "{y} for {x} of {transform:?}, epilogue {which:04b}");
                    }
                }
            }
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
