//! Inputs to try a graph on, the same on every run and machine.

use kiln_tensor::{DType, Data, Shape, Tensor};

use crate::{Executable, Result};

/// SplitMix64 (Steele, Lea & Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in 0..1, a multiple of 2^-24: exact in f32.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// A tensor of numbers in 0..1, or of the whole numbers 0 and 1: as labels and as indices they
    /// are valid for any number of classes.
    pub fn tensor(&mut self, dtype: DType, shape: &Shape) -> Result<Tensor> {
        let elements = 0..shape.elements();
        let data = match dtype {
            DType::F32 => Data::F32(elements.map(|_| self.uniform()).collect()),
            DType::I32 => Data::I32(elements.map(|_| (self.bits() >> 63) as i32).collect()),
            DType::Bool => Data::Bool(elements.map(|_| self.bits() >> 63 != 0).collect()),
        };
        Ok(Tensor::new(shape.clone(), data)?)
    }
}

/// A value for every input of an executable: numbers in 0..1, whole numbers 0 and 1; a function of
/// the seed.
///
/// # Errors
/// If the memory cannot be had.
pub fn random_inputs(executable: &Executable, seed: u64) -> Result<Vec<(String, Tensor)>> {
    let mut random = Random::new(seed);
    let inputs = executable.elaborated().inputs.iter();
    inputs
        .map(|input| {
            let dims: Vec<usize> = input.axes.iter().map(|(_, size)| *size).collect();
            let shape = Shape::new(dims).map_err(crate::Error::input)?;
            Ok((input.name.clone(), random.tensor(input.dtype, &shape)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The first outputs for seed 0, as Vigna's reference implementation prints them.
        let mut random = Random::new(0);
        assert_eq!(random.bits(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(random.bits(), 0x6E78_9E6A_A1B9_65F4);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.uniform())));
    }
}
