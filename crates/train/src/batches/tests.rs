use super::*;
use crate::data::Field;

fn want(name: &str, dtype: DType, axes: &[(&str, usize)]) -> FieldType {
    FieldType {
        name: name.to_string(),
        dtype,
        axes: axes.iter().map(|(axis, size)| ((*axis).to_string(), *size)).collect(),
        input: name == "image",
        classes: None,
        place: "m.kiln:1:9".to_string(),
    }
}

fn wanted() -> Vec<FieldType> {
    vec![want("image", DType::F32, &[("C", 2), ("H", 1), ("W", 1)]), want("label", DType::I32, &[])]
}

/// Two channels of one pixel: the example's number and its double.
fn data(examples: u8) -> Dataset {
    let pixels = (0..examples).flat_map(|i| [i, 2 * i]).collect();
    let labels = (0..i32::from(examples)).collect();
    let image = Field::bytes("image", &[2, 1, 1], pixels);
    Dataset::new(vec![image, Field::integers("label", &[], labels)]).unwrap()
}

fn new(
    examples: u8,
    steps: &[DataStep],
    batch: usize,
    seed: u32,
    last: Last,
) -> Result<Batches, Error> {
    Batches::new(data(examples), &wanted(), steps, batch, seed, last)
}

fn labels(batches: &mut Batches, epoch: u64) -> Vec<Vec<i32>> {
    batches.start(epoch);
    let mut all = Vec::new();
    while let Some(batch) = batches.next_batch().unwrap() {
        all.push(batch.get("label").unwrap().as_i32().unwrap()[..batch.rows].to_vec());
    }
    all
}

#[test]
fn every_epoch_has_its_own_order_and_the_same_one_in_every_run() {
    let new = |seed| new(100, &[DataStep::Shuffle], 8, seed, Last::Drop).unwrap();
    let (mut a, mut b, mut c) = (new(5), new(5), new(6));
    let first = labels(&mut a, 0);
    assert_eq!(first.len(), a.per_epoch());
    assert_eq!((a.per_epoch(), a.examples_per_epoch()), (12, 96));
    assert_ne!(first, labels(&mut a, 1));
    // Whatever came before, epoch 1 is epoch 1.
    assert_eq!(labels(&mut b, 1), labels(&mut a, 1));
    assert_ne!(labels(&mut c, 0), first);
    // Pinned: the same on every platform.
    assert_eq!(first[0], [1, 78, 70, 62, 29, 19, 95, 53]);
    // No example is dropped for ever.
    let mut seen: Vec<i32> = (0..4).flat_map(|e| labels(&mut a, e).concat()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 100);
}

#[test]
fn without_shuffling_examples_come_in_order_and_the_last_batch_is_padded() {
    let mut batches = new(10, &[], 4, 0, Last::Pad).unwrap();
    assert_eq!(labels(&mut batches, 3), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    assert_eq!((batches.per_epoch(), batches.examples_per_epoch()), (3, 10));
    batches.start(0);
    batches.next_batch().unwrap();
    assert!(batches.next_batch().unwrap().unwrap().is_full());
    let last = batches.next_batch().unwrap().unwrap();
    assert!(!last.is_full());
    assert_eq!(last.get("label").unwrap().as_i32().unwrap(), [8, 9, 8, 8]);
    let image = last.get("image").unwrap();
    assert_eq!(image.as_f32().unwrap(), [8., 16., 9., 18., 8., 16., 8., 16.]);
    let trimmed = last.trimmed().unwrap();
    assert_eq!(trimmed[0].1, Tensor::f32(&[2, 2, 1, 1], vec![8., 16., 9., 18.]).unwrap());
    assert_eq!(trimmed[1].1, Tensor::i32(&[2], vec![8, 9]).unwrap());
    assert!(batches.next_batch().unwrap().is_none());
    let mut small = new(3, &[], 8, 0, Last::Pad).unwrap();
    assert_eq!(labels(&mut small, 0), [vec![0, 1, 2]]);
}

#[test]
fn an_epoch_may_be_left_at_any_batch() {
    let mut batches = new(100, &[DataStep::Shuffle], 4, 1, Last::Drop).unwrap();
    let whole = labels(&mut batches, 7);
    for taken in [0, 1, 2, 3, 4, 24] {
        batches.start(7);
        for _ in 0..taken {
            batches.next_batch().unwrap();
        }
        assert_eq!(labels(&mut batches, 7), whole);
    }
}

#[test]
fn fields_come_as_wanted() {
    let only_labels = [want("label", DType::F32, &[])];
    let mut batches = Batches::new(data(3), &only_labels, &[], 3, 0, Last::Drop).unwrap();
    let batch = batches.next_batch().unwrap().unwrap();
    assert_eq!(batch.fields.len(), 1);
    assert_eq!(batch.get("label").unwrap().as_f32().unwrap(), [0.0, 1.0, 2.0]);
    assert!(batch.get("image").is_none());
}

#[test]
fn senseless_settings_are_refused() {
    let error =
        |steps: &[DataStep], batch, last| new(10, steps, batch, 0, last).unwrap_err().to_string();
    assert_eq!(error(&[], 0, Last::Pad), "a batch of 0 examples");
    assert_eq!(error(&[], 11, Last::Drop), "a batch of 11 examples is more than the 10 there are");
    assert!(error(&[], 1 << 50, Last::Pad).contains("too large"));
    let scale = error(&[DataStep::Scale(f64::NAN)], 2, Last::Pad);
    assert_eq!(scale, "a data set: `image`: a scale of NaN");
    let only_labels = [want("label", DType::I32, &[])];
    let error = Batches::new(data(3), &only_labels, &[DataStep::Scale(2.0)], 3, 0, Last::Drop);
    assert!(error.unwrap_err().to_string().contains("takes no real numbers"));
}
