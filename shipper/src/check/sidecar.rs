//! What the running shipper says about itself: its `/status`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use findings::{Check, Code, Finding, Outcome};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};
use runtime::tls::http_client;
use runtime::{chain, printable};
use serde::Deserialize;
use tokio::time::timeout;

use super::words::{about, check, skipped};
use crate::push::BoxError;
use crate::status::urgency;

/// The timeout of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of the answer.
const MAX_ANSWER: usize = 4 << 20;

/// `/status`, as far as it is shown here. A shipper of another version may lack a field.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    ready: bool,
    waits_for: Option<String>,
    faults: Vec<String>,
    entries_pushed: u64,
    trouble: Option<Said>,
    seconds_until_loss: Option<u64>,
    files: Vec<File>,
    /// What holds now: this version of the shipper lists everything here.
    findings: Option<Vec<Said>>,
}

/// A finding of the running shipper.
#[derive(Debug, Deserialize)]
struct Said {
    code: Option<String>,
    problem: Option<String>,
    #[serde(default)]
    answer: String,
    #[serde(default)]
    fix: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    file: String,
    lag_bytes: u64,
}

/// Asks the running shipper at its admin port, if the settings name one.
pub(super) async fn checks(listen: Option<SocketAddr>) -> Vec<Check> {
    let Some(listen) = listen else {
        return vec![skipped("/status", "--listen is not set, so a running shipper has no admin port")];
    };
    let address = reachable(listen);
    match timeout(TIMEOUT, status(address)).await {
        Ok(Ok(status)) => said(&status),
        Ok(Err(error)) => {
            vec![skipped("/status", format!("no shipper answers at {address}: {}", chain(error.as_ref())))]
        }
        Err(_late) => vec![skipped("/status", format!("no shipper answers at {address} within {TIMEOUT:?}"))],
    }
}

/// The address to connect to, for a port that listens on every address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn status(address: SocketAddr) -> Result<Status, BoxError> {
    let client = http_client(rustls::RootCertStore::empty());
    let request = Request::get(format!("http://{address}/status")).body(Full::new(Bytes::new()))?;
    let (head, body) = client.request(request).await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("it answers {}", head.status).into());
    }
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

/// The checks of an answer.
fn said(status: &Status) -> Vec<Check> {
    let mut checks = vec![check("it ships", ships(status))];
    match &status.findings {
        Some(findings) if findings.is_empty() => checks.push(check("it finds nothing", Outcome::Passed(String::new()))),
        Some(findings) => checks.extend(findings.iter().map(|said| check("it finds nothing", found(said)))),
        None => checks.push(check("its last push", last_push(status))),
    }
    checks.push(check("no line is in danger", deadline(status)));
    checks
}

fn ships(status: &Status) -> Outcome {
    if !status.faults.is_empty() && status.findings.is_none() {
        let fix = "correct the values, and restart the pod";
        return Outcome::Found(Finding::new(Code::SettingsInvalid, printable(&status.faults.join("; ")), fix));
    }
    match &status.waits_for {
        Some(waits_for) => Outcome::Skipped(format!("it waits: {}", printable(waits_for))),
        None if status.ready => Outcome::Passed(format!("{} entries pushed since its start", status.entries_pushed)),
        None => Outcome::Skipped("it starts, and is not Ready yet".to_owned()),
    }
}

fn last_push(status: &Status) -> Outcome {
    status.trouble.as_ref().map_or_else(|| Outcome::Passed("acknowledged, or none was needed yet".to_owned()), found)
}

/// A finding in the words of the shipper itself.
fn found(said: &Said) -> Outcome {
    let code = findings::ALL.iter().find(|row| Some(row.text) == said.code.as_deref()).map(|row| row.code);
    let problem = said.problem.as_ref().unwrap_or(&said.answer);
    Outcome::Found(Finding::new(code.unwrap_or(Code::LokiUnavailable), printable(problem), printable(&said.fix)))
}

fn deadline(status: &Status) -> Outcome {
    let lag: u64 = status.files.iter().map(|file| file.lag_bytes).sum();
    let Some(left) = status.seconds_until_loss.map(Duration::from_secs) else {
        return Outcome::Passed(format!("{lag} bytes are not acknowledged yet"));
    };
    if urgency(Some(left)) == 0 || status.findings.is_some() {
        return Outcome::Passed(format!(
            "{lag} bytes are not acknowledged; log rotation deletes the first in {}",
            about(left)
        ));
    }
    let oldest = status.files.iter().max_by_key(|file| file.lag_bytes).map_or("", |file| file.file.as_str());
    let problem = format!(
        "log rotation deletes lines in {} that Loki has not acknowledged; {lag} bytes wait, most of them in {}",
        about(left),
        printable(oldest)
    );
    Outcome::Found(Finding::new(Code::LossAhead, problem, Code::LossAhead.fix()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{findings, passed};

    fn of(status: &serde_json::Value) -> Vec<Check> {
        said(&serde_json::from_value(status.clone()).unwrap())
    }

    #[test]
    fn passes_on_what_a_healthy_shipper_says() {
        let checks = of(&serde_json::json!({
            "ready": true, "entries_pushed": 7, "seconds_until_loss": 20_000, "files": [{"file": "a.log", "lag_bytes": 3}],
        }));
        let details: Vec<_> = checks.iter().filter_map(passed).collect();
        assert_eq!(details[0], "7 entries pushed since its start");
        assert!(details[2].contains("in 5 hours"), "{details:?}");
    }

    #[test]
    fn repeats_the_finding_of_the_shipper_with_its_code() {
        let checks = of(&serde_json::json!({
            "ready": true,
            "trouble": {"code": "RLS301", "problem": "it may not push", "answer": "403 Forbidden", "fix": "grant it"},
        }));
        assert_eq!(findings(&checks), [Code::MayNotPush]);
        assert!(format!("{checks:?}").contains("it may not push"));
    }

    #[test]
    fn repeats_every_finding_of_the_shipper_once() {
        let checks = of(&serde_json::json!({
            "ready": true,
            "seconds_until_loss": 60,
            "trouble": {"code": "RLS301", "problem": "it may not push", "answer": "403 Forbidden", "fix": "grant it"},
            "findings": [
                {"code": "RLS301", "problem": "it may not push", "fix": "grant it"},
                {"code": "RLS504", "problem": "lines are lost soon", "fix": "hurry"},
            ],
        }));
        assert_eq!(findings(&checks), [Code::MayNotPush, Code::LossAhead]);
        assert!(findings(&of(&serde_json::json!({"ready": true, "findings": []}))).is_empty());
    }

    #[test]
    fn finds_lines_that_are_deleted_soon_and_settings_that_are_invalid() {
        let files = serde_json::json!([{"file": "a.log", "lag_bytes": 1}, {"file": "b.log", "lag_bytes": 9}]);
        let checks = of(&serde_json::json!({"ready": true, "seconds_until_loss": 900, "files": files}));
        assert_eq!(findings(&checks), [Code::LossAhead]);
        assert!(format!("{checks:?}").contains("10 bytes wait, most of them in b.log"), "{checks:?}");
        assert_eq!(findings(&of(&serde_json::json!({"faults": ["--max-age"]}))), [Code::SettingsInvalid]);
    }

    #[tokio::test]
    async fn skips_a_shipper_that_does_not_run() {
        let port = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        for listen in [None, Some(SocketAddr::from(([0, 0, 0, 0], port)))] {
            let checks = checks(listen).await;
            assert!(matches!(checks.as_slice(), [Check { outcome: Outcome::Skipped(_), .. }]), "{checks:?}");
        }
    }
}
