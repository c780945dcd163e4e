//! Finds circles in the imports of a crate's modules.
//!
//! A module uses another module if a `use` or a path in its code leads there. Such a path starts with `crate::`, `super::`,
//! `self::` or the name of a child module. A path to an item that a parent re-exports leads to the parent. Tests and `mod
//! x;` do not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A module's path below the crate; empty for the crate itself.
type Module = Vec<String>;
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// The circles between the modules of the crate in `folder`, such as `a -> b -> a`.
pub fn circles(folder: impl AsRef<Path>) -> Vec<String> {
    let mut sources = BTreeMap::new();
    read(&folder.as_ref().join("src"), Vec::new(), &mut sources);
    describe(&graph(&sources))
}

/// Reads `module` and all modules below it, without their tests.
fn read(src: &Path, module: Module, sources: &mut BTreeMap<Module, Vec<TokenTree>>) {
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
fn take(src: &Path, module: Module, tokens: Vec<TokenTree>, sources: &mut BTreeMap<Module, Vec<TokenTree>>) {
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

fn graph(sources: &BTreeMap<Module, Vec<TokenTree>>) -> Graph {
    let mut graph = Graph::new();
    for (module, tokens) in sources {
        let mut paths = Vec::new();
        collect(tokens, &mut paths);
        let used = paths.iter().filter_map(|path| resolve(path, module, sources)).filter(|used| used != module);
        graph.insert(module.clone(), used.collect());
    }
    graph
}

/// Collects every path of two words or more, and every path of a `use`.
fn collect(tokens: &[TokenTree], paths: &mut Vec<Vec<String>>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(word) if word == "use" => {
                let end = tokens.iter().skip(at).position(|token| is_sign(Some(token), ';')).unwrap_or_default();
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
                if path.len() > 1 {
                    paths.push(path);
                }
            }
            TokenTree::Group(group) => collect(&group.stream().into_iter().collect::<Vec<_>>(), paths),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
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

/// The module that `path` leads to from `module`; `None` if the path leaves the crate.
fn resolve(path: &[String], module: &Module, sources: &BTreeMap<Module, Vec<TokenTree>>) -> Option<Module> {
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
        match word.as_str() {
            "self" => {}
            "super" => drop(at.pop()),
            word if sources.contains_key(&child(&at, word)) => at.push(word.to_owned()),
            _ => break,
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
            "fn f() -> super::a::Thing { todo!() }",
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
        assert_eq!(circles_of(&[("a", "mod b; struct Thing;"), child]), [""; 0]);
        for uses in ["pub use b::Other;", "fn f() { b::make() }", "use self::b::make;"] {
            assert_eq!(circles_of(&[("a", uses), child]), ["a -> a::b -> a"], "{uses}");
        }
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
