//! Continues a text with a trained GPT: `kiln train dsl/models/gpt.kiln --output gpt.safetensors`, then
//! `cargo run --release --example generate gpt.safetensors "It is a truth" 500`.

use std::io::Write;

use kiln::{Options, Tensor};

/// Below 1 the likely bytes become likelier.
const TEMPERATURE: f32 = 0.8;

fn main() -> kiln::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(weights), Some(prompt)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: generate WEIGHTS PROMPT [BYTES]");
        return Ok(());
    };
    let bytes = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(500);

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dsl/models/gpt.kiln");
    let model = kiln::parse_file(path)?;
    let executable = kiln::compile(&model.inference()?, &Options::default().bind("N", 1))?;
    let mut session = executable.session()?;
    session.load(weights)?;
    let context = executable.elaborated().inputs[0].axes[1].1;

    let mut text = if prompt.is_empty() { vec![b'\n'] } else { prompt.into_bytes() };
    let mut out = std::io::stdout().lock();
    let mut show = |bytes: &[u8]| out.write_all(bytes).and_then(|()| out.flush());
    if show(&text).is_err() {
        return Ok(());
    }
    let mut state = 1u32;
    for _ in 0..bytes {
        // A position sees only those before it, so what fills a window up does not matter.
        let window = &text[text.len().saturating_sub(context)..];
        let token = |i: usize| window.get(i).map_or(0, |&byte| i32::from(byte));
        let token = Tensor::i32(&[1, context], (0..context).map(token).collect())?;
        let results = session.run(&[("token", &token)])?;
        let logits = results["logits"].as_f32().unwrap_or_default();
        let classes = logits.len() / context;
        let last = &logits[(window.len() - 1) * classes..][..classes];

        let greatest = last.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: &f32| ((logit - greatest) / TEMPERATURE).exp();
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut left =
            (state >> 8) as f32 / (1 << 24) as f32 * last.iter().map(weight).sum::<f32>();
        let drawn = last.iter().position(|logit| {
            left -= weight(logit);
            left < 0.0
        });
        text.push(drawn.unwrap_or(0) as u8);
        if show(&text[text.len() - 1..]).is_err() {
            break;
        }
    }
    Ok(())
}
