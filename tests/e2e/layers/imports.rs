//! Reads which modules and crates a source file names: `use` items, paths in code, and paths inside macro calls.
//!
//! Code under `#[cfg(test)]`, also in files of its own, is left out: tests may reach further.

use proc_macro2::{TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::visit::{self, Visit};

/// A path that a file names, resolved as far as the file itself allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// `crate::…`, absolute inside the crate.
    Own(Vec<String>),
    /// Any other path of at least two segments, `tokio::time::sleep` for example.
    Other(Vec<String>),
}

/// Every path that a file names, with the place of the file.
pub struct Source {
    pub place: PathBuf,
    /// The module, `["domain", "batch"]` for `src/domain/batch.rs`; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    pub names: BTreeSet<Named>,
}

/// Reads all Rust sources below `src`.
///
/// # Panics
/// If there are none, or one cannot be parsed.
pub fn read(src: &Path) -> Vec<Source> {
    let (mut sources, mut for_tests, mut todo) = (Vec::new(), Vec::new(), vec![src.to_owned()]);
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            todo.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let module = module_of(path.strip_prefix(src).expect("below"));
            let reader = Reader::read(&text, &module);
            for_tests.extend(reader.for_tests);
            sources.push(Source { names: reader.names, place: path, module });
        }
    }
    sources.retain(|source| !for_tests.iter().any(|module| source.module.starts_with(module)));
    assert!(!sources.is_empty(), "{} has no sources", src.display());
    sources
}

fn module_of(path: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// The paths that `text` names, seen from `module`.
pub fn names(text: &str, module: &[String]) -> BTreeSet<Named> {
    Reader::read(text, module).names
}

struct Reader {
    module: Vec<String>,
    names: BTreeSet<Named>,
    /// Modules in files of their own that are compiled for tests only.
    for_tests: Vec<Vec<String>>,
}

impl Reader {
    fn read(text: &str, module: &[String]) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module:?}: {error}"));
        let mut reader = Self { module: module.to_vec(), names: BTreeSet::new(), for_tests: Vec::new() };
        reader.visit_file(&file);
        reader
    }

    fn note(&mut self, path: &[String]) {
        let mut at = self.module.clone();
        let mut rest = path;
        match rest.first().map(String::as_str) {
            Some("crate") => at.clear(),
            Some("super") => {
                at.pop();
            }
            Some("self") => {}
            _ => {
                if path.len() > 1 {
                    self.names.insert(Named::Other(path.to_vec()));
                }
                return;
            }
        }
        rest = &rest[1..];
        while rest.first().is_some_and(|first| first == "super") {
            at.pop();
            rest = &rest[1..];
        }
        at.extend(rest.iter().cloned());
        self.names.insert(Named::Own(at));
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            syn::UseTree::Name(name) => self.note(&with(name.ident.to_string())),
            syn::UseTree::Rename(name) => self.note(&with(name.ident.to_string())),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|one| self.tree(before, one)),
        }
    }

    /// Macro calls are tokens to the parser; a path is names with `::` between them.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::<String>::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 && !path.is_empty() {
                        self.note(&std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                other => {
                    self.note(&std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.note(&path);
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test")))
    })
}

impl<'a> Visit<'a> for Reader {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        self.module.push(item.ident.to_string());
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        } else if item.content.is_none() {
            self.for_tests.push(self.module.clone());
        }
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|one| one.ident.to_string()).collect();
        self.note(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

/// Where the names that `lib.rs` exports again come from: `ClientError` → `error`.
pub fn exported_again(sources: &[Source]) -> BTreeMap<String, String> {
    let roots = sources.iter().filter(|source| source.module.is_empty());
    let names = roots.flat_map(|source| &source.names);
    let own = names.filter_map(|name| match name {
        Named::Own(path) | Named::Other(path) if path.len() > 1 => {
            Some((path.last()?.clone(), path[0].clone()))
        }
        Named::Own(_) | Named::Other(_) => None,
    });
    own.collect()
}

/// The arrows between the top-level modules of a crate, each with the files that draw it.
pub fn arrows(sources: &[Source]) -> BTreeMap<(String, String), BTreeSet<PathBuf>> {
    let modules: BTreeSet<&String> = sources.iter().filter_map(|source| source.module.first()).collect();
    let again = exported_again(sources);
    let mut arrows: BTreeMap<_, BTreeSet<PathBuf>> = BTreeMap::new();
    for source in sources {
        // `lib.rs` and `main.rs` declare and export; they have no layer of their own.
        let Some(from) = source.module.first() else { continue };
        for name in &source.names {
            let Named::Own(path) = name else { continue };
            let Some(first) = path.first() else { continue };
            let Some(to) = modules.get(first).copied().or_else(|| again.get(first)) else { continue };
            if to != from {
                arrows.entry((from.clone(), to.clone())).or_default().insert(source.place.clone());
            }
        }
    }
    arrows
}

/// Groups of files of a crate that import each other in a circle, each file as its module's path. A module that uses its
/// own submodules is no part of a circle by that: it is made of them.
pub fn circles(sources: &[Source]) -> BTreeSet<BTreeSet<String>> {
    let modules: BTreeSet<&[String]> = sources.iter().map(|source| source.module.as_slice()).collect();
    let again = exported_again(sources);
    let mut arrows: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for source in sources {
        for name in &source.names {
            let Named::Own(path) = name else { continue };
            let home = path.first().and_then(|first| again.get(first)).map(|home| vec![home.clone()]);
            let path = home.as_ref().filter(|_| path.len() == 1).unwrap_or(path);
            let to = (1..=path.len()).rev().find_map(|length| modules.get(&path[..length]));
            if let Some(to) = to.filter(|to| !to.starts_with(&source.module)) {
                arrows.entry(&source.module).or_default().insert(to);
            }
        }
    }
    let reached = |from: &[String]| {
        let mut found: BTreeSet<&[String]> = BTreeSet::new();
        let mut todo: Vec<&[String]> = arrows.get(from).into_iter().flatten().copied().collect();
        while let Some(next) = todo.pop() {
            if found.insert(next) {
                todo.extend(arrows.get(next).into_iter().flatten());
            }
        }
        found
    };
    let reach: BTreeMap<&[String], _> = modules.iter().map(|module| (*module, reached(module))).collect();
    let circle = |module: &&[String]| -> BTreeSet<String> {
        let back = reach[*module].iter().filter(|other| reach[**other].contains(*module));
        back.map(|other| other.join("::")).collect()
    };
    modules.iter().map(circle).filter(|circle| circle.len() > 1).collect()
}
