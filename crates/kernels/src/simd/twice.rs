//! Two vectors as one, so that two chains of dependent operations are interleaved.
//!
//! A function of one element is a chain of some twenty operations, each waiting for the one before
//! it; a processor looks ahead, but not as far as it takes to keep its units busy.

use super::Simd;

/// Vectors of `S`, two at a time.
#[derive(Clone, Copy)]
pub(crate) struct Twice<S>(S);

macro_rules! both {
    ($(fn $name:ident($($arg:ident: $t:ty),*) -> $r:ty;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $t),*) -> $r {
            [self.0.$name($($arg[0]),*), self.0.$name($($arg[1]),*)]
        }
    )*};
}

impl<S: Simd> Simd for Twice<S> {
    const LANES: usize = 2 * S::LANES;
    type F = [S::F; 2];
    type I = [S::I; 2];
    type M = [S::M; 2];

    #[inline(always)]
    unsafe fn assume() -> Self {
        // SAFETY: as our own contract.
        Twice(unsafe { S::assume() })
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller lets us read twice `S::LANES` elements.
        unsafe { [self.0.load(p), self.0.load(p.add(S::LANES))] }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::F {
        let rest = n.saturating_sub(S::LANES);
        // SAFETY: the caller lets us read `n` elements; the second address is not read without.
        unsafe { [self.0.load_first(p, n), self.0.load_first(p.wrapping_add(S::LANES), rest)] }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::F) {
        // SAFETY: the caller lets us write twice `S::LANES` elements.
        unsafe {
            self.0.store(p, v[0]);
            self.0.store(p.add(S::LANES), v[1]);
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: Self::F, n: usize) {
        let rest = n.saturating_sub(S::LANES);
        // SAFETY: the caller lets us write `n` elements; the second address is not written without.
        unsafe {
            self.0.store_first(p, v[0], n);
            self.0.store_first(p.wrapping_add(S::LANES), v[1], rest);
        }
    }

    both! {
        fn add(a: Self::F, b: Self::F) -> Self::F;
        fn sub(a: Self::F, b: Self::F) -> Self::F;
        fn mul(a: Self::F, b: Self::F) -> Self::F;
        fn div(a: Self::F, b: Self::F) -> Self::F;
        fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
        fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
        fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
        fn round(a: Self::F) -> Self::F;
        fn min(a: Self::F, b: Self::F) -> Self::F;
        fn scale(a: Self::F, n: Self::F) -> Self::F;
        fn lt(a: Self::F, b: Self::F) -> Self::M;
        fn select(m: Self::M, a: Self::F, b: Self::F) -> Self::F;
        fn bits(a: Self::F) -> Self::I;
        fn with_bits(a: Self::I) -> Self::F;
        fn to_int(a: Self::F) -> Self::I;
        fn to_float(a: Self::I) -> Self::F;
        fn add_i(a: Self::I, b: Self::I) -> Self::I;
        fn sub_i(a: Self::I, b: Self::I) -> Self::I;
        fn and_i(a: Self::I, b: Self::I) -> Self::I;
        fn xor_i(a: Self::I, b: Self::I) -> Self::I;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [self.0.splat(x); 2]
    }

    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        self.0.any(m[0]) | self.0.any(m[1])
    }

    #[inline(always)]
    fn splat_i(self, x: i32) -> Self::I {
        [self.0.splat_i(x); 2]
    }

    #[inline(always)]
    fn shl_i<const N: u32>(self, a: Self::I) -> Self::I {
        [self.0.shl_i::<N>(a[0]), self.0.shl_i::<N>(a[1])]
    }

    #[inline(always)]
    fn sar_i<const N: u32>(self, a: Self::I) -> Self::I {
        [self.0.sar_i::<N>(a[0]), self.0.sar_i::<N>(a[1])]
    }
}
