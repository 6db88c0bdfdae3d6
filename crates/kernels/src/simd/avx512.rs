//! 512-bit vectors of x86-64: AVX-512 F, with VL, BW and DQ.

use super::{Simd, ops};
use crate::isa::Avx512;
use std::arch::x86_64::*;

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    type F = __m512;
    type I = __m512i;
    type M = __mmask16;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Avx512(())
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a prefetch reads nothing; no address is wrong.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: `self` proves the instruction, the caller the memory.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: `self` proves the instruction, the caller the first `n` elements; masked lanes
        // are not accessed.
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: `self` proves the instruction, the caller the memory.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m512, n: usize) {
        // SAFETY: `self` proves the instruction, the caller the first `n` elements; masked lanes
        // are not accessed.
        unsafe { _mm512_mask_storeu_ps(p, first(n), v) }
    }

    ops! {
        fn splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn round(a: __m512) -> __m512 =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        fn max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        fn scale(a: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(a, n);
        fn lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        fn select(m: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(m, b, a);
        fn splat_i(x: i32) -> __m512i = _mm512_set1_epi32(x);
        fn bits(a: __m512) -> __m512i = _mm512_castps_si512(a);
        fn with_bits(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);
        fn to_int(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
        fn to_float(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        fn add_i(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        fn sub_i(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        fn and_i(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        fn xor_i(a: __m512i, b: __m512i) -> __m512i = _mm512_xor_si512(a, b);
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let a = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
        }
    }

    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }

    #[inline(always)]
    fn shl_i<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm512_slli_epi32::<N>(a) }
    }

    #[inline(always)]
    fn sar_i<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm512_srai_epi32::<N>(a) }
    }
}
