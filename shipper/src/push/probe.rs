//! One empty push. It stores nothing, and its answer tells whether a push is allowed.

use std::time::SystemTime;

use bytes::Bytes;
use findings::Finding;
use hyper::StatusCode;

use super::answer::{Meaning, Trouble, meaning};
use super::client::{Client, Reply};
use super::settings::PushSettings;

/// A push request without streams, compressed.
const EMPTY: &[u8] = &[0];

/// The answer to an empty push.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The answer on one line.
    pub(crate) answer: String,
    /// What is wrong, if anything is.
    pub(crate) finding: Option<Finding>,
    /// The `Date` of the answer.
    pub(crate) date: Option<SystemTime>,
}

/// The body of an empty push.
pub(super) fn empty() -> Bytes {
    Bytes::from_static(EMPTY)
}

/// What the answer to an empty push means. Loki accepts the request and asks for a stream; a proxy or another store may accept
/// it as it is.
pub(super) fn meaning_of_empty(reply: &Reply) -> Result<(), Trouble> {
    match reply {
        Reply::Answer { status: StatusCode::UNPROCESSABLE_ENTITY, .. } => Ok(()),
        Reply::Answer { status, body, retry_after, .. } => match meaning(*status, body, *retry_after, 0) {
            Meaning::Stored => Ok(()),
            Meaning::RetryLater(trouble) => Err(trouble),
            _ => Err(Trouble::BadRequest),
        },
        Reply::Nothing(trouble, _) => Err(trouble.clone()),
    }
}

/// Sends one empty push.
pub(crate) async fn probe(settings: &PushSettings) -> Probe {
    let mut client = Client::new(settings.clone(), runtime::tls::tcp());
    let reply = client.post(&empty()).await;
    let answer = reply.text();
    let finding = meaning_of_empty(&reply).err().map(|trouble| client.finding(&trouble, &answer));
    Probe { answer, finding, date: reply.date() }
}
