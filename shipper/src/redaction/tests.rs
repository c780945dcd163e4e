use prometheus_client::metrics::counter::Counter;

use super::scan::Prefilter;
use super::table::{ROWS, literals};
use super::*;

/// Redacts texts in turn, like the entries of one file.
struct File {
    redactor: Redactor,
    carried: Option<Carried>,
    before: Vec<u8>,
}

impl File {
    fn new(redaction: &Redaction) -> Self {
        let redactor = Redactor::new(redaction, 1000, |_| Counter::default());
        Self { redactor, carried: None, before: Vec::new() }
    }

    fn text(&mut self, text: &[u8], cut: bool) -> String {
        let start = self.before.len().saturating_sub(BEFORE);
        let given = Text { bytes: text, before: &self.before[start..], cut, touched: true };
        let (said, carried) = self.redactor.redact(given, self.carried);
        let said = String::from_utf8(said.to_vec()).unwrap();
        self.redactor.count();
        self.carried = carried;
        self.before.extend_from_slice(text);
        self.before.extend_from_slice(if cut { b"" } else { b"\n" });
        said
    }
}

fn redacted(text: &str) -> String {
    File::new(&Redaction::default()).text(text.as_bytes(), false)
}

/// The text before and after.
const SECRETS: &[(&str, &str)] = &[
    // passwords in JSON, in Python, in environments, in queries
    (
        r#"{"username": "demo", "password": "hunter2", "x": 1}"#,
        r#"{"username": "demo", "password": "[redacted:1-7]", "x": 1}"#,
    ),
    (r#"{"password":"hun\"ter2", "x": 1}"#, r#"{"password":"[redacted:8-15]", "x": 1}"#),
    (r#"msg="{\"password\": \"hun\\\"ter2\", \"x\": 1}""#, r#"msg="{\"password\": \"[redacted:8-15]\", \"x\": 1}""#),
    (r#"{"password": 12345678, "x": 1}"#, r#"{"password": "[redacted:8-15]", "x": 1}"#),
    (r#"{"authorized_passwords": ["one", "two"]}"#, r#"{"authorized_passwords": ["[redacted:8-15]"]}"#),
    (r#"{"password": null, "other_password": ""}"#, r#"{"password": null, "other_password": ""}"#),
    (r#"{"authentication_redis_pass": "hunter2"}"#, r#"{"authentication_redis_pass": "[redacted:1-7]"}"#),
    ("params={'password': u'hunter2', 'n': 1}", "params={'password': u'[redacted:1-7]', 'n': 1}"),
    ("params['password'] = 'hunter2'", "params['password'] = '[redacted:1-7]'"),
    ("{'password':\n   'hunter2'}", "{'password':\n   '[redacted:1-7]'}"),
    ("password: |\n  hunter2\nnext: 1", "password: |\n  [redacted:1-7]\nnext: 1"),
    ("REDIS_PASSWORD=hunter2 PATH=/bin", "REDIS_PASSWORD=[redacted:1-7] PATH=/bin"),
    ("GET /v1?password=hun%40ter2&user=demo HTTP/1.1", "GET /v1?password=[redacted:8-15]&user=demo HTTP/1.1"),
    ("body=%7B%22password%22%3A%22hunter2%22%7D", "body=%7B%22password%22%3A%22[redacted:1-7]%22%7D"),
    ("{&quot;password&quot;:&quot;hunter2&quot;}", "{&quot;password&quot;:&quot;[redacted:1-7]&quot;}"),
    ("<user><password>hunter2</password></user>", "<user><password>[redacted:1-7]</password></user>"),
    ("fqdn=rec1,username=demo,password=hun,ter2", "fqdn=rec1,username=demo,password=[redacted:8-15]"),
    ("fqdn=rec1,password=hunter2,username=demo", "fqdn=rec1,password=[redacted:1-7],username=demo"),
    // on command lines
    (
        "command: cluster create name rec username demo password hunter2 persistent_path /opt",
        "command: cluster create name rec username demo password [redacted:1-7] persistent_path /opt",
    ),
    ("Command '['rladmin', 'password', 'hunter2']'", "Command '['rladmin', 'password', '[redacted:1-7]']'"),
    ("crdb-cli --password hunter2 --x", "crdb-cli --password [redacted:1-7] --x"),
    ("\"cmd\": \"rladmin password hunter2\", \"x\"", "\"cmd\": \"rladmin password [redacted:1-7]\", \"x\""),
    ("redis-cli -h host -a hunter2 ping", "redis-cli -h host -a [redacted:1-7] ping"),
    ("redis-cli --pass hunter2 ping", "redis-cli --pass [redacted:1-7] ping"),
    ("curl -k -u demo:hunter2 https://x", "curl -k -u demo:[redacted:1-7] https://x"),
    ("ldapsearch -D cn=admin -w hunter2 -b dc=x", "ldapsearch -D cn=admin -w [redacted:1-7] -b dc=x"),
    ("conn.simple_bind_s('cn=admin', 'hunter2')", "conn.simple_bind_s('cn=admin', [redacted:8-15])"),
    ("LDAP bindpw: hunter2", "LDAP bindpw: [redacted:1-7]"),
    // URLs
    ("source redis://admin:hunter2@host:12000, full", "source redis://admin:[redacted:1-7]@host:12000, full"),
    ("redis://:p%40ss@host", "redis://:[redacted:1-7]@host"),
    ("redis://u:p@ss/w#rd@host/0", "redis://u:[redacted:8-15]@host/0"),
    (r#"{"uri": "redis:\/\/u:hunter2@host"}"#, r#"{"uri": "redis:\/\/u:[redacted:1-7]@host"}"#),
    ("source=redis%3A%2F%2Fu%3Ahunter2%40host", "source=redis%3A%2F%2Fu%3A[redacted:1-7]%40host"),
    ("https://0123456789abcdef@host/x", "https://[redacted:16-31]@host/x"),
    // headers and tokens
    ("Authorization: Basic ZGVtbzpodW50ZXIy", "Authorization: Basic [redacted:16-31]"),
    ("'Authorization': 'Bearer abc.def', 'x'", "'Authorization': 'Bearer [redacted:1-7]', 'x'"),
    ("-H \"Authorization: Token abcdef\" -k", "-H \"Authorization: Token [redacted:1-7]\" -k"),
    ("authorization: Digest username=\"a\", response=\"b\"", "authorization: Digest [redacted:16-31]"),
    ("got Bearer sha256~abcdefgh from", "got Bearer [redacted:8-15] from"),
    ("Set-Cookie: session=abc; Path=/", "Set-Cookie: [redacted:16-31]"),
    ("jwt eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln ok", "jwt [redacted:32-63] ok"),
    ("access_token=abcdef12", "access_token=[redacted:8-15]"),
    (r#""secret_access_key": "abcdef12""#, r#""secret_access_key": "[redacted:8-15]""#),
    (r#""apiKey": "abcdef12", "privateKey":"x""#, r#""apiKey": "[redacted:8-15]", "privateKey":"[redacted:1-7]""#),
    // Redis
    ("\"AUTH\" \"hunter2\"", "\"AUTH\" \"[redacted:1-7]\""),
    ("\"auth\" \"default\" \"hunter2\"", "\"auth\" \"default\" \"[redacted:1-7]\""),
    ("> AUTH default hunter2", "> AUTH default [redacted:1-7]"),
    ("HELLO 3 AUTH default hunter2 SETNAME x", "HELLO 3 AUTH default [redacted:1-7] SETNAME x"),
    (
        r"Query buffer: '*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n'",
        r"Query buffer: '*2\r\n$4\r\nAUTH\r\n$7\r\n[redacted:1-7]\r\n'",
    ),
    ("CONFIG SET requirepass hunter2", "CONFIG SET requirepass [redacted:1-7]"),
    ("\"config\" \"set\" \"masterauth\" \"hunter2\"", "\"config\" \"set\" \"masterauth\" \"[redacted:1-7]\""),
    ("ACL SETUSER alice on >hunter2 ~* +@all", "ACL SETUSER alice on >[redacted:1-7] ~* +@all"),
    ("user default on >hunter2 ~* +@all", "user default on >[redacted:1-7] ~* +@all"),
    ("argv[0]: 'SET'\nargv[1]: 'key'", "argv[0]: 'SET'\nargv[1]: [redacted:1-7]"),
    // blocks
    (
        "key:\n-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nAw==\n-----END RSA PRIVATE KEY-----\nok",
        "key:\n-----BEGIN RSA PRIVATE KEY-----\n[redacted:16-31]\n-----END RSA PRIVATE KEY-----\nok",
    ),
    (
        r#""k": "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nAw==\n-----END KEY-----\n", "x": 1"#,
        r#""k": "-----BEGIN KEY-----\n[redacted:16-31]\n-----END KEY-----\n", "x": 1"#,
    ),
    (
        r#""license": "----- LICENSE START -----\nabcdefghijklmnopqrst\n----- LICENSE END -----\n""#,
        r#""license": "[redacted:64+]""#,
    ),
];

#[test]
fn replaces_secrets_and_leaves_what_stands_around_them() {
    for (text, expected) in SECRETS {
        assert_eq!(redacted(text), *expected, "{text}");
    }
}

#[test]
fn leaves_sentences_and_its_own_marks() {
    for text in [
        "Cannot authenticate LDAP user redis-admin: invalid username-password pair",
        "wrong password for user demo",
        "the password has expired, password policy says so",
        "NOAUTH Authentication required.",
        "AUTH failed",
        "secret \"rec-creds\" not found",
        "token expired",
        "verify_tcp_connectivity PASS: 3 tests",
        "GET https://host:8443/v1/users?email=demo@redis.com",
        "ssh://git@host",
        "OLDPWD=/root PWD=/opt",
        "password=[redacted:8-15] \"password\": \"[redacted:64+]\" AUTH default [redacted:1-7]",
        "password=**** {\"password\": \"****\"}",
        "user demo logged in; user default on nothing",
        "bypass=1 passed=2 password_expiration=90",
        "token::parse failed, argv[0]: 'x'",
        "WWW-Authenticate: Bearer realm=\"x\", a bearer token",
        "3) 2026-02-20 22:31:07.002 [1623] INF dmc.auth (x@y.cpp:1) - auth done",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn rows_and_rules_agree() {
    for (number, rule) in Rule::ALL.into_iter().enumerate() {
        assert_eq!(rule as usize, number);
        assert!(ROWS.iter().any(|row| row.rule == rule), "{rule:?}");
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
    }
    // With more literals, or shorter ones, the scan takes several times as long.
    let literals = literals();
    assert!(literals.iter().all(|literal| literal.len() >= 4) && literals.len() <= 56, "{literals:?}");
    let bytes: Vec<_> = literals.iter().map(|literal| literal.as_bytes()).collect();
    let is_packed = matches!(Prefilter::new(&bytes), Some(Prefilter::Packed(..)));
    assert!(is_packed || !cfg!(target_arch = "x86_64"), "{literals:?}");
}

#[test]
fn leaves_harmless_lines_byte_for_byte() {
    let lines = include_str!("harmless.log");
    for line in lines.lines().chain([lines]) {
        assert_eq!(redacted(line), line);
    }
}

/// The examples of the documentation, before and after.
#[test]
fn does_what_the_documentation_shows() {
    let blocks: Vec<_> = include_str!("../../../docs/redaction.md").split("```").collect();
    let lines = |block: usize| blocks[block].lines().skip(1).collect::<Vec<_>>();
    let mut file = File::new(&Redaction { on: true, own: vec![own("email=([a-z]+)@")] });
    let said: Vec<_> = lines(1).iter().map(|line| file.text(line.as_bytes(), false)).collect();
    assert!(said.len() > 10 && said == lines(3), "{said:#?}");
}

#[test]
fn leaves_everything_where_it_is_off() {
    let mut file = File::new(&Redaction { on: false, own: vec![own("x=[0-9]+")] });
    assert_eq!(file.text(b"password=hunter2 12345", false), "password=hunter2 12345");
}

#[test]
fn counts_by_rule_what_it_replaces() {
    let counters = std::cell::RefCell::new(Vec::new());
    let own = vec![own("card=[0-9]{16}")];
    let mut redactor = Redactor::new(&Redaction { on: true, own }, 1000, |name| {
        let counter = Counter::default();
        counters.borrow_mut().push((name.to_owned(), counter.clone()));
        counter
    });
    let text = b"password=a password=b redis://u:p@h card 1234567890123456";
    redactor.redact(Text { bytes: text, before: b"", cut: false, touched: true }, None);
    redactor.count();
    let counted: Vec<_> = counters.into_inner().into_iter().map(|(name, counter)| (name, counter.get())).collect();
    let counted: Vec<_> = counted.iter().filter(|(_, count)| *count > 0).map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(counted, [("url", 1), ("password", 2), ("card", 1)]);
}

#[test]
fn never_makes_a_text_longer_than_a_line_may_be() {
    let text = "pwd=a ".repeat(160);
    let said = redacted(&text);
    assert!(said.len() <= text.len() && !said.contains('a'), "{said}");
    assert!(said.starts_with("pwd=* pwd=* "), "{said}");
}

/// If the time grew with the square of the text, this would take hours.
#[test]
fn takes_a_long_line_of_nothing_but_beginnings() {
    for part in PARTS.iter().chain(&["password x ", "ldap", "curl -u ", "s://", "-----BEGIN ", "\"AUTH", "pass=\""]) {
        let text = part.repeat(60_000 / part.len());
        let said = redacted(&text);
        assert!(said.len() <= text.len().max(1000), "{part}");
    }
    let text = format!("{}password=\"{}hunter2{}\" x", "pass x ".repeat(1000), "y".repeat(5000), "z".repeat(5000));
    assert!(!redacted(&text).contains("hunter2"));
}

fn own(rule: &str) -> OwnRule {
    OwnRule::parse(&[rule.to_owned()]).unwrap().remove(0)
}

#[test]
fn takes_rules_of_the_users_own() {
    let own = vec![own("mail=[a-z]+(@[a-z.]+)"), own("bdb_name=name=([^ ]+)"), own("ssn=\\d{3}-\\d{2}")];
    let mut file = File::new(&Redaction { on: true, own });
    assert_eq!(
        file.text(b"demo@redis.com name=orders 123-45 \xc3\xa9", false),
        "demo[redacted:8-15] name=[redacted:1-7] [redacted:1-7] \u{e9}"
    );
}

#[test]
fn says_what_is_wrong_with_every_rule_of_the_users_own() {
    let faults = OwnRule::parse(&["a=(", "b=x", "no sign"].map(str::to_owned)).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:#?}");
    let many: Vec<_> = (0..33).map(|number| format!("a{number}=x")).collect();
    assert_eq!(OwnRule::parse(&many).unwrap_err().len(), 1);
}

#[test]
fn follows_a_block_through_the_entries_of_its_lines() {
    let mut file = File::new(&Redaction::default());
    let mut said = |text: &str| file.text(text.as_bytes(), false);
    assert_eq!(said("x -----BEGIN PRIVATE KEY-----"), "x -----BEGIN PRIVATE KEY-----");
    assert_eq!(said("MIIEpAIBAAKCAQEA"), "[redacted:16-31]");
    assert_eq!(said("INFO MIIEpAIBAAKCAQEA"), "INFO [redacted:16-31]");
    assert_eq!(said("Aw=="), "[redacted:1-7]");
    assert_eq!(said("-----END PRIVATE KEY-----"), "-----END PRIVATE KEY-----");
    assert_eq!(said("abcdefghijklmnopqrst"), "abcdefghijklmnopqrst");
    // A block without an end does not hide the entries after it.
    said("-----BEGIN PRIVATE KEY-----");
    for _ in 0..4 {
        assert_eq!(said("a line of words"), "a line of words");
    }
    assert_eq!(said("abcdefghijklmnopqrst"), "abcdefghijklmnopqrst");
}

/// Text around a secret, and how the secret is written there.
type Shape = (&'static str, &'static str, fn(&str) -> String);

const PLAIN: fn(&str) -> String = str::to_owned;

/// A `*` at the start of a shape stands for the beginning of a line in any format.
const SHAPES: &[Shape] = &[
    ("{\"user\": \"demo\", \"password\": \"", "\", \"x\": 1}", |secret| format!("{secret}\\\"{secret}")),
    ("msg=\"{\\\"password\\\": \\\"", "\\\", \\\"x\\\": 1}\"", |secret| format!("{secret}\\\\\\\"{secret}")),
    ("{'admin_pass': u'", "', 'n': 1}", |secret| format!("{secret}\"{secret}")),
    ("command: cluster join username demo password ", " nodes 10.0.0.1", PLAIN),
    ("Command '['rladmin', 'cluster', 'password', '", "']' returned 1", PLAIN),
    ("crdb-cli crdb create --instance fqdn=a.b,username=demo,password=", ",x=1 --y", |secret| {
        format!("{secret},{secret}")
    }),
    ("rladmin --new_password ", " now", PLAIN),
    ("redis-cli -h 10.0.0.1 -p 12000 -a ", " ping", PLAIN),
    ("curl -sk -u demo:", " https://localhost:9443/v1/bdbs", PLAIN),
    ("connected to source redis://admin:", "@redis-12000.svc:12000, starting", |secret| format!("{secret}%40{secret}")),
    ("connected to rediss://:", "@redis-12000.svc:12000/0", |secret| format!("{secret}@{secret}")),
    ("uri=redis%3A%2F%2Fu%3A", "%40host%3A12000", PLAIN),
    ("Authorization: Basic ", "\r", PLAIN),
    ("headers={'Authorization': 'Bearer ", "', 'Host': 'x'}", PLAIN),
    ("sent Bearer ", " to x", PLAIN),
    ("token eyJhbGciOiJSUzI1NiJ9.", " was refused", |secret| format!("{secret}.{secret}")),
    ("\"AUTH\" \"", "\"", PLAIN),
    ("HELLO 3 AUTH default ", " SETNAME x", PLAIN),
    ("CONFIG SET requirepass ", "", PLAIN),
    ("\"CONFIG\" \"SET\" \"masterauth\" \"", "\"", |secret| format!("{secret}\\\"{secret}")),
    ("ACL SETUSER alice on ~* >", " +@all", PLAIN),
    ("ldapsearch -x -D cn=admin,dc=example,dc=local -w ", " -b dc=local", PLAIN),
    ("AWS_SECRET_ACCESS_KEY=", " REGION=x", PLAIN),
    ("GET /v1/x?access_token=", "&user=demo HTTP/1.1", PLAIN),
    ("{\"authorized_passwords\": [\"", "\"], \"x\": 1}", |secret| format!("{secret}\", \"{secret}")),
    ("Set-Cookie: session=", "; Path=/", PLAIN),
    ("key -----BEGIN RSA PRIVATE KEY-----\\n", "\\n-----END RSA PRIVATE KEY-----\\n", |secret| {
        format!("{secret}\\n{secret}")
    }),
    ("-----BEGIN RSA PRIVATE KEY-----\n", "\n-----END RSA PRIVATE KEY-----", |secret| format!("{secret}\n{secret}")),
    ("\"license\": \"----- LICENSE START -----\\n", "\\n----- LICENSE END -----\\n\"", |secret| {
        format!("{secret}\\n{secret}")
    }),
    ("Traceback (most recent call last):\n  File \"x.py\", line 1\n    login(password='", "')\nValueError", PLAIN),
];

/// How a line begins in each format.
const BEGINNINGS: [&str; 9] = [
    "",
    "3) 2026-02-20 22:31:07.002 [1623] INF dmc.app (App@dmcproxy.cpp:959) - ",
    "2026-02-20 22:32:39,415 INFO cnm_http: ",
    "612:M 20 Feb 2026 22:30:41.120 * ",
    "[2026-02-20T22:32:39.415Z] \"POST /v1/bdbs HTTP/1.1\" 200 - ",
    "ts=2026-02-20T22:30:50.412Z caller=main.go:297 level=info msg=x ",
    "2026/02/20 22:31:02.118 INFO x ",
    "2026-02-20T22:31:03.500512Z  INFO heartbeatd::gossip: ",
    "2026-02-20 22:40:05 - INFO - ",
];

/// A shorter part of a secret may occur elsewhere by chance.
const PART: usize = 4;

/// Whether the text contains any part of the secret.
fn has_part(text: &str, secret: &str) -> bool {
    secret.as_bytes().windows(PART).any(|part| memchr::memmem::find(text.as_bytes(), part).is_some())
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 512, failure_persistence: None, ..Default::default() })]

    /// The line limit may cut anywhere.
    #[test]
    fn leaves_no_part_of_a_secret(
        shape in 0..SHAPES.len(),
        beginning in 0..BEGINNINGS.len(),
        secret in "[QXZJ][79QXZJ]{17,90}",
        limit in 64..400_usize,
        padding in "[a-z ]{0,80}",
    ) {
        let (before, after, written) = SHAPES[shape];
        let text = format!("{}{padding} {before}{}{after}", BEGINNINGS[beginning], written(&secret));
        let mut file = File::new(&Redaction::default());
        let (mut said, mut rest) = (Vec::new(), text.as_bytes());
        while rest.len() > limit {
            let (piece, after) = rest.split_at(limit);
            said.push(file.text(piece, true));
            rest = after;
        }
        said.push(file.text(rest, false));
        for piece in &said {
            proptest::prop_assert!(!has_part(piece, &secret), "{text}\n{said:#?}");
        }
        proptest::prop_assert!(said.concat().contains("[redacted:"), "{said:#?}");
    }

    #[test]
    fn takes_any_bytes(
        parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..20),
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..20),
        cut in proptest::bool::ANY,
    ) {
        let text = [parts.concat().as_bytes(), &bytes, parts.concat().as_bytes()].concat();
        let mut redactor = Redactor::new(&Redaction::default(), 1000, |_| Counter::default());
        let given = Text { bytes: &text, before: b"", cut, touched: true };
        let (said, carried) = redactor.redact(given, None);
        proptest::prop_assert!(said.len() <= text.len() * 20 + 20);
        redactor.redact(Text { before: &text[text.len().saturating_sub(BEFORE)..], ..given }, carried);
    }
}

/// Parts of lines that concern the rules, in any order.
const PARTS: &[&str] = &[
    "password",
    "pass",
    "=",
    ":",
    " ",
    "\"",
    "\\\"",
    "'",
    "\n",
    "x",
    "[",
    "]",
    "{",
    "}",
    ",",
    "redis://",
    "@",
    "/",
    "u:p",
    "AUTH ",
    "HELLO ",
    "Authorization: ",
    "Bearer ",
    "eyJhbGciOiJSUzI1NiJ9",
    "-----BEGIN KEY-----",
    "-----END KEY-----",
    "MIIEpAIBAAKCAQEA",
    "\\n",
    "%22",
    "%3A%2F%2F",
    "&quot;",
    "SETUSER a >b",
    "requirepass",
    "argv[1]: ",
    " -w ",
    "ldap",
    "simple_bind(",
    ")",
    "token",
    "cookie:",
    "LICENSE START",
    "-----",
    "[redacted:8-15]",
    "\\u0022",
    "<password>",
    "<",
];
