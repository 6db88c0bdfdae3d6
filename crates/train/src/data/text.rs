//! Text as bytes, for models that say how it goes on.
//!
//! An example is a window of T bytes, `token`, and the window one byte further on, `label`. In order, windows lie side
//! by side; shuffled, each begins at a random byte. The last tenth of the file is the test split.

use std::path::Path;
use std::sync::Arc;

use super::{Dataset, Field, FieldType, Split, Values, file};
use crate::Error;
use crate::random::Draws;

/// A larger file has more windows than examples are counted.
const MAX_BYTES: u64 = u32::MAX as u64;
/// One byte in so many is for testing.
const TEST_SHARE: usize = 10;
/// The place of a window's draw, which no step of a pipeline has.
const WINDOW: u32 = u32::MAX - 2;

/// Windows on a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Windows {
    bytes: Arc<[u8]>,
    length: usize,
    /// How far behind a window's beginning its values begin: 0 for tokens, 1 for labels.
    shift: usize,
}

impl Windows {
    /// Windows side by side, each with a byte to follow.
    pub fn count(&self) -> usize {
        (self.bytes.len() - 1) / self.length
    }

    /// The bytes that occur.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Window `row`; with draws a random one instead.
    pub fn write(&self, row: usize, draws: Option<Draws>, to: &mut [i32]) {
        let begin = match draws {
            Some(draws) => draws.at(WINDOW)[0].below(self.bytes.len() - self.length),
            None => row * self.length,
        };
        for (to, &from) in to.iter_mut().zip(&self.bytes[begin + self.shift..]) {
            *to = i32::from(from);
        }
    }
}

/// Reads the file. Windows are as long as the program wants them, unless given.
pub(super) fn load(
    path: &Path,
    length: Option<usize>,
    split: Option<Split>,
    wanted: &[FieldType],
) -> Result<Dataset, Error> {
    let fields = ["token", "label"];
    let wish = wanted.iter().find(|want| fields.contains(&&*want.name) && want.axes.len() == 1);
    let Some(length) = length.or(wish.map(|want| want.axes[0].1)).filter(|&length| length > 0)
    else {
        return Err(Error::Setting("text needs a length of at least 1".to_string()));
    };
    let mut bytes = file::read(path, MAX_BYTES)?;
    let test = bytes.len().div_ceil(TEST_SHARE);
    match split {
        Some(Split::Train) => bytes.truncate(bytes.len() - test),
        Some(Split::Test) => drop(bytes.drain(..bytes.len() - test)),
        None => {}
    }
    if bytes.len() <= length {
        let part = match split {
            Some(Split::Train) => "without its last tenth, the test split, ",
            Some(Split::Test) => "its last tenth, the test split, ",
            None => "it ",
        };
        let found = bytes.len();
        let message = format!(
            "{part}has {found} bytes; a window of {length} and what follows takes {}",
            length.saturating_add(1)
        );
        return Err(Error::file(path, message));
    }
    let bytes: Arc<[u8]> = bytes.into();
    let field = |shift: usize| {
        let windows = Windows { bytes: bytes.clone(), length, shift };
        Field::new(fields[shift], &[length], Values::Windows(windows)).with_origin(path)
    };
    Dataset::new(vec![field(0), field(1)])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load_bytes(
        bytes: &[u8],
        length: Option<usize>,
        split: Option<Split>,
    ) -> Result<Dataset, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.txt");
        fs::write(&path, bytes).unwrap();
        load(&path, length, split, &[]).map_err(|e| {
            let message = e.to_string();
            message.rsplit_once("t.txt: ").map_or(message.clone(), |(_, m)| m.to_string())
        })
    }

    fn window(data: &Dataset, name: &str, row: usize, draws: Option<Draws>) -> Vec<i32> {
        let field = data.field(name).unwrap();
        let mut to = vec![0; field.shape()[0]];
        field.write_i32(row, draws, &mut to);
        to
    }

    #[test]
    fn windows_lie_side_by_side_and_labels_one_byte_on() {
        let data = load_bytes(b"abcdefghij", Some(3), None).unwrap();
        assert_eq!(data.len(), 3);
        assert_eq!(window(&data, "token", 0, None), [97, 98, 99]);
        assert_eq!(window(&data, "label", 0, None), [98, 99, 100]);
        assert_eq!(window(&data, "token", 2, None), [103, 104, 105]);
        assert_eq!(window(&data, "label", 2, None), [104, 105, 106]);
        // One byte less, and the last window has nothing to follow.
        assert_eq!(load_bytes(b"abcdefghi", Some(3), None).unwrap().len(), 2);
    }

    #[test]
    fn splits_are_by_position() {
        let text: Vec<u8> = (0..100).collect();
        let [train, test] = [Split::Train, Split::Test]
            .map(|split| load_bytes(&text, Some(4), Some(split)).unwrap());
        assert_eq!((train.len(), test.len()), (22, 2));
        assert_eq!(window(&train, "token", 0, None), [0, 1, 2, 3]);
        assert_eq!(window(&test, "token", 0, None), [90, 91, 92, 93]);
        assert_eq!(window(&test, "label", 1, None), [95, 96, 97, 98]);
    }

    #[test]
    fn random_windows_reach_every_byte_and_go_together() {
        let text: Vec<u8> = (0..20).collect();
        let data = load_bytes(&text, Some(4), None).unwrap();
        let mut begins = std::collections::BTreeSet::new();
        for epoch in 0..400 {
            let draws = Some(Draws { seed: 1, epoch, example: 2 });
            let (token, label) =
                (window(&data, "token", 2, draws), window(&data, "label", 2, draws));
            assert_eq!(token[1..], label[..3]);
            assert_eq!(label[3], token[3] + 1);
            begins.insert(token[0]);
        }
        assert_eq!(begins, (0..16).collect());
    }

    #[test]
    fn short_texts_are_refused() {
        let error = |bytes: &[u8], length, split| load_bytes(bytes, length, split).unwrap_err();
        assert_eq!(
            error(b"abc", Some(3), None),
            "it has 3 bytes; a window of 3 and what follows takes 4"
        );
        assert_eq!(
            error(b"", Some(1), None),
            "it has 0 bytes; a window of 1 and what follows takes 2"
        );
        assert_eq!(
            error(&[0; 30], Some(3), Some(Split::Test)),
            "its last tenth, the test split, has 3 bytes; a window of 3 and what follows takes 4"
        );
        assert_eq!(error(b"abc", None, None), "text needs a length of at least 1");
        assert!(error(b"abc", Some(usize::MAX), None).contains("takes"));
    }
}
