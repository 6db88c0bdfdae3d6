//! What the operators of Winograd's convolution share: F(4x4, 3x3) of Lavin & Gray 2015, "Fast
//! algorithms for convolutional neural networks".
//!
//! Four results of a convolution with three taps take six products instead of twelve:
//! `y = A^T ((G w) * (B^T x))` for six elements `x`; in two dimensions along both.

use kiln_loops::{Binary, Builder as Loops, Index, Reg};

/// Results of a tile along one axis.
pub const TILE: usize = 4;
/// Elements of the image that a tile of results depends on, along one axis.
pub const WINDOW: usize = 6;

/// Six elements of the image to six factors.
pub const B: [[f64; WINDOW]; WINDOW] = [
    [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
    [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
    [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
    [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
    [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
    [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
];

/// Three taps to six factors.
pub const G: [[f64; 3]; WINDOW] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Six products to four results.
pub const A: [[f64; WINDOW]; TILE] = [
    [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
    [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
    [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
    [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
];

/// For rows and columns at once: row `i * N + j` is the product of rows `i` and `j`, so that a
/// matrix of what is transformed, written as one row, is multiplied by its transpose.
pub fn both<const M: usize, const N: usize>(matrix: &[[f64; N]; M]) -> Vec<Vec<f64>> {
    let pairs = (0..M * M).map(|at| (&matrix[at / M], &matrix[at % M]));
    pairs.map(|(a, b)| a.iter().flat_map(|x| b.iter().map(move |y| x * y)).collect()).collect()
}

/// The transform of weights: nine taps, times this matrix [9, 36], are their 36 factors. Computed
/// in f64 and rounded once.
pub fn weights() -> Vec<f32> {
    let rows = both(&G);
    (0..9).flat_map(|tap| rows.iter().map(move |row| row[tap] as f32).collect::<Vec<_>>()).collect()
}

/// `matrix` with its rows one after the other, as f32.
pub fn flat(matrix: &[Vec<f64>]) -> Vec<f32> {
    matrix.iter().flatten().map(|&x| x as f32).collect()
}

/// The number of a tile from its image, row and column, given the tiles of an image.
pub fn tile(point: &[Index], [rows, columns]: [usize; 2]) -> Index {
    let row = point[0].times(rows as i64).plus(&point[1]);
    row.times(columns as i64).plus(&point[2])
}

/// Applies a transform of `N` values to `M` along the columns, then along the rows, of a square.
pub fn square<const N: usize, const M: usize>(
    b: &mut Loops,
    x: &[Reg],
    transform: impl Fn(&mut Loops, [Reg; N]) -> [Reg; M],
) -> Vec<Reg> {
    // By column: M values of each.
    let columns: Vec<[Reg; M]> =
        (0..N).map(|j| transform(b, std::array::from_fn(|i| x[i * N + j]))).collect();
    (0..M).flat_map(|i| transform(b, std::array::from_fn(|j| columns[j][i]))).collect()
}

/// The factors of six elements: [`B`].
pub fn factors(b: &mut Loops, x: [Reg; WINDOW]) -> [Reg; WINDOW] {
    let [x0, x1, x2, x3, x4, x5] = x;
    let (four, five) = (b.f32(4.0), b.f32(5.0));
    let mul = |b: &mut Loops, x, y| b.binary(Binary::Mul, x, y);
    let add = |b: &mut Loops, x, y| b.binary(Binary::Add, x, y);
    let sub = |b: &mut Loops, x, y| b.binary(Binary::Sub, x, y);
    let outer = |b: &mut Loops, first, second, third| {
        let (first, second) = (mul(b, four, first), mul(b, five, second));
        let rest = sub(b, first, second);
        add(b, rest, third)
    };
    let minus_four = |b: &mut Loops, x, y| {
        let y = mul(b, four, y);
        sub(b, x, y)
    };
    let (even, odd) = (minus_four(b, x4, x2), minus_four(b, x3, x1));
    let (near, far) = (sub(b, x4, x2), sub(b, x3, x1));
    let far = add(b, far, far);
    [
        outer(b, x0, x2, x4),
        add(b, even, odd),
        sub(b, even, odd),
        add(b, near, far),
        sub(b, near, far),
        outer(b, x1, x3, x5),
    ]
}

/// The results of six products: [`A`].
pub fn results(b: &mut Loops, m: [Reg; WINDOW]) -> [Reg; TILE] {
    let (two, four, eight) = (b.f32(2.0), b.f32(4.0), b.f32(8.0));
    let mul = |b: &mut Loops, x, y| b.binary(Binary::Mul, x, y);
    let add = |b: &mut Loops, x, y| b.binary(Binary::Add, x, y);
    let sub = |b: &mut Loops, x, y| b.binary(Binary::Sub, x, y);
    let (s1, d1) = (add(b, m[1], m[2]), sub(b, m[1], m[2]));
    let (s2, d2) = (add(b, m[3], m[4]), sub(b, m[3], m[4]));
    let y0 = add(b, m[0], s1);
    let y0 = add(b, y0, s2);
    let far = mul(b, two, d2);
    let y1 = add(b, d1, far);
    let far = mul(b, four, s2);
    let y2 = add(b, s1, far);
    let far = mul(b, eight, d2);
    let y3 = add(b, d1, far);
    [y0, y1, y2, add(b, y3, m[5])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrices_compute_a_convolution() {
        let (x, w) = ([0.5, -1.0, 2.0, 3.0, -0.25, 1.5], [1.0, -2.0, 0.75]);
        let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        let products: Vec<f64> = B.iter().zip(&G).map(|(b, g)| dot(b, &x) * dot(g, &w)).collect();
        for (i, row) in A.iter().enumerate() {
            assert!((dot(row, &products) - dot(&w, &x[i..i + 3])).abs() < 1e-12);
        }
    }
}
