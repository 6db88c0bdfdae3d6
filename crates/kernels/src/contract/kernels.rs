//! The compiled kernels of every instruction set.

use super::finish::{self, Finish, FinishFn};
use super::narrow::{self, Narrow, NarrowFn};
use super::pack::{self, Form, PackFn};
use super::quads::Quads;
use super::tile::{self, Tile, TileFn};
use crate::isa::Isa;
use crate::simd::{Generic, Simd};

/// The kernels of one instruction set.
#[derive(Debug)]
pub(super) struct KernelSet {
    /// Panels by width, widest first, each a vector narrower than the one before.
    pub panels: &'static [PanelKernels],
    pub pack: PackFn,
    pub axpy: NarrowFn,
    pub dot: NarrowFn,
    pub finish: FinishFn,
}

/// The tiles of one panel width.
#[derive(Debug)]
pub(super) struct PanelKernels {
    /// Columns, a multiple of eight.
    pub width: usize,
    /// `A` read in place, by rows - 1.
    pub in_place: &'static [TileFn],
    /// `A` read in place from far away, by rows - 1.
    pub far: &'static [TileFn],
    /// `A` read in place, a part of the depth at a time, by rows - 1; none where the first cache holds
    /// every panel.
    pub parts: &'static [TileFn],
    /// `A` packed, by rows - 1.
    pub packed: &'static [TileFn],
    /// `A` read in place by vectors, a column each, by rows - 1.
    pub channelwise: &'static [TileFn],
}

impl KernelSet {
    /// Elements of a vector, the width of the narrowest panel.
    pub fn lanes(&self) -> usize {
        self.panels.last().map_or(1, |p| p.width)
    }

    /// The kernels of `isa`.
    pub fn of(isa: Isa) -> &'static KernelSet {
        match isa {
            Isa::Generic => &generic::SET,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => &avx2::SET,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => &avx512::SET,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => &neon::SET,
        }
    }
}

/// One module of compiled kernels: the vectors of eight and the widest, of each panel width the vector,
/// how many, the numbers of rows that tiles may have, and those of tiles that take parts of the depth.
macro_rules! kernel_set {
    ($isa:ident $(, $features:literal)?: $octet:path, $vector:path, panels $panels:tt) => {
        mod $isa {
            use super::*;

            $(#[target_feature(enable = $features)])?
            unsafe fn tile<S: Quads, const R: usize, const V: usize, const FORM: u8>(t: &Tile<'_>) {
                // SAFETY: as our own contract.
                unsafe {
                    tile::tile::<S, $octet, R, V, FORM>(S::assume(), <$octet>::assume(), t)
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn pack(
                src: *const f32,
                cols: &[u32],
                depth: &[u32],
                form: Form,
                width: usize,
                dst: *mut f32,
            ) {
                // SAFETY: as our own contract.
                unsafe { pack::pack(<$octet>::assume(), src, cols, depth, form, width, dst) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn axpy(n: &Narrow<'_>) {
                // SAFETY: as our own contract.
                unsafe { narrow::axpy(<$vector>::assume(), n) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn dot(n: &Narrow<'_>) {
                // SAFETY: as our own contract.
                unsafe { narrow::dot(<$vector>::assume(), n) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn finish(f: &Finish<'_>) {
                // SAFETY: as our own contract.
                unsafe { finish::finish(<$vector>::assume(), f) }
            }

            pub(super) static SET: KernelSet = KernelSet {
                panels: kernel_set!(@panels $panels),
                pack,
                axpy,
                dot,
                finish,
            };
        }
    };
    (@panels [$(($s:path, $v:literal, $rows:tt, $parts:tt))*]) => {
        &[$(PanelKernels {
            width: <$s as Simd>::LANES * $v,
            in_place: kernel_set!(@tiles $rows $s, $v, { tile::IN_PLACE }),
            far: kernel_set!(@tiles $rows $s, $v, { tile::FAR }),
            parts: kernel_set!(@tiles $parts $s, $v, { tile::PARTS }),
            packed: kernel_set!(@tiles $rows $s, $v, { tile::PACKED }),
            channelwise: kernel_set!(@tiles $rows $s, $v, { tile::CHANNELWISE }),
        }),*]
    };
    (@tiles [$($r:literal)*] $s:path, $v:literal, $form:block) => {
        &[$(tile::<$s, $r, $v, $form>),*]
    };
}

// Four rows of two 128-bit pairs and what they are multiplied with fit sixteen registers.
kernel_set!(generic: Generic, Generic, panels [(Generic, 1, [1 2 3 4], [])]);

// 6 x 2 sums, two columns and one broadcast: 15 of 16 registers.
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
#[cfg(target_arch = "x86_64")]
kernel_set!(
    avx2, "avx2,fma": Avx2, Avx2,
    panels [(Avx2, 2, [1 2 3 4 5 6], []) (Avx2, 1, [1 2 3 4 5 6], [])]
);

// 6 x 4 sums, four columns and one broadcast: 29 of 32 registers; 8 x 3: 28. Eight row pointers fit
// the general registers, which fourteen would not. Fewer sums leave the front end with more to do
// for each of them, which shows where a core is shared.
#[cfg(target_arch = "x86_64")]
kernel_set!(
    avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma": Avx2, Avx512,
    panels [
        (Avx512, 4, [1 2 3 4 5 6], [1 2 3 4 5 6])
        (Avx512, 3, [1 2 3 4 5 6 7 8], [1 2 3 4 5 6 7 8])
        (Avx512, 2, [1 2 3 4 5 6 7 8], [1 2 3 4 5 6 7 8])
        (Avx512, 1, [1 2 3 4 5 6 7 8], [1 2 3 4 5 6 7 8])
    ]
);

// 6 x 4 sums, four columns and one broadcast: 29 of 32 registers.
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "aarch64")]
kernel_set!(
    neon, "neon": Neon, Neon,
    panels [(Neon, 2, [1 2 3 4 5 6], []) (Neon, 1, [1 2 3 4 5 6], [])]
);
