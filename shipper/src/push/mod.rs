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
mod judge;
mod metered;
mod patience;
mod pieces;
mod rate;
mod secrets;
mod trust;

use std::path::PathBuf;

use bytes::Bytes;
use hyper::Uri;
use runtime::chain;
use runtime::tls::HttpConnector;

use crate::answer::Trouble;
use crate::batch::MetadataSwitch;
use crate::rejections::Rejections;
use client::{Client, Reply};
use judge::Step;
pub use metered::{BoxError, Dial, Wire};
use patience::{Told, wait};
use pieces::Pieces;
use rate::Rate;
pub(crate) use secrets::shown_url;

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

/// A batch on its way to Loki.
#[derive(Debug)]
pub struct Parcel {
    pieces: Pieces,
    rejected: Rejections,
    failures: u32,
}

impl Parcel {
    /// A batch of so many entries, of which nothing was sent yet.
    pub fn new(body: Bytes, entries: usize) -> Self {
        Self { pieces: Pieces::new(body, entries), rejected: Rejections::default(), failures: 0 }
    }
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is stored, but for entries that were rejected for good.
    Stored(Rejections),
    /// Loki refuses this stream, and may take others. The same bytes are to be tried again after this time.
    SetAside(std::time::Duration),
}

/// Loki, over connections that `D` makes.
#[derive(Debug)]
pub struct Loki<D = HttpConnector> {
    client: Client<D>,
    metadata: MetadataSwitch,
    rate: Rate,
    told: Told,
    /// Whether anything was stored since an entry was dropped that had no neighbours.
    trusted: bool,
}

impl Reply {
    /// On one line, for the log.
    fn said(&self) -> String {
        match self {
            Self::Answer { said, .. } => said.clone(),
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

impl<D: Dial> Loki<D> {
    /// As [`Loki::new`], over connections that `dial` makes.
    pub fn over(dial: D, settings: PushSettings, metadata: MetadataSwitch) -> Self {
        let rate = Rate::new(settings.rate_limit);
        Self { client: Client::new(settings, dial), metadata, rate, told: Told::default(), trusted: false }
    }

    /// Whether structured metadata is taken.
    pub fn metadata(&self) -> &MetadataSwitch {
        &self.metadata
    }

    /// Pushes a batch of `entries` entries until Loki has stored all but those it rejects for good, which are returned.
    /// `failed` hears of every attempt that was not acknowledged.
    pub async fn push(&mut self, body: &Bytes, entries: usize, failed: impl Fn(&Failure<'_>)) -> Rejections {
        let mut parcel = Parcel::new(body.clone(), entries);
        loop {
            match self.attempt(&mut parcel, &failed).await {
                Outcome::Stored(rejected) => return rejected,
                Outcome::SetAside(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Pushes a batch as [`Self::push`] does, or returns how long to wait where Loki refuses its stream alone, so that
    /// others may go first.
    pub async fn attempt(&mut self, parcel: &mut Parcel, failed: &impl Fn(&Failure<'_>)) -> Outcome {
        let Parcel { pieces, rejected, failures } = parcel;
        loop {
            let reply = match pieces.body() {
                Ok(Some(body)) => {
                    self.rate.take(body.len()).await;
                    self.client.post(&body).await
                }
                Ok(None) => return Outcome::Stored(std::mem::take(rejected)),
                Err(error) => Reply::Nothing(Trouble::BadRequest, chain(&error)),
            };
            match self.judge(&reply, pieces, *failures).await {
                Step::Again => {}
                Step::Next(found) => {
                    rejected.extend(&found);
                    *failures = 0;
                }
                Step::Wait(trouble) => {
                    self.fail(&trouble, &reply.said(), false, failed);
                    tokio::time::sleep(wait(*failures, &trouble)).await;
                    *failures = failures.saturating_add(1);
                }
                Step::SetAside(trouble) => {
                    self.fail(&trouble, &reply.said(), true, failed);
                    let wait = wait(*failures, &trouble);
                    *failures = failures.saturating_add(1);
                    pieces.put_away();
                    return Outcome::SetAside(wait);
                }
            }
        }
    }

    fn fail(&mut self, trouble: &Trouble, said: &str, aside: bool, failed: &impl Fn(&Failure<'_>)) {
        let settings = self.client.settings();
        let fix = fix::fix(&fix::Case {
            trouble,
            said,
            tenant: settings.tenant(),
            subject: self.client.subject().as_deref(),
            token_was_accepted: self.client.has_been_accepted(),
        });
        let failure = Failure { trouble, said, fix: &fix };
        // What concerns one stream is told by whoever sets it aside.
        if !aside {
            self.told.failure(&shown_url(&settings.url.to_string()), &failure);
        }
        failed(&failure);
        if trouble.concerns_token() {
            self.client.forget_token();
        }
        if *trouble == Trouble::NoAnswer {
            self.client.renew_trust();
        }
    }
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
