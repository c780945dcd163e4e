//! What a reply leads to, and which entries are dropped for it.
//!
//! Where Loki names the entries it rejects, those are gone and all others stored. Words that are not known may be about
//! one entry, about the request, or a proxy's, and dropping is for good. So an entry is dropped only if it was refused all
//! alone, while an empty push is taken, and something was stored that shows that other entries are.

use std::time::Duration;

use bytes::Bytes;

use super::client::Reply;
use super::pieces::Pieces;
use super::{Dial, Loki};
use crate::answer::{Meaning, Trouble, meaning};
use crate::decode::Entry;
use crate::rejections::{Reason, Rejections};

/// A push request without streams, compressed: Loki stores nothing, and says by its answer that it would.
const EMPTY: &[u8] = &[0];
/// After so many entries that were refused all alone, with none stored, the request is at fault and not they.
const SUSPECTS: usize = 32;
/// Each time that this is found of a batch, twice as many are tried the next time, and after this many times as few as at
/// first: each of them costs Loki three requests.
const DOUBLINGS: u32 = 4;
/// An entry that has no neighbours, and that is refused for so long, is dropped though nothing else was stored meanwhile:
/// everything waits behind it.
const CONVINCED: Duration = Duration::from_hours(1);
/// A push that was throttled this often in a row is tried in smaller pieces.
const THROTTLED: u32 = 4;
/// How many characters of an entry that is rejected are logged.
const SAMPLE: usize = 100;

/// What an answer leads to.
pub(super) enum Step {
    /// On to the next piece, with what was rejected of this one.
    Next(Rejections),
    /// Once more, later.
    Wait(Trouble),
    /// Once more, later, and other streams meanwhile: this one alone is refused.
    SetAside(Trouble),
    /// Once more, now, in another way.
    Again,
}

impl<D: Dial> Loki<D> {
    /// What the reply to the next piece leads to, and what of the batch is left then.
    pub(super) async fn judge(&mut self, reply: &Reply, pieces: &mut Pieces, failures: u32) -> Step {
        let meaning = match reply {
            Reply::Answer { status, body, retry_after, .. } => {
                meaning(*status, body, *retry_after, pieces.entries() as u64)
            }
            Reply::Nothing(trouble, _) => Meaning::Again(trouble.clone()),
        };
        match meaning {
            Meaning::Stored => {
                self.told.success();
                self.client.accepted();
                self.trusted = true;
                // What was refused all alone before is now known to have been refused for its own sake.
                let convicted = self.convict(pieces);
                pieces.stored();
                Step::Next(convicted)
            }
            Meaning::StoredExcept(mut rejected) => {
                self.told.success();
                self.trusted |= rejected.total() < pieces.entries() as u64;
                self.tell(&rejected, &reply.said(), pieces);
                rejected.extend(&self.convict(pieces));
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
            Meaning::Split => self.isolate(pieces, Reason::TooLarge, &reply.said()).await,
            Meaning::Suspect | Meaning::WithoutMetadata => self.isolate(pieces, Reason::Other, &reply.said()).await,
            Meaning::Again(trouble) => {
                if let Trouble::Throttled { over, .. } = trouble
                    && (over || (failures + 1).is_multiple_of(THROTTLED))
                {
                    pieces.split();
                }
                if trouble == Trouble::TooNew || reply.is_about_one_stream() {
                    Step::SetAside(trouble)
                } else {
                    Step::Wait(trouble)
                }
            }
        }
    }

    /// Finds the entry for whose sake a piece is refused, as long as it is an entry's and not the request's fault.
    async fn isolate(&mut self, pieces: &mut Pieces, reason: Reason, said: &str) -> Step {
        let alone = pieces.entries() == 1;
        if (alone || !pieces.are_proven()) && !self.takes_an_empty_push().await {
            pieces.restart();
            return Step::Wait(Trouble::BadRequest);
        }
        if pieces.split() {
            return Step::Again;
        }
        if pieces.all_entries() == 1 && !self.trusted && pieces.age() < CONVINCED {
            return Step::SetAside(Trouble::BadRequest);
        }
        let suspects = pieces.set_aside(reason, said);
        if pieces.are_proven() || pieces.all_entries() == 1 {
            self.trusted &= pieces.all_entries() > 1;
            return Step::Next(self.convict(pieces));
        }
        if suspects < SUSPECTS << (pieces.in_vain() % DOUBLINGS) && pieces.entries() > 0 {
            return Step::Again;
        }
        // Not one entry of many was taken: dropping them one by one would lose them all.
        pieces.restart_in_vain();
        Step::SetAside(Trouble::BadRequest)
    }

    /// Whether the way to Loki is fine, so that a refusal concerns what was pushed.
    async fn takes_an_empty_push(&mut self) -> bool {
        match self.client.post(&Bytes::from_static(EMPTY)).await {
            Reply::Answer { status, body, .. } => status == 422 || meaning(status, &body, None, 0) == Meaning::Stored,
            Reply::Nothing(..) => false,
        }
    }

    /// Drops the entries that were set aside.
    fn convict(&mut self, pieces: &mut Pieces) -> Rejections {
        let (aside, mut rejected) = (pieces.take_aside(), Rejections::default());
        for (_, reason) in &aside {
            rejected.extend(&Rejections::of(*reason, 1));
        }
        self.told.rejected(&rejected, |reason| {
            let first = aside.iter().find(|(_, known)| *known == reason);
            let sample = sample(first.and_then(|(at, _)| pieces.entry(*at)));
            format!("{}{sample}", pieces.refusal())
        });
        rejected
    }

    /// Says which entries of the next piece are rejected, with one of them.
    fn tell(&mut self, rejected: &Rejections, said: &str, pieces: &mut Pieces) {
        self.told.rejected(rejected, |reason| format!("{said}{}", sample(pieces.likely(reason))));
    }
}

impl Reply {
    /// Whether Loki speaks of the stream that was pushed, and not of the tenant.
    fn is_about_one_stream(&self) -> bool {
        const SIGNS: [&str; 2] = ["Per stream rate limit exceeded", "stream limit exceeded"];
        matches!(self, Self::Answer { body, .. } if SIGNS.iter().any(|sign| body.contains(sign)))
    }
}

/// An entry, for the log.
fn sample(entry: Option<&Entry>) -> String {
    entry.map_or_else(String::new, |entry| {
        let start: String = entry.line.chars().take(SAMPLE).collect();
        format!("; the entry of {} ns, {} bytes: {start:?}", entry.nanos(), entry.line.len())
    })
}
