//! What the steps of a pipeline do to a field of real numbers, prepared once for a whole data set.
//!
//! Steps that change values (`scale`, `normalize`) and steps that move pixels (`crop`, `random_crop`, `flip`) are told
//! apart: an example's pixels are fetched from where the moves have them, and each goes through all the values' steps
//! at once, in `f64`, rounded once. For bytes that is a table of 256 entries for each channel.

use crate::random::Draws;
use crate::{DataStep, Error};

/// The prepared steps of one field.
#[derive(Debug)]
pub(crate) struct Transform {
    /// Channels, rows and columns of what comes in. Without the axes H and W a channel is one row.
    from: [usize; 3],
    /// Rows and columns of what comes out.
    to: [usize; 2],
    moves: Vec<Move>,
    /// What is done to a value: one list for all channels, or one for each.
    chains: Vec<Vec<Affine>>,
    /// What each byte becomes, in as many channels.
    tables: Vec<[f32; 256]>,
    /// What the zeros that each move brings in become, in as many channels.
    fills: Vec<Vec<f32>>,
}

/// `(x - mean) / std`, or `x * factor`.
#[derive(Clone, Copy, Debug)]
enum Affine {
    Scale(f64),
    Normalize { mean: f64, std: f64 },
}

/// A step that moves pixels.
#[derive(Debug)]
enum Move {
    /// Zeros all around, then a window of so many rows and columns: anywhere, or in the middle.
    Crop { rows: usize, columns: usize, pad: usize, random: bool },
    /// Left becomes right with this probability.
    Flip { probability: f64 },
}

/// Where a row or column comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    At(usize),
    /// It was brought in by the move of this number.
    Fill(usize),
}

impl Transform {
    /// Prepares the steps for values of this shape, whose axes are called so.
    pub fn new(steps: &[DataStep], shape: &[usize], axes: &[&str]) -> Result<Transform, Error> {
        let wrong = |message: String| Err(Error::Setting(message));
        let (channels, rest) = match axes.first() {
            Some(&"C") => (shape[0], 1..),
            _ => (1, 0..),
        };
        let plane = &shape[rest.clone()];
        let is_image = axes[rest] == ["H", "W"];
        let from = match plane {
            &[rows, columns] => [channels, rows, columns],
            _ => [channels, 1, plane.iter().product()],
        };
        let (mut to, mut moves) = ([from[1], from[2]], Vec::new());
        let lists = steps.iter().any(|step| match step {
            DataStep::Normalize { mean, std } => mean.len().max(std.len()) > 1,
            _ => false,
        });
        let mut chains = vec![Vec::new(); if lists { channels } else { 1 }];
        // For each move, how long the chains were before it: zeros go through what follows.
        let mut before = Vec::new();
        for step in steps {
            match step {
                DataStep::Shuffle => {}
                &DataStep::Scale(factor) => {
                    if !factor.is_finite() {
                        return wrong(format!("a scale of {factor}"));
                    }
                    chains.iter_mut().for_each(|chain| chain.push(Affine::Scale(factor)));
                }
                DataStep::Normalize { mean, std } => {
                    for (name, list) in [("means", mean), ("deviations", std)] {
                        if list.len() != 1 && list.len() != channels {
                            let found = list.len();
                            return wrong(format!(
                                "normalize has {found} {name} for examples of {channels} channels"
                            ));
                        }
                    }
                    for (channel, chain) in chains.iter_mut().enumerate() {
                        let of = |list: &[f64]| list[if list.len() == 1 { 0 } else { channel }];
                        let (mean, std) = (of(mean), of(std));
                        if !mean.is_finite() || !std.is_normal() || std < 0.0 {
                            return wrong(format!("normalize by mean {mean} and deviation {std}"));
                        }
                        chain.push(Affine::Normalize { mean, std });
                    }
                }
                _ if !is_image => {
                    let axes = axes.join(", ");
                    return wrong(format!(
                        "pixels are moved in images of axes C, H, W or H, W, not [{axes}]"
                    ));
                }
                &DataStep::Crop { size, pad, random } => {
                    let padded = to.map(|size| pad.checked_mul(2)?.checked_add(size));
                    let [rows, columns] = size.unwrap_or(to);
                    let fits = |padded: Option<usize>, size| padded.is_some_and(|p| size <= p);
                    if rows == 0
                        || !fits(padded[0], rows)
                        || columns == 0
                        || !fits(padded[1], columns)
                    {
                        return wrong(format!(
                            "a crop of {rows} x {columns} from images of {} x {}, padded by {pad}",
                            to[0], to[1]
                        ));
                    }
                    to = [rows, columns];
                    before.push(chains[0].len());
                    moves.push(Move::Crop { rows, columns, pad, random });
                }
                &DataStep::Flip { probability } => {
                    if !(0.0..=1.0).contains(&probability) {
                        return wrong(format!("a flip with probability {probability}"));
                    }
                    before.push(chains[0].len());
                    moves.push(Move::Flip { probability });
                }
            }
        }
        let table = |chain: &Vec<Affine>| std::array::from_fn(|i| through(chain, i as f64));
        let tables = chains.iter().map(table).collect();
        let fill = |&at: &usize| chains.iter().map(|chain| through(&chain[at..], 0.0)).collect();
        let fills = before.iter().map(fill).collect();
        Ok(Transform { from, to, moves, chains, tables, fills })
    }

    /// The shape of what comes out, of what comes in of this shape.
    pub fn shape(&self, mut shape: Vec<usize>) -> Vec<usize> {
        if let (false, [.., rows, columns]) = (self.moves.is_empty(), &mut shape[..]) {
            [*rows, *columns] = self.to;
        }
        shape
    }

    /// Transforms an example of bytes.
    pub fn bytes(&self, from: &[u8], draws: Draws, to: &mut [f32]) {
        match (&self.moves[..], &self.tables[..]) {
            ([], [table]) => {
                for (to, &x) in to.iter_mut().zip(from) {
                    *to = table[usize::from(x)];
                }
            }
            _ => self.write(from, draws, |list, x| self.tables[list][usize::from(x)], to),
        }
    }

    /// Transforms an example of real numbers.
    pub fn floats(&self, from: &[f32], draws: Draws, to: &mut [f32]) {
        self.write(from, draws, |list, x| through(&self.chains[list], f64::from(x)), to);
    }

    /// Transforms an example of whole numbers.
    pub fn integers(&self, from: &[i32], draws: Draws, to: &mut [f32]) {
        self.write(from, draws, |list, x| through(&self.chains[list], f64::from(x)), to);
    }

    fn write<T: Copy>(
        &self,
        from: &[T],
        draws: Draws,
        value: impl Fn(usize, T) -> f32,
        to: &mut [f32],
    ) {
        let [channels, rows, columns] = self.from;
        let list = |channel: usize| if self.chains.len() == 1 { 0 } else { channel };
        let from = from.chunks_exact((rows * columns).max(1)).take(channels);
        let to = to.chunks_exact_mut((self.to[0] * self.to[1]).max(1));
        if self.moves.is_empty() {
            for (channel, (from, to)) in from.zip(to).enumerate() {
                for (to, &x) in to.iter_mut().zip(from) {
                    *to = value(list(channel), x);
                }
            }
            return;
        }
        let [ys, xs] = self.sources(draws);
        for (channel, (from, to)) in from.zip(to).enumerate() {
            let list = list(channel);
            for (y, to) in ys.iter().zip(to.chunks_exact_mut(self.to[1])) {
                for (x, to) in xs.iter().zip(to) {
                    *to = match (*y, *x) {
                        (Source::At(y), Source::At(x)) => value(list, from[y * columns + x]),
                        // A later move's zeros lie around an earlier one's.
                        (Source::Fill(a), Source::Fill(b)) => self.fills[a.max(b)][list],
                        (Source::Fill(a), _) | (_, Source::Fill(a)) => self.fills[a][list],
                    };
                }
            }
        }
    }

    /// Where each row and each column of the result comes from.
    fn sources(&self, draws: Draws) -> [Vec<Source>; 2] {
        let [_, rows, columns] = self.from;
        let [mut ys, mut xs] = [rows, columns].map(|n| (0..n).map(Source::At).collect::<Vec<_>>());
        for (number, step) in self.moves.iter().enumerate() {
            let draw = draws.at(number as u32);
            match *step {
                Move::Crop { rows, columns, pad, random } => {
                    let window = |from: &[Source], size: usize, draw: crate::random::Uniform| {
                        let room = from.len() + 2 * pad - size;
                        let begin = if random { draw.below(room + 1) } else { room / 2 };
                        let at = |i: usize| i.checked_sub(pad).and_then(|i| from.get(i)).copied();
                        (begin..begin + size)
                            .map(|i| at(i).unwrap_or(Source::Fill(number)))
                            .collect()
                    };
                    ys = window(&ys, rows, draw[0]);
                    xs = window(&xs, columns, draw[1]);
                }
                Move::Flip { probability } => {
                    if draw[0].happens(probability) {
                        xs.reverse();
                    }
                }
            }
        }
        [ys, xs]
    }
}

/// What becomes of a value.
fn through(chain: &[Affine], x: f64) -> f32 {
    chain.iter().fold(x, |x, step| match step {
        Affine::Scale(factor) => x * factor,
        Affine::Normalize { mean, std } => (x - mean) / std,
    }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHW: [&str; 3] = ["C", "H", "W"];

    fn draws(example: u32) -> Draws {
        Draws { seed: 5, epoch: 2, example }
    }

    fn run(steps: &[DataStep], shape: &[usize], from: &[u8], example: u32) -> Vec<f32> {
        let transform = Transform::new(steps, shape, &CHW).unwrap();
        let mut to = vec![f32::NAN; transform.shape(shape.to_vec()).iter().product()];
        transform.bytes(from, draws(example), &mut to);
        // The same numbers as floats and as integers, through code of their own.
        let floats: Vec<f32> = from.iter().map(|&x| f32::from(x)).collect();
        let integers: Vec<i32> = from.iter().map(|&x| i32::from(x)).collect();
        let mut again = vec![f32::NAN; to.len()];
        transform.floats(&floats, draws(example), &mut again);
        assert_eq!(to, again);
        transform.integers(&integers, draws(example), &mut again);
        assert_eq!(to, again);
        to
    }

    fn crop(size: Option<[usize; 2]>, pad: usize, random: bool) -> DataStep {
        DataStep::Crop { size, pad, random }
    }

    #[test]
    fn values_change_in_order_channel_by_channel() {
        let normalize = DataStep::Normalize { mean: vec![0.5, 1.0], std: vec![2.0] };
        let steps = [DataStep::Scale(0.5), normalize];
        assert_eq!(run(&steps, &[2, 1, 2], &[0, 1, 2, 4], 0), [-0.25, 0.0, 0.0, 0.5]);
    }

    #[test]
    fn scaling_by_a_fraction_is_division_rounded_once() {
        let bytes: Vec<u8> = (0..=255).collect();
        let out = run(&[DataStep::Scale(1.0 / 255.0)], &[1, 16, 16], &bytes, 0);
        for (i, value) in out.into_iter().enumerate() {
            assert_eq!(value, i as f32 / 255.0);
        }
    }

    #[test]
    fn the_middle_is_cut_out() {
        let bytes: Vec<u8> = (0..12).collect();
        assert_eq!(run(&[crop(Some([1, 2]), 0, false)], &[1, 3, 4], &bytes, 0), [5.0, 6.0]);
        let padded = run(&[crop(Some([5, 4]), 1, false)], &[1, 3, 4], &bytes, 0);
        assert_eq!(padded[..8], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn zeros_go_through_the_steps_that_follow() {
        let normalize = DataStep::Normalize { mean: vec![1.0], std: vec![0.5] };
        let pad = crop(Some([1, 3]), 1, false);
        let one = [9];
        // A row above and below are cut away again; a column stays on each side.
        assert_eq!(run(&[pad.clone(), normalize.clone()], &[1, 1, 1], &one, 0), [-2.0, 16.0, -2.0]);
        assert_eq!(run(&[normalize, pad], &[1, 1, 1], &one, 0), [0.0, 16.0, 0.0]);
    }

    #[test]
    fn random_crops_reach_every_place_and_channels_move_together() {
        let bytes: Vec<u8> = (1..=9).chain(101..=109).collect();
        let mut seen = std::collections::BTreeSet::new();
        for example in 0..500 {
            let out = run(&[crop(None, 1, true)], &[2, 3, 3], &bytes, example);
            let (a, b) = out.split_at(9);
            for (a, b) in a.iter().zip(b) {
                assert!((*a == 0.0 && *b == 0.0) || *b == a + 100.0, "{out:?}");
            }
            seen.insert(a.iter().map(|&x| x as u8).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![0, 0, 0, 0, 1, 2, 0, 4, 5]), "{seen:?}");
        assert!(seen.contains(&vec![5, 6, 0, 8, 9, 0, 0, 0, 0]), "{seen:?}");
    }

    #[test]
    fn flips_happen_as_often_as_they_should() {
        let flip = |p| [DataStep::Flip { probability: p }];
        let bytes = [1, 2, 3, 4];
        assert_eq!(run(&flip(1.0), &[1, 2, 2], &bytes, 0), [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(run(&flip(0.0), &[1, 2, 2], &bytes, 0), [1.0, 2.0, 3.0, 4.0]);
        let flipped =
            (0..1000).filter(|&i| run(&flip(0.5), &[1, 2, 2], &bytes, i)[0] == 2.0).count();
        assert!((440..560).contains(&flipped), "{flipped}");
    }

    #[test]
    fn senseless_steps_are_refused() {
        let error = |step: DataStep, shape: &[usize], axes: &[&str]| {
            Transform::new(&[step], shape, axes).unwrap_err().to_string()
        };
        let normalize = |mean: &[f64], std: &[f64]| {
            let step = DataStep::Normalize { mean: mean.to_vec(), std: std.to_vec() };
            error(step, &[2, 1, 1], &CHW)
        };
        assert_eq!(error(DataStep::Scale(f64::NAN), &[1, 1, 1], &CHW), "a scale of NaN");
        assert_eq!(
            normalize(&[0.0; 3], &[1.0]),
            "normalize has 3 means for examples of 2 channels"
        );
        assert_eq!(normalize(&[0.0], &[0.0]), "normalize by mean 0 and deviation 0");
        assert_eq!(
            error(crop(Some([3, 3]), 0, true), &[1, 2, 4], &CHW),
            "a crop of 3 x 3 from images of 2 x 4, padded by 0"
        );
        assert!(error(crop(None, usize::MAX, true), &[1, 2, 4], &CHW).contains("padded"));
        assert_eq!(
            error(DataStep::Flip { probability: 0.5 }, &[4], &["C"]),
            "pixels are moved in images of axes C, H, W or H, W, not [C]"
        );
    }
}
