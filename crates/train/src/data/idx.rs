//! IDX files, the format of MNIST (LeCun, Cortes and Burges): a big-endian header, then bytes.
//!
//! Header: two zero bytes, the element type (8: unsigned bytes), the number of axes, then each axis' size in 32 bits.
//! What it declares is compared with what the file can hold before anything is allocated, and no more is ever read.

use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::file::{self, bomb_limit};
use super::{Dataset, Field, Split, Values};
use crate::Error;
use flate2::bufread::MultiGzDecoder;

/// Rows and columns of an image.
const SIZE: usize = 28;
const CLASSES: usize = 10;
const UNSIGNED_BYTES: u8 = 8;

/// Reads the images and labels of a split from a directory.
pub(super) fn mnist(directory: &Path, split: Split) -> Result<Dataset, Error> {
    let metadata = fs::metadata(directory).map_err(Error::read(directory))?;
    if !metadata.is_dir() {
        return Err(Error::file(directory, "it is not a directory; one of IDX files is expected"));
    }
    let prefix = if split == Split::Train { "train" } else { "t10k" };
    // Labels first: they are small, and bound what the images may declare.
    let label_path = find(directory, &format!("{prefix}-labels-idx1-ubyte"))?;
    let image_path = find(directory, &format!("{prefix}-images-idx3-ubyte"))?;

    let labels = Idx::open(&label_path, Some(1))?;
    let images = Idx::open(&image_path, Some(3))?;
    let count = labels.sizes[0];
    if count == 0 {
        return Err(Error::file(&label_path, "it holds no labels"));
    }
    if images.sizes[0] != count {
        let name = label_path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = images.sizes[0];
        return Err(Error::file(
            &image_path,
            format!("it declares {found} images, but {name} {count} labels"),
        ));
    }
    if images.sizes[1..] != [SIZE, SIZE] {
        let (rows, columns) = (images.sizes[1], images.sizes[2]);
        return Err(Error::file(
            &image_path,
            format!("images of {SIZE} x {SIZE} expected, it declares {rows} x {columns}"),
        ));
    }
    let labels = labels.read()?;
    if let Some(i) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
        let message = format!("label {i} is {}, expected 0..={}", labels[i], CLASSES - 1);
        return Err(Error::file(&label_path, message));
    }
    Dataset::new(vec![
        Field::bytes("image", &[1, SIZE, SIZE], images.read()?).with_origin(&image_path),
        Field::bytes("label", &[], labels).with_origin(&label_path),
    ])
}

/// Reads a file for each field; the first axis counts the examples.
pub(super) fn load(files: &[(String, PathBuf)]) -> Result<Dataset, Error> {
    let fields = files.iter().map(|(name, path)| {
        let idx = Idx::open(path, None)?;
        let (sizes, element) = (idx.sizes.clone(), idx.element);
        let values = element.values(idx.read()?);
        Ok(Field::new(name, &sizes[1..], values).with_origin(path))
    });
    Dataset::new(fields.collect::<Result<_, Error>>()?)
}

/// The file of this name, or with `.gz`.
fn find(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    let plain = directory.join(name);
    let compressed = directory.join(format!("{name}.gz"));
    [plain, compressed]
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| Error::file(directory, format!("it has neither {name} nor {name}.gz")))
}

/// An element type, by its number in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Element(u8);

impl Element {
    /// Bytes of an element, if there is such a type.
    fn bytes(self) -> Option<u64> {
        match self.0 {
            UNSIGNED_BYTES | 0x09 => Some(1),
            0x0B => Some(2),
            0x0C | 0x0D => Some(4),
            0x0E => Some(8),
            _ => None,
        }
    }

    /// What the bytes are, most significant first.
    fn values(self, bytes: Vec<u8>) -> Values {
        match self.0 {
            0x09 => Values::I32(bytes.iter().map(|&b| i32::from(b as i8)).collect()),
            0x0B => Values::I32(each(&bytes, |b| i32::from(i16::from_be_bytes(b)))),
            0x0C => Values::I32(each(&bytes, i32::from_be_bytes)),
            0x0D => Values::F32(each(&bytes, f32::from_be_bytes)),
            0x0E => Values::F32(each(&bytes, |b| f64::from_be_bytes(b) as f32)),
            _ => Values::Bytes(bytes),
        }
    }
}

fn each<T, const B: usize>(bytes: &[u8], element: impl Fn([u8; B]) -> T) -> Vec<T> {
    bytes.as_chunks::<B>().0.iter().map(|&bytes| element(bytes)).collect()
}

/// An opened file whose header is read and found possible.
struct Idx {
    path: PathBuf,
    element: Element,
    sizes: Vec<usize>,
    /// Bytes of data the header declares.
    declared: u64,
    data: Box<dyn Read>,
}

impl Idx {
    /// Opens a file of bytes with so many axes, or of any type with any number of axes.
    fn open(path: &Path, axes: Option<u8>) -> Result<Idx, Error> {
        let (file, stored) = file::open(path)?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut magic = [0; 2];
        let got = read_up_to(&mut file, &mut magic).map_err(Error::read(path))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::read(path))?;
        let compressed = got == 2 && magic == [0x1F, 0x8B];
        let mut data: Box<dyn Read> =
            if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };

        let mut start = [0; 4];
        let got = read_up_to(&mut *data, &mut start).map_err(broken(path, "header", 0))?;
        let cut_off = |header: usize, got: usize| {
            let message = format!("truncated: its header takes {header} bytes, {got} found");
            Err(Error::file(path, message))
        };
        if got < 4 {
            return cut_off(4 + 4 * usize::from(axes.unwrap_or(1)), got);
        }
        let (element, found) = (Element(start[2]), start[3]);
        let size = element.bytes().filter(|_| start[..2] == [0, 0] && found > 0);
        let fits = axes.is_none_or(|axes| start == [0, 0, UNSIGNED_BYTES, axes]);
        let Some(size) = size.filter(|_| fits) else {
            let hex = |bytes: [u8; 4]| {
                bytes.iter().fold("0x".to_string(), |text, byte| text + &format!("{byte:02x}"))
            };
            let found = hex(start);
            let message = match axes {
                Some(axes) => format!(
                    "it is not an IDX file of bytes with {axes} axes: it begins with {found}, not {}",
                    hex([0, 0, UNSIGNED_BYTES, axes])
                ),
                None => format!("it is not an IDX file: it begins with {found}"),
            };
            return Err(Error::file(path, message));
        };
        let mut sizes = vec![0; 4 * usize::from(axes.unwrap_or(found))];
        let more = read_up_to(&mut *data, &mut sizes).map_err(broken(path, "header", 4))?;
        let header = 4 + sizes.len();
        if more < sizes.len() {
            return cut_off(header, 4 + more);
        }
        let (sizes, _) = sizes.as_chunks::<4>();
        let sizes: Vec<u32> = sizes.iter().map(|&size| u32::from_be_bytes(size)).collect();
        let product = sizes.iter().try_fold(size, |n, &size| n.checked_mul(u64::from(size)));
        let width = (size > 1).then(|| size.to_string());
        let list = sizes.iter().map(u32::to_string).chain(width).collect::<Vec<_>>().join(" x ");
        let Some(declared) = product else {
            return Err(Error::file(path, format!("it declares {list} bytes: too many to count")));
        };
        if compressed {
            let limit = bomb_limit(stored);
            if declared > limit {
                return Err(Error::file(
                    path,
                    format!(
                        "it declares {list} = {declared} bytes in {stored} compressed ones; more than {limit} is taken \
                     for a decompression bomb (if it is none, unpack it with gunzip)"
                    ),
                ));
            }
        } else {
            let found = stored.saturating_sub(header as u64);
            if found != declared {
                let fault = if found < declared { "truncated" } else { "too long" };
                return Err(Error::file(
                    path,
                    format!(
                        "{fault}: it declares {list} = {declared} bytes of data, {found} found"
                    ),
                ));
            }
        }
        let sizes = sizes.into_iter().map(|size| size as usize).collect();
        Ok(Idx { path: path.to_path_buf(), element, sizes, declared, data })
    }

    /// The data: exactly what the header declares.
    fn read(mut self) -> Result<Vec<u8>, Error> {
        let path = &self.path;
        let declared = self.declared;
        let mut bytes = Vec::new();
        let room = usize::try_from(declared).ok().map(|n| bytes.try_reserve_exact(n));
        if !matches!(room, Some(Ok(()))) {
            return Err(Error::file(path, format!("no memory for its {declared} bytes of data")));
        }
        let result = self.data.by_ref().take(declared).read_to_end(&mut bytes);
        let found = bytes.len() as u64;
        match result {
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(broken(path, "data", found)(e));
            }
            _ if found < declared => {
                return Err(Error::file(
                    path,
                    format!("truncated: it declares {declared} bytes of data, {found} found"),
                ));
            }
            _ => {}
        }
        // Reading the end also checks a .gz file's checksum.
        match read_up_to(&mut *self.data, &mut [0]).map_err(broken(path, "data", found))? {
            0 => Ok(bytes),
            _ => Err(Error::file(
                path,
                format!("too long: it declares {declared} bytes of data, more follow"),
            )),
        }
    }
}

/// What a failed read means: a broken .gz stream or the system's refusal.
fn broken(path: &Path, part: &str, found: u64) -> impl FnOnce(io::Error) -> Error {
    let place = format!("after {found} bytes of its {part}");
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Error::file(&path, format!("broken .gz stream {place}: {source}"))
        }
        io::ErrorKind::UnexpectedEof => Error::file(&path, format!("truncated .gz stream {place}")),
        _ => Error::Read { path, source },
    }
}

/// Fills the buffer as far as the stream goes.
fn read_up_to(stream: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match stream.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    const IMAGES: &str = "t10k-images-idx3-ubyte";
    const LABELS: &str = "t10k-labels-idx1-ubyte";

    fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, u8::try_from(sizes.len()).unwrap()];
        file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        file.extend(data);
        file
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn pixels(count: usize) -> Vec<u8> {
        (0..count * SIZE * SIZE).map(|i| (i % 251) as u8).collect()
    }

    /// A directory of a good test split with one file replaced; `None` leaves it out.
    fn directory(name: &str, content: Option<&[u8]>) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let good = [(IMAGES, idx(&[3, 28, 28], &pixels(3))), (LABELS, idx(&[3], &[7, 0, 9]))];
        for (file, bytes) in &good {
            if !name.starts_with(file) {
                fs::write(directory.path().join(file), bytes).unwrap();
            }
        }
        if let Some(content) = content {
            fs::write(directory.path().join(name), content).unwrap();
        }
        directory
    }

    fn error(name: &str, content: Option<&[u8]>) -> String {
        let directory = directory(name, content);
        let begun = Instant::now();
        let message = mnist(directory.path(), Split::Test).unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(2));
        message.replace(directory.path().to_str().unwrap(), "D")
    }

    #[test]
    fn plain_and_compressed_files_hold_the_same() {
        let compressed = gz(&idx(&[3, 28, 28], &pixels(3)));
        let name = format!("{IMAGES}.gz");
        let [plain, compressed] = [directory("", None), directory(&name, Some(&compressed))]
            .map(|directory| mnist(directory.path(), Split::Test).unwrap());
        for data in [plain, compressed] {
            assert_eq!(data.len(), 3);
            assert_eq!(data.field("image").unwrap().shape(), [1, 28, 28]);
            let values = |name| data.field(name).unwrap().values().clone();
            assert_eq!(values("image"), Values::Bytes(pixels(3)));
            assert_eq!(values("label"), Values::Bytes(vec![7, 0, 9]));
        }
    }

    #[test]
    fn missing_files_are_named() {
        assert_eq!(error(IMAGES, None), format!("D: it has neither {IMAGES} nor {IMAGES}.gz"));
        let directory = directory("", None);
        let train = mnist(directory.path(), Split::Train).unwrap_err().to_string();
        assert!(train.contains("neither train-labels-idx1-ubyte nor"), "{train}");
        let file = mnist(&directory.path().join(LABELS), Split::Test).unwrap_err().to_string();
        assert!(file.contains("it is not a directory"), "{file}");
    }

    #[test]
    fn truncated_files_name_expected_and_found_bytes() {
        let whole = idx(&[3, 28, 28], &pixels(3));
        assert_eq!(
            error(IMAGES, Some(&whole[..1000])),
            format!(
                "D/{IMAGES}: truncated: it declares 3 x 28 x 28 = 2352 bytes of data, 984 found"
            )
        );
        assert_eq!(
            error(IMAGES, Some(&whole[..9])),
            format!("D/{IMAGES}: truncated: its header takes 16 bytes, 9 found")
        );
        assert!(error(IMAGES, Some(b"")).contains("its header takes 16 bytes, 0 found"));
        // A whole .gz file of a truncated one.
        let name = format!("{IMAGES}.gz");
        assert_eq!(
            error(&name, Some(&gz(&whole[..1000]))),
            format!("D/{name}: truncated: it declares 2352 bytes of data, 984 found")
        );
        // A truncated .gz file.
        let compressed = gz(&whole);
        let cut = error(&name, Some(&compressed[..compressed.len() / 2]));
        assert!(cut.contains("truncated: it declares 2352 bytes of data, "), "{cut}");
        assert!(error(&name, Some(&compressed[..12])).contains("truncated .gz stream"));
    }

    #[test]
    fn broken_streams_are_told() {
        let name = format!("{IMAGES}.gz");
        let mut compressed = gz(&idx(&[3, 28, 28], &pixels(3)));
        let checksum = compressed.len() - 8;
        compressed[checksum] ^= 1;
        assert!(error(&name, Some(&compressed)).contains("broken .gz stream"));
    }

    #[test]
    fn other_formats_and_sizes_are_refused() {
        assert_eq!(
            error(IMAGES, Some(&idx(&[2352], &pixels(3)))),
            format!(
                "D/{IMAGES}: it is not an IDX file of bytes with 3 axes: it begins with 0x00000801, not 0x00000803"
            )
        );
        assert_eq!(
            error(IMAGES, Some(&idx(&[3, 27, 28], &pixels(3)[..3 * 27 * 28]))),
            format!("D/{IMAGES}: images of 28 x 28 expected, it declares 27 x 28")
        );
        assert_eq!(
            error(IMAGES, Some(&idx(&[2, 28, 28], &pixels(2)))),
            format!("D/{IMAGES}: it declares 2 images, but {LABELS} 3 labels")
        );
        assert_eq!(
            error(LABELS, Some(&idx(&[3], &[1, 10, 2]))),
            format!("D/{LABELS}: label 1 is 10, expected 0..=9")
        );
        assert_eq!(error(LABELS, Some(&idx(&[0], &[]))), format!("D/{LABELS}: it holds no labels"));
        assert!(
            error(LABELS, Some(&idx(&[3], &[1, 2, 3, 4]))).contains("3 bytes of data, 4 found")
        );
        assert!(error(IMAGES, Some(&idx(&[u32::MAX; 3], &[]))).contains("too many to count"));
    }

    #[test]
    fn bombs_are_answered_without_unpacking_them() {
        let name = format!("{IMAGES}.gz");
        let zeros = vec![0; 64 << 20];
        // 64 MiB where 2352 bytes are declared, and where as many are.
        assert!(
            error(&name, Some(&gz(&idx(&[3, 28, 28], &zeros))))
                .contains("too long: it declares 2352 bytes")
        );
        let labels = format!("{LABELS}.gz");
        let bomb = error(&labels, Some(&gz(&idx(&[64 << 20], &zeros))));
        assert!(bomb.contains("taken for a decompression bomb"), "{bomb}");
        let claim = error(&name, Some(&gz(&idx(&[1 << 30, 28, 28], &[]))));
        assert!(claim.contains("taken for a decompression bomb"), "{claim}");
    }

    #[test]
    fn any_files_are_fields() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            (name.to_string(), path)
        };
        let shorts = [&[0, 0, 0x0B, 1, 0, 0, 0, 2, 0xFF, 0xFE, 1, 0][..]].concat();
        let floats = [&[0, 0, 0x0D, 2, 0, 0, 0, 2, 0, 0, 0, 1][..], &1.5f32.to_be_bytes()].concat();
        let files = [
            write("image", &gz(&idx(&[2, 2, 1], &[1, 2, 3, 4]))),
            write("label", &shorts),
            write("x", &[&floats[..], &(-2f32).to_be_bytes()].concat()),
        ];
        let data = load(&files).unwrap();
        let field = |name| (data.field(name).unwrap().shape(), data.field(name).unwrap().values());
        assert_eq!(field("image"), (&[2, 1][..], &Values::Bytes(vec![1, 2, 3, 4])));
        assert_eq!(field("label"), (&[][..], &Values::I32(vec![-2, 256])));
        assert_eq!(field("x"), (&[1][..], &Values::F32(vec![1.5, -2.0])));
        let error = |file| load(&[file]).unwrap_err().to_string();
        assert!(error(write("y", &floats[..15])).contains("2 x 1 x 4 = 8 bytes of data, 3 found"));
        assert!(error(write("z", b"\0\0\x0A\x01")).contains("it begins with 0x00000a01"));
        assert!(error(write("z", b"\0\0\x08\0")).contains("it is not an IDX file"));
    }
}
