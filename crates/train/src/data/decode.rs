//! PNG and JPEG files to pixels of a fixed size.
//!
//! An image is scaled so that it just covers the frame, and what stands out on two sides is cut off evenly. Scaling is
//! bilinear, with the triangle as wide as the pixels it replaces where it shrinks (what Pillow's `BILINEAR` does).
//! Transparency is left out; grey is made of colour by the weights 0.299, 0.587 and 0.114.

use std::io::Cursor;
use std::path::Path;

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::file;
use crate::Error;

/// A larger file is no photograph.
const MAX_BYTES: u64 = 256 << 20;
/// An image of more pixels is refused before any is decoded.
const MAX_PIXELS: u64 = 1 << 25;

/// What an image is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// 1: grey; 3: red, green and blue.
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
}

/// Pixels as they are stored: rows from the top, the channels of a pixel side by side.
struct Image {
    rows: usize,
    columns: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// Reads an image; one channel after the other.
pub(super) fn decode(path: &Path, frame: Frame) -> Result<Vec<u8>, Error> {
    let bytes = file::read(path, MAX_BYTES)?;
    let image = match &bytes[..] {
        [0x89, b'P', b'N', b'G', ..] => decode_png(&bytes),
        [0xFF, 0xD8, ..] => decode_jpeg(&bytes),
        _ => Err("it is neither PNG nor JPEG".to_string()),
    };
    let image = image.map_err(|message| Error::file(path, message))?;
    Ok(fit(&image.with_channels(frame.channels), frame))
}

/// Refuses images that are too large, before memory is had for them.
fn check_size(columns: u64, rows: u64) -> Result<(), String> {
    if columns.saturating_mul(rows) > MAX_PIXELS || columns == 0 || rows == 0 {
        return Err(format!("it declares {columns} x {rows} pixels; 1 to {MAX_PIXELS} are read"));
    }
    Ok(())
}

fn decode_png(bytes: &[u8]) -> Result<Image, String> {
    let broken = |e: png::DecodingError| format!("broken PNG: {e}");
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(broken)?;
    check_size(header.width.into(), header.height.into())?;
    let mut reader = decoder.read_info().map_err(broken)?;
    let size = reader.output_buffer_size().ok_or("broken PNG: it has no size")?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(size).map_err(|_| format!("no memory for its {size} bytes"))?;
    pixels.resize(size, 0);
    let info = reader.next_frame(&mut pixels).map_err(broken)?;
    pixels.truncate(info.buffer_size());
    let (rows, columns) = (info.height as usize, info.width as usize);
    Ok(Image { rows, columns, channels: info.color_type.samples(), pixels })
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image, String> {
    let broken = |e: zune_jpeg::errors::DecodeErrors| format!("broken JPEG: {e}");
    // Strict: a truncated file is an error, and not an image that is grey below.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(broken)?;
    let info = decoder.info().ok_or("broken JPEG: it has no size")?;
    check_size(info.width.into(), info.height.into())?;
    let pixels = decoder.decode().map_err(broken)?;
    let (rows, columns) = (usize::from(info.height), usize::from(info.width));
    let channels = decoder.output_colorspace().map_or(0, |space| space.num_components());
    if pixels.len() != rows * columns * channels {
        return Err(format!("broken JPEG: {} bytes of pixels", pixels.len()));
    }
    Ok(Image { rows, columns, channels, pixels })
}

impl Image {
    /// With 1 channel or 3, without transparency.
    fn with_channels(self, channels: usize) -> Image {
        let pixel = |pixel: &[u8], to: &mut Vec<u8>| match (pixel, channels) {
            (&[grey] | &[grey, _], _) => to.extend(std::iter::repeat_n(grey, channels)),
            (&[red, green, blue, ..], 1) => {
                let sum =
                    19595 * u32::from(red) + 38470 * u32::from(green) + 7471 * u32::from(blue);
                to.push(((sum + 0x8000) >> 16) as u8);
            }
            (colours, _) => to.extend_from_slice(&colours[..channels]),
        };
        if self.channels == channels {
            return self;
        }
        let mut pixels = Vec::with_capacity(self.rows * self.columns * channels);
        self.pixels.chunks_exact(self.channels).for_each(|from| pixel(from, &mut pixels));
        Image { channels, pixels, ..self }
    }
}

/// Which neighbouring pixels make one of the result, and how much of each.
struct Mix {
    first: usize,
    weights: Vec<f32>,
}

/// How `to` pixels are made of the middle of `from`, each `scale` pixels wide.
fn mixes(from: usize, to: usize, scale: f64) -> Vec<Mix> {
    let begin = (from as f64 - to as f64 * scale) / 2.0;
    let reach = scale.max(1.0);
    let mix = |i: usize| {
        let centre = begin + (i as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).floor().max(0.0) as usize;
        let end = ((centre + reach + 0.5).floor() as usize).clamp(first + 1, from.max(first + 1));
        let first = first.min(from - 1);
        let weight = |k: usize| (1.0 - ((k as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        let weights: Vec<f64> = (first..end.min(from)).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        Mix { first, weights: weights.iter().map(|w| (w / sum) as f32).collect() }
    };
    (0..to).map(mix).collect()
}

/// Scales an image to cover the frame and cuts off what stands out.
fn fit(image: &Image, frame: Frame) -> Vec<u8> {
    let Frame { channels, rows, columns } = frame;
    let scale = (image.rows as f64 / rows as f64).min(image.columns as f64 / columns as f64);
    let [across, down] =
        [(image.columns, columns), (image.rows, rows)].map(|(from, to)| mixes(from, to, scale));
    // Only the rows that are read: of a wide image of little height, all.
    let top = down.iter().map(|mix| mix.first).min().unwrap_or(0);
    let bottom = down.iter().map(|mix| mix.first + mix.weights.len()).max().unwrap_or(0);
    let mut narrow = vec![0f32; (bottom - top) * columns * channels];
    for (y, to) in (top..bottom).zip(narrow.chunks_exact_mut(columns * channels)) {
        let from = &image.pixels[y * image.columns * channels..][..image.columns * channels];
        for (mix, to) in across.iter().zip(to.chunks_exact_mut(channels)) {
            for (k, weight) in mix.weights.iter().enumerate() {
                let from = &from[(mix.first + k) * channels..][..channels];
                for (to, &from) in to.iter_mut().zip(from) {
                    *to += weight * f32::from(from);
                }
            }
        }
    }
    let mut out = vec![0; channels * rows * columns];
    let mut line = vec![0f32; columns * channels];
    for (y, mix) in down.iter().enumerate() {
        line.fill(0.0);
        for (k, weight) in mix.weights.iter().enumerate() {
            let from = &narrow[(mix.first - top + k) * columns * channels..];
            for (to, from) in line.iter_mut().zip(from) {
                *to += weight * from;
            }
        }
        for (x, pixel) in line.chunks_exact(channels).enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                // Weights add up to 1 but for rounding, so the cast's clamping is at most a unit.
                out[(channel * rows + y) * columns + x] = (value + 0.5) as u8;
            }
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    /// A PNG file of these pixels.
    pub(crate) fn png(color: png::ColorType, columns: u32, rows: u32, pixels: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, columns, rows);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        if color == png::ColorType::Indexed {
            encoder.set_palette(vec![0, 0, 0, 10, 20, 30, 255, 255, 255]);
        }
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        file
    }

    fn read(bytes: &[u8], channels: usize, rows: usize, columns: usize) -> Result<Vec<u8>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("i.png");
        fs::write(&path, bytes).unwrap();
        let begun = Instant::now();
        let result = decode(&path, Frame { channels, rows, columns });
        assert!(begun.elapsed() < Duration::from_secs(2));
        result.map_err(|e| e.to_string().rsplit_once("i.png: ").expect("the file").1.to_string())
    }

    #[test]
    fn every_kind_of_png_gives_its_pixels() {
        use png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
        let colours = [1, 2, 3, 4, 5, 6];
        assert_eq!(read(&png(Rgb, 2, 1, &colours), 3, 1, 2).unwrap(), [1, 4, 2, 5, 3, 6]);
        let transparent = [1, 2, 3, 0, 4, 5, 6, 128];
        assert_eq!(read(&png(Rgba, 2, 1, &transparent), 3, 1, 2).unwrap(), [1, 4, 2, 5, 3, 6]);
        assert_eq!(
            read(&png(Indexed, 2, 1, &[1, 2]), 3, 1, 2).unwrap(),
            [10, 255, 20, 255, 30, 255]
        );
        assert_eq!(read(&png(Grayscale, 2, 1, &[7, 9]), 3, 1, 2).unwrap(), [7, 9, 7, 9, 7, 9]);
        assert_eq!(read(&png(GrayscaleAlpha, 2, 1, &[7, 0, 9, 1]), 1, 1, 2).unwrap(), [7, 9]);
        // 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
        assert_eq!(read(&png(Rgb, 1, 1, &[200, 100, 50]), 1, 1, 1).unwrap(), [124]);
    }

    #[test]
    fn images_cover_the_frame_and_are_cut_evenly() {
        let grey =
            |columns, rows, pixels: &[u8]| png(png::ColorType::Grayscale, columns, rows, pixels);
        // The middle two of four columns.
        let wide = grey(4, 2, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(read(&wide, 1, 2, 2).unwrap(), [2, 3, 6, 7]);
        // Halved: 2.5 pixels of weights 1/8, 3/8, 3/8, 1/8, fewer at the borders.
        let ramp: Vec<u8> = (0..64).map(|i| (i % 8) * 16).collect();
        let half = read(&grey(8, 8, &ramp), 1, 4, 4).unwrap();
        assert_eq!(half[..4], [11, 40, 72, 101]);
        assert_eq!(half[12..], half[..4]);
        // Doubled: quarters between neighbours, the borders repeated.
        let doubled = read(&grey(2, 2, &[0, 100, 0, 100]), 1, 4, 4).unwrap();
        assert_eq!(doubled[..4], [0, 25, 75, 100]);
        // One colour stays that colour, however it is scaled.
        for (rows, columns) in [(1, 1), (3, 7), (50, 20), (100, 100)] {
            let flat = read(&grey(13, 9, &[201; 13 * 9]), 1, rows, columns).unwrap();
            assert_eq!(flat, vec![201; rows * columns]);
        }
    }

    /// 16x8 pixels: left (200, 30, 60), right (20, 90, 180), by libjpeg at quality 95 without subsampling.
    const JPEG: &[u8] = include_bytes!("testdata/two_colours.jpg");

    #[test]
    fn jpeg_gives_nearly_its_pixels() {
        let pixels = read(JPEG, 3, 8, 16).unwrap();
        for (channel, sides) in [[200, 20], [30, 90], [60, 180]].iter().enumerate() {
            for (at, side) in [(0, sides[0]), (15, sides[1])] {
                for row in 0..8 {
                    let value = i32::from(pixels[channel * 128 + row * 16 + at]);
                    assert!((value - side).abs() <= 4, "{channel} {row} {at}: {value}");
                }
            }
        }
        let grey = read(JPEG, 1, 8, 16).unwrap();
        assert!((i32::from(grey[0]) - 84).abs() <= 3, "{}", grey[0]);
    }

    #[test]
    fn broken_and_boundless_images_are_refused() {
        let error = |bytes: &[u8]| read(bytes, 3, 2, 2).unwrap_err();
        assert_eq!(error(b""), "it is neither PNG nor JPEG");
        assert_eq!(error(b"GIF89a"), "it is neither PNG nor JPEG");
        let whole =
            png(png::ColorType::Grayscale, 40, 40, &(0..160).collect::<Vec<u8>>().repeat(10));
        for end in [8, 20, 33, 40, whole.len() / 2, whole.len() - 20] {
            let message = error(&whole[..end]);
            assert!(message.starts_with("broken PNG: "), "{end}: {message}");
        }
        let mut wrong = whole.clone();
        wrong[60] ^= 0xFF;
        assert!(error(&wrong).starts_with("broken PNG: "));
        for end in [2, 20, 200, JPEG.len() / 2, JPEG.len() - 10] {
            let message = error(&JPEG[..end]);
            assert!(message.starts_with("broken JPEG: "), "{end}: {message}");
        }
        // 100,000 x 100,000 pixels declared, by a header whose checksum is right.
        let mut huge = whole[..16].to_vec();
        huge.extend([0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0, 8, 0, 0, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&huge[12..]);
        huge.extend(crc.sum().to_be_bytes());
        huge.extend(&whole[33..]);
        assert_eq!(error(&huge), "it declares 100000 x 100000 pixels; 1 to 33554432 are read");
        let mut huge = JPEG.to_vec();
        let frame = JPEG.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        huge[frame + 5..frame + 9].fill(0xFF);
        assert_eq!(error(&huge), "it declares 65535 x 65535 pixels; 1 to 33554432 are read");
    }
}
