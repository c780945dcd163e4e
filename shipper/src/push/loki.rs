//! The client of one Loki. It pushes batch after batch, each until Loki has stored or rejected all of its entries.

use std::time::Duration;

use bytes::Bytes;
use runtime::chain;
use runtime::tls::HttpConnector;
use tokio::sync::watch;

use super::answer::Trouble;
use super::client::Reply;
use super::finding::Failure;
use super::judge::{Judge, Step};
use super::metered::Dial;
use super::patience::wait;
use super::pieces::Pieces;
use super::rate::{Rate, RateLimit};
use super::rejections::Rejections;
use super::secrets::shown_url;
use super::settings::PushSettings;
use crate::batch::MetadataSwitch;

/// A batch on its way to Loki.
#[derive(Debug)]
pub struct Parcel {
    pieces: Pieces,
    rejected: Rejections,
    failures: u32,
}

impl Parcel {
    /// A batch of `entries` entries that was not sent yet.
    pub fn new(body: Bytes, entries: usize) -> Self {
        Self { pieces: Pieces::new(body, entries), rejected: Rejections::default(), failures: 0 }
    }
}

/// What happened to a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Loki has stored all entries, except those that it rejected for good.
    Stored(Rejections),
    /// Loki refuses this stream, and may accept others. Retry the same bytes after this time.
    SetAside(Duration),
}

/// Loki, over connections that `D` makes.
#[derive(Debug)]
pub struct Loki<D = HttpConnector> {
    judge: Judge<D>,
    rate: Rate,
    rate_limit: watch::Sender<RateLimit>,
}

impl Loki {
    /// Prepares a client over TCP, and sends nothing yet. Turns `metadata` off where Loki refuses structured metadata.
    pub fn new(settings: PushSettings, metadata: MetadataSwitch) -> Self {
        Self::over(runtime::tls::tcp(), settings, metadata)
    }
}

impl<D: Dial> Loki<D> {
    /// Like [`Loki::new`], over connections that `dial` makes.
    pub fn over(dial: D, settings: PushSettings, metadata: MetadataSwitch) -> Self {
        let limit = settings.rate_limit.map_or(RateLimit::None, RateLimit::BytesPerSecond);
        let (rate_limit, limit) = watch::channel(limit);
        Self { judge: Judge::new(settings, dial, metadata), rate: Rate::new(limit), rate_limit }
    }

    /// Where the rate limit is changed.
    pub fn rate_limit(&self) -> watch::Sender<RateLimit> {
        self.rate_limit.clone()
    }

    /// Whether structured metadata is pushed.
    pub fn metadata(&self) -> &MetadataSwitch {
        &self.judge.metadata
    }

    /// How many seconds this clock was ahead of the server's at the last answer that had a date.
    pub fn clock_skew(&self) -> Option<i64> {
        self.judge.client.clock_skew()
    }

    /// Pushes a batch of `entries` entries until Loki has stored all but the rejected entries, which it returns.
    /// `failed` is called for every attempt that was not acknowledged.
    pub async fn push(&mut self, body: &Bytes, entries: usize, failed: impl Fn(&Failure<'_>)) -> Rejections {
        let mut parcel = Parcel::new(body.clone(), entries);
        loop {
            match self.attempt(&mut parcel, &failed).await {
                Outcome::Stored(rejected) => return rejected,
                Outcome::SetAside(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Pushes a batch like [`Self::push`], but returns where Loki refuses only its stream, so that other streams can go first.
    pub async fn attempt(&mut self, parcel: &mut Parcel, failed: &impl Fn(&Failure<'_>)) -> Outcome {
        let Parcel { pieces, rejected, failures } = parcel;
        loop {
            let reply = match pieces.body() {
                Ok(Some(body)) => {
                    self.rate.take(body.len()).await;
                    self.judge.client.post(&body).await
                }
                Ok(None) => return Outcome::Stored(std::mem::take(rejected)),
                Err(error) => Reply::Nothing(Trouble::BadRequest, chain(&error)),
            };
            match self.judge.judge(&reply, pieces, *failures).await {
                Step::SendNow => {}
                Step::Next(found) => {
                    rejected.extend(&found);
                    *failures = 0;
                }
                Step::RetryLater(trouble) => {
                    self.fail(&trouble, &reply.text(), false, failed);
                    tokio::time::sleep(wait(*failures, &trouble)).await;
                    *failures = failures.saturating_add(1);
                }
                Step::SetAside(trouble) => {
                    self.fail(&trouble, &reply.text(), true, failed);
                    let wait = wait(*failures, &trouble);
                    *failures = failures.saturating_add(1);
                    pieces.put_away();
                    return Outcome::SetAside(wait);
                }
            }
        }
    }

    /// Reports a failure. The caller logs the failure of a stream that it sets aside.
    fn fail(&mut self, trouble: &Trouble, answer: &str, is_set_aside: bool, failed: &impl Fn(&Failure<'_>)) {
        let Judge { client, log, .. } = &mut self.judge;
        let settings = client.settings();
        let finding = client.finding(trouble, answer);
        let failure = Failure { trouble, answer, finding: &finding, clock_skew: client.clock_skew() };
        if !is_set_aside {
            log.failure(&shown_url(&settings.url.to_string()), &failure);
        }
        failed(&failure);
        if trouble.concerns_token() {
            client.forget_token();
        }
        if matches!(trouble, Trouble::NoAnswer(_)) {
            client.reload_ca_files();
        }
    }
}
