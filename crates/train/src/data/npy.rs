//! NumPy's arrays: `.npy` files, one for each field, or the members of an `.npz` archive.
//!
//! The first axis of an array counts the examples. Pickled objects are never parsed.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use kiln_tensor::{Data, NpyData, NpyProblem, read_npy};

use super::zip::Archive;
use super::{Dataset, Field, FieldType, Values, file};
use crate::Error;

/// Reads a file for each field.
pub(super) fn load(files: &[(String, PathBuf)]) -> Result<Dataset, Error> {
    let fields = files.iter().map(|(name, path)| {
        let (file, len) = file::open(path)?;
        field(name, path, "", &mut BufReader::with_capacity(1 << 16, file), len)
    });
    Dataset::new(fields.collect::<Result<_, _>>()?)
}

/// Reads those members of an archive that the program wants.
pub(super) fn load_archive(path: &Path, wanted: &[FieldType]) -> Result<Dataset, Error> {
    let archive = Archive::open(path)?;
    let mut fields = Vec::new();
    for want in wanted {
        let member = format!("{}.npy", want.name);
        let Some(entry) = archive.entry(&member) else {
            let known: Vec<&str> =
                archive.names().filter_map(|name| name.strip_suffix(".npy")).take(20).collect();
            let (name, place, known) = (&want.name, &want.place, known.join(", "));
            let message = format!("it has no array `{name}` ({place}), but {known}");
            return Err(Error::file(path, message));
        };
        let mut stream = archive.read(entry)?;
        let note = format!("{member}: ");
        let field = field(&want.name, path, &note, &mut stream, entry.size())?;
        // Past the end the checksum is compared.
        stream.read_to_end(&mut Vec::new()).map_err(|e| Error::file(path, format!("{note}{e}")))?;
        fields.push(field);
    }
    Dataset::new(fields)
}

/// Reads an array of `len` bytes.
fn field(
    name: &str,
    path: &Path,
    note: &str,
    stream: &mut impl Read,
    len: u64,
) -> Result<Field, Error> {
    let (shape, data) = read_npy(stream, len).map_err(|problem| match problem {
        NpyProblem::Io(source) if note.is_empty() => Error::read(path)(source),
        problem => Error::file(path, format!("{note}{problem}")),
    })?;
    let Some((&count, shape)) = shape.split_first() else {
        let message =
            format!("{note}the array `{name}` is one number; its first axis counts the examples");
        return Err(Error::file(path, message));
    };
    if count > 0 && shape.contains(&0) {
        let message = format!("{note}every `{name}` has the shape {shape:?}: nothing");
        return Err(Error::file(path, message));
    }
    let values = match data {
        NpyData::U8(v) => Values::Bytes(v),
        NpyData::Other(Data::F32(v)) => Values::F32(v),
        NpyData::Other(Data::I32(v)) => Values::I32(v),
        NpyData::Other(Data::Bool(v)) => Values::Bytes(v.into_iter().map(u8::from).collect()),
    };
    Ok(Field::new(name, shape, values).with_origin(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use kiln_tensor::{DType, Tensor};

    use super::super::zip::tests::archive;
    use super::*;

    fn npy(tensor: &Tensor) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        tensor.write_npy(&path).unwrap();
        fs::read(path).unwrap()
    }

    /// Three pairs of numbers, and a label for each.
    fn arrays() -> [(&'static str, Vec<u8>); 2] {
        let x = Tensor::f32(&[3, 2], vec![0.5, 1.0, 1.5, 2.0, 2.5, 3.0]).unwrap();
        [("x", npy(&x)), ("label", npy(&Tensor::i32(&[3], vec![2, 0, 1]).unwrap()))]
    }

    fn want(name: &str) -> FieldType {
        FieldType {
            name: name.to_string(),
            dtype: DType::F32,
            axes: vec![],
            input: true,
            classes: None,
            place: "m.kiln:1:9".to_string(),
        }
    }

    fn check(data: &Dataset) {
        assert_eq!(data.len(), 3);
        let x = data.field("x").unwrap();
        assert_eq!(x.shape(), [2]);
        assert_eq!(*x.values(), Values::F32(vec![0.5, 1.0, 1.5, 2.0, 2.5, 3.0]));
        assert_eq!(*data.field("label").unwrap().values(), Values::I32(vec![2, 0, 1]));
    }

    #[test]
    fn arrays_are_fields() {
        let directory = tempfile::tempdir().unwrap();
        let files = arrays().map(|(name, bytes)| {
            let path = directory.path().join(format!("{name}.npy"));
            fs::write(&path, bytes).unwrap();
            (name.to_string(), path)
        });
        check(&load(&files).unwrap());
        fs::write(&files[1].1, npy(&Tensor::i32(&[2], vec![2, 0]).unwrap())).unwrap();
        let error = load(&files).unwrap_err().to_string();
        assert!(error.ends_with("label.npy: 2 `label` for 3 `x`"), "{error}");
    }

    #[test]
    fn bytes_stay_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.npy");
        let mut bytes = npy(&Tensor::i32(&[1], vec![0x0504_0302]).unwrap());
        let text = b"'<i4', 'fortran_order': False, 'shape': (1,)";
        let at = bytes.windows(text.len()).position(|w| w == text).unwrap();
        bytes[at..at + text.len()].copy_from_slice(b"'|u1', 'fortran_order': False, 'shape':(2,2)");
        fs::write(&path, bytes).unwrap();
        let data = load(&[("image".to_string(), path)]).unwrap();
        assert_eq!(*data.field("image").unwrap().values(), Values::Bytes(vec![2, 3, 4, 5]));
    }

    #[test]
    fn an_archive_holds_the_same() {
        let members = arrays();
        for deflate in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.npz");
            let names = members.each_ref().map(|(name, bytes)| (format!("{name}.npy"), &bytes[..]));
            fs::write(&path, archive(&names, deflate)).unwrap();
            check(&load_archive(&path, &[want("x"), want("label")]).unwrap());
            // Only what is wanted is read.
            assert!(load_archive(&path, &[want("x")]).unwrap().field("label").is_none());
            let error = load_archive(&path, &[want("y")]).unwrap_err().to_string();
            assert!(error.ends_with("it has no array `y` (m.kiln:1:9), but x, label"), "{error}");
        }
    }

    #[test]
    fn hostile_members_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npz");
        let error = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let begun = Instant::now();
            let error = load_archive(&path, &[want("x")]).unwrap_err().to_string();
            assert!(begun.elapsed() < Duration::from_secs(2));
            error.rsplit_once("a.npz: ").expect("the file is named").1.to_string()
        };
        let [(_, x), _] = arrays();
        let one = |bytes: &[u8], deflate| archive(&[("x.npy".to_string(), bytes)], deflate);
        assert!(error(&one(b"\x80\x04\x95abcdefgh", false)).starts_with("x.npy: it holds pickled"));
        assert!(error(&one(&x[..x.len() - 4], true)).contains("24 bytes of data, but 20 follow"));
        let number = npy(&Tensor::f32(&[], vec![1.0]).unwrap());
        assert!(error(&one(&number, false)).contains("`x` is one number"));
        // A gigabyte of zeros in a megabyte.
        let bomb = one(&vec![0; 64 << 20], true);
        assert!(error(&bomb).contains("taken for a decompression bomb"));
        let mut flipped = one(&x, false);
        let at = flipped.windows(4).position(|w| w == 1.5f32.to_le_bytes()).unwrap();
        flipped[at] ^= 1;
        assert_eq!(error(&flipped), "x.npy: its checksum is wrong");
    }
}
