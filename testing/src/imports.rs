//! Finds circles in the imports of a crate's modules.
//!
//! A module uses another module if a `use` or a path in its code leads there. Such a path starts with `crate::`, `super::`,
//! `self::` or the name of a child module. A path to a re-exported item leads to the module that defines it. A re-export is no
//! use, unless the module's own code has the name. Tests and `mod x;` do not count either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A module's path below the crate; empty for the crate itself.
type Module = Vec<String>;
type Sources = BTreeMap<Module, Vec<TokenTree>>;
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// What the code of a module names.
#[derive(Debug, Default)]
struct Named {
    /// Paths in the code, and those of a private `use`.
    paths: Vec<Vec<String>>,
    /// The paths of a public `use`.
    exports: Vec<Vec<String>>,
    /// All single words in the code.
    words: BTreeSet<String>,
}

/// The circles between the modules of the crate in `folder`, such as `a -> b -> a`.
pub fn circles(folder: impl AsRef<Path>) -> Vec<String> {
    let mut sources = BTreeMap::new();
    read(&folder.as_ref().join("src"), Vec::new(), &mut sources);
    describe(&graph(&sources))
}

/// Reads `module` and all modules below it, without their tests.
fn read(src: &Path, module: Module, sources: &mut Sources) {
    let below = src.join(module.iter().collect::<std::path::PathBuf>());
    let files = if module.is_empty() {
        [src.join("lib.rs"), src.join("main.rs")]
    } else {
        [below.with_extension("rs"), below.join("mod.rs")]
    };
    let file = files.into_iter().find(|file| file.exists()).unwrap_or(below);
    let source = std::fs::read_to_string(&file).unwrap_or_else(|error| unreachable!("{}: {error}", file.display()));
    take(src, module, without_tests(source.parse().unwrap()), sources);
}

/// Stores the tokens of `module`, and reads the modules that it declares.
fn take(src: &Path, module: Module, tokens: Vec<TokenTree>, sources: &mut Sources) {
    let mut own = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        if !is_word(Some(&token), "mod") {
            own.push(token);
            continue;
        }
        let child: Module = module.iter().cloned().chain(rest.next().map(|name| name.to_string())).collect();
        match rest.next() {
            Some(TokenTree::Group(body)) => take(src, child, without_tests(body.stream()), sources),
            _ => read(src, child, sources),
        }
    }
    sources.insert(module, own);
}

/// The tokens without the items under `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut rest = tokens.into_iter();
    while let Some(token) = rest.next() {
        let is_test = matches!(&token, TokenTree::Group(group)
            if group.delimiter() == Delimiter::Bracket && group.stream().to_string().replace(' ', "") == "cfg(test)");
        if is_test && is_sign(kept.last(), '#') {
            kept.pop();
            // An item ends with its body or with a semicolon.
            let is_end = |token: &TokenTree| {
                is_sign(Some(token), ';')
                    || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
            };
            rest.by_ref().find(is_end);
        } else {
            kept.push(token);
        }
    }
    kept
}

fn graph(sources: &Sources) -> Graph {
    let named: BTreeMap<_, _> = sources.iter().map(|(module, tokens)| (module, Named::of(tokens))).collect();
    let mut exports = BTreeMap::new();
    for (module, named) in &named {
        for path in &named.exports {
            exports.insert(child(module, path.last().unwrap()), (*module, path.as_slice()));
        }
    }
    let used = |module: &Module, named: &Named| {
        let own = named.exports.iter().filter(|path| path.last().is_some_and(|name| named.words.contains(name)));
        let paths = named.paths.iter().chain(own);
        paths.filter_map(|path| resolve(path, module, sources, &exports)).filter(|used| used != module).collect()
    };
    named.iter().map(|(module, named)| ((*module).clone(), used(module, named))).collect()
}

impl Named {
    fn of(tokens: &[TokenTree]) -> Self {
        let mut named = Self::default();
        named.collect(tokens);
        named
    }

    fn collect(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        let mut is_public = false;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Ident(word) if word == "pub" => {
                    is_public = true;
                    // The scope of `pub(crate)`.
                    at += usize::from(matches!(tokens.get(at), Some(TokenTree::Group(_))));
                    continue;
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = tokens.iter().skip(at).position(|token| is_sign(Some(token), ';')).unwrap_or_default();
                    let paths = if is_public { &mut self.exports } else { &mut self.paths };
                    expand(tokens.get(at..at + end).unwrap_or_default(), &[], paths);
                    at += end;
                }
                TokenTree::Ident(word) => {
                    let mut path = vec![word.to_string()];
                    while is_sign(tokens.get(at), ':') && is_sign(tokens.get(at + 1), ':') {
                        let Some(TokenTree::Ident(word)) = tokens.get(at + 2) else { break };
                        path.push(word.to_string());
                        at += 3;
                    }
                    self.words.insert(word.to_string());
                    if path.len() > 1 {
                        self.paths.push(path);
                    }
                }
                TokenTree::Group(group) => self.collect(&group.stream().into_iter().collect::<Vec<_>>()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            is_public = false;
        }
    }
}

/// Collects the paths of one `use`, including those in braces.
fn expand(tree: &[TokenTree], before: &[String], paths: &mut Vec<Vec<String>>) {
    for branch in tree.split(|token| is_sign(Some(token), ',')) {
        let mut path = before.to_vec();
        let mut is_whole = true;
        for token in branch {
            match token {
                TokenTree::Ident(word) if word == "as" => break,
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => {
                    is_whole = false;
                    expand(&group.stream().into_iter().collect::<Vec<_>>(), &path, paths);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        if is_whole && path.len() > before.len() {
            paths.push(path);
        }
    }
}

/// The exported names, each with the module that exports it and the path that it stands for.
type Exports<'a> = BTreeMap<Module, (&'a Module, &'a [String])>;

/// The module that `path` leads to from `module`; `None` if the path leaves the crate.
fn resolve(path: &[String], module: &Module, sources: &Sources, exports: &Exports<'_>) -> Option<Module> {
    let mut words = path.iter().peekable();
    let mut at = match words.peek().map(|word| word.as_str()) {
        Some("crate") => {
            words.next();
            Vec::new()
        }
        Some("self" | "super") => module.clone(),
        Some(word) if sources.contains_key(&child(module, word)) => module.clone(),
        _ => return None,
    };
    for word in words {
        let next = child(&at, word);
        match word.as_str() {
            "self" => {}
            "super" => drop(at.pop()),
            _ if sources.contains_key(&next) => at = next,
            _ => {
                // A path into another crate is an item of the module that exports it.
                let export = exports.get(&next);
                return export.and_then(|(module, path)| resolve(path, module, sources, exports)).or(Some(at));
            }
        }
    }
    Some(at)
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// The shortest circle of each set of modules that use each other.
fn describe(graph: &Graph) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for module in graph.keys() {
        if let Some(circle) = shortest(graph, module).filter(|_| !seen.contains(module)) {
            seen.extend(circle.iter().cloned());
            let names = circle.iter().chain([module]).map(name);
            circles.push(names.collect::<Vec<_>>().join(" -> "));
        }
    }
    circles
}

/// The shortest path from `start` back to itself, without its end.
fn shortest(graph: &Graph, start: &Module) -> Option<Vec<Module>> {
    let mut ways = VecDeque::from([vec![start.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in way.last().and_then(|last| graph.get(last)).into_iter().flatten() {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push_back(way.iter().chain([next]).cloned().collect());
            }
        }
    }
    None
}

fn name(module: &Module) -> String {
    if module.is_empty() { "crate".to_owned() } else { module.join("::") }
}

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_sign(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate with these modules.
    fn circles_of(modules: &[(&str, &str)]) -> Vec<String> {
        let mut sources = BTreeMap::from([(Vec::new(), Vec::new())]);
        for (path, source) in modules {
            let path = path.split("::").filter(|word| *word != "crate").map(ToOwned::to_owned).collect();
            sources.insert(path, without_tests(source.parse().unwrap()));
        }
        describe(&graph(&sources))
    }

    #[test]
    fn finds_the_ways_in_which_modules_use_each_other() {
        let one_way = "use crate::b::{self, Thing as Other}; use std::fmt;";
        for back in [
            "use crate::a::Thing;",
            "use super::a;",
            "fn f() -> super::a::Thing { loop {} }",
            "fn f() { g(crate::a::make); }",
            "use super::{c, a::{x, y}};",
        ] {
            assert_eq!(circles_of(&[("a", one_way), ("b", back), ("c", "")]), ["a -> b -> a"], "{back}");
        }
        for nothing in ["", "#[cfg(test)] mod tests { use super::super::a::Thing; }", "use a::Thing; fn f(a: u8) {}"] {
            assert_eq!(circles_of(&[("a", one_way), ("b", nothing)]), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn a_child_may_not_use_the_parent_that_uses_it() {
        let child = ("a::b", "use super::Thing;");
        for exports in ["struct Thing;", "pub(crate) use b::Other;"] {
            assert_eq!(circles_of(&[("a", exports), child]), [""; 0], "{exports}");
        }
        for uses in ["pub use b::Other; fn f(_: Other) {}", "fn f() { b::make() }", "use self::b::make;"] {
            assert_eq!(circles_of(&[("a", uses), child]), ["a -> a::b -> a"], "{uses}");
        }
    }

    #[test]
    fn a_reexported_item_belongs_to_the_module_that_defines_it() {
        let modules = |back| [("a", "pub use b::Thing;"), ("a::b", back), ("c", "use crate::a::Thing;")];
        assert_eq!(circles_of(&modules("use std::fmt;")), [""; 0]);
        assert_eq!(circles_of(&modules("use crate::c::f;")), ["a::b -> c -> a::b"]);
        let modules = [("a", "pub use serde::Serialize; use crate::b::B;"), ("b", "use crate::a::Serialize;")];
        assert_eq!(circles_of(&modules), ["a -> b -> a"]);
    }

    #[test]
    fn names_one_circle_for_each_set_of_modules() {
        let modules = [
            ("a", "use crate::b::B;"),
            ("b", "use crate::c::C;"),
            ("c", "use crate::a::A;"),
            ("d", "use crate::e::E; use crate::a::A;"),
            ("e", "use super::d::D;"),
        ];
        assert_eq!(circles_of(&modules), ["a -> b -> c -> a", "d -> e -> d"]);
    }

    #[test]
    fn reads_the_modules_of_this_crate() {
        let mut sources = BTreeMap::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), Vec::new(), &mut sources);
        let modules: Vec<_> = sources.keys().map(name).collect();
        assert_eq!(modules, ["crate", "imports", "log"]);
    }
}
