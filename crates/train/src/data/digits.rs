//! The UCI handwritten digits as CSV: a header `p00` .. `p77`, `label`, then one image a line.

use std::path::Path;

use super::table::Records;
use super::{Dataset, Field, file};
use crate::Error;

/// Rows and columns of an image.
const SIZE: usize = 8;
const PIXELS: usize = SIZE * SIZE;
const CLASSES: u8 = 10;
/// The largest value of a pixel.
const WHITE: u8 = 16;
/// The set takes a quarter of a MiB; a larger file than this is something else.
const MAX_BYTES: u64 = 16 << 20;

/// The name of column `i`.
fn column(i: usize) -> String {
    if i < PIXELS { format!("p{}{}", i / SIZE, i % SIZE) } else { "label".to_string() }
}

/// Reads the file.
pub(super) fn load(path: &Path) -> Result<Dataset, Error> {
    let bytes = file::read(path, MAX_BYTES)?;
    let mut records = Records::new(path, &bytes);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let mut first = true;
    while let Some(row) = records.next()? {
        let wrong = |i: usize, message: String| row.wrong(i, &column(i), &message);
        if row.len() != PIXELS + 1 {
            let i = row.len().min(PIXELS);
            let (expected, found) = (PIXELS + 1, row.len());
            return Err(wrong(i, format!("{expected} columns expected, {found} found")));
        }
        for i in 0..=PIXELS {
            let (field, text) = (row.field(i), row.shown(i));
            if first {
                if field != column(i).as_bytes() {
                    return Err(wrong(i, format!("the header has `{text}` here")));
                }
                continue;
            }
            let largest = if i < PIXELS { WHITE } else { CLASSES - 1 };
            let value = std::str::from_utf8(field).ok().and_then(|s| s.parse::<u8>().ok());
            match value.filter(|&value| value <= largest) {
                Some(value) if i < PIXELS => pixels.push(value),
                Some(value) => labels.push(i32::from(value)),
                None => {
                    return Err(wrong(
                        i,
                        format!("an integer 0..={largest} expected, `{text}` found"),
                    ));
                }
            }
        }
        first = false;
    }
    if labels.is_empty() {
        return Err(Error::file(path, if first { "it is empty" } else { "it has no examples" }));
    }
    Dataset::new(vec![
        Field::bytes("image", &[1, SIZE, SIZE], pixels).with_origin(path),
        Field::integers("label", &[], labels).with_origin(path),
    ])
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;

    use super::super::Split;
    use super::*;

    fn csv(examples: usize) -> String {
        let names: Vec<String> = (0..=PIXELS).map(column).collect();
        let mut text = names.join(",") + "\n";
        for n in 0..examples {
            for i in 0..PIXELS {
                write!(text, "{},", (n + i) % 17).unwrap();
            }
            writeln!(text, "{}", n % 10).unwrap();
        }
        text
    }

    fn load_text(text: &str, split: Split) -> Result<Dataset, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("digits.csv");
        fs::write(&path, text).unwrap();
        load(&path).and_then(|data| data.split(&path, Some(split))).map_err(|e| {
            let message = e.to_string();
            message.split_once("digits.csv: ").expect("the file is named").1.to_string()
        })
    }

    #[test]
    fn the_splits_are_fixed_and_share_nothing() {
        // The first two pixels tell the examples apart: 17 x 10 of them.
        let text = csv(170);
        let [train, test] = [Split::Train, Split::Test].map(|s| load_text(&text, s).unwrap());
        assert_eq!((train.len(), test.len()), (136, 34));
        assert_eq!(train.field("image").unwrap().shape(), [1, 8, 8]);
        let values = |set: &Dataset, name, i| {
            let field = set.field(name).unwrap();
            let mut to = vec![0; field.shape().iter().product()];
            field.write_i32(set.row(i), None, &mut to);
            to
        };
        let key = |set: &Dataset, i| (values(set, "image", i), values(set, "label", i));
        let mut seen: Vec<_> = (0..136).map(|i| key(&train, i)).collect();
        seen.extend((0..34).map(|i| key(&test, i)));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 170);
        // Pinned: a change here changes what every published accuracy means.
        let labels: Vec<i32> = (0..8).map(|i| values(&test, "label", i)[0]).collect();
        assert_eq!(labels, [5, 8, 4, 4, 0, 4, 6, 9]);
    }

    #[test]
    fn errors_name_line_and_column() {
        let error = |text: &str| load_text(text, Split::Train).unwrap_err();
        let text = csv(3);
        assert_eq!(error(""), "it is empty");
        assert_eq!(error(&csv(0)), "it has no examples");
        assert!(error(&csv(1)).contains("cannot be split"));
        assert_eq!(
            error(&text.replacen("p03", "q03", 1)),
            "line 1, column 4 (p03): the header has `q03` here"
        );
        let mut lines: Vec<&str> = text.lines().collect();
        let (pixel, label, short) = (
            lines[2].replacen("1,2,3", "1,17,3", 1),
            lines[3].rsplit_once(',').unwrap().0.to_string() + ",ten",
            lines[3].rsplit_once(',').unwrap().0.to_string(),
        );
        lines[2] = &pixel;
        assert_eq!(
            error(&lines.join("\n")),
            "line 3, column 2 (p01): an integer 0..=16 expected, `17` found"
        );
        lines.remove(2);
        lines[2] = &label;
        assert_eq!(
            error(&lines.join("\n")),
            "line 3, column 65 (label): an integer 0..=9 expected, `ten` found"
        );
        lines[2] = &short;
        assert_eq!(
            error(&lines.join("\n")),
            "line 3, column 65 (label): 65 columns expected, 64 found"
        );
    }

    #[test]
    fn a_directory_is_no_csv_file() {
        let directory = tempfile::tempdir().unwrap();
        let error = load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
