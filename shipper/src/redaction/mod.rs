//! Secrets are replaced before an entry leaves the process: one table row a kind of secret.
//!
//! ```text
//! text of an entry ── scan ── rows ── spans ── mark ──► text without secrets ── batch
//!                      │       │                 └ `[redacted:8-15]`: the class of the length stays
//!                      │       └ keys, values, urls, tokens, blocks, commands; then own
//!                      └ one pass for a few literals; nothing else costs anything
//! ```
//!
//! The result depends on the bytes of the file, the settings and the position record alone: a resend is redacted as the
//! first attempt was. What a text leaves open for the next one (a secret that the line limit cut, a PEM block that goes on)
//! is [`Carried`], a part of that record. It is no parser of logs: what no rule knows stays.

mod blocks;
mod carried;
mod commands;
mod keys;
mod mark;
mod own;
mod rule;
mod scan;
#[cfg(test)]
mod tests;
mod tokens;
mod urls;
mod values;
mod window;
mod words;

use prometheus_client::metrics::counter::Counter;
use regex_automata::util::captures::Captures;

pub use carried::{Carried, End, Form, Open, Quote};
use keys::{Between, Key, sign};
pub use own::OwnRule;
pub use rule::Rule;
pub(crate) use scan::Scan;
use scan::{Hit, Prefilter};
use window::{Span, Window};

/// How many bytes before a text that was cut are looked at: the longest key with its sign fits.
pub(crate) const BEFORE: usize = 64;
/// After so many literals in a text it is not looked far from each.
const MOST_HITS: usize = 256;

/// What is redacted.
#[derive(Clone, Debug)]
pub struct Redaction {
    /// Whether anything is.
    pub on: bool,
    /// Rules besides those of the table.
    pub own: Vec<OwnRule>,
}

impl Default for Redaction {
    /// What the command line says where nothing is said.
    fn default() -> Self {
        Self { on: true, own: Vec::new() }
    }
}

/// One kind of secret.
#[derive(Debug)]
struct Row {
    rule: Rule,
    /// No text has such a secret without one of these. They are at least four bytes long, few, and rare at their first four
    /// bytes: the cost of the scan depends on that. Rows may share them.
    literals: &'static [&'static str],
    /// What is looked for where one stands.
    kind: Kind,
}

/// How a kind of secret is found around a literal.
#[derive(Debug)]
enum Kind {
    /// Base64 between two lines of dashes; the first of them begins like this.
    Block(&'static [u8]),
    /// The value of the header whose name goes on like this after the literal; `whole` says that it has no scheme.
    Header {
        rest: &'static [u8],
        whole: bool,
    },
    Bearer,
    Encoded,
    Url,
    Auth,
    AccessList,
    AccessRule,
    CrashArgument,
    Call,
    Flags(commands::Tool),
    Keys(&'static [Key]),
}

/// The literals of [`Rule::Password`] and of every other rule for keys that end with `pass`.
const PASS: &[&str] = &["pass", "PASS", "Pass"];

/// The table. Where two rows find the same, the first counts.
static ROWS: &[Row] = &[
    // -----BEGIN RSA PRIVATE KEY-----
    Row { rule: Rule::Pem, literals: &["-----"], kind: Kind::Block(b"-----BEGIN") },
    // ----- LICENSE START -----
    Row { rule: Rule::License, literals: &["-----"], kind: Kind::Block(b"----- LICENSE START") },
    // Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l; the scheme stays
    Row {
        rule: Rule::Authorization,
        literals: &["auth", "Auth", "AUTH"],
        kind: Kind::Header { rest: b"orization", whole: false },
    },
    // Bearer sha256~abc
    Row { rule: Rule::Bearer, literals: &["earer "], kind: Kind::Bearer },
    // Set-Cookie: session=abc
    Row { rule: Rule::Cookie, literals: &["ookie"], kind: Kind::Header { rest: b"", whole: true } },
    // eyJhbGciOi...: JSON in base64; a PEM block in base64 as well
    Row { rule: Rule::Jwt, literals: &["eyJh", "eyJ0", "eyJr", "LS0tLS1C"], kind: Kind::Encoded },
    // redis://user:password@host, by the last letter of the scheme
    Row {
        rule: Rule::Url,
        literals: &["s://", "p://", "b://", "l://", "v://", "3://", "h://", ":\\/\\/", "%3A%2F%2F", "%3a%2f%2f"],
        kind: Kind::Url,
    },
    // AUTH user password, HELLO 3 AUTH user password
    Row { rule: Rule::RedisAuth, literals: &["auth", "Auth", "AUTH"], kind: Kind::Auth },
    // ACL SETUSER alice on >password
    Row { rule: Rule::RedisAcl, literals: &["etuser", "ETUSER"], kind: Kind::AccessList },
    // user alice on >password
    Row { rule: Rule::RedisAcl, literals: &[" on >"], kind: Kind::AccessRule },
    // requirepass password
    Row {
        rule: Rule::RedisConfig,
        literals: PASS,
        kind: Kind::Keys(&[
            Key { word: b"requirepass", inside: true, between: Between::Blank },
            Key { word: b"key-file-pass", inside: true, between: Between::Blank },
        ]),
    },
    // masterauth password
    Row {
        rule: Rule::RedisConfig,
        literals: &["auth", "AUTH"],
        kind: Kind::Keys(&[Key { word: b"masterauth", inside: true, between: Between::Blank }]),
    },
    // argv[1]: 'value', in a crash report
    Row { rule: Rule::CrashArgument, literals: &["argv["], kind: Kind::CrashArgument },
    // simple_bind_s('cn=admin', 'password')
    Row { rule: Rule::LdapBind, literals: &["ple_bind"], kind: Kind::Call },
    // ldapsearch -D cn=admin -w password
    Row { rule: Rule::LdapBind, literals: &["ldap"], kind: Kind::Flags(commands::LDAP) },
    // redis-cli -a password
    Row { rule: Rule::CommandLine, literals: &["s-cli"], kind: Kind::Flags(commands::REDIS_CLI) },
    // curl -u user:password
    Row { rule: Rule::CommandLine, literals: &["curl"], kind: Kind::Flags(commands::CURL) },
    // "password": "x", password=x, --password x, username demo password x
    Row {
        rule: Rule::Password,
        literals: PASS,
        kind: Kind::Keys(&[
            Key { word: b"password", inside: true, between: Between::Blank },
            Key { word: b"passwd", inside: true, between: Between::Blank },
            Key { word: b"passphrase", inside: true, between: Between::Blank },
            sign(b"passwords"),
            sign(b"password_hash"),
            sign(b"passcode"),
            Key { word: b"pass", inside: false, between: Between::Sign },
        ]),
    },
    // pwd=x, bindpw: x
    Row {
        rule: Rule::Password,
        literals: &["pwd=", "Pwd=", "PWD=", "pwd\"", "pwd:", "bindpw"],
        kind: Kind::Keys(&[sign(b"pwd"), sign(b"bindpw")]),
    },
    // client_secret=x, "secret_access_key": "x", API_KEY=x
    Row {
        rule: Rule::Secret,
        literals: &["ecre", "ECRE", "_key", "_KEY", "-key", "-Key", "pikey", "PIKEY", "Key\"", "Key=", "Key:"],
        kind: Kind::Keys(&[
            sign(b"secret"),
            sign(b"secrets"),
            sign(b"secret_key"),
            sign(b"secretkey"),
            sign(b"access_key"),
            sign(b"access-key"),
            sign(b"accesskey"),
            sign(b"account_key"),
            sign(b"accountkey"),
            sign(b"api_key"),
            sign(b"api-key"),
            sign(b"apikey"),
            sign(b"private_key"),
            sign(b"private-key"),
            sign(b"privatekey"),
            sign(b"encryption_key"),
            sign(b"signing_key"),
            sign(b"shared_key"),
            sign(b"master_key"),
        ]),
    },
    // access_token=x
    Row { rule: Rule::Token, literals: &["oken", "OKEN"], kind: Kind::Keys(&[sign(b"token")]) },
    // "license": "x"
    Row {
        rule: Rule::License,
        literals: &["icense"],
        kind: Kind::Keys(&[
            Key { word: b"license", inside: true, between: Between::Long },
            Key { word: b"license_key", inside: true, between: Between::Long },
        ]),
    },
];

/// Finds the secrets in texts and replaces them. Its buffers are used again and again.
#[derive(Debug)]
pub(crate) struct Redactor {
    /// Nothing where nothing is redacted.
    prefilter: Option<Prefilter>,
    /// The rows of each literal.
    rows: Vec<Vec<&'static Row>>,
    own: Vec<(OwnRule, Captures)>,
    limit: usize,
    counters: Vec<Counter>,
    spans: Vec<Span>,
    window: Vec<u8>,
    text: Vec<u8>,
}

/// A text to be redacted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    /// What the entry says.
    pub(crate) bytes: &'a [u8],
    /// The bytes of the file before it, up to [`BEFORE`].
    pub(crate) before: &'a [u8],
    /// Whether the line limit cut it.
    pub(crate) cut: bool,
    /// Whether a literal may stand in it.
    pub(crate) touched: bool,
}

impl Redactor {
    /// For texts that are not to get longer than `limit`. `counter` makes the counter of a rule.
    pub(crate) fn new(redaction: &Redaction, limit: usize, counter: impl Fn(&str) -> Counter) -> Self {
        let literals = literals();
        let rows = literals.iter().map(|literal| ROWS.iter().filter(|row| row.literals.contains(literal)).collect());
        let bytes: Vec<_> = literals.iter().map(|literal| literal.as_bytes()).collect();
        let own: Vec<_> =
            redaction.own.iter().filter(|_| redaction.on).map(|rule| (rule.clone(), rule.captures())).collect();
        let names = Rule::ALL.iter().map(|rule| rule.name()).chain(own.iter().map(|(rule, _)| rule.name()));
        Self {
            prefilter: Prefilter::new(&bytes).filter(|_| redaction.on),
            rows: rows.collect(),
            limit,
            counters: names.map(counter).collect(),
            own,
            spans: Vec::new(),
            window: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Whether a literal of any rule begins in `start..end` of the bytes that `scan` is about.
    pub(crate) fn touches(&self, scan: &mut Scan, bytes: &[u8], start: usize, end: usize) -> bool {
        self.prefilter.as_ref().is_some_and(|prefilter| scan.touches(prefilter, bytes, start, end))
    }

    /// The text without its secrets, and what it leaves open for the next one.
    pub(crate) fn redact<'a>(&'a mut self, text: Text<'a>, carried: Option<Carried>) -> (&'a [u8], Option<Carried>) {
        self.spans.clear();
        let Some(prefilter) = &self.prefilter else { return (text.bytes, None) };
        if !text.touched && !text.cut && carried.is_none() && self.own.is_empty() {
            return (text.bytes, None);
        }
        let carried = carried.unwrap_or_default();
        let mut window = Window { bytes: text.bytes, from: 0, cut: text.cut, command: carried.command };
        if carried.cut {
            self.window.clear();
            self.window.extend_from_slice(text.before);
            self.window.extend_from_slice(text.bytes);
            window = Window { bytes: &self.window, from: text.before.len(), ..window };
        }
        let mut block = carried.open.and_then(|open| go_on(&window, open, &mut self.spans));
        if carried.command {
            commands::go_on(&window, &mut self.spans);
        }
        let (mut at, mut hits) = (0, 0);
        while let Some(hit) = prefilter.find(window.bytes, at) {
            at = hit.at + 1;
            hits += 1;
            if hits > MOST_HITS {
                at = at.max(find_near(self.rows.get(hit.literal).into_iter().flatten(), &window, hit, &mut self.spans));
                continue;
            }
            for row in self.rows.get(hit.literal).into_iter().flatten() {
                block = row.find(&window, hit, &mut self.spans).or(block);
            }
        }
        for (number, (rule, captures)) in self.own.iter_mut().enumerate() {
            rule.find(&window, number, captures, &mut self.spans);
        }
        let carried = leaves(&window, &self.spans, block);
        merge(&mut self.spans, window.from);
        if self.spans.is_empty() {
            return (text.bytes, carried);
        }
        mark::write(text.bytes, &self.spans, self.limit, &mut self.text);
        (&self.text, carried)
    }

    /// Counts what the last text was redacted of.
    pub(crate) fn count(&self) {
        for span in self.spans.iter().filter(|span| span.start < span.end) {
            if let Some(counter) = self.counters.get(span.rule) {
                counter.inc();
            }
        }
    }
}

/// Every literal once.
fn literals() -> Vec<&'static str> {
    let mut literals = Vec::new();
    for literal in ROWS.iter().flat_map(|row| row.literals) {
        if !literals.contains(literal) {
            literals.push(*literal);
        }
    }
    literals
}

impl Row {
    /// Finds the secret around a literal. A block that goes on behind the window is returned.
    fn find(&self, window: &Window<'_>, hit: Hit, spans: &mut Vec<Span>) -> Option<Open> {
        let Hit { at, len, .. } = hit;
        match &self.kind {
            Kind::Block(begins) => {
                let is_one = window.has(at, begins);
                let end = is_one.then(|| blocks::find(window, at, self.rule, spans)).flatten();
                return end.map(|end| Open { rule: self.rule, end });
            }
            Kind::Header { rest, whole } => tokens::header(window, at + len, rest, self.rule, *whole, spans),
            Kind::Bearer => tokens::bearer(window, at, len, self.rule, spans),
            Kind::Encoded => tokens::encoded(window, at, self.rule, spans),
            // The literal begins with the last letter of the scheme, or with the colon.
            Kind::Url => urls::find(window, at + usize::from(window.has(at + 1, b"://")), self.rule, spans),
            Kind::Auth => commands::auth(window, at, self.rule, spans),
            Kind::AccessList => commands::access_list(window, at + len, self.rule, spans),
            Kind::AccessRule => commands::access_rule(window, at + len, self.rule, spans),
            Kind::CrashArgument => commands::crash_argument(window, at, len, self.rule, spans),
            Kind::Call => commands::call(window, at, self.rule, spans),
            Kind::Flags(tool) => commands::flags(window, at, tool, self.rule, spans),
            Kind::Keys(keys) => keys::find(window, at, self.rule, keys, spans),
        }
        None
    }
}

/// Finds the secrets around a literal of a text that has very many, without looking far: the cost must not grow with the
/// square of the text. A secret without an end nearby goes to the end of the text. Returns where to go on.
fn find_near<'r>(
    rows: impl Iterator<Item = &'r &'static Row>,
    window: &Window<'_>,
    hit: Hit,
    spans: &mut Vec<Span>,
) -> usize {
    let (near, first) = (window.near(hit.at), spans.len());
    let mut is_open = false;
    for row in rows {
        is_open |= row.find(&near, hit, spans).is_some();
    }
    let found = spans.get_mut(first..).unwrap_or_default();
    is_open |= found.iter().any(|span| span.open.is_some());
    if is_open && near.len() < window.len() {
        let start = found.iter().map(|span| span.start).min().unwrap_or(hit.at);
        let rule = found.first().map_or(Rule::Pem as usize, |span| span.rule);
        let open = window.cut.then_some(End::Word);
        spans.push(Span { start, end: window.len(), rule, quote: None, open });
        return window.len();
    }
    found.iter().map(|span| span.end).max().unwrap_or_default()
}

/// The rest of a secret that an earlier text left open; a block that is still open is returned.
fn go_on(window: &Window<'_>, open: Open, spans: &mut Vec<Span>) -> Option<Open> {
    let start = window.from;
    let end = match open.end {
        End::Block(misses) => {
            return blocks::go_on(window, start, open.rule, misses, spans).map(|end| Open { end, ..open });
        }
        End::Quote(quote) => values::closing(window, start, quote).unwrap_or_else(|| window.line_end(start)),
        End::Word => values::word_end(window, start),
        End::Line => tokens::line_value_end(window, start),
        End::List => values::list_end(window, start),
        End::Authority => urls::go_on(window, start),
        End::Base64 => window.run(start, tokens::is_encoded),
    };
    spans.extend((start < end).then(|| window.span(start, end, open.rule, open.end)));
    None
}

/// What the window leaves open for the next text.
fn leaves(window: &Window<'_>, spans: &[Span], block: Option<Open>) -> Option<Carried> {
    if !window.cut {
        return block.map(|open| Carried { open: Some(open), ..Carried::default() });
    }
    let rule = |span: &Span| Rule::ALL.get(span.rule).copied();
    let open = spans.iter().find_map(|span| Some(Open { rule: rule(span)?, end: span.open? }));
    Some(Carried { cut: true, command: words::is_command(window, window.len()), open: block.or(open) })
}

/// Puts spans in order, joins those that overlap, and leaves those of the text alone, which begins at `from`.
fn merge(spans: &mut Vec<Span>, from: usize) {
    spans.retain(|span| span.end > from && span.start < span.end);
    spans.sort_by_key(|span| (span.start, span.rule));
    spans.dedup_by(|next, before| {
        let joins = next.start < before.end;
        if joins && next.end > before.end {
            before.end = next.end;
        }
        joins
    });
    for span in spans {
        span.start = span.start.saturating_sub(from);
        span.end -= from;
    }
}
