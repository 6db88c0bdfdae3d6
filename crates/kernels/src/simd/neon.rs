//! Pairs of 128-bit vectors of 64-bit ARM.

use super::{Octet, Simd, ops};
use crate::isa::Neon;
use std::arch::aarch64::*;

impl Simd for Neon {
    const LANES: usize = 8;
    type F = float32x4x2_t;
    type I = int32x4x2_t;
    type M = uint32x4x2_t;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Neon(())
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: `self` proves the instruction, the caller the memory.
        unsafe { float32x4x2_t(vld1q_f32(p), vld1q_f32(p.add(4))) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::F {
        let mut lanes = [0f32; 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: `i < min(n, 8)`, which the caller lets us read.
            *lane = unsafe { p.add(i).read() };
        }
        // SAFETY: eight lanes of our own.
        unsafe { self.load(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::F) {
        // SAFETY: `self` proves the instruction, the caller the memory.
        unsafe {
            vst1q_f32(p, v.0);
            vst1q_f32(p.add(4), v.1);
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: Self::F, n: usize) {
        let mut lanes = [0f32; 8];
        // SAFETY: eight lanes of our own.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        for (i, lane) in lanes.iter().enumerate().take(n) {
            // SAFETY: `i < min(n, 8)`, which the caller lets us write.
            unsafe { p.add(i).write(*lane) };
        }
    }

    ops! {
        fn splat(x: f32) -> float32x4x2_t = float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x));
        fn add(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1));
        fn sub(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vsubq_f32(a.0, b.0), vsubq_f32(a.1, b.1));
        fn mul(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1));
        fn div(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vdivq_f32(a.0, b.0), vdivq_f32(a.1, b.1));
        fn fma(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1));
        fn fnma(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vfmsq_f32(c.0, a.0, b.0), vfmsq_f32(c.1, a.1, b.1));
        fn mul_add(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1));
        fn round(a: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vrndnq_f32(a.0), vrndnq_f32(a.1));
        fn lt(a: float32x4x2_t, b: float32x4x2_t) -> uint32x4x2_t =
            uint32x4x2_t(vcltq_f32(a.0, b.0), vcltq_f32(a.1, b.1));
        fn select(m: uint32x4x2_t, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vbslq_f32(m.0, a.0, b.0), vbslq_f32(m.1, a.1, b.1));
        fn any(m: uint32x4x2_t) -> bool = vmaxvq_u32(vorrq_u32(m.0, m.1)) != 0;
        fn splat_i(x: i32) -> int32x4x2_t = int32x4x2_t(vdupq_n_s32(x), vdupq_n_s32(x));
        fn bits(a: float32x4x2_t) -> int32x4x2_t =
            int32x4x2_t(vreinterpretq_s32_f32(a.0), vreinterpretq_s32_f32(a.1));
        fn with_bits(a: int32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vreinterpretq_f32_s32(a.0), vreinterpretq_f32_s32(a.1));
        fn to_int(a: float32x4x2_t) -> int32x4x2_t =
            int32x4x2_t(vcvtq_s32_f32(a.0), vcvtq_s32_f32(a.1));
        fn to_float(a: int32x4x2_t) -> float32x4x2_t =
            float32x4x2_t(vcvtq_f32_s32(a.0), vcvtq_f32_s32(a.1));
        fn add_i(a: int32x4x2_t, b: int32x4x2_t) -> int32x4x2_t =
            int32x4x2_t(vaddq_s32(a.0, b.0), vaddq_s32(a.1, b.1));
        fn sub_i(a: int32x4x2_t, b: int32x4x2_t) -> int32x4x2_t =
            int32x4x2_t(vsubq_s32(a.0, b.0), vsubq_s32(a.1, b.1));
        fn and_i(a: int32x4x2_t, b: int32x4x2_t) -> int32x4x2_t =
            int32x4x2_t(vandq_s32(a.0, b.0), vandq_s32(a.1, b.1));
        fn xor_i(a: int32x4x2_t, b: int32x4x2_t) -> int32x4x2_t =
            int32x4x2_t(veorq_s32(a.0, b.0), veorq_s32(a.1, b.1));
    }

    #[inline(always)]
    fn shl_i<const N: u32>(self, a: Self::I) -> Self::I {
        // SAFETY: `self` proves the instruction.
        unsafe {
            let n = vdupq_n_s32(N as i32);
            int32x4x2_t(vshlq_s32(a.0, n), vshlq_s32(a.1, n))
        }
    }

    #[inline(always)]
    fn sar_i<const N: u32>(self, a: Self::I) -> Self::I {
        // SAFETY: `self` proves the instruction; a negative count shifts right.
        unsafe {
            let n = vdupq_n_s32(-(N as i32));
            int32x4x2_t(vshlq_s32(a.0, n), vshlq_s32(a.1, n))
        }
    }
}

impl Octet for Neon {
    #[inline(always)]
    fn transpose(self, rows: [Self::F; 8]) -> [Self::F; 8] {
        let mut cells = [[0f32; 8]; 8];
        for (cell, row) in cells.iter_mut().zip(rows) {
            // SAFETY: eight lanes of our own.
            unsafe { self.store(cell.as_mut_ptr(), row) };
        }
        let mut out = rows;
        for (j, column) in out.iter_mut().enumerate() {
            let lanes: [f32; 8] = std::array::from_fn(|i| cells[i][j]);
            // SAFETY: eight lanes of our own.
            *column = unsafe { self.load(lanes.as_ptr()) };
        }
        out
    }
}
