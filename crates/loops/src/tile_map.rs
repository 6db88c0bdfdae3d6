//! The maps of squares that [`crate::Transform`] applies.

use crate::ir::names;

names! {
    /// Maps of squares, of Winograd's convolutions (Lavin & Gray 2015). What an image is mapped by
    /// depends on the side of the square alone: F(4x4, 3x3) and F(2x2, 5x5) share it.
    TileMap {
        /// Elements of an image to factors: `B^T x B`, 6 x 6 to 6 x 6.
        Image6 = "winograd_image6",
        /// Products of factors to results: `A^T m A`, 6 x 6 to 4 x 4, F(4x4, 3x3).
        Result6To4 = "winograd_result6to4",
        /// Products of factors to results, 6 x 6 to 2 x 2, F(2x2, 5x5).
        Result6To2 = "winograd_result6to2",
        /// Elements of an image to factors, 4 x 4 to 4 x 4.
        Image4 = "winograd_image4",
        /// Products of factors to results, 4 x 4 to 2 x 2, F(2x2, 3x3).
        Result4To2 = "winograd_result4to2",
        /// Taps of a kernel to factors: `G w G^T`, 3 x 3 to 6 x 6. In f64, rounded once.
        Weights3To6 = "winograd_weights3to6",
        /// Taps of a kernel to factors, 5 x 5 to 6 x 6. In f64, rounded once.
        Weights5To6 = "winograd_weights5to6",
        /// Taps of a kernel to factors, 3 x 3 to 4 x 4. In f64, rounded once.
        Weights3To4 = "winograd_weights3to4",
    }
}

impl TileMap {
    /// The matrix that is applied to columns and to rows, row by row.
    pub const fn matrix(self) -> &'static [&'static [f64]] {
        match self {
            TileMap::Image6 => &[
                &[4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
                &[0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
                &[0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
                &[0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
                &[0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
                &[0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
            ],
            TileMap::Result6To4 => &[
                &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
                &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
                &[0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
                &[0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
            ],
            TileMap::Result6To2 => {
                &[&[1.0, 1.0, 1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, 2.0, -2.0, 1.0]]
            }
            TileMap::Image4 => &[
                &[1.0, 0.0, -1.0, 0.0],
                &[0.0, 1.0, 1.0, 0.0],
                &[0.0, -1.0, 1.0, 0.0],
                &[0.0, 1.0, 0.0, -1.0],
            ],
            TileMap::Result4To2 => &[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, -1.0]],
            TileMap::Weights3To6 => &[
                &[1.0 / 4.0, 0.0, 0.0],
                &[-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                &[-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                &[1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
                &[1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
                &[0.0, 0.0, 1.0],
            ],
            TileMap::Weights5To6 => &[
                &[1.0 / 4.0, 0.0, 0.0, 0.0, 0.0],
                &[-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                &[-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                &[1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0],
                &[1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, -1.0 / 3.0, 2.0 / 3.0],
                &[0.0, 0.0, 0.0, 0.0, 1.0],
            ],
            TileMap::Weights3To4 => {
                &[&[1.0, 0.0, 0.0], &[0.5, 0.5, 0.5], &[0.5, -0.5, 0.5], &[0.0, 0.0, 1.0]]
            }
        }
    }

    /// The sides of the square it reads and of the one it writes.
    pub const fn sides(self) -> [usize; 2] {
        let matrix = self.matrix();
        [matrix[0].len(), matrix.len()]
    }

    /// Additions and multiplications for each channel.
    pub const fn operations(self) -> usize {
        match self {
            TileMap::Image6 => 18 * 12,
            TileMap::Result6To4 => 13 * 10,
            TileMap::Result6To2 => 9 * 8,
            TileMap::Image4 => 4 * 8,
            TileMap::Result4To2 => 4 * 6,
            TileMap::Weights3To6 => 11 * 9,
            TileMap::Weights5To6 => 19 * 11,
            TileMap::Weights3To4 => 5 * 7,
        }
    }
}
