//! Secrets in files: no push holds a part of one, wherever the line limit cuts, and a resend after a crash has the same bytes.

use proptest::prelude::*;

use super::world::{Fate, World};

/// A part of a secret that is this short occurs nowhere else.
const PART: usize = 5;

/// Lines with a secret in place of `SECRET`, and lines without one.
const LINES: &[&str] = &[
    "2026-02-20 22:30:07,000 INFO cnm_http: GET /v1/bdbs status=200",
    "2026-02-20 22:30:07,001 INFO rladmin: command: cluster join username demo password SECRET nodes 10.0.0.1",
    "3) 2026-02-20 22:30:07.002 [1623] INF dmc.app (x@y.cpp:1) - source redis://admin:SECRET@redis-12000.svc:12000, x",
    "2026-02-20 22:30:07,003 INFO: Parameters: {\"name\": \"x\", \"authentication_redis_pass\": \"SECRET\\\"SECRET\", \"n\": 1}",
    "2026-02-20 22:30:07,004 DEBUG headers={'Authorization': 'Bearer SECRET'}",
    "2026-02-20 22:30:07,005 ERROR failed\nTraceback (most recent call last):\n  login(password='SECRET')\nValueError: x",
    "2026-02-20 22:30:07,006 INFO key:\n-----BEGIN PRIVATE KEY-----\nSECRET\nSECRET\n-----END PRIVATE KEY-----",
    "2026-02-20 22:30:07,007 INFO key=-----BEGIN PRIVATE KEY-----\\nSECRET\\n-----END PRIVATE KEY-----\\n",
    "612:M 20 Feb 2026 22:30:08.008 * \"AUTH\" \"default\" \"SECRET\"",
    "a line without a time\r",
];

/// A line with a time stands first: no clock decides about the others.
const FIRST: &str = "2026-02-20 22:30:07,000 INFO started\n";

fn written(lines: &[&str], secret: &str) -> String {
    let mut text = FIRST.to_owned();
    for line in lines {
        text.push_str(&line.replace("SECRET", secret));
        text.push('\n');
    }
    text
}

fn world(max_line: usize, multiline: bool) -> World {
    World::with(|settings| {
        settings.max_line = max_line;
        settings.multiline = multiline;
        settings.batch_bytes = 1024;
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_push_holds_a_part_of_a_secret_and_resends_are_what_they_were(
        lines in proptest::collection::vec(proptest::sample::select(LINES), 1..12),
        secret in "[QXZJ][79QXZJ]{19,150}",
        max_line in 64..400_usize,
        multiline in any::<bool>(),
        fates in proptest::collection::vec(prop_oneof![Just(Fate::Stored), Just(Fate::Lost)], 0..6),
        rotates in any::<bool>(),
    ) {
        let text = written(&lines, &secret);
        let mut calm = world(max_line, multiline);
        calm.append_text("a.log", &text);
        calm.ship();
        let mut troubled = world(max_line, multiline);
        troubled.append_text("a.log", &text);
        for fate in fates {
            troubled.ship_with(fate);
            troubled.crash();
            if rotates {
                troubled.copytruncate("a.log");
            }
            troubled.start();
            troubled.ship_one(Fate::Acknowledged);
        }
        troubled.ship();
        prop_assert_eq!(troubled.entries(), calm.entries());
        prop_assert_eq!(troubled.times(), calm.times());
        for entry in calm.entries() {
            let leaks = secret.as_bytes().windows(PART).any(|part| entry.contains(str::from_utf8(part).unwrap()));
            prop_assert!(!leaks, "{secret} in {entry}");
        }
        let has_secret = text.contains(&secret);
        prop_assert_eq!(calm.entries().iter().any(|entry| entry.contains("[redacted:")), has_secret);
        prop_assert_eq!(calm.metric("redactions_total") > 0, has_secret);
    }
}
