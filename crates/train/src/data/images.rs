//! A folder of images: in it a folder for each class, in that PNG and JPEG files.
//!
//! Classes are numbered in the order of their folders' names, examples in the order of classes and of files' names.
//! Only the list is held in memory; images are decoded when their batch is prepared.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use super::decode::{Frame, decode};
use super::{Dataset, Field, FieldType, Values};
use crate::Error;

/// Files that are not called like this are left alone.
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Images in files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    frame: Frame,
}

impl Files {
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// The pixels of an image, one channel after the other.
    pub fn pixels(&self, row: usize) -> Result<Vec<u8>, Error> {
        decode(&self.paths[row], self.frame)
    }
}

/// Lists the files. Images get this size, or the one that the program wants.
pub(super) fn load(
    root: &Path,
    size: Option<[usize; 2]>,
    wanted: &[FieldType],
) -> Result<Dataset, Error> {
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    let inside = fs::canonicalize(root).map_err(Error::read(root))?;
    let mut classes = 0;
    for (class, kind) in list(root, &inside)? {
        if kind != Kind::Directory {
            continue;
        }
        let before = paths.len();
        for (path, kind) in list(&class, &inside)? {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if !EXTENSIONS.contains(&&*extension.to_ascii_lowercase()) {
                continue;
            }
            if kind != Kind::File {
                return Err(Error::file(&path, "it is not a regular file"));
            }
            paths.push(path);
            labels.push(classes);
        }
        if paths.len() == before {
            return Err(Error::file(&class, "it has no .png, .jpg or .jpeg files"));
        }
        classes += 1;
    }
    if classes == 0 {
        let message = "it has no folders; one for each class is expected, with its images";
        return Err(Error::file(root, message));
    }
    let mut fields = vec![Field::integers("label", &[], labels).with_origin(root)];
    if let Some(want) = wanted.iter().find(|want| want.name == "image") {
        let (channels, rows, columns) = match want.sizes()[..] {
            [channels, rows, columns] => (channels, rows, columns),
            [rows, columns] => (1, rows, columns),
            _ => return Err(Error::file(root, format!("images are no {want} ({})", want.place))),
        };
        if channels != 1 && channels != 3 {
            let message = format!(
                "images have 1 channel or 3, not the {channels} of {want} ({})",
                want.place
            );
            return Err(Error::file(root, message));
        }
        let [rows, columns] = size.unwrap_or([rows, columns]);
        let frame = Frame { channels, rows, columns };
        let shape = [channels, rows, columns];
        let shape = if want.axes.len() == 3 { &shape[..] } else { &shape[1..] };
        let images = Values::Images(Files { paths, frame });
        fields.insert(0, Field::new("image", shape, images).with_origin(root));
    }
    Dataset::new(fields)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Other,
}

/// What is in a directory, sorted by name, without hidden files. Links that lead out of `inside` are refused.
fn list(directory: &Path, inside: &Path) -> Result<Vec<(PathBuf, Kind)>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::read(directory))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry: DirEntry = entry.map_err(Error::read(directory))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let mut kind = entry.file_type().map_err(Error::read(&path))?;
        if kind.is_symlink() {
            let target = fs::canonicalize(&path).map_err(Error::read(&path))?;
            if !target.starts_with(inside) {
                return Err(Error::file(
                    &path,
                    "it is a link that leads out of the data set's folder",
                ));
            }
            kind = fs::metadata(&target).map_err(Error::read(&path))?.file_type();
        }
        let kind = match kind {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_file() => Kind::File,
            _ => Kind::Other,
        };
        found.push((path, kind));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use kiln_tensor::DType;

    use super::super::decode::tests::png;
    use super::*;

    fn want(axes: &[(&str, usize)]) -> FieldType {
        FieldType {
            name: "image".to_string(),
            dtype: DType::F32,
            axes: axes.iter().map(|(axis, size)| ((*axis).to_string(), *size)).collect(),
            input: true,
            classes: None,
            place: "m.kiln:1:9".to_string(),
        }
    }

    /// Two classes of grey 2x2 images, of one value each.
    fn folder() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in [("b/z.png", 3), ("b/a.PNG", 2), ("a/1.png", 0), ("a/2.png", 1)] {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, png(png::ColorType::Grayscale, 2, 2, &[value; 4])).unwrap();
        }
        directory
    }

    fn error(directory: &Path) -> String {
        let wanted = [want(&[("C", 1), ("H", 2), ("W", 2)])];
        let message = load(directory, None, &wanted).unwrap_err().to_string();
        message.replace(directory.to_str().unwrap(), "D")
    }

    #[test]
    fn classes_and_files_are_sorted_by_name() {
        let directory = folder();
        fs::write(directory.path().join("a/notes.txt"), "no image").unwrap();
        fs::write(directory.path().join("README"), "no class").unwrap();
        fs::create_dir(directory.path().join(".hidden")).unwrap();
        for (axes, channels) in [(vec![("C", 1)], 1), (vec![("C", 3)], 3), (vec![], 1)] {
            let axes = [axes, vec![("H", 2), ("W", 2)]].concat();
            let data = load(directory.path(), None, &[want(&axes)]).unwrap();
            let label = data.field("label").unwrap().values();
            assert_eq!(*label, Values::I32(vec![0, 0, 1, 1]));
            let image = data.field("image").unwrap();
            assert_eq!(image.shape().len(), axes.len());
            let Values::Images(files) = image.values() else { panic!("images") };
            for row in 0..4 {
                assert_eq!(files.pixels(row).unwrap(), vec![row as u8; 4 * channels]);
            }
        }
        let larger = load(directory.path(), Some([5, 4]), &[want(&[("H", 2), ("W", 2)])]).unwrap();
        assert_eq!(larger.field("image").unwrap().shape(), [5, 4]);
        assert!(load(directory.path(), None, &[]).unwrap().field("image").is_none());
    }

    #[test]
    fn what_is_no_data_set_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(error(&directory.path().join("no")).starts_with("cannot read D: "));
        assert!(error(directory.path()).starts_with("D: it has no folders"));
        fs::create_dir(directory.path().join("a")).unwrap();
        assert_eq!(error(directory.path()), "D/a: it has no .png, .jpg or .jpeg files");
        fs::create_dir(directory.path().join("a/b.png")).unwrap();
        assert_eq!(error(directory.path()), "D/a/b.png: it is not a regular file");
        let directory = folder();
        let four = [want(&[("C", 4), ("H", 2), ("W", 2)])];
        let message = load(directory.path(), None, &four).unwrap_err().to_string();
        assert!(message.contains("not the 4 of image: f32[N, C=4, H=2, W=2]"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_inside() {
        use std::os::unix::fs::symlink;
        let (outside, directory) = (folder(), folder());
        symlink(directory.path().join("b/z.png"), directory.path().join("a/3.png")).unwrap();
        let data = load(directory.path(), None, &[]).unwrap();
        assert_eq!(data.len(), 5);
        symlink(outside.path().join("a/1.png"), directory.path().join("a/4.png")).unwrap();
        assert!(error(directory.path()).starts_with("D/a/4.png: it is a link that leads out"));
        fs::remove_file(directory.path().join("a/4.png")).unwrap();
        symlink(outside.path().join("a"), directory.path().join("c")).unwrap();
        assert!(error(directory.path()).starts_with("D/c: it is a link that leads out"));
    }
}
