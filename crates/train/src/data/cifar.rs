//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009), the binary version: records of labels, then 32x32 pixels of three
//! channels.

use std::fs;
use std::path::Path;

use super::{Dataset, Field, Split, file};
use crate::Error;

const IMAGE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
/// The largest of the files has 50,000 records.
const MAX_BYTES: u64 = 1 << 30;

/// One of the two data sets.
pub(super) struct Cifar {
    /// Labels before the pixels; the last one counts, in CIFAR-100 the fine one.
    labels: usize,
    classes: u8,
    train: &'static [&'static str],
    test: &'static [&'static str],
}

pub(super) static CIFAR10: Cifar = Cifar {
    labels: 1,
    classes: 10,
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: &["test_batch.bin"],
};

pub(super) static CIFAR100: Cifar =
    Cifar { labels: 2, classes: 100, train: &["train.bin"], test: &["test.bin"] };

/// Reads the files of a split from a directory.
pub(super) fn load(cifar: &Cifar, directory: &Path, split: Split) -> Result<Dataset, Error> {
    let metadata = fs::metadata(directory).map_err(Error::read(directory))?;
    if !metadata.is_dir() {
        let message = "it is not a directory; one of CIFAR's binary files is expected";
        return Err(Error::file(directory, message));
    }
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let names = if split == Split::Train { cifar.train } else { cifar.test };
    for name in names {
        let path = directory.join(name);
        let bytes = file::read(&path, MAX_BYTES)?;
        let size = cifar.labels + PIXELS;
        if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
            let message = format!("{} bytes are no records of {size}", bytes.len());
            return Err(Error::file(&path, message));
        }
        for (i, record) in bytes.chunks_exact(size).enumerate() {
            let label = record[cifar.labels - 1];
            if label >= cifar.classes {
                let last = cifar.classes - 1;
                let message = format!("label {i} is {label}, expected 0..={last}");
                return Err(Error::file(&path, message));
            }
            labels.push(label);
            pixels.extend_from_slice(&record[cifar.labels..]);
        }
    }
    Dataset::new(vec![
        Field::bytes("image", &IMAGE, pixels).with_origin(directory),
        Field::bytes("label", &[], labels).with_origin(directory),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::Values;
    use super::*;

    /// Records whose pixels are the record's number, then the channel's.
    fn records(labels: &[&[u8]], first: u8) -> Vec<u8> {
        let mut file = Vec::new();
        for (i, label) in labels.iter().enumerate() {
            file.extend_from_slice(label);
            for channel in 0..3 {
                file.push(first + i as u8);
                file.extend([channel; 1023]);
            }
        }
        file
    }

    #[test]
    fn records_are_read_in_the_order_of_the_files() {
        let directory = tempfile::tempdir().unwrap();
        for (i, name) in CIFAR10.train.iter().enumerate() {
            let i = i as u8;
            let bytes = records(&[&[i], &[9 - i]], 10 * i);
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        let data = load(&CIFAR10, directory.path(), Split::Train).unwrap();
        assert_eq!(data.len(), 10);
        let label = data.field("label").unwrap().values();
        assert_eq!(*label, Values::Bytes(vec![0, 9, 1, 8, 2, 7, 3, 6, 4, 5]));
        let image = data.field("image").unwrap();
        assert_eq!(image.shape(), [3, 32, 32]);
        let Values::Bytes(pixels) = image.values() else { panic!("bytes") };
        assert_eq!(pixels[3 * PIXELS..][..2], [11, 0]);
        assert_eq!(pixels[3 * PIXELS + 2048..][..2], [11, 2]);
    }

    #[test]
    fn the_fine_label_of_cifar_100_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.bin");
        fs::write(&path, records(&[&[19, 99], &[200, 0]], 0)).unwrap();
        let data = load(&CIFAR100, directory.path(), Split::Test).unwrap();
        assert_eq!(*data.field("label").unwrap().values(), Values::Bytes(vec![99, 0]));
        let Values::Bytes(pixels) = data.field("image").unwrap().values() else { panic!("bytes") };
        assert_eq!(pixels[PIXELS..][..2], [1, 0]);
    }

    #[test]
    fn broken_files_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test_batch.bin");
        let error = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let error = load(&CIFAR10, directory.path(), Split::Test).unwrap_err().to_string();
            error.rsplit_once("test_batch.bin: ").expect("the file is named").1.to_string()
        };
        let whole = records(&[&[3], &[10]], 0);
        assert_eq!(error(&whole), "label 1 is 10, expected 0..=9");
        assert_eq!(error(&whole[..6000]), "6000 bytes are no records of 3073");
        assert_eq!(error(&[]), "0 bytes are no records of 3073");
        let missing = load(&CIFAR10, directory.path(), Split::Train).unwrap_err().to_string();
        assert!(missing.contains("cannot read") && missing.contains("data_batch_1.bin"));
        let file = load(&CIFAR10, &path, Split::Test).unwrap_err().to_string();
        assert!(file.contains("it is not a directory"), "{file}");
    }
}
