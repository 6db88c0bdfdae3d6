//! The standard library as a document: what is defined, how it is called, what it does, and an example of each.
//!
//! The comment above a definition is its description. What stands in it indented is its example: a model, or keys of a
//! train section.

use std::fmt::Write;

use crate::ast::{Body, Definition, DefinitionKind, Item, Spanned};
use crate::module::STD;
use crate::parse::parse_text;
use crate::span::Sources;

/// A file of the standard library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// Its name: `std/layers.kiln`.
    pub file: &'static str,
    /// What its first lines say.
    pub introduction: String,
    /// What it defines, in its order.
    pub entries: Vec<Entry>,
}

/// A definition of the standard library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: DefinitionKind,
    /// Its name.
    pub name: String,
    /// How it is called: the definition without its body.
    pub signature: String,
    /// What it does, paper included.
    pub description: String,
    /// A model that uses it, or keys of a train section that do.
    pub example: Option<String>,
}

/// What the examples in a comment are indented by.
const INDENT: &str = "    ";

/// Every file of the standard library.
///
/// # Panics
/// If a file does not parse.
pub fn chapters() -> Vec<Chapter> {
    STD.iter().map(|&(file, text)| chapter(file, text)).collect()
}

fn chapter(file: &'static str, text: &str) -> Chapter {
    let mut sources = Sources::default();
    let id = sources.add(file, text);
    let ast = parse_text(text, id).unwrap_or_else(|errors| panic!("{file}: {errors:?}"));
    let definitions = ast.items.iter().filter_map(|item| match item {
        Item::Definition(definition) => Some(definition),
        _ => None,
    });
    let introduction = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    Chapter {
        file,
        introduction: introduction.collect::<Vec<_>>().join(" "),
        entries: definitions.map(|definition| entry(definition, text)).collect(),
    }
}

fn entry(definition: &Spanned<Definition>, text: &str) -> Entry {
    let d = &definition.node;
    let start = definition.span.start as usize;
    let end = match &d.body {
        Body::Formula(expr) => text[..expr.span.start as usize].rfind('=').unwrap_or(start),
        Body::Block(_) => text[start..].find('{').map_or(text.len(), |at| start + at),
    };
    // The lines of the comment above, the last first.
    let above = text[..start].lines().rev().map_while(|line| line.strip_prefix('#'));
    let lines: Vec<&str> = above.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let (mut description, mut example) = (Vec::new(), Vec::new());
    for line in lines.into_iter().rev() {
        match line.strip_prefix(INDENT) {
            Some(code) => example.push(code),
            None => description.push(line),
        }
    }
    Entry {
        kind: d.kind,
        name: d.name.node.clone(),
        signature: text[start..end].split_whitespace().collect::<Vec<_>>().join(" "),
        description: description.join(" ").trim().to_owned(),
        example: Some(example.join("\n")).filter(|example| !example.is_empty()),
    }
}

/// `docs/std.md`: the standard library in Markdown.
pub fn markdown() -> String {
    let mut text = String::from(
        "# The standard library\n\nGenerated from the comments in `dsl/std/`; `BLESS=1 cargo test -p kiln-tests` writes this page. \
         Every example is a test: it is\ncompiled, and its gradients are compared with finite differences. [The language](language.md) \
         says what the notation means.\n",
    );
    let chapters = chapters();
    for Chapter { file, introduction, entries } in &chapters {
        let _ = write!(text, "\n## {file}\n\n{introduction}\n");
        for entry in entries {
            let _ = write!(text, "\n### {}\n\n`{}`\n", entry.name, entry.signature);
            if !entry.description.is_empty() {
                let _ = write!(text, "\n{}\n", entry.description);
            }
            if let Some(example) = &entry.example {
                let tag = if example.starts_with("model") { "kiln" } else { "text" };
                let _ = write!(text, "\n```{tag}\n{example}\n```\n");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_descriptions_and_examples() {
        let text = "# A chapter.\n\n# Twice\n# as much.\n#\n#     model m(x: f32[N]) = twice(x)\nop twice(x,\n  by=2) = by * x\n\n\
                    block b(k)(y) { return y }\n";
        let chapter = chapter("c.kiln", text);
        assert_eq!(chapter.introduction, "A chapter.");
        let [twice, b] = chapter.entries.as_slice() else { panic!("{chapter:?}") };
        assert_eq!(twice.signature, "op twice(x, by=2)");
        assert_eq!(twice.description, "Twice as much.");
        assert_eq!(twice.example.as_deref(), Some("model m(x: f32[N]) = twice(x)"));
        assert_eq!((b.signature.as_str(), b.description.as_str()), ("block b(k)(y)", ""));
        assert_eq!(b.example, None);
    }
}
