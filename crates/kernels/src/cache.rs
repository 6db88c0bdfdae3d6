//! Sizes of the data caches of this machine.
//!
//! Blocks are sized by them only where the size cannot change a result: the columns packed at a
//! time, the rows visited between two panels. Blocks that split a sum are constants.

use std::sync::OnceLock;

/// Bytes of each level of data cache that one core reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSizes {
    /// First level, data.
    pub l1d: usize,
    /// Second level.
    pub l2: usize,
    /// Third level; usually shared by several cores.
    pub l3: usize,
}

impl CacheSizes {
    /// What is assumed where nothing can be found out: a modest server core.
    pub const DEFAULT: CacheSizes = CacheSizes { l1d: 32 << 10, l2: 512 << 10, l3: 8 << 20 };

    /// The sizes of this machine by CPUID, or else by `/sys`; levels not found keep the default.
    /// Asked once, since virtual machines answer slowly.
    pub fn detect() -> CacheSizes {
        static SIZES: OnceLock<CacheSizes> = OnceLock::new();
        *SIZES.get_or_init(|| {
            let mut sizes = CacheSizes::DEFAULT;
            if cfg!(miri) {
                return sizes;
            }
            let found = match levels_by_cpuid() {
                levels if levels.is_empty() => levels_by_sys(),
                levels => levels,
            };
            for (level, bytes) in found {
                // A size that no machine has is a fault of the report, not a reason to believe it.
                if !(4 << 10..=1 << 31).contains(&bytes) {
                    continue;
                }
                match level {
                    1 => sizes.l1d = bytes,
                    2 => sizes.l2 = bytes,
                    3 => sizes.l3 = bytes,
                    _ => {}
                }
            }
            sizes
        })
    }
}

/// Pairs of level and bytes of the data caches, by CPUID's deterministic cache parameters
/// (leaf 4 of Intel, leaf 0x8000001D of AMD, the same format).
#[cfg(target_arch = "x86_64")]
fn levels_by_cpuid() -> Vec<(u32, usize)> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    for (base, leaf) in [(0x8000_0000, 0x8000_001D), (0, 4)] {
        if __cpuid(base).eax < leaf {
            continue;
        }
        let mut levels = Vec::new();
        for index in 0..16 {
            let entry = __cpuid_count(leaf, index);
            let (kind, level) = (entry.eax & 31, (entry.eax >> 5) & 7);
            match kind {
                0 => break,
                2 => continue, // instructions
                _ => {}
            }
            let line = (entry.ebx & 0xFFF) as usize + 1;
            let partitions = ((entry.ebx >> 12) & 0x3FF) as usize + 1;
            let ways = (entry.ebx >> 22) as usize + 1;
            let sets = entry.ecx as usize + 1;
            levels.push((
                level,
                line.saturating_mul(partitions).saturating_mul(ways).saturating_mul(sets),
            ));
        }
        if !levels.is_empty() {
            return levels;
        }
    }
    Vec::new()
}

#[cfg(not(target_arch = "x86_64"))]
fn levels_by_cpuid() -> Vec<(u32, usize)> {
    Vec::new()
}

/// The same pairs, by the first processor's entries in `/sys`.
fn levels_by_sys() -> Vec<(u32, usize)> {
    let read = |index: u32, name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    (0..8)
        .filter(|&index| read(index, "type").is_some_and(|kind| kind != "Instruction"))
        .filter_map(|index| {
            let level = read(index, "level")?.parse().ok()?;
            let bytes = parse_size(&read(index, "size")?)?;
            Some((level, bytes))
        })
        .collect()
}

/// Bytes of `32K`, `1M` or `4096`.
fn parse_size(text: &str) -> Option<usize> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_the_kernel_prints_them() {
        assert_eq!(parse_size("32K"), Some(32 << 10));
        assert_eq!(parse_size("1M"), Some(1 << 20));
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size(""), None);
        assert_eq!(parse_size("K"), None);
        assert_eq!(parse_size("99999999999999999999K"), None);
    }

    #[test]
    fn levels_grow() {
        let sizes = CacheSizes::detect();
        assert!(sizes.l1d >= 4 << 10 && sizes.l1d <= sizes.l2, "{sizes:?}");
    }
}
