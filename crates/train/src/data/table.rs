//! Tables as CSV: a line of names, then a line of values for each example.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Dataset, Field, file};
use crate::Error;

/// A larger table is better kept as npy.
const MAX_BYTES: u64 = 4 << 30;
/// The most bytes of a line.
const MAX_LINE: usize = 1 << 20;
/// What the reader may have read ahead of the line it is at.
const AHEAD: usize = 8 << 10;

/// The records of a CSV file, one after the other.
pub(super) struct Records<'a> {
    path: PathBuf,
    bytes: &'a [u8],
    reader: csv::Reader<Budget<'a>>,
    record: csv::ByteRecord,
    /// How far lines are counted: the offset, and its line from 1.
    counted: (usize, u64),
}

/// Bytes of which only so many may be read before more are granted: a record is memory, and must not be a whole file.
struct Budget<'a> {
    rest: &'a [u8],
    left: usize,
}

impl Read for Budget<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.rest.is_empty() {
            return Err(io::Error::other("the line is too long"));
        }
        let end = self.left.min(self.rest.len());
        let got = (&self.rest[..end]).read(buffer)?;
        self.rest = &self.rest[got..];
        self.left -= got;
        Ok(got)
    }
}

/// A line of a CSV file.
pub(super) struct Record<'a> {
    path: &'a Path,
    /// The line it begins on, from 1.
    pub line: u64,
    fields: &'a csv::ByteRecord,
}

impl<'a> Records<'a> {
    pub fn new(path: &Path, bytes: &'a [u8]) -> Records<'a> {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .buffer_capacity(AHEAD)
            .from_reader(Budget { rest: bytes, left: 0 });
        let record = csv::ByteRecord::new();
        Records { path: path.to_path_buf(), bytes, reader, record, counted: (0, 1) }
    }

    /// The next record; empty lines are passed over.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        let line = self.next_line();
        self.reader.get_mut().left = MAX_LINE + AHEAD;
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => Ok(Some(Record { path: &self.path, line, fields: &self.record })),
            Ok(false) => Ok(None),
            Err(_) => {
                let message = format!("line {line} has more than {MAX_LINE} bytes");
                Err(Error::file(&self.path, message))
            }
        }
    }

    /// The line on which the next record begins.
    fn next_line(&mut self) -> u64 {
        let (from, line) = self.counted;
        let at = usize::try_from(self.reader.position().byte()).unwrap_or(usize::MAX);
        let rest = self.bytes.get(at..).unwrap_or_default();
        let begin = at + rest.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let passed = self.bytes.get(from..begin).unwrap_or_default();
        let line = line + passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.counted = (begin, line);
        line
    }
}

impl Record<'_> {
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn field(&self, i: usize) -> &[u8] {
        &self.fields[i]
    }

    /// A field for a message: no more than its beginning.
    pub fn shown(&self, i: usize) -> Cow<'_, str> {
        let field = self.field(i);
        String::from_utf8_lossy(&field[..field.len().min(16)])
    }

    /// An error in column `i`, which is called so.
    pub fn wrong(&self, i: usize, name: &str, message: &str) -> Error {
        let message = format!("line {}, column {} ({name}): {message}", self.line, i + 1);
        Error::file(self.path, message)
    }
}

/// What the numbers of the column of classes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Classes {
    Numbers,
    /// Numbered in sorted order.
    Names,
}

/// Reads a table: `x`, the numbers of a line in order, without those of the columns `label`, a class, and `target`, a
/// number.
pub(super) fn load(
    path: &Path,
    label: Option<&str>,
    target: Option<&str>,
) -> Result<Dataset, Error> {
    let bytes = file::read(path, MAX_BYTES)?;
    let mut records = Records::new(path, &bytes);
    let names: Vec<String> = match records.next()? {
        None => return Err(Error::file(path, "it is empty")),
        Some(first) => {
            (0..first.len()).map(|i| String::from_utf8_lossy(first.field(i)).into_owned()).collect()
        }
    };
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        return Err(Error::file(path, "its first line has numbers, not the names of the columns"));
    }
    let find = |name: &str| {
        names.iter().position(|known| known == name).ok_or_else(|| {
            let known: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
            let more = if names.len() > 20 { " ..." } else { "" };
            let known = known.join(", ");
            Error::file(path, format!("it has no column `{name}`, but {known}{more}"))
        })
    };
    let label = label.map(find).transpose()?;
    let target = target.map(find).transpose()?;
    let width = (0..names.len()).filter(|i| ![label, target].contains(&Some(*i))).count();

    let (mut x, mut targets, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let mut classes = Vec::new();
    let mut kind = None;
    while let Some(record) = records.next()? {
        if record.len() != names.len() {
            let i = record.len().min(names.len() - 1);
            let message = format!("{} columns expected, {} found", names.len(), record.len());
            return Err(record.wrong(i, &names[i], &message));
        }
        for (i, name) in names.iter().enumerate() {
            let field = record.field(i);
            if label == Some(i) {
                let number = std::str::from_utf8(field).ok().and_then(|s| s.parse::<i32>().ok());
                match (
                    number,
                    *kind.get_or_insert(match number {
                        Some(_) => Classes::Numbers,
                        None => Classes::Names,
                    }),
                ) {
                    (Some(number), Classes::Numbers) => labels.push(number),
                    (None, Classes::Numbers) => {
                        let shown = record.shown(i);
                        let message = format!("a whole number expected, `{shown}` found");
                        return Err(record.wrong(i, name, &message));
                    }
                    (_, Classes::Names) => classes.push(field.to_vec()),
                }
                continue;
            }
            let number = std::str::from_utf8(field).ok().and_then(|s| s.parse::<f32>().ok());
            let Some(number) = number.filter(|number| number.is_finite()) else {
                let message = format!("a number expected, `{}` found", record.shown(i));
                return Err(record.wrong(i, name, &message));
            };
            if target == Some(i) { targets.push(number) } else { x.push(number) }
        }
    }
    if kind == Some(Classes::Names) {
        let mut sorted: Vec<&Vec<u8>> = classes.iter().collect();
        sorted.sort();
        sorted.dedup();
        let number = |name| sorted.binary_search(&name).expect("it is one of them") as i32;
        labels = classes.iter().map(number).collect();
    }
    let mut fields = Vec::new();
    if width > 0 {
        fields.push(Field::reals("x", &[width], x));
    }
    if label.is_some() {
        fields.push(Field::integers("label", &[], labels));
    }
    if target.is_some() {
        fields.push(Field::reals("target", &[], targets));
    }
    Dataset::new(fields.into_iter().map(|field| field.with_origin(path)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::super::Values;
    use super::*;

    fn load_text(
        text: impl AsRef<[u8]>,
        label: Option<&str>,
        target: Option<&str>,
    ) -> Result<Dataset, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.csv");
        fs::write(&path, text).unwrap();
        let begun = Instant::now();
        let result = load(&path, label, target);
        assert!(begun.elapsed() < Duration::from_secs(2));
        result
            .map_err(|e| e.to_string().rsplit_once("t.csv: ").expect("the file is named").1.into())
    }

    fn values(data: &Dataset, name: &str) -> Values {
        data.field(name).unwrap().values().clone()
    }

    #[test]
    fn columns_are_numbers_but_for_the_label() {
        let text = "a, kind,b,price\n1,2,-0.5,10\n\n\"3\",0,1e2,20\n";
        let data = load_text(text, Some("kind"), Some("price")).unwrap();
        assert_eq!(data.len(), 2);
        assert_eq!(values(&data, "x"), Values::F32(vec![1.0, -0.5, 3.0, 100.0]));
        assert_eq!(values(&data, "label"), Values::I32(vec![2, 0]));
        assert_eq!(values(&data, "target"), Values::F32(vec![10.0, 20.0]));
        let plain = load_text(text, None, None).unwrap();
        assert_eq!(plain.field("x").unwrap().shape(), [4]);
        assert!(plain.field("label").is_none());
    }

    #[test]
    fn names_of_classes_are_numbered_in_sorted_order() {
        let text = "x,kind\n1,virginica\n2,setosa\n3,virginica\n4,versicolor";
        let data = load_text(text, Some("kind"), None).unwrap();
        assert_eq!(values(&data, "label"), Values::I32(vec![2, 0, 2, 1]));
    }

    #[test]
    fn errors_name_line_and_column() {
        let error = |text: &str| load_text(text, Some("y"), None).unwrap_err();
        assert_eq!(error(""), "it is empty");
        assert_eq!(error("1,2\n3,4"), "its first line has numbers, not the names of the columns");
        assert_eq!(error("a,b\n1,2"), "it has no column `y`, but a, b");
        assert_eq!(error("x,y\n"), "a data set of 0 examples");
        assert_eq!(error("x,y\n1,2\n3"), "line 3, column 2 (y): 2 columns expected, 1 found");
        assert_eq!(error("x,y\n1,2,3"), "line 2, column 2 (y): 2 columns expected, 3 found");
        assert_eq!(
            error("x,y\r\n\r\n1,2\r\n3"),
            "line 4, column 2 (y): 2 columns expected, 1 found"
        );
        assert_eq!(error("x,y\n,2"), "line 2, column 1 (x): a number expected, `` found");
        assert_eq!(error("x,y\nNaN,2"), "line 2, column 1 (x): a number expected, `NaN` found");
        assert_eq!(
            error("x,y\n1,2\n1,two"),
            "line 3, column 2 (y): a whole number expected, `two` found"
        );
    }

    #[test]
    fn endless_lines_are_refused_in_little_memory() {
        let error = |text: Vec<u8>| load_text(text, None, None).unwrap_err();
        assert_eq!(error(b",".repeat(50_000_000)), "line 1 has more than 1048576 bytes");
        assert_eq!(error(b"x".repeat(50_000_000)), "line 1 has more than 1048576 bytes");
        let quoted = [b"a,b\n1,\"".to_vec(), b"\n".repeat(20_000_000)].concat();
        assert_eq!(error(quoted), "line 2 has more than 1048576 bytes");
    }
}
