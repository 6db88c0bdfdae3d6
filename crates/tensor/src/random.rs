//! Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3", 2011).
//!
//! A number is a function of what it is for and where it stands, never of what was drawn before: there is no state to
//! save or restore, and neither the order of evaluation nor the number of threads can change it.

/// Rounds of [`philox`].
pub const PHILOX_ROUNDS: usize = 10;
/// What its words are multiplied by.
pub const PHILOX_MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What its key grows by each round: the golden ratio and the square root of 3 less 1, in units of 2^-32.
pub const PHILOX_WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four uniform words, of a counter and a key.
pub fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..PHILOX_ROUNDS {
        let [p, q] =
            [(0, 0), (1, 2)].map(|(m, w)| u64::from(PHILOX_MULTIPLIERS[m]) * u64::from(c[w]));
        c = [(q >> 32) as u32 ^ c[1] ^ k[0], q as u32, (p >> 32) as u32 ^ c[3] ^ k[1], p as u32];
        k = [k[0].wrapping_add(PHILOX_WEYL[0]), k[1].wrapping_add(PHILOX_WEYL[1])];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// The known answers that the authors publish with the generator (Random123, `kat_vectors`).
    #[test]
    fn gives_the_published_words() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
        assert_eq!(
            philox(
                [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344],
                [0xA409_3822, 0x299F_31D0]
            ),
            [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]
        );
    }
}
