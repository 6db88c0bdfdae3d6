//! The loop of the register block that takes four depths a turn, written in assembly.
//!
//! Where depths follow each other in `A`, one offset serves four of them, and a turn is long enough
//! for its own bookkeeping not to count. Compiled from Rust the same loop spills: the compiler loads
//! the columns of all four depths first. It is worth 5 to 10 % of a whole product, more where
//! another thread shares the core.

use super::LINE;
use super::tile::Tile;
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::simd::{Generic, Simd};

/// Depths of a turn.
pub(super) const QUAD: usize = 4;

/// Streams of lines that a turn of [`super::tile::PARTS`] asks for, one of each: so many that the tiles
/// that a panel of these vectors is made for have asked for all of the next one.
pub(super) const fn streams(vectors: usize) -> usize {
    if vectors > 2 { 6 } else { 4 }
}

/// Elements from each stream to the next where they ask for so many lines in a panel of these vectors. The
/// processor follows a stream to the end of its page only, and fetches ahead of it: an odd number of
/// eight lines apart, streams do not come to these ends all at once.
pub(super) fn stream(lines: usize, vectors: usize) -> usize {
    let eights = lines.div_ceil(streams(vectors)).div_ceil(8);
    (eights | 1) * 8 * LINE
}

/// An instruction set that may have the loop.
pub(super) trait Quads: Simd {
    /// Adds the depths that make whole fours to the sums, and says how many those are.
    ///
    /// # Safety
    /// As [`super::tile::TileFn`]; depths follow each other in `A` by fours.
    #[inline(always)]
    unsafe fn quads<const R: usize, const V: usize, const FORM: u8>(
        self,
        _t: &Tile<'_>,
        _rows: &[*const f32; R],
        _sums: &mut [[Self::F; V]; R],
    ) -> usize {
        0
    }
}

impl Quads for Generic {}
#[cfg(target_arch = "aarch64")]
impl Quads for Neon {}
#[cfg(target_arch = "x86_64")]
impl Quads for Avx2 {}

#[cfg(target_arch = "x86_64")]
impl Quads for Avx512 {
    #[inline(always)]
    unsafe fn quads<const R: usize, const V: usize, const FORM: u8>(
        self,
        t: &Tile<'_>,
        rows: &[*const f32; R],
        sums: &mut [[Self::F; V]; R],
    ) -> usize {
        let depth = t.depth / QUAD * QUAD;
        if depth > 0 {
            // SAFETY: as our own contract; `self` proves the instruction set, and there is a turn.
            *sums = unsafe { avx512::quads::<R, V, FORM>(t, rows, *sums, depth) };
        }
        depth
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::asm;
    use std::arch::x86_64::{__m512, _mm512_setzero_ps};
    use std::mem::offset_of;

    use super::super::OCTET;
    use super::super::tile::{FAR, PACKED, PARTS};
    use super::{LINE, QUAD, Tile, streams};

    /// What the loop reads from memory, for want of registers.
    #[repr(C)]
    struct Bounds {
        /// Where the offsets of the depths end; of a packed `A`, the offset.
        end: usize,
        /// Bytes between the lines that a turn prefetches, one of each stream.
        stream: usize,
        /// In parts: bytes from the end of the last stream to the next line of the first.
        back: usize,
        /// Elements from each row to the one that the next tile reads.
        next: usize,
        /// Lines that a turn prefetches, one of each stream: 1, 2 or 4.
        lines: u32,
    }

    /// One row of one depth: its element times the columns, added to its sums.
    macro_rules! row {
        ($u:literal, $i:literal, $at:literal, $a:literal, [$($v:literal $sum:literal $column:literal),*]) => {
            concat!(
                ".if {r} > ", $i, "\n",
                "vbroadcastss ", $a, ", dword ptr [", $at, " + {o}*4 + ", $u, "*{stride}]\n",
                $(
                    ".if {v} > ", $v, "\n",
                    "vfmadd231ps ", $sum, ", ", $a, ", ", $column, "\n",
                    ".endif\n",
                )*
                ".endif\n",
            )
        };
    }

    /// The columns of one depth.
    macro_rules! columns {
        ($u:literal, [$($v:literal $column:literal),*]) => {
            concat!($(
                ".if {v} > ", $v, "\n",
                "vmovups ", $column, ", zmmword ptr [{b} + ", $u, "*{v}*64 + ", $v, "*64]\n",
                ".endif\n",
            )*)
        };
    }

    /// One depth of up to eight rows of up to three vectors.
    macro_rules! eight_by_three {
        ($u:literal) => {
            concat!(
                columns!($u, [0 "zmm24", 1 "zmm25", 2 "zmm26"]),
                row!($u, 0, "{r0}", "zmm28", [0 "zmm0" "zmm24", 1 "zmm1" "zmm25", 2 "zmm2" "zmm26"]),
                row!($u, 1, "{r1}", "zmm29", [0 "zmm3" "zmm24", 1 "zmm4" "zmm25", 2 "zmm5" "zmm26"]),
                row!($u, 2, "{r2}", "zmm30", [0 "zmm6" "zmm24", 1 "zmm7" "zmm25", 2 "zmm8" "zmm26"]),
                row!($u, 3, "{r3}", "zmm31", [0 "zmm9" "zmm24", 1 "zmm10" "zmm25", 2 "zmm11" "zmm26"]),
                row!($u, 4, "{r4}", "zmm28", [0 "zmm12" "zmm24", 1 "zmm13" "zmm25", 2 "zmm14" "zmm26"]),
                row!($u, 5, "{r5}", "zmm29", [0 "zmm15" "zmm24", 1 "zmm16" "zmm25", 2 "zmm17" "zmm26"]),
                row!($u, 6, "{r6}", "zmm30", [0 "zmm18" "zmm24", 1 "zmm19" "zmm25", 2 "zmm20" "zmm26"]),
                row!($u, 7, "{r7}", "zmm31", [0 "zmm21" "zmm24", 1 "zmm22" "zmm25", 2 "zmm23" "zmm26"]),
            )
        };
    }

    /// One depth of up to six rows of four vectors.
    macro_rules! six_by_four {
        ($u:literal) => {
            concat!(
                columns!($u, [0 "zmm24", 1 "zmm25", 2 "zmm26", 3 "zmm27"]),
                row!($u, 0, "{r0}", "zmm28", [0 "zmm0" "zmm24", 1 "zmm1" "zmm25", 2 "zmm2" "zmm26", 3 "zmm3" "zmm27"]),
                row!($u, 1, "{r1}", "zmm29", [0 "zmm4" "zmm24", 1 "zmm5" "zmm25", 2 "zmm6" "zmm26", 3 "zmm7" "zmm27"]),
                row!($u, 2, "{r2}", "zmm30", [0 "zmm8" "zmm24", 1 "zmm9" "zmm25", 2 "zmm10" "zmm26", 3 "zmm11" "zmm27"]),
                row!($u, 3, "{r3}", "zmm31", [0 "zmm12" "zmm24", 1 "zmm13" "zmm25", 2 "zmm14" "zmm26", 3 "zmm15" "zmm27"]),
                row!($u, 4, "{r4}", "zmm28", [0 "zmm16" "zmm24", 1 "zmm17" "zmm25", 2 "zmm18" "zmm26", 3 "zmm19" "zmm27"]),
                row!($u, 5, "{r5}", "zmm29", [0 "zmm20" "zmm24", 1 "zmm21" "zmm25", 2 "zmm22" "zmm26", 3 "zmm23" "zmm27"]),
            )
        };
    }

    /// The next tile's lines at this depth, by rows. Each is asked for four times, which costs less
    /// than to branch where a line begins.
    macro_rules! next_rows {
        ($($name:ident $i:literal),*) => {
            concat!($(
                ".if {r} > ", $i, "\n",
                "prefetcht1 byte ptr [{", stringify!($name), "} + {o}*4]\n",
                ".endif\n",
            )*)
        };
    }

    /// In parts: some lines of what is read next. They are spread over the turn, because a line that is
    /// asked for occupies what the columns have to come through too.
    macro_rules! ask {
        ($lines:literal) => {
            concat!(
                ".if {parts}\n",
                ".rept ",
                $lines,
                "\n",
                "prefetcht1 byte ptr [{ahead}]\n",
                "add {ahead}, qword ptr [{bounds} + {stream}]\n",
                ".endr\n",
                ".endif\n",
            )
        };
    }

    /// The loop around four steps.
    macro_rules! turns {
        ($step:ident, [$($name:ident $i:literal),*], $t:ident, $row:ident, $first:ident, $bounds:ident, $sums:ident) => {
            asm!(
                ".p2align 5",
                "2:",
                ".ifeq {parts}",
                "cmp dword ptr [{bounds} + {lines}], 2",
                "prefetcht1 byte ptr [{ahead}]",
                "jb 3f",
                "mov {o}, qword ptr [{bounds} + {stream}]",
                "prefetcht1 byte ptr [{ahead} + {o}]",
                "je 3f",
                "prefetcht1 byte ptr [{ahead} + 2*{o}]",
                "lea {o}, [{o} + 2*{o}]",
                "prefetcht1 byte ptr [{ahead} + {o}]",
                "3:",
                "add {ahead}, 64",
                ".endif",
                ".if {packed}",
                "mov {o}, {d}",
                "add {d}, 4*{octet}",
                ".else",
                "mov {o:e}, dword ptr [{d}]",
                ".if {far}",
                "add {o}, qword ptr [{bounds} + {next}]",
                next_rows!($($name $i),*),
                "mov {o:e}, dword ptr [{d}]",
                ".endif",
                "add {d}, 16",
                ".endif",
                ask!("{more}"),
                $step!(0),
                ask!("1"),
                $step!(1),
                ask!("{more}"),
                $step!(2),
                ask!("1"),
                $step!(3),
                ".if {parts}",
                "add {ahead}, qword ptr [{bounds} + {back}]",
                ".endif",
                "add {b}, 4*64*{v}",
                "cmp {d}, qword ptr [{bounds} + {end}]",
                "jb 2b",
                $($name = in(reg) $row($i),)*
                b = inout(reg) $t.b => _,
                d = inout(reg) $first => _,
                ahead = inout(reg) $t.ahead => _,
                bounds = in(reg) &$bounds,
                o = out(reg) _,
                r = const R,
                v = const V,
                packed = const (FORM == PACKED) as usize,
                octet = const OCTET,
                stride = const if FORM == PACKED { 4 * OCTET } else { 4 },
                far = const (FORM == FAR) as usize,
                parts = const (FORM == PARTS) as usize,
                more = const streams(V) / 2 - 1,
                end = const offset_of!(Bounds, end),
                next = const offset_of!(Bounds, next),
                stream = const offset_of!(Bounds, stream),
                back = const offset_of!(Bounds, back),
                lines = const offset_of!(Bounds, lines),
                inout("zmm0") $sums[0], inout("zmm1") $sums[1], inout("zmm2") $sums[2],
                inout("zmm3") $sums[3], inout("zmm4") $sums[4], inout("zmm5") $sums[5],
                inout("zmm6") $sums[6], inout("zmm7") $sums[7], inout("zmm8") $sums[8],
                inout("zmm9") $sums[9], inout("zmm10") $sums[10], inout("zmm11") $sums[11],
                inout("zmm12") $sums[12], inout("zmm13") $sums[13], inout("zmm14") $sums[14],
                inout("zmm15") $sums[15], inout("zmm16") $sums[16], inout("zmm17") $sums[17],
                inout("zmm18") $sums[18], inout("zmm19") $sums[19], inout("zmm20") $sums[20],
                inout("zmm21") $sums[21], inout("zmm22") $sums[22], inout("zmm23") $sums[23],
                out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
                out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
                options(nostack, readonly),
            )
        };
    }

    /// The sums with the first `depth` depths added, a multiple of four and not zero.
    ///
    /// # Safety
    /// As [`super::Quads::quads`], and the processor has the instruction set.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn quads<const R: usize, const V: usize, const FORM: u8>(
        t: &Tile<'_>,
        rows: &[*const f32; R],
        sums: [[__m512; V]; R],
        depth: usize,
    ) -> [[__m512; V]; R] {
        const { assert!(R >= 1 && V >= 1 && (V <= 3 && R <= 8 || V == 4 && R <= 6)) };
        // Of the rows that do not exist no element is read.
        let row = |i: usize| if FORM == PACKED { t.a.wrapping_add(i) } else { rows[i.min(R - 1)] };
        let (first, length) = if FORM == PACKED {
            (0, depth * OCTET)
        } else {
            (t.a_depth as usize, depth * size_of::<u32>())
        };
        let lines = t.ahead_lines;
        let stream = if FORM == PARTS { t.ahead_stream } else { depth / QUAD * LINE };
        let stream = stream * size_of::<f32>();
        let bounds = Bounds {
            end: first + length,
            stream,
            back: (LINE * size_of::<f32>()).wrapping_sub(streams(V) * stream),
            next: t.next_rows,
            lines: if lines > 2 { QUAD as u32 } else { lines as u32 },
        };
        // As the steps number them.
        let width = if V == 4 { 4 } else { 3 };
        let mut all = [_mm512_setzero_ps(); 24];
        for (i, sums) in sums.iter().enumerate() {
            all[i * width..][..V].copy_from_slice(sums);
        }
        // SAFETY: the caller's tables name readable elements, `depth` of them; the loop writes
        // registers only, and all of those are named.
        unsafe {
            if V == 4 {
                turns!(six_by_four, [r0 0, r1 1, r2 2, r3 3, r4 4, r5 5], t, row, first, bounds, all);
            } else {
                turns!(eight_by_three, [r0 0, r1 1, r2 2, r3 3, r4 4, r5 5, r6 6, r7 7], t, row, first, bounds, all);
            }
        }
        std::array::from_fn(|i| std::array::from_fn(|v| all[i * width + v]))
    }
}
