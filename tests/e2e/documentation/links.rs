//! Checks the links of every Markdown page: a relative link leads to a file of this repository and to one heading of its page.
//!
//! Links to the web are not checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::repository;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// The broken links of all pages, as `page: target`.
pub(crate) fn broken() -> Vec<String> {
    let root = repository().canonicalize().unwrap();
    let pages: BTreeMap<PathBuf, Page> =
        files(&root).into_iter().map(|path| (path.clone(), page(&std::fs::read_to_string(path).unwrap()))).collect();
    assert!(pages.len() > 10, "found only {} pages", pages.len());
    let links = pages.iter().flat_map(|(path, page)| page.links.iter().map(move |link| (path, link)));
    links
        .filter(|(path, link)| !resolves(&pages, path, link))
        .map(|(path, link)| format!("{}: {link}", path.strip_prefix(&root).unwrap().display()))
        .collect()
}

/// Whether exactly one heading of `markdown` has this anchor.
pub(crate) fn has_heading(markdown: &str, anchor: &str) -> bool {
    page(markdown).anchors.get(anchor) == Some(&1)
}

/// The anchors and the links of a page.
struct Page {
    /// How many headings have each anchor. A second heading with the same words makes a link ambiguous.
    anchors: BTreeMap<String, usize>,
    links: Vec<String>,
}

fn page(markdown: &str) -> Page {
    let (mut anchors, mut links) = (BTreeMap::new(), Vec::new());
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(markdown, pulldown_cmark::Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                *anchors.entry(anchor(&heading.take().unwrap_or_default())).or_default() += 1;
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push(dest_url.into_string());
            }
            _ => {}
        }
    }
    Page { anchors, links }
}

/// GitHub's anchor for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.flat_map(char::to_lowercase).map(|char| if char == ' ' { '-' } else { char }).collect()
}

fn resolves(pages: &BTreeMap<PathBuf, Page>, from: &Path, link: &str) -> bool {
    if ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return true;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { from.to_owned() } else { from.parent().unwrap().join(file) };
    let Ok(target) = target.canonicalize() else { return false };
    anchor.is_none_or(|anchor| pages.get(&target).is_some_and(|page| page.anchors.get(anchor) == Some(&1)))
}

/// Every page of the repository, except in build output, installed packages and hidden directories.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if name.to_string_lossy().starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path.canonicalize().unwrap());
        }
    }
    found
}
