//! What the operators of Winograd's convolution share: F(4x4, 3x3) and F(2x2, 3x3) of Lavin & Gray
//! 2015, "Fast algorithms for convolutional neural networks".
//!
//! Four results of a convolution with three taps take six products instead of twelve, two take four
//! instead of six: `y = A^T ((G w) * (B^T x))` for the elements `x` that a tile of results depends
//! on; in two dimensions along both.

use kiln_loops::{Index, TileMap};

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::op::AttrDef;

/// The taps of a convolution along one axis.
pub const TAPS: usize = 3;

/// Results of a tile along one axis.
pub const TILE: AttrDef =
    AttrDef { name: "tile", kind: AttrKind::Int, doc: "results of a tile along one axis: 2 or 4" };

/// The tile of attributes.
pub fn tile_of(attrs: &Attrs) -> Result<usize, String> {
    match attrs.int("tile") {
        2 => Ok(2),
        4 => Ok(4),
        other => Err(format!("`tile` is 2 or 4, not {other}")),
    }
}

/// The tile of a well-formed node.
pub fn tile(attrs: &Attrs) -> usize {
    tile_of(attrs).expect("checked by `infer`")
}

/// Elements of the image that a tile depends on, along one axis: its factors.
pub const fn window(tile: usize) -> usize {
    tile + TAPS - 1
}

/// From elements of the image to factors.
pub fn image_map(tile: usize) -> TileMap {
    if tile == 2 { TileMap::Image2 } else { TileMap::Image4 }
}

/// From products to results.
pub fn result_map(tile: usize) -> TileMap {
    if tile == 2 { TileMap::Result2 } else { TileMap::Result4 }
}

/// From taps to factors.
pub fn weights_map(tile: usize) -> TileMap {
    if tile == 2 { TileMap::Weights2 } else { TileMap::Weights4 }
}

/// For rows and columns at once: row `i * N + j` is the product of rows `i` and `j`, so that a
/// matrix of what is transformed, written as one row, is multiplied by its transpose.
pub fn both(matrix: &[&[f64]]) -> Vec<Vec<f64>> {
    let pairs = matrix.iter().flat_map(|a| matrix.iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| a.iter().flat_map(|x| b.iter().map(move |y| x * y)).collect()).collect()
}

/// `matrix` with its rows one after the other, as f32.
pub fn flat(matrix: &[Vec<f64>]) -> Vec<f32> {
    matrix.iter().flatten().map(|&x| x as f32).collect()
}

/// The number of a tile from its image, row and column, given the tiles of an image.
pub fn number(point: &[Index], [rows, columns]: [usize; 2]) -> Index {
    let row = point[0].times(rows as i64).plus(&point[1]);
    row.times(columns as i64).plus(&point[2])
}

/// A size of `N`, `TH` and `TW` of a well-formed node.
pub fn tiles(attrs: &Attrs) -> [usize; 3] {
    let tiles = rules::known(attrs, "tiles");
    [tiles[0], tiles[1], tiles[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrices_compute_a_convolution() {
        let (x, w) = ([0.5, -1.0, 2.0, 3.0, -0.25, 1.5], [1.0, -2.0, 0.75]);
        let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        for tile in [2, 4] {
            let factors = image_map(tile).matrix().iter().zip(weights_map(tile).matrix());
            let products: Vec<f64> = factors.map(|(b, g)| dot(b, &x) * dot(g, &w)).collect();
            for (i, row) in result_map(tile).matrix().iter().enumerate() {
                assert!((dot(row, &products) - dot(&w, &x[i..i + TAPS])).abs() < 1e-12);
            }
        }
    }
}
