//! The table of C entry points.

use crate::contract::{kiln_contract, kiln_contract_packed, kiln_pack_b};
use crate::isa::Isa;
use crate::math::BlockFunction;
use crate::winograd::TileTransform;

/// Name and address of every C entry point, for a linker of generated code.
///
/// The block functions and transforms are those of `isa` without a branch on it; a contraction's instruction set
/// is that of its descriptor.
pub fn symbols(isa: Isa) -> Vec<(&'static str, *const u8)> {
    let mut table = vec![
        ("kiln_contract", kiln_contract as *const u8),
        ("kiln_contract_packed", kiln_contract_packed as *const u8),
        ("kiln_pack_b", kiln_pack_b as *const u8),
    ];
    for &function in BlockFunction::ALL {
        table.push((function.symbol(), function.entry(isa) as *const u8));
    }
    for &transform in TileTransform::ALL {
        table.push((transform.symbol(), transform.entry(isa) as *const u8));
    }
    table
}
