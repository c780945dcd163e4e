//! What a running sidecar says about its pushes: the answer of its `/status`.

use std::time::Duration;

use findings::{Code, Finding, Outcome};
use serde_json::Value;

use super::finding;
use crate::admission::pod::{items, text};

/// A deadline below this is a finding, as it is an alert.
const SOON: Duration = Duration::from_hours(2);

/// The findings in `status`, or what it says of the lag.
pub(crate) fn outcomes(status: &Value, namespace: &str, pod: &str) -> Vec<Outcome> {
    let mut found: Vec<Finding> = items(status, "findings").chain(status.get("trouble")).filter_map(own).collect();
    let mut seen = Vec::new();
    found.retain(|finding| {
        let is_new = !seen.contains(&finding.code);
        seen.push(finding.code);
        is_new
    });
    let of_pod = |problem: String| format!("pod {namespace}/{pod}: {problem}");
    let left = status.get("seconds_until_loss").and_then(Value::as_u64).map(Duration::from_secs);
    if let Some(left) = left.filter(|left| *left < SOON && !seen.contains(&Code::LossAhead)) {
        let problem =
            format!("log rotation deletes lines in {} minutes that Loki has not acknowledged", left.as_secs() / 60);
        found.push(finding(Code::LossAhead, problem, namespace, pod));
    }
    let faults: Vec<_> = items(status, "faults").filter_map(Value::as_str).collect();
    if !faults.is_empty() && !seen.contains(&Code::SettingsInvalid) {
        found.push(finding(Code::SettingsInvalid, faults.join("; "), namespace, pod));
    }
    if !found.is_empty() {
        let found = found.into_iter().map(|finding| Finding { problem: of_pod(finding.problem), ..finding });
        return found.map(Outcome::Found).collect();
    }
    if let Some(trouble) = status.get("trouble").filter(|trouble| !trouble.is_null()) {
        let word = |at: &str| text(trouble, at).unwrap_or_default();
        let said =
            format!("it reports a trouble that this version does not know: {}: {}", word("/reason"), word("/answer"));
        return vec![Outcome::Skipped(said)];
    }
    if let Some(waits_for) = text(status, "/waits_for") {
        return vec![Outcome::Skipped(format!("it waits for {waits_for}"))];
    }
    vec![Outcome::Passed(lag(status))]
}

/// A finding of the shipper, in its words.
fn own(finding: &Value) -> Option<Finding> {
    let code = Code::parse(text(finding, "/code")?)?;
    Some(Finding::new(code, text(finding, "/problem")?, text(finding, "/fix")?))
}

fn lag(status: &Value) -> String {
    let number = |value: &Value, at: &str| value.get(at).and_then(Value::as_u64).unwrap_or(0);
    let files: Vec<_> = items(status, "files").collect();
    let bytes: u64 = files.iter().map(|file| number(file, "lag_bytes")).sum();
    let oldest = files.iter().map(|file| number(file, "oldest_unacknowledged_seconds")).max().unwrap_or(0);
    let (pushed, count) = (number(status, "entries_pushed"), files.len());
    format!("{pushed} entries pushed from {count} files, {bytes} bytes to push, the oldest for {oldest} s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(status: &Value) -> Vec<String> {
        let text = |outcome| match outcome {
            Outcome::Found(finding) => finding.to_string(),
            Outcome::Passed(detail) => format!("ok {detail}"),
            Outcome::Skipped(reason) => format!("skip {reason}"),
        };
        outcomes(status, "redis", "rec-0").into_iter().map(text).collect()
    }

    #[test]
    fn repeats_what_the_shipper_says_in_its_words() {
        let trouble = json!({"code": "RLS301", "problem": "rec may not push", "fix": "bind it", "answer": "403"});
        let status = json!({"trouble": trouble, "findings": [trouble], "files": []});
        assert_eq!(said(&status), ["RLS301: pod redis/rec-0: rec may not push; fix: bind it"], "each code once");
        let newer = json!({"trouble": {"code": "RLS999", "reason": "strange", "answer": "418"}});
        assert!(said(&newer)[0].starts_with("skip it reports a trouble that this version does not know: strange: 418"));
    }

    #[test]
    fn names_the_deadline_and_invalid_settings() {
        let deadline = |seconds| said(&json!({"trouble": null, "seconds_until_loss": seconds})).remove(0);
        assert!(deadline(7199).starts_with("RLS504: pod redis/rec-0: log rotation deletes lines in 119 minutes"));
        assert!(deadline(7200).starts_with("ok "));
        let faults = json!({"faults": ["invalid --max-age", "invalid --label"]});
        assert!(said(&faults)[0].starts_with("RLS506: pod redis/rec-0: invalid --max-age; invalid --label"));
    }

    #[test]
    fn says_the_lag_where_all_is_right() {
        let files = json!([
            {"file": "a.log", "lag_bytes": 3, "oldest_unacknowledged_seconds": 2},
            {"file": "b.log", "lag_bytes": 4, "oldest_unacknowledged_seconds": null},
        ]);
        let status = json!({"ready": true, "trouble": null, "entries_pushed": 9, "files": files});
        assert_eq!(said(&status), ["ok 9 entries pushed from 2 files, 7 bytes to push, the oldest for 2 s"]);
    }
}
