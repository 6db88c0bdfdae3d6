//! Plain Rust: the meaning of every operation, on every processor and under Miri.

use super::{Octet, Simd};

/// Eight lanes as an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generic;

const LANES: usize = 8;
type F = [f32; LANES];
type I = [i32; LANES];
type M = [bool; LANES];

#[inline(always)]
fn zip<A: Copy, B: Copy, R: Copy + Default>(
    a: [A; LANES],
    b: [B; LANES],
    f: impl Fn(A, B) -> R,
) -> [R; LANES] {
    let mut out = [R::default(); LANES];
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

impl Simd for Generic {
    const LANES: usize = LANES;
    type F = F;
    type I = I;
    type M = M;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Generic
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F {
        // SAFETY: the caller lets us read LANES elements; an array of f32 is aligned like one.
        unsafe { p.cast::<F>().read() }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> F {
        let mut v = [0.0; LANES];
        for (i, lane) in v.iter_mut().enumerate().take(n) {
            // SAFETY: `i < min(n, LANES)`.
            *lane = unsafe { p.add(i).read() };
        }
        v
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: F) {
        // SAFETY: the caller lets us write LANES elements; an array of f32 is aligned like one.
        unsafe { p.cast::<F>().write(v) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: F, n: usize) {
        for (i, lane) in v.iter().enumerate().take(n) {
            // SAFETY: `i < min(n, LANES)`.
            unsafe { p.add(i).write(*lane) }
        }
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        let mut out = c;
        for i in 0..LANES {
            out[i] = a[i].mul_add(b[i], c[i]);
        }
        out
    }

    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        self.fma(a.map(|x| -x), b, c)
    }

    #[inline(always)]
    fn mul_add(self, a: F, b: F, c: F) -> F {
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            return self.fma(a, b, c);
        }
        let mut out = c;
        for i in 0..LANES {
            out[i] += a[i] * b[i];
        }
        out
    }

    #[inline(always)]
    fn round(self, a: F) -> F {
        a.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn lt(self, a: F, b: F) -> M {
        zip(a, b, |a, b| a < b)
    }

    #[inline(always)]
    fn select(self, m: M, a: F, b: F) -> F {
        let mut out = b;
        for i in 0..LANES {
            if m[i] {
                out[i] = a[i];
            }
        }
        out
    }

    #[inline(always)]
    fn any(self, m: M) -> bool {
        m.contains(&true)
    }

    #[inline(always)]
    fn splat_i(self, x: i32) -> I {
        [x; LANES]
    }

    #[inline(always)]
    fn bits(self, a: F) -> I {
        a.map(|x| x.to_bits() as i32)
    }

    #[inline(always)]
    fn with_bits(self, a: I) -> F {
        a.map(|x| f32::from_bits(x as u32))
    }

    #[inline(always)]
    fn to_int(self, a: F) -> I {
        a.map(|x| x as i32)
    }

    #[inline(always)]
    fn to_float(self, a: I) -> F {
        a.map(|x| x as f32)
    }

    #[inline(always)]
    fn add_i(self, a: I, b: I) -> I {
        zip(a, b, i32::wrapping_add)
    }

    #[inline(always)]
    fn sub_i(self, a: I, b: I) -> I {
        zip(a, b, i32::wrapping_sub)
    }

    #[inline(always)]
    fn and_i(self, a: I, b: I) -> I {
        zip(a, b, |a, b| a & b)
    }

    #[inline(always)]
    fn xor_i(self, a: I, b: I) -> I {
        zip(a, b, |a, b| a ^ b)
    }

    #[inline(always)]
    fn shl_i<const N: u32>(self, a: I) -> I {
        a.map(|x| x << N)
    }

    #[inline(always)]
    fn sar_i<const N: u32>(self, a: I) -> I {
        a.map(|x| x >> N)
    }
}

impl Octet for Generic {
    #[inline(always)]
    fn transpose(self, rows: [F; 8]) -> [F; 8] {
        let mut out = rows;
        for (i, row) in rows.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                out[j][i] = *x;
            }
        }
        out
    }
}
