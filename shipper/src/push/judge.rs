//! What a reply leads to, and which entries are dropped because of it.
//!
//! Where Loki names the entries it rejects, it has stored all others. An unknown error text may concern one entry, the whole
//! request, or come from a proxy. A dropped entry is lost for good. So an entry is dropped only if it was refused alone, while
//! Loki accepts an empty push, and after Loki has stored another entry.

use std::time::Duration;

use super::answer::{Limit, Meaning, Trouble, meaning};
use super::client::{Client, Reply};
use super::decode::Entry;
use super::metered::Dial;
use super::patience::FailureLog;
use super::pieces::Pieces;
use super::probe::{empty, meaning_of_empty};
use super::rejections::{Reason, Rejections};
use super::settings::PushSettings;
use crate::batch::MetadataSwitch;

/// After this many entries that were refused alone, with none stored, the fault is in the request.
const SUSPECTS: usize = 32;
/// The suspect limit doubles after each fruitless pass over a batch, and resets after this many passes. Each suspect costs
/// Loki three requests.
const DOUBLINGS: u32 = 4;
/// A batch of one entry has no neighbors to compare with. If it is refused for this long, it is dropped: the stream waits
/// behind it.
const CONVINCED: Duration = Duration::from_hours(1);
/// A push that is throttled this often in a row is split.
const THROTTLED: u32 = 4;
/// How many characters of a rejected entry are logged.
const SAMPLE: usize = 100;

/// What a reply leads to.
pub(super) enum Step {
    /// Go on to the next piece. Loki rejected these entries of this one.
    Next(Rejections),
    /// Retry the same piece later.
    RetryLater(Trouble),
    /// Retry the same piece later, and push other streams meanwhile: Loki refuses only this stream.
    SetAside(Trouble),
    /// Send again now: the piece was split or stripped.
    SendNow,
}

/// Judges replies. It owns the client, because some replies need a question of their own.
#[derive(Debug)]
pub(super) struct Judge<D> {
    pub(super) client: Client<D>,
    pub(super) metadata: MetadataSwitch,
    pub(super) log: FailureLog,
    /// Whether Loki has stored an entry since a batch of one entry was dropped.
    has_stored: bool,
}

impl<D: Dial> Judge<D> {
    /// Judges what a client of `settings` over `dial` is answered. Turns `metadata` off where Loki refuses it.
    pub(super) fn new(settings: PushSettings, dial: D, metadata: MetadataSwitch) -> Self {
        Self { client: Client::new(settings, dial), metadata, log: FailureLog::default(), has_stored: false }
    }

    /// Returns what `reply` leads to, after `failures` failed attempts, and updates what is left of the batch.
    pub(super) async fn judge(&mut self, reply: &Reply, pieces: &mut Pieces, failures: u32) -> Step {
        let meaning = match reply {
            Reply::Answer { status, body, retry_after, .. } => {
                meaning(*status, body, *retry_after, pieces.entries() as u64)
            }
            Reply::Nothing(trouble, _) => Meaning::RetryLater(trouble.clone()),
        };
        match meaning {
            Meaning::Stored => {
                self.log.success();
                self.client.accepted();
                self.has_stored = true;
                // Loki stores other entries, so the suspects were refused for their own sake.
                let rejected = self.reject_suspects(pieces);
                pieces.stored();
                Step::Next(rejected)
            }
            Meaning::StoredExcept(mut rejected) => {
                self.log.success();
                self.has_stored |= rejected.total() < pieces.entries() as u64;
                self.log_rejected(&rejected, &reply.text(), pieces);
                rejected.extend(&self.reject_suspects(pieces));
                pieces.stored();
                Step::Next(rejected)
            }
            Meaning::WithoutMetadata if pieces.strip() => {
                if self.metadata.turn_off() {
                    tracing::warn!(
                        answer = reply.text(),
                        "Loki refuses structured metadata; going on without level, filename and bdb"
                    );
                }
                Step::SendNow
            }
            Meaning::Split if pieces.split() => Step::SendNow,
            Meaning::Split => self.isolate(pieces, Reason::TooLarge, &reply.text()).await,
            Meaning::Suspect | Meaning::WithoutMetadata => self.isolate(pieces, Reason::Other, &reply.text()).await,
            Meaning::RetryLater(trouble) => {
                if let Trouble::Throttled { over, .. } = trouble
                    && (over || (failures + 1).is_multiple_of(THROTTLED))
                {
                    pieces.split();
                }
                let limit = if let Trouble::Throttled { limit, .. } = trouble { limit } else { Limit::Unknown };
                if trouble == Trouble::TooNew || limit.is_of_one_stream() {
                    Step::SetAside(trouble)
                } else {
                    Step::RetryLater(trouble)
                }
            }
        }
    }

    /// Searches for the entry that makes Loki refuse a piece, unless the whole request is refused.
    async fn isolate(&mut self, pieces: &mut Pieces, reason: Reason, answer: &str) -> Step {
        let alone = pieces.entries() == 1;
        if (alone || !pieces.are_proven()) && !self.takes_an_empty_push().await {
            pieces.restart();
            return Step::RetryLater(Trouble::BadRequest);
        }
        if pieces.split() {
            return Step::SendNow;
        }
        if pieces.all_entries() == 1 && !self.has_stored && pieces.age() < CONVINCED {
            return Step::SetAside(Trouble::BadRequest);
        }
        let suspects = pieces.suspect(reason, answer);
        if pieces.are_proven() || pieces.all_entries() == 1 {
            self.has_stored &= pieces.all_entries() > 1;
            return Step::Next(self.reject_suspects(pieces));
        }
        if suspects < SUSPECTS << (pieces.fruitless() % DOUBLINGS) && pieces.entries() > 0 {
            return Step::SendNow;
        }
        // Loki took none of many entries. Dropping them one by one would lose them all.
        pieces.restart_fruitless();
        Step::SetAside(Trouble::BadRequest)
    }

    /// Whether Loki accepts requests, so that a refusal concerns the entries.
    async fn takes_an_empty_push(&mut self) -> bool {
        meaning_of_empty(&self.client.post(&empty()).await).is_ok()
    }

    /// Drops the suspects, and returns how many for which reason.
    fn reject_suspects(&mut self, pieces: &mut Pieces) -> Rejections {
        let (suspects, mut rejected) = (pieces.take_suspects(), Rejections::default());
        for (_, reason) in &suspects {
            rejected.extend(&Rejections::of(*reason, 1));
        }
        self.log.rejected(&rejected, |reason| {
            let first = suspects.iter().find(|(_, known)| *known == reason);
            let sample = sample(first.and_then(|(at, _)| pieces.entry(*at)));
            format!("{}{sample}", pieces.refusal())
        });
        rejected
    }

    /// Logs the rejected entries of the next piece, with one of them as a sample.
    fn log_rejected(&mut self, rejected: &Rejections, answer: &str, pieces: &mut Pieces) {
        self.log.rejected(rejected, |reason| format!("{answer}{}", sample(pieces.likely(reason))));
    }
}

/// An entry, for the log.
fn sample(entry: Option<&Entry>) -> String {
    entry.map_or_else(String::new, |entry| {
        let start: String = entry.line.chars().take(SAMPLE).collect();
        format!("; the entry of {} ns, {} bytes: {start:?}", entry.nanos(), entry.line.len())
    })
}
