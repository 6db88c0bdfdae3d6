//! Whether weights are those a model needs.

use std::fmt;

use kiln_tensor::{DType, Shape, nearest};

use super::Weights;

/// A tensor of another shape or element type than the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshaped {
    /// Its name.
    pub name: String,
    /// What the model needs.
    pub expected: (DType, Shape),
    /// What there is.
    pub found: (DType, Shape),
}

/// How weights differ from those a model needs: everything at once, each list in order of names or of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// What the model needs and is not there.
    pub missing: Vec<(String, DType, Shape)>,
    /// What is there and the model does not have.
    pub surplus: Vec<(String, DType, Shape)>,
    /// What is there with another shape or element type.
    pub misshaped: Vec<Misshaped>,
}

impl std::error::Error for Mismatch {}

/// Of each kind of difference so many are shown; the others are counted.
const SHOWN: usize = 20;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the weights are not the model's:")?;
        for (name, dtype, shape) in self.missing.iter().take(SHOWN) {
            write!(f, "\n  missing    {name}: {dtype}{shape}")?;
            let alike = self.surplus.iter().filter(|(_, t, s)| (t, s) == (dtype, shape));
            if let Some(near) = nearest(name, alike.map(|(name, ..)| name.as_str())) {
                write!(f, ", is it `{near}`?")?;
            }
        }
        rest(f, "missing", self.missing.len())?;
        for Misshaped { name, expected, found } in self.misshaped.iter().take(SHOWN) {
            let ((t, shape), (found_t, found_shape)) = (expected, found);
            write!(f, "\n  misshaped  {name}: {t}{shape} expected, {found_t}{found_shape} found")?;
        }
        rest(f, "misshaped", self.misshaped.len())?;
        for (name, dtype, shape) in self.surplus.iter().take(SHOWN) {
            write!(f, "\n  surplus    {name}: {dtype}{shape}")?;
        }
        rest(f, "surplus", self.surplus.len())
    }
}

/// How many differences of a kind are not shown.
fn rest(f: &mut fmt::Formatter<'_>, kind: &str, count: usize) -> fmt::Result {
    match count.checked_sub(SHOWN) {
        None | Some(0) => Ok(()),
        Some(more) => write!(f, "\n  {kind:9}  and {more} more"),
    }
}

/// Compares weights with what a model needs. PyTorch's step counts of batch normalisation (`*.num_batches_tracked`)
/// may be there although no model of ours has them.
///
/// # Errors
/// If a tensor is missing, surplus, or of another shape or element type: all of them, at once.
pub fn match_weights(expected: &[(String, DType, Shape)], found: &Weights) -> Result<(), Mismatch> {
    let mut mismatch = Mismatch::default();
    let mut known = std::collections::BTreeSet::new();
    for (name, dtype, shape) in expected {
        known.insert(name.as_str());
        match found.get(name) {
            None => mismatch.missing.push((name.clone(), *dtype, shape.clone())),
            Some(tensor) if (tensor.dtype(), tensor.shape()) != (*dtype, shape) => {
                mismatch.misshaped.push(Misshaped {
                    name: name.clone(),
                    expected: (*dtype, shape.clone()),
                    found: (tensor.dtype(), tensor.shape().clone()),
                });
            }
            Some(_) => {}
        }
    }
    for (name, tensor) in found {
        if !known.contains(name.as_str()) && !name.ends_with(".num_batches_tracked") {
            mismatch.surplus.push((name.clone(), tensor.dtype(), tensor.shape().clone()));
        }
    }
    if mismatch == Mismatch::default() { Ok(()) } else { Err(mismatch) }
}

#[cfg(test)]
mod tests {
    use kiln_tensor::Tensor;

    use super::*;

    #[test]
    fn everything_that_differs_is_listed_at_once() {
        let need =
            |name: &str, dims: &[usize]| (name.to_string(), DType::F32, Shape::new(dims).unwrap());
        let zeros = |dims: &[usize]| Tensor::zeros(Shape::new(dims).unwrap(), DType::F32).unwrap();
        let expected = [
            need("fc.weight", &[10, 4]),
            need("fc.bias", &[10]),
            need("conv.weight", &[2, 1, 3, 3]),
            need("conv.bias", &[2]),
        ];
        let mut found = Weights::from([
            ("fc.weight".to_string(), zeros(&[4, 10])),
            ("fc.bias".to_string(), Tensor::i32(&[10], vec![0; 10]).unwrap()),
            ("conv.bias".to_string(), zeros(&[2])),
            ("head.bias".to_string(), zeros(&[1])),
            ("conv.weights".to_string(), zeros(&[2, 1, 3, 3])),
            // Of another shape: it cannot be meant.
            ("conv.weigh".to_string(), zeros(&[1])),
            ("bn.num_batches_tracked".to_string(), Tensor::i32(&[], vec![3]).unwrap()),
        ]);
        let mismatch = match_weights(&expected, &found).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "the weights are not the model's:
  missing    conv.weight: f32[2,1,3,3], is it `conv.weights`?
  misshaped  fc.weight: f32[10,4] expected, f32[4,10] found
  misshaped  fc.bias: f32[10] expected, i32[10] found
  surplus    conv.weigh: f32[1]
  surplus    conv.weights: f32[2,1,3,3]
  surplus    head.bias: f32[1]"
        );
        for surplus in ["head.bias", "conv.weights", "conv.weigh"] {
            found.remove(surplus);
        }
        found.insert("fc.weight".to_string(), zeros(&[10, 4]));
        found.insert("fc.bias".to_string(), zeros(&[10]));
        found.insert("conv.weight".to_string(), zeros(&[2, 1, 3, 3]));
        assert_eq!(match_weights(&expected, &found), Ok(()));
    }
    #[test]
    fn of_many_differences_some_are_shown_and_all_are_counted() {
        let shape = Shape::new([2]).unwrap();
        let expected: Vec<_> =
            (0..50).map(|i| (format!("layer.{i}.weight"), DType::F32, shape.clone())).collect();
        let tensor = Tensor::zeros(shape.clone(), DType::F32).unwrap();
        let found = (0..21).map(|i| (format!("block.{i}.w"), tensor.clone())).collect();
        let text = match_weights(&expected, &found).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 1 + 21 + 21);
        assert!(text.contains("\n  missing    and 30 more\n"), "{text}");
        assert!(text.ends_with("\n  surplus    and 1 more"), "{text}");
    }
}
