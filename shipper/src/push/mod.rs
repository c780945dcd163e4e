//! The client: one push after the other, each sent until Loki has taken all of it that it will ever take.
//!
//! ```text
//! push ── pieces ── rate ── client ── answer ──► stored, or rejected for good
//!           ▲                           │
//!           └── split, strip, isolate ──┤
//!           ▲                           │
//!           └──────── patience ◄────────┘ trouble: the same bytes again, later
//! ```
//!
//! It never gives up by itself, and never drops an entry but where Loki stores its neighbours and not that one.

mod client;
mod fix;
mod patience;
mod pieces;
mod rate;
mod trust;

use std::path::PathBuf;

use bytes::Bytes;
use hyper::Uri;
use runtime::tls::{Connect, HttpConnector, HttpsConnector};

use crate::answer::{Meaning, Trouble, meaning};
use crate::batch::MetadataSwitch;
use crate::rejections::{Reason, Rejections};
use client::{Client, Reply};
use patience::{Told, wait};
use pieces::Pieces;
use rate::Rate;

/// A push request without streams, compressed: Loki stores nothing, and says by its answer that it would.
const EMPTY: &[u8] = &[0];
/// After so many entries that were refused all alone, with none stored, the request is at fault and not they.
const SUSPECTS: usize = 32;
/// A push that was throttled this often in a row is tried in smaller pieces.
const THROTTLED: u32 = 4;
/// How many characters of an answer are logged.
const SAID: usize = 500;
/// How many characters of an entry that nobody takes are logged.
const SAMPLE: usize = 100;

/// Where to push, and with what.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The full push URL.
    pub url: Uri,
    /// The token file, if a token is to be sent.
    pub token_file: Option<PathBuf>,
    /// CA files; none given means the system's.
    pub ca_files: Vec<PathBuf>,
    /// How many compressed bytes may be pushed per second, if that is limited.
    pub rate_limit: Option<u64>,
}

impl PushSettings {
    /// The tenant, where the URL is that of a LokiStack gateway.
    pub fn tenant(&self) -> Option<&str> {
        let (_, after) = self.url.path().split_once("/api/logs/v1/")?;
        after.split('/').next().filter(|tenant| !tenant.is_empty())
    }
}

/// An attempt that was not acknowledged.
#[derive(Debug)]
pub struct Failure<'a> {
    /// Why.
    pub trouble: &'a Trouble,
    /// What was answered, or what kept an answer from coming.
    pub said: &'a str,
    /// What somebody has to do about it.
    pub fix: &'a str,
}

/// Loki, over connections that `D` makes.
#[derive(Debug)]
pub struct Loki<D = HttpConnector> {
    client: Client<D>,
    metadata: MetadataSwitch,
    rate: Rate,
    told: Told,
}

/// What an answer leads to.
enum Step {
    /// On to the next piece, with what was rejected of this one.
    Next(Rejections),
    /// Once more, later.
    Wait(Trouble),
    /// Once more, now, in another way.
    Again,
}

impl Reply {
    /// On one line, for the log.
    fn said(&self) -> String {
        match self {
            Self::Answer { status, body, .. } if body.is_empty() => status.to_string(),
            Self::Answer { status, body, .. } => {
                let start: String = body.chars().take(SAID).collect();
                format!("{status}: {start}")
            }
            Self::Nothing(_, why) => why.clone(),
        }
    }
}

impl Loki {
    /// Prepares a client over TCP; nothing is sent yet. `metadata` is turned off where Loki refuses structured metadata.
    pub fn new(settings: PushSettings, metadata: MetadataSwitch) -> Self {
        Self::over(runtime::tls::tcp(), settings, metadata)
    }
}

impl<D: Clone> Loki<D>
where
    HttpsConnector<D>: Connect + Clone + Send + Sync + 'static,
{
    /// As [`Loki::new`], over connections that `dial` makes.
    pub fn over(dial: D, settings: PushSettings, metadata: MetadataSwitch) -> Self {
        let rate = Rate::new(settings.rate_limit);
        Self { client: Client::new(settings, dial), metadata, rate, told: Told::default() }
    }

    /// Whether structured metadata is taken.
    pub fn metadata(&self) -> &MetadataSwitch {
        &self.metadata
    }

    /// Pushes a batch of `entries` entries until Loki has stored all but those it rejects for good, which are returned.
    /// `failed` hears of every attempt that was not acknowledged.
    pub async fn push(&mut self, body: &Bytes, entries: usize, failed: impl Fn(&Failure<'_>)) -> Rejections {
        let mut pieces = Pieces::new(body.clone(), entries);
        let mut rejected = Rejections::default();
        let mut failures = 0;
        loop {
            let reply = match pieces.body() {
                Ok(Some(body)) => {
                    self.rate.take(body.len()).await;
                    self.client.post(&body).await
                }
                Ok(None) => return rejected,
                Err(error) => Reply::Nothing(Trouble::BadRequest, said(&error)),
            };
            match self.judge(&reply, &mut pieces, failures).await {
                Step::Again => {}
                Step::Next(found) => {
                    rejected.extend(&found);
                    failures = 0;
                }
                Step::Wait(trouble) => {
                    self.fail(&trouble, &reply.said(), &failed);
                    tokio::time::sleep(wait(failures, &trouble)).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// What the reply to the next piece leads to, and what of the batch is left then.
    async fn judge(&mut self, reply: &Reply, pieces: &mut Pieces, failures: u32) -> Step {
        let meaning = match reply {
            Reply::Answer { status, body, retry_after } => {
                meaning(*status, body, *retry_after, pieces.entries() as u64)
            }
            Reply::Nothing(trouble, _) => Meaning::Again(trouble.clone()),
        };
        match meaning {
            Meaning::Stored => {
                self.told.success();
                // What was refused all alone before is now known to have been refused for its own sake.
                let convicted = self.convict(pieces, Reason::Other, pieces.aside(), &reply.said());
                pieces.clear_aside();
                pieces.stored();
                Step::Next(convicted)
            }
            Meaning::StoredExcept(rejected) => {
                self.told.success();
                self.told.rejected(&rejected, &reply.said());
                pieces.stored();
                Step::Next(rejected)
            }
            Meaning::WithoutMetadata if pieces.strip() => {
                if self.metadata.turn_off() {
                    tracing::warn!(
                        answer = reply.said(),
                        "Loki refuses structured metadata; going on without level and filename"
                    );
                }
                Step::Again
            }
            Meaning::Split if pieces.split() => Step::Again,
            Meaning::Split => {
                let convicted = self.convict(pieces, Reason::TooLarge, 1, &reply.said());
                pieces.given_up();
                Step::Next(convicted)
            }
            Meaning::Suspect | Meaning::WithoutMetadata => self.isolate(pieces, &reply.said()).await,
            Meaning::Again(trouble) => {
                if let Trouble::Throttled { over, .. } = trouble
                    && (over || (failures + 1).is_multiple_of(THROTTLED))
                {
                    pieces.split();
                }
                Step::Wait(trouble)
            }
        }
    }

    /// Finds the entry for whose sake a piece is refused, as long as it is an entry's and not the request's fault.
    async fn isolate(&mut self, pieces: &mut Pieces, said: &str) -> Step {
        if !pieces.are_proven() && !self.takes_an_empty_push().await {
            pieces.restart();
            return Step::Wait(Trouble::BadRequest);
        }
        if pieces.split() {
            return Step::Again;
        }
        if pieces.are_proven() || pieces.all_entries() == 1 {
            let convicted = self.convict(pieces, Reason::Other, 1, said);
            pieces.given_up();
            return Step::Next(convicted);
        }
        if pieces.set_aside() < SUSPECTS && pieces.entries() > 0 {
            return Step::Again;
        }
        // Not one entry of many was taken: dropping them one by one would lose them all.
        pieces.restart();
        Step::Wait(Trouble::BadRequest)
    }

    /// Whether the way to Loki is fine, so that a refusal concerns what was pushed.
    async fn takes_an_empty_push(&mut self) -> bool {
        let reply = self.client.post(&Bytes::from_static(EMPTY)).await;
        matches!(reply, Reply::Answer { status, .. } if matches!(status.as_u16(), 200 | 204 | 422))
    }

    /// Counts entries that are refused all alone, and shows one of them.
    fn convict(&mut self, pieces: &mut Pieces, reason: Reason, entries: usize, said: &str) -> Rejections {
        let rejected = Rejections::of(reason, entries as u64);
        if entries > 0 {
            let sample = pieces.suspect().ok().flatten().map_or_else(String::new, |entry| {
                let start: String = entry.line.chars().take(SAMPLE).collect();
                format!("; the entry of {} ns, {} bytes: {start:?}", entry.nanos(), entry.line.len())
            });
            self.told.rejected(&rejected, &format!("{said}{sample}"));
        }
        rejected
    }

    fn fail(&mut self, trouble: &Trouble, said: &str, failed: &impl Fn(&Failure<'_>)) {
        let settings = self.client.settings();
        let fix = fix::fix(trouble, settings.tenant(), self.client.subject().as_deref());
        let failure = Failure { trouble, said, fix: &fix };
        self.told.failure(&settings.url.to_string(), &failure);
        failed(&failure);
        if trouble.concerns_token() {
            self.client.forget_token();
        }
        if *trouble == Trouble::NoAnswer {
            self.client.renew_trust();
        }
    }
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
    fn finds_the_tenant_in_a_gateway_url_only() {
        let of = |url: &'static str| {
            let url = Uri::from_static(url);
            let settings = PushSettings { url, token_file: None, ca_files: Vec::new(), rate_limit: None };
            settings.tenant().map(ToOwned::to_owned)
        };
        assert_eq!(of("https://gw:8080/api/logs/v1/application/loki/api/v1/push").as_deref(), Some("application"));
        assert_eq!(of("http://loki:3100/loki/api/v1/push"), None);
    }
}
