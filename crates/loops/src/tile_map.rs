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
        /// Elements of an image to factors, 7 x 7 to 7 x 7, F(4x4, 4x4).
        Image7 = "winograd_image7",
        /// Products of factors to results, 7 x 7 to 4 x 4, F(4x4, 4x4).
        Result7To4 = "winograd_result7to4",
        /// Elements of an image to factors, 4 x 4 to 4 x 4.
        Image4 = "winograd_image4",
        /// Products of factors to results, 4 x 4 to 2 x 2, F(2x2, 3x3).
        Result4To2 = "winograd_result4to2",
        /// Taps of a kernel to factors: `G w G^T`, 3 x 3 to 6 x 6. In f64, rounded once.
        Weights3To6 = "winograd_weights3to6",
        /// Taps of a kernel to factors, 5 x 5 to 6 x 6. In f64, rounded once.
        Weights5To6 = "winograd_weights5to6",
        /// Taps of a kernel to factors, 4 x 4 to 7 x 7. In f64, rounded once.
        Weights4To7 = "winograd_weights4to7",
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
            TileMap::Image7 => &[
                &[4.0, -8.0, -5.0, 10.0, 1.0, -2.0, 0.0],
                &[0.0, 2.0, -2.0, -4.5, 0.5, 1.0, 0.0],
                &[0.0, -2.0, 6.0, -3.5, -1.5, 1.0, 0.0],
                &[0.0, 1.0, -1.5, -2.0, 1.5, 1.0, 0.0],
                &[0.0, -1.0, 2.5, 0.0, -2.5, 1.0, 0.0],
                &[0.0, 4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
                &[0.0, -2.0, 4.0, 2.5, -5.0, -0.5, 1.0],
            ],
            TileMap::Result7To4 => &[
                &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
                &[0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 0.0],
                &[0.0, 1.0, 1.0, 4.0, 4.0, 0.25, 0.0],
                &[0.0, 1.0, -1.0, 8.0, -8.0, 0.125, 1.0],
            ],
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
            TileMap::Weights4To7 => &[
                &[1.0 / 4.0, 0.0, 0.0, 0.0],
                &[-1.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0],
                &[1.0 / 9.0, -1.0 / 9.0, 1.0 / 9.0, -1.0 / 9.0],
                &[1.0 / 36.0, 1.0 / 18.0, 1.0 / 9.0, 2.0 / 9.0],
                &[-1.0 / 60.0, 1.0 / 30.0, -1.0 / 15.0, 2.0 / 15.0],
                &[32.0 / 45.0, 16.0 / 45.0, 8.0 / 45.0, 4.0 / 45.0],
                &[0.0, 0.0, 0.0, 1.0],
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
            TileMap::Image7 => 35 * 14,
            TileMap::Result7To4 => 20 * 11,
            TileMap::Image4 => 4 * 8,
            TileMap::Result4To2 => 4 * 6,
            TileMap::Weights3To6 => 11 * 9,
            TileMap::Weights5To6 => 19 * 11,
            TileMap::Weights4To7 => 22 * 11,
            TileMap::Weights3To4 => 5 * 7,
        }
    }
}
