//! Files that belong together: the one the user named, what it imports, and the standard library.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use kiln_graph::nearest;

use crate::ast::{Ast, Definition, DefinitionKind, Item, Spanned, Train};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::parse::parse_text;
use crate::span::{FileId, Source, Sources, Span};

/// The standard library: its files' names and texts.
pub const STD: [(&str, &str); 11] = [
    ("std/layers.kiln", include_str!("../../../dsl/std/layers.kiln")),
    ("std/convolution.kiln", include_str!("../../../dsl/std/convolution.kiln")),
    ("std/norms.kiln", include_str!("../../../dsl/std/norms.kiln")),
    ("std/activations.kiln", include_str!("../../../dsl/std/activations.kiln")),
    ("std/attention.kiln", include_str!("../../../dsl/std/attention.kiln")),
    ("std/recurrent.kiln", include_str!("../../../dsl/std/recurrent.kiln")),
    ("std/images.kiln", include_str!("../../../dsl/std/images.kiln")),
    ("std/losses.kiln", include_str!("../../../dsl/std/losses.kiln")),
    ("std/init.kiln", include_str!("../../../dsl/std/init.kiln")),
    ("std/optimizers.kiln", include_str!("../../../dsl/std/optimizers.kiln")),
    ("std/schedules.kiln", include_str!("../../../dsl/std/schedules.kiln")),
];

/// No file longer than this is read.
const MAX_FILE: u64 = 16 << 20;

/// At most this many files make a program.
const MAX_FILES: usize = 256;

/// Which definition: a file and an item in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DefId {
    pub file: FileId,
    item: usize,
}

/// A parsed program: a file with its imports and the standard library.
#[derive(Debug)]
pub struct Module {
    sources: Sources,
    /// By [`FileId`].
    files: Vec<File>,
    std: BTreeMap<String, DefId>,
    root: FileId,
}

#[derive(Debug, Default)]
struct File {
    ast: Ast,
    names: BTreeMap<String, DefId>,
}

impl Module {
    /// Parses a program. `path` is the name that messages show, and imports are relative to it.
    ///
    /// # Errors
    /// Every syntax error, and every import that does not resolve.
    pub fn parse(text: &str, path: &str) -> Result<Module, Diagnostics> {
        let mut loader = Loader::default();
        for (name, text) in STD {
            loader.add(text, name);
        }
        let root = loader.add(text, path);
        loader.imports(root, Path::new(path));
        loader.finish(root)
    }

    /// Reads and parses a program.
    ///
    /// # Errors
    /// If the file cannot be read; and as [`Module::parse`].
    pub fn parse_file(path: impl AsRef<Path>) -> Result<Module, Diagnostics> {
        let path = path.as_ref();
        let text = read(path).map_err(|message| {
            let d = Diagnostic::new(Code::File, format!("{}: {message}", path.display()));
            Diagnostics::new(vec![d], Sources::default())
        })?;
        Module::parse(&text, &path.display().to_string())
    }

    /// The texts that spans point into.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The syntax tree of the file that the user named.
    pub fn ast(&self) -> &Ast {
        &self.files[self.root.0 as usize].ast
    }

    /// The name of the file that the user named.
    pub fn path(&self) -> &str {
        self.sources.get(self.root).name()
    }

    /// The text of the file that the user named.
    pub fn source(&self) -> &Source {
        self.sources.get(self.root)
    }

    /// The file that the user named.
    pub(crate) fn root(&self) -> FileId {
        self.root
    }

    /// Whether a file belongs to the standard library.
    pub(crate) fn is_std(&self, file: FileId) -> bool {
        (file.0 as usize) < STD.len()
    }

    /// The definition that `name` means in `file`: its own, an imported or a standard one.
    pub(crate) fn find(&self, file: FileId, name: &str) -> Option<DefId> {
        self.files[file.0 as usize].names.get(name).or_else(|| self.std.get(name)).copied()
    }

    /// A definition and its place.
    pub(crate) fn definition(&self, id: DefId) -> &Spanned<Definition> {
        match &self.files[id.file.0 as usize].ast.items[id.item] {
            Item::Definition(d) => d,
            _ => unreachable!("an id is only made for definitions"),
        }
    }

    /// Every name that means a definition in `file`.
    pub(crate) fn names(&self, file: FileId) -> impl Iterator<Item = &str> {
        self.files[file.0 as usize].names.keys().chain(self.std.keys()).map(String::as_str)
    }

    /// The models of the root file, in order.
    pub(crate) fn models(&self) -> Vec<DefId> {
        let items = self.ast().items.iter().enumerate();
        let models = items.filter(
            |(_, i)| matches!(i, Item::Definition(d) if d.node.kind == DefinitionKind::Model),
        );
        models.map(|(item, _)| DefId { file: self.root, item }).collect()
    }

    /// The train section for a model.
    pub(crate) fn train(&self, model: &str) -> Option<&Spanned<Train>> {
        self.ast().items.iter().find_map(|i| match i {
            Item::Train(t) if t.node.model.node == model => Some(t),
            _ => None,
        })
    }
}

#[derive(Default)]
struct Loader {
    sources: Sources,
    files: Vec<File>,
    std: BTreeMap<String, DefId>,
    /// Files that were imported already, by canonical path.
    loaded: BTreeMap<PathBuf, FileId>,
    errors: Vec<Diagnostic>,
}

impl Loader {
    fn add(&mut self, text: &str, name: &str) -> FileId {
        let id = self.sources.add(name, text);
        let ast = parse_text(text, id).unwrap_or_else(|errors| {
            self.errors.extend(errors);
            Ast::default()
        });
        let mut names: BTreeMap<String, DefId> = BTreeMap::new();
        for (item, node) in ast.items.iter().enumerate() {
            let Item::Definition(d) = node else { continue };
            let name = &d.node.name;
            if let Some(first) = names.get(&name.node) {
                let Item::Definition(first) = &ast.items[first.item] else { continue };
                let message = format!("`{}` is defined twice", name.node);
                let d =
                    Diagnostic::new(Code::Name, message).label(name.span, "the second definition");
                self.errors.push(d.label(first.node.name.span, "the first definition"));
            } else {
                names.insert(name.node.clone(), DefId { file: id, item });
            }
        }
        if self.files.len() < STD.len() {
            self.std.extend(names.iter().map(|(name, id)| (name.clone(), *id)));
        }
        self.files.push(File { ast, names });
        id
    }

    /// Loads what `file` imports, and what that imports.
    fn imports(&mut self, file: FileId, path: &Path) {
        if let Ok(canonical) = path.canonicalize() {
            self.loaded.insert(canonical, file);
        }
        let mut pending = vec![(file, path.to_path_buf())];
        while let Some((file, path)) = pending.pop() {
            let imports: Vec<_> = self.files[file.0 as usize]
                .ast
                .items
                .iter()
                .filter_map(|i| if let Item::Import(i) = i { Some(i.node.clone()) } else { None })
                .collect();
            for import in imports {
                let target = match self.open(&path, &import.path.node) {
                    Ok((id, None)) => id,
                    Ok((id, Some(path))) => {
                        pending.push((id, path));
                        id
                    }
                    Err(message) => {
                        let message = format!("cannot import \"{}\": {message}", import.path.node);
                        self.errors
                            .push(Diagnostic::new(Code::File, message).label(import.path.span, ""));
                        continue;
                    }
                };
                for name in &import.names {
                    let found = self.files[target.0 as usize].names.get(&name.node).copied();
                    match found {
                        Some(id) => {
                            self.files[file.0 as usize].names.insert(name.node.clone(), id);
                        }
                        None => {
                            let message = format!(
                                "\"{}\" has no definition `{}`",
                                import.path.node, name.node
                            );
                            let mut d = Diagnostic::new(Code::Name, message).label(name.span, "");
                            let known =
                                self.files[target.0 as usize].names.keys().map(String::as_str);
                            if let Some(near) = nearest(&name.node, known) {
                                d = d.help(format!("did you mean `{near}`?"));
                            }
                            self.errors.push(d);
                        }
                    }
                }
            }
        }
    }

    /// The file that `path` imports as `relative`; with its path if it was not loaded before.
    fn open(&mut self, path: &Path, relative: &str) -> Result<(FileId, Option<PathBuf>), String> {
        let inside = Path::new(relative)
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || relative.is_empty() {
            return Err("a path must be relative, without `..`".to_string());
        }
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let target = directory.join(relative);
        let canonical = target.canonicalize().map_err(|e| e.to_string())?;
        let home = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        if !canonical.starts_with(home.canonicalize().map_err(|e| e.to_string())?) {
            return Err("it lies outside the importing file's directory".to_string());
        }
        if let Some(&id) = self.loaded.get(&canonical) {
            return Ok((id, None));
        }
        if self.files.len() >= MAX_FILES {
            return Err(format!("more than {MAX_FILES} files"));
        }
        let text = read(&canonical)?;
        let id = self.add(&text, &target.display().to_string());
        self.loaded.insert(canonical, id);
        Ok((id, Some(target)))
    }

    fn finish(self, root: FileId) -> Result<Module, Diagnostics> {
        if self.errors.is_empty() {
            Ok(Module { sources: self.sources, files: self.files, std: self.std, root })
        } else {
            Err(Diagnostics::new(self.errors, self.sources))
        }
    }
}

/// The text of a regular file of bounded size.
fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let data = file.metadata().map_err(|e| e.to_string())?;
    if !data.is_file() {
        return Err("not a regular file".to_string());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("longer than {MAX_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not text in UTF-8".to_string())
}

/// Where a definition's name stands.
pub(crate) fn name_span(d: &Spanned<Definition>) -> Span {
    d.node.name.span
}
