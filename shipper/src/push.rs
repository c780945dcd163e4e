//! The client: one push after the other, each sent until it is acknowledged.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Uri};
use runtime::tls::{HttpClient, http_client, read_ca_file};
use rustls::RootCertStore;

use crate::answer::{Meaning, Trouble, meaning};
use crate::token::Token;

/// How long one push may take, answer included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const BODY_LIMIT: usize = 64 << 10;
/// How often the CA files are compared with what is trusted.
const CA_INTERVAL: Duration = Duration::from_secs(30);
/// The first wait after a failure; each further one may be twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// After a permission was granted, the gateway remembers its refusal for a minute anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Trouble that lasts is told again this often.
const REMINDER: Duration = Duration::from_mins(1);

/// Where to push, and with what.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The full push URL.
    pub url: Uri,
    /// The token file, if a token is to be sent.
    pub token_file: Option<PathBuf>,
    /// CA files; none given means the system's.
    pub ca_files: Vec<PathBuf>,
}

impl PushSettings {
    /// The tenant, where the URL is that of a LokiStack gateway.
    pub fn tenant(&self) -> Option<&str> {
        let (_, after) = self.url.path().split_once("/api/logs/v1/")?;
        after.split('/').next().filter(|tenant| !tenant.is_empty())
    }
}

/// An answer, or why there was none.
#[derive(Debug)]
struct Answer {
    meaning: Meaning,
    /// What was said, on one line, for the log.
    said: String,
}

/// The connection to Loki.
#[derive(Debug)]
pub struct Loki {
    settings: PushSettings,
    token: Option<Token>,
    client: HttpClient,
    trusted: Vec<Option<Vec<u8>>>,
    ca_checked: Instant,
    told: Option<(Trouble, Instant)>,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Everything is stored.
    Stored,
    /// Everything is stored but what Loki rejected for good.
    StoredExcept,
}

impl Loki {
    /// Prepares the client; nothing is sent yet.
    pub fn new(settings: PushSettings) -> Self {
        let (client, trusted) = trust(&settings);
        Self {
            token: settings.token_file.clone().map(Token::new),
            settings,
            client,
            trusted,
            ca_checked: Instant::now(),
            told: None,
        }
    }

    /// Sends `body` until it is acknowledged; never gives up by itself. `failed` hears of every failed attempt.
    pub async fn push(&mut self, body: &Bytes, failed: impl Fn(&Trouble)) -> Delivery {
        let mut failures = 0;
        loop {
            let answer = self.attempt(body).await;
            let trouble = match answer.meaning {
                Meaning::Stored => {
                    self.tell_recovery();
                    return Delivery::Stored;
                }
                Meaning::StoredExcept => {
                    self.tell_recovery();
                    tracing::warn!(answer = answer.said, "Loki rejected entries for good; the others are stored");
                    return Delivery::StoredExcept;
                }
                Meaning::Again(trouble) => trouble,
            };
            failed(&trouble);
            self.tell(&trouble, &answer.said);
            if trouble.concerns_token()
                && let Some(token) = &mut self.token
            {
                token.forget();
            }
            if trouble == Trouble::NoAnswer {
                self.renew_trust();
            }
            let wait = wait(failures).max(trouble.retry_after().unwrap_or_default());
            failures += 1;
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&mut self, body: &Bytes) -> Answer {
        if self.ca_checked.elapsed() >= CA_INTERVAL {
            self.renew_trust();
        }
        let mut request = Request::post(&self.settings.url)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("redis-log-shipper/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &mut self.token {
            match token.header(Instant::now()) {
                Ok(header) => request = request.header(AUTHORIZATION, header),
                Err(error) => return Answer { meaning: Meaning::Again(Trouble::Login), said: said(&error) },
            }
        }
        let request = match request.body(Full::new(body.clone())) {
            Ok(request) => request,
            Err(error) => return Answer { meaning: Meaning::Again(Trouble::WrongUrl), said: said(&error) },
        };
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| said(&error))?;
            let (head, body) = answer.into_parts();
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            // A body that breaks off takes nothing away from the status.
            let body = Limited::new(body, BODY_LIMIT).collect().await.map(http_body_util::Collected::to_bytes);
            let body = String::from_utf8_lossy(&body.unwrap_or_default()).trim().to_owned();
            let said = if body.is_empty() { head.status.to_string() } else { format!("{}: {body}", head.status) };
            Ok(Answer { meaning: meaning(head.status, &body, retry_after.map(Duration::from_secs)), said })
        };
        let no_answer = |said| Answer { meaning: Meaning::Again(Trouble::NoAnswer), said };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => no_answer(error),
            Err(_elapsed) => no_answer(format!("no answer within {TIMEOUT:?}")),
        }
    }

    /// Trusts what the CA files hold now, where that is something else than before.
    fn renew_trust(&mut self) {
        self.ca_checked = Instant::now();
        if contents(&self.settings) != self.trusted {
            (self.client, self.trusted) = trust(&self.settings);
            tracing::info!("trusting the CA files' new content");
        }
    }

    fn tell(&mut self, trouble: &Trouble, said: &str) {
        let again = self.told.as_ref().is_some_and(|(told, at)| told == trouble && at.elapsed() < REMINDER);
        if again {
            return;
        }
        self.told = Some((trouble.clone(), Instant::now()));
        let fix = self.fix(trouble);
        let (url, reason) = (self.settings.url.to_string(), trouble.reason());
        if trouble.needs_somebody() {
            tracing::error!(
                url,
                reason,
                answer = said,
                fix,
                "holding: nothing is lost, pushing goes on by itself once this is fixed"
            );
        } else {
            tracing::warn!(url, reason, answer = said, fix, "push failed, trying again");
        }
    }

    fn tell_recovery(&mut self) {
        if let Some((trouble, since)) = self.told.take() {
            tracing::info!(reason = trouble.reason(), for_seconds = since.elapsed().as_secs(), "pushing again");
        }
    }

    /// What whoever reads the log has to do.
    fn fix(&self, trouble: &Trouble) -> String {
        let subject = self.token.as_ref().and_then(Token::subject);
        fix(trouble, self.settings.tenant(), subject.as_deref())
    }
}

fn fix(trouble: &Trouble, tenant: Option<&str>, subject: Option<&str>) -> String {
    let account = subject.and_then(|subject| subject.strip_prefix("system:serviceaccount:")?.split_once(':'));
    match trouble {
        Trouble::Forbidden => {
            let tenant = tenant.unwrap_or("TENANT");
            let (namespace, name) = account.unwrap_or(("NAMESPACE", "SERVICEACCOUNT"));
            format!(
                "ServiceAccount {name} of namespace {namespace} lacks the permission to create {tenant}.loki.grafana.com/logs, \
                 cluster-wide; grant it with: redis-log-webhook rbac --namespace {namespace} --service-account {name} \
                 --tenant {tenant} | kubectl apply -f - (the gateway remembers a refusal for 60 seconds)"
            )
        }
        Trouble::Login => {
            "the gateway does not accept the token: check that --token-file is the projected token, that it is \
             not expired, and that its volume sets no audience"
                .to_owned()
        }
        Trouble::Unauthorized => format!(
            "the gateway knows no tenant {}, is still starting, or cannot reach the API server: check the tenant in --loki-url",
            tenant.unwrap_or("in this URL")
        ),
        Trouble::WrongUrl => "check --loki-url: it must be the full push URL, ending in /loki/api/v1/push".to_owned(),
        Trouble::Blocked => "Loki takes no entries of this tenant: check its ingestion limits and blocks".to_owned(),
        Trouble::BadRequest => {
            "Loki cannot read the request: check --label, and report this if the labels are good".to_owned()
        }
        Trouble::TooLarge => "a proxy on the way refuses pushes of this size: lower --batch-bytes".to_owned(),
        Trouble::Throttled(_) => "none needed unless it lasts: then raise the tenant's ingestion rate".to_owned(),
        Trouble::Unavailable(_) => "none needed unless it lasts: then look at Loki itself".to_owned(),
        Trouble::NoAnswer => {
            "check that the address in --loki-url can be reached and that --ca-file holds the CA that signed \
             its certificate (on OpenShift: service-ca.crt)"
                .to_owned()
        }
        Trouble::Unexpected => "this answer is not Loki's: check --loki-url".to_owned(),
    }
}

/// Exponential, with full jitter, capped.
fn wait(failures: u32) -> Duration {
    let most = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
    most.mul_f64(rand::random::<f64>()).max(FIRST_WAIT / 5)
}

fn contents(settings: &PushSettings) -> Vec<Option<Vec<u8>>> {
    settings.ca_files.iter().map(|path| std::fs::read(path).ok()).collect()
}

fn trust(settings: &PushSettings) -> (HttpClient, Vec<Option<Vec<u8>>>) {
    let trusted = contents(settings);
    let mut roots = RootCertStore::empty();
    if settings.ca_files.is_empty() && settings.url.scheme_str() == Some("https") {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "failed to read one of the system's CAs");
        }
        roots.add_parsable_certificates(system.certs);
    }
    for path in &settings.ca_files {
        match read_ca_file(path) {
            Ok(certificates) => {
                roots.add_parsable_certificates(certificates.unwrap_or_default());
            }
            Err(error) => tracing::error!(error = said(&error), "a CA file cannot be used"),
        }
    }
    if roots.is_empty() && settings.url.scheme_str() == Some("https") {
        tracing::error!(files = ?settings.ca_files, "no CA to trust: no file of --ca-file exists and holds a certificate");
    }
    (http_client(roots), trusted)
}

/// An error and its causes on one line.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_missing_permission_and_the_command_that_grants_it() {
        let fix = fix(&Trouble::Forbidden, Some("application"), Some("system:serviceaccount:redis:rec"));
        for part in [
            "ServiceAccount rec of namespace redis",
            "create application.loki.grafana.com/logs",
            "redis-log-webhook rbac --namespace redis --service-account rec --tenant application",
        ] {
            assert!(fix.contains(part), "{part} missing in: {fix}");
        }
    }

    #[test]
    fn finds_the_tenant_in_a_gateway_url_only() {
        let of = |url: &'static str| {
            let settings = PushSettings { url: Uri::from_static(url), token_file: None, ca_files: Vec::new() };
            settings.tenant().map(ToOwned::to_owned)
        };
        assert_eq!(of("https://gw:8080/api/logs/v1/application/loki/api/v1/push").as_deref(), Some("application"));
        assert_eq!(of("http://loki:3100/loki/api/v1/push"), None);
    }

    #[test]
    fn waits_longer_with_every_failure_but_never_too_long() {
        assert!((0..100).all(|failures| wait(failures) <= LONGEST_WAIT));
        assert!((0..100).all(|_| wait(0) <= FIRST_WAIT && wait(0) >= FIRST_WAIT / 5));
    }
}
