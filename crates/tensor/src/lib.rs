//! Element types, shapes and dense tensors: the vocabulary every Kiln crate shares.
