//! A YAML document as a tree with line numbers. It is read key by key, so that all faults are found and not only the first.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// One fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: u64,
    /// The key, such as `resources.cpu`.
    pub key: String,
    /// The fault, and what was expected.
    pub fault: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.key, self.fault)
    }
}

/// A value of the document.
#[derive(Clone, Debug)]
enum Node {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

/// A map of the document. Reading a key removes it, and any key that is left at the end is unknown.
#[derive(Debug)]
pub struct Section<'f> {
    path: String,
    entries: Vec<(Spanned<String>, Spanned<Node>)>,
    known: Vec<&'static str>,
    faults: &'f mut Vec<Fault>,
}

/// Parses the document in `text`; `None` if it is empty or has only comments.
pub fn parse<'f>(text: &str, faults: &'f mut Vec<Fault>) -> Result<Option<Section<'f>>, String> {
    // Only `true` and `false` are booleans: `off` is a string.
    let options = serde_saphyr::options! { strict_booleans: true };
    let root = serde_saphyr::from_str_with_options::<Option<Spanned<Node>>>(text, options);
    let Some(root) = root.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    match root.value {
        Node::Null => Ok(None),
        Node::Map(entries) => Ok(Some(Section { path: String::new(), entries, known: Vec::new(), faults })),
        _ => Err("line 1: expected a map of keys, such as `include: ...`".to_owned()),
    }
}

impl Section<'_> {
    /// A string; `None` if the key is absent or null.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.value(key, "a string", |node| match node {
            Node::Text(text) => Some(text),
            Node::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// A string that `read` parses. An error of `read` becomes a fault.
    pub fn parsed<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let line = self.line_of(key);
        let text = self.text(key)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(line, key, fault);
                None
            }
        }
    }

    /// Like [`Self::parsed`], for a key that was a boolean in an older version: `read` gets `true` and `false` as strings.
    pub fn parsed_word<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let line = self.line_of(key);
        let text = self.value(key, "a string", |node| match node {
            Node::Text(text) => Some(text),
            Node::Bool(flag) => Some(flag.to_string()),
            _ => None,
        })?;
        read(&text).map_err(|fault| self.fault(line, key, fault)).ok()
    }

    /// A whole number.
    pub fn number(&mut self, key: &'static str) -> Option<i64> {
        self.value(key, "a whole number", |node| match node {
            Node::Number(number) => Some(number),
            _ => None,
        })
    }

    /// A list of strings, each with its line.
    fn texts(&mut self, key: &'static str) -> Option<Vec<(u64, String)>> {
        self.value(key, "a list of strings", |node| match node {
            Node::List(items) => items
                .into_iter()
                .map(|item| match item.value {
                    Node::Text(text) => Some((item.referenced.line(), text)),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// A list of strings that `read` parses. An error of `read` becomes a fault.
    pub fn parsed_texts<T>(&mut self, key: &'static str, read: fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let mut good = Vec::new();
        for (line, text) in self.texts(key)? {
            match read(&text) {
                Ok(value) => good.push(value),
                Err(fault) => self.fault(line, key, fault),
            }
        }
        Some(good)
    }

    /// A map of strings.
    pub fn text_map(&mut self, key: &'static str) -> Option<Vec<(String, String)>> {
        self.value(key, "a map of strings", |node| match node {
            Node::Map(entries) => entries
                .into_iter()
                .map(|(name, value)| match value.value {
                    Node::Text(text) => Some((name.value, text)),
                    Node::Number(number) => Some((name.value, number.to_string())),
                    Node::Bool(flag) => Some((name.value, flag.to_string())),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// A map below this one, which `read` reads. Its unknown keys become faults.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> Option<T> {
        let entries = self.value(key, "a map", |node| match node {
            Node::Map(entries) => Some(entries),
            _ => None,
        })?;
        Some(self.read_section(self.child(key), entries, read))
    }

    /// A list of maps, which `read` reads one by one.
    pub fn sections<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_>) -> T) -> Option<Vec<T>> {
        let maps = self.value(key, "a list of maps", |node| match node {
            Node::List(items) => items
                .into_iter()
                .map(|item| match item.value {
                    Node::Map(entries) => Some(entries),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        })?;
        let read_one = |(i, entries)| self.read_section(format!("{}[{i}]", self.child(key)), entries, &mut read);
        Some(maps.into_iter().enumerate().map(read_one).collect())
    }

    /// Adds a fault of the key.
    pub fn fault(&mut self, line: u64, key: &str, fault: impl Into<String>) {
        self.faults.push(Fault { line, key: self.child(key), fault: fault.into() });
    }

    /// Makes a key a fault, for this reason.
    pub fn refuse(&mut self, key: &str, reason: &str) {
        if let Some(at) = self.entries.iter().position(|(name, _)| name.value == key) {
            let (name, _) = self.entries.remove(at);
            self.fault(name.referenced.line(), key, reason);
        }
    }

    /// Whether `key` is there and has a value. Call this before reading it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, node)| name.value == key && !matches!(node.value, Node::Null))
    }

    /// The line of the first key.
    pub fn line(&self) -> u64 {
        self.entries.first().map_or(1, |(name, _)| name.referenced.line())
    }

    /// The line of `key`. Call this before reading it.
    pub fn line_of(&self, key: &str) -> u64 {
        let entry = self.entries.iter().find(|(name, _)| name.value == key);
        entry.map_or(1, |(name, _)| name.referenced.line())
    }

    /// Makes every key that was not read a fault.
    pub fn finish(self) {
        for (name, _) in &self.entries {
            let near = nearest(&name.value, self.known.iter().copied());
            let hint = near.map_or_else(
                || format!("expected one of {}", self.known.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            self.faults.push(Fault {
                line: name.referenced.line(),
                key: if self.path.is_empty() { name.value.clone() } else { format!("{}.{}", self.path, name.value) },
                fault: format!("unknown key; {hint}"),
            });
        }
    }

    fn value<T>(&mut self, key: &'static str, wanted: &str, read: impl FnOnce(Node) -> Option<T>) -> Option<T> {
        self.known.push(key);
        let at = self.entries.iter().position(|(name, _)| name.value == key)?;
        let (name, node) = self.entries.remove(at);
        if matches!(node.value, Node::Null) {
            return None;
        }
        let value = read(node.value);
        if value.is_none() {
            self.fault(name.referenced.line(), key, format!("expected {wanted}"));
        }
        value
    }

    fn read_section<T>(
        &mut self,
        path: String,
        entries: Vec<(Spanned<String>, Spanned<Node>)>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section { path, entries, known: Vec::new(), faults: self.faults };
        let value = read(&mut section);
        section.finish();
        value
    }

    fn child(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The known word that is nearest to `given`, unless all are too different.
pub fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (strsim::damerau_levenshtein(&given.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= word.len() / 3 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, true, false, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        i64::try_from(value).map(Node::Number).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
