//! The fenced blocks of documents. ` ```kiln `, ` ```graph ` and ` ```loops ` blocks are checked:
//! what stands in them must parse, and print as something that parses to the same. Words after a
//! comma ask for more: `kiln,error` must be refused, `kiln,elaborate` must elaborate; `file=` is the tutorial's.

use std::path::Path;

use kiln_graph::Graph;
use kiln_lang::{Kind, Module, Options};

use super::{pipeline, read};

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The line of its fence, from 1.
    pub line: usize,
    /// What stands behind the opening fence.
    pub tag: String,
    /// What stands between the fences.
    pub text: String,
}

/// The fenced blocks of a document that have a tag.
pub fn blocks(path: &Path) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for (at, line) in read(path).lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &mut open) {
            (Some(tag), None) => {
                let (tag, text) = (tag.trim().to_owned(), String::new());
                open = Some(Block { line: at + 1, tag, text });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks.retain(|block| !block.tag.is_empty());
    blocks
}

/// Whether a block is what its tag says; `None` if its tag asks for nothing.
pub fn check(block: &Block) -> Option<Result<(), String>> {
    let mut words = block.tag.split(',').map(str::trim);
    let language = words.next()?;
    let words: Vec<&str> = words.collect();
    let known = words.iter().all(|w| ["error", "elaborate"].contains(w) || w.starts_with("file="));
    let result = match language {
        "kiln" => kiln(&block.text, words.contains(&"elaborate") || words.contains(&"error")),
        "graph" => block
            .text
            .parse::<Graph>()
            .map_err(|e| e.to_string())
            .and_then(|graph| pipeline::graph_text(&graph).map(|_| ()).map_err(|e| e.text)),
        "loops" => kiln_loops::parse(&block.text)
            .map_err(|e| e.to_string())
            .and_then(|program| pipeline::program_text(&program).map(|_| ()).map_err(|e| e.text)),
        _ => return None,
    };
    Some(match (known, words.contains(&"error"), result) {
        (false, ..) => Err(format!("`{}` asks for something unknown", block.tag)),
        (_, true, Ok(())) => Err("is not refused".to_owned()),
        (_, true, Err(_)) => Ok(()),
        (_, false, result) => result,
    })
}

/// Parses a source and, if asked for, elaborates its models, in every kind that they have.
fn kiln(text: &str, elaborate: bool) -> Result<(), String> {
    let module = Module::parse(text, "block.kiln").map_err(|e| e.to_string())?;
    let printed = kiln_lang::print::print(module.ast());
    let again = Module::parse(&printed, "block.kiln").map_err(|e| e.to_string())?;
    if again.ast() != module.ast() {
        return Err(format!("prints as another tree:\n{printed}"));
    }
    if elaborate {
        let model = module.model(None).map_err(|e| e.to_string())?;
        let sizes = model.free_axes();
        let options = sizes.iter().fold(Options::default(), |o, axis| o.bind(axis, 2));
        let trained = model.training(&options).map_err(|e| e.to_string())?.is_some();
        let kinds: &[Kind] = match trained {
            true => &[Kind::Inference, Kind::Training, Kind::Validation, Kind::Init],
            false => &[Kind::Inference],
        };
        for &kind in kinds {
            model.elaborate(kind, &options).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}
