//! What the operators of Winograd's convolution share: the forms of Lavin & Gray 2015, "Fast
//! algorithms for convolutional neural networks", that there are transforms for.
//!
//! Along one axis, `T` results of a convolution with `K` taps take `T + K - 1` products instead of
//! `T * K`: `y = A^T ((G w) * (B^T x))` for the elements `x` that the results depend on; in two
//! dimensions along both.

use kiln_loops::{Index, TileMap};

use super::rules;
use crate::attrs::{AttrKind, Attrs};
use crate::op::AttrDef;

/// A form of the algorithm, F(T x T, K x K).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Results of a tile along one axis, T.
    pub tile: usize,
    /// Taps of the convolution along one axis, K.
    pub taps: usize,
}

/// The tile of a form.
pub const TILE: AttrDef =
    AttrDef { name: "tile", kind: AttrKind::Int, doc: "results of a tile along one axis, T" };
/// The taps of a form.
pub const TAPS: AttrDef = AttrDef {
    name: "taps",
    kind: AttrKind::Int,
    doc: "taps along one axis, K; T and K are 4 and 3, 2 and 3, 2 and 5, or 4 and 4",
};

impl Form {
    /// All that there are, from the one that takes the fewest factors.
    pub const ALL: [Form; 4] = [
        Form { tile: 2, taps: 3 },
        Form { tile: 4, taps: 3 },
        Form { tile: 2, taps: 5 },
        Form { tile: 4, taps: 4 },
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match (self.tile, self.taps) {
            (4, 3) => "F(4x4, 3x3)",
            (_, 3) => "F(2x2, 3x3)",
            (_, 5) => "F(2x2, 5x5)",
            _ => "F(4x4, 4x4)",
        }
    }

    /// The form that attributes name.
    pub(super) fn named(attrs: &Attrs) -> Result<Form, String> {
        let [tile, taps] = [attrs.int("tile"), attrs.int("taps")];
        let is_it = |f: &&Form| (f.tile as i64, f.taps as i64) == (tile, taps);
        let found = Form::ALL.iter().find(is_it).copied();
        found.ok_or_else(|| {
            format!(
                "`tile` and `taps` are 4 and 3, 2 and 3, 2 and 5, or 4 and 4, not {tile} and {taps}"
            )
        })
    }

    /// The form of a well-formed node.
    pub(super) fn of(attrs: &Attrs) -> Form {
        Form::named(attrs).expect("checked by `infer`")
    }

    /// Its attributes.
    pub(super) fn attrs(self) -> Attrs {
        Attrs::new().with("tile", self.tile as i64).with("taps", self.taps as i64)
    }

    /// Elements of the image that a tile depends on, along one axis: its factors.
    pub const fn window(self) -> usize {
        self.tile + self.taps - 1
    }

    /// Factors of a tile.
    pub const fn factors(self) -> usize {
        self.window() * self.window()
    }

    /// From elements of the image to factors.
    pub(super) fn image_map(self) -> TileMap {
        match self.window() {
            7 => TileMap::Image7,
            6 => TileMap::Image6,
            _ => TileMap::Image4,
        }
    }

    /// From products to results.
    pub(super) fn result_map(self) -> TileMap {
        match (self.window(), self.tile) {
            (7, _) => TileMap::Result7To4,
            (6, 4) => TileMap::Result6To4,
            (6, _) => TileMap::Result6To2,
            _ => TileMap::Result4To2,
        }
    }

    /// From taps to factors.
    pub(super) fn weights_map(self) -> TileMap {
        match (self.taps, self.tile) {
            (4, _) => TileMap::Weights4To7,
            (5, _) => TileMap::Weights5To6,
            (_, 4) => TileMap::Weights3To6,
            _ => TileMap::Weights3To4,
        }
    }
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
        let (x, w) = ([0.5, -1.0, 2.0, 3.0, -0.25, 1.5, -2.5], [1.0, -2.0, 0.75, -0.5, 3.0]);
        let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        for form in Form::ALL {
            let (g, w) = (form.weights_map().matrix(), &w[..form.taps]);
            let factors = form.image_map().matrix().iter().zip(g);
            let products: Vec<f64> = factors.map(|(b, g)| dot(b, &x) * dot(g, w)).collect();
            assert_eq!(
                [products.len(), form.result_map().matrix().len()],
                [form.window(), form.tile]
            );
            for (i, row) in form.result_map().matrix().iter().enumerate() {
                assert!((dot(row, &products) - dot(w, &x[i..i + form.taps])).abs() < 1e-12);
            }
        }
    }
}
