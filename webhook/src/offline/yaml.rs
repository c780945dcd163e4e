//! Splits YAML text into documents, so that unchanged documents keep their text, and reads YAML as kubectl does.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::Value;
use serde_saphyr::{Options, budget, options, ser_options};

/// Enough for a long list of a large cluster. The expansion of aliases has another limit.
const MAX_NODES: usize = 20_000_000;
/// A node takes at most a few events.
const MAX_EVENTS: usize = 4 * MAX_NODES;
/// No object has a line of this length.
const NEVER_FOLDED: usize = 1 << 30;

/// The text of one document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    /// Its lines, including its `---`.
    pub(super) text: &'a str,
    /// The number of lines before it.
    pub(super) line: usize,
}

/// The documents of `text`, in order. Joined they are `text` again.
///
/// A line that starts with `---` or `...` is always a boundary, even inside a quoted or a block string.
pub(super) fn segments(text: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 0, 0);
    let mut content = false;
    let cut = |from: usize, to: usize, line| Segment { text: text.get(from..to).unwrap_or_default(), line };
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let starts = is_boundary(line, "---");
        // Comments and directives belong to the document after them.
        if starts && content {
            segments.push(cut(start, at, start_line));
            (start, start_line) = (at, number);
        }
        content = starts || content || !(is_blank_or_comment(line) || line.starts_with('%'));
        at += line.len();
        if is_boundary(line, "...") {
            segments.push(cut(start, at, start_line));
            (start, start_line, content) = (at, number + 1, false);
        }
    }
    if at > start {
        segments.push(cut(start, at, start_line));
    }
    segments
}

/// Splits a document into what precedes its content (directives, comments, `---`) and the content. If content follows `---`
/// on the same line, the first part still ends with a `---` line.
pub(super) fn split_head(text: &str) -> (String, &str) {
    let (mut head, mut at, mut started) = (String::new(), 0, false);
    for line in text.split_inclusive('\n') {
        let marker = !started && is_boundary(line, "---");
        let after = line.strip_prefix("---").unwrap_or_default();
        if marker && !is_blank_or_comment(after) {
            head.push_str("---\n");
            break;
        }
        if !(marker || is_blank_or_comment(line) || !started && line.starts_with('%')) {
            break;
        }
        started |= marker;
        head.push_str(line);
        at += line.len();
    }
    (head, text.get(at..).unwrap_or_default())
}

/// Whether a document starts with its own `---`.
pub(super) fn has_marker(text: &str) -> bool {
    let mut lines = text.lines().skip_while(|line| is_blank_or_comment(line) || line.starts_with('%'));
    lines.next().is_some_and(|line| is_boundary(line, "---"))
}

/// The object of one document; null if it has none. An error gives the line and column in the whole text.
pub(super) fn read(segment: Segment<'_>) -> Result<Value, String> {
    serde_saphyr::from_str_with_options::<Value>(segment.text, as_kubectl()).or_else(|_| {
        // Read again for an error with line numbers that count from the start of the text.
        let text = "\n".repeat(segment.line) + segment.text;
        serde_saphyr::from_str_with_options::<Value>(&text, as_kubectl()).map_err(|error| error.to_string())
    })
}

/// Whether `content` has comments. The parser decides, because a `#` may be part of a string.
pub(super) fn has_comments(content: &str) -> bool {
    let bytes = Rc::new(Cell::new(0));
    let seen = Rc::clone(&bytes);
    let mut options = as_kubectl();
    options.budget_report_cb = Some(Rc::new(std::cell::RefCell::new(move |report: budget::BudgetReport| {
        seen.set(report.total_comment_bytes);
    })));
    serde_saphyr::from_str_with_options::<Value>(content, options).is_ok() && bytes.get() > 0
}

/// `object` as YAML that YAML 1.1 and 1.2 parsers read alike, with a newline at the end.
pub(super) fn write(object: &Value) -> Result<String, String> {
    let options = ser_options! {
        folded_wrap_chars: NEVER_FOLDED,
        prefer_block_scalars: !holds_tabbed_lines(object),
    };
    let mut text = serde_saphyr::to_string_with_options(object, options).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Whether a string with several lines contains a tab. kubectl's parser cannot read some of those as blocks.
fn holds_tabbed_lines(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\n') && text.contains('\t'),
        Value::Array(items) => items.iter().any(holds_tabbed_lines),
        Value::Object(entries) => entries.values().any(holds_tabbed_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// kubectl reads YAML 1.1: `yes` is true, and `0644` is an octal number.
fn as_kubectl() -> Options {
    let budget = serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: MAX_EVENTS };
    options! { legacy_octal_numbers: true, with_snippet: false, budget: budget }
}

fn is_boundary(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_blank_or_comment(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}
