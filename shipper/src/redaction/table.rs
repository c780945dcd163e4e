//! The table: one row per kind of secret. A new kind needs a row here, a name in `rule`, and examples in the tests.

use super::carried::Open;
use super::keys::{self, Between, Key, sign};
use super::rule::Rule;
use super::scan::Hit;
use super::window::{Span, Window};
use super::{blocks, commands, tokens, urls};

/// One kind of secret.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) rule: Rule,
    /// Every such secret comes with one of these literals. The scan is cheap because there are few of them, at least four bytes
    /// long, whose first four bytes are rare. Rows may share them.
    pub(super) literals: &'static [&'static str],
    /// What to search for around a literal.
    pub(super) kind: Kind,
}

/// How a kind of secret is found around a literal.
#[derive(Debug)]
pub(super) enum Kind {
    /// Base64 between two lines of dashes. The first line begins like this.
    Block(&'static [u8]),
    /// The value of a header. Its name goes on like this after the literal. `whole` says that the value has no scheme.
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

/// The literals of [`Rule::Password`], and of every other rule for keys that end with `pass`.
const PASS: &[&str] = &["pass", "PASS", "Pass"];

/// The table. If two rows find the same secret, the first row counts.
pub(super) static ROWS: &[Row] = &[
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

/// Every literal once.
pub(super) fn literals() -> Vec<&'static str> {
    let mut literals: Vec<_> = ROWS.iter().flat_map(|row| row.literals).copied().collect();
    // The vector search puts neighbors into different buckets, and has fewer false candidates if the literals of a bucket differ
    // in their first bytes. Sorted by their last bytes, the search takes two thirds of the time of the table's order.
    literals.sort_unstable_by(|a, b| a.bytes().rev().cmp(b.bytes().rev()));
    literals.dedup();
    literals
}

impl Row {
    /// Finds the secret around a literal. Returns a block that goes on after the window.
    pub(super) fn find(&self, window: &Window<'_>, hit: Hit, spans: &mut Vec<Span>) -> Option<Open> {
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
