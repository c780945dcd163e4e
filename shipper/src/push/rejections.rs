//! Which entries Loki rejected for good while it stored the rest, as its 400 says it, counted by reason.
//!
//! Loki has two voices. The distributor groups what it refuses (`3 errors like: entry for stream '{...}' has timestamp
//! too old: ...; 2 errors like: ...`), the ingester lists a few entries and ends with a sum (`total ignored: 12 out of
//! 5000 for stream: {...}`). The ingester's answer hides the distributor's.

/// Why an entry is not in Loki. A fixed set: it is a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// More than half a chunk's age before the newest entry of its stream.
    TooFarBehind,
    /// Before the newest entry of its stream, in a Loki that wants entries in order.
    OutOfOrder,
    /// Older than `reject_old_samples_max_age`.
    TooOld,
    /// Further ahead than `creation_grace_period`. Such entries are pushed again later and never counted as rejected.
    TooNew,
    /// Longer than `max_line_size`.
    LineTooLong,
    /// Too many labels, or one that is too long: this concerns every entry of the push.
    LabelLimit,
    /// Larger, all alone, than a proxy on the way allows.
    TooLarge,
    /// Refused with words that are not known, all alone, while its neighbours were stored.
    Other,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::TooFarBehind,
        Self::OutOfOrder,
        Self::TooOld,
        Self::TooNew,
        Self::LineTooLong,
        Self::LabelLimit,
        Self::TooLarge,
        Self::Other,
    ];

    /// One stable word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooFarBehind => "too_far_behind",
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::LineTooLong => "line_too_long",
            Self::LabelLimit => "label_limit",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }
}

/// By which words a reason is known.
const SIGNS: [(&str, Reason); 9] = [
    ("entry too far behind", Reason::TooFarBehind),
    ("entry out of order", Reason::OutOfOrder),
    ("timestamp too old", Reason::TooOld),
    ("timestamp too new", Reason::TooNew),
    ("max entry size", Reason::LineTooLong),
    ("label names; limit", Reason::LabelLimit),
    ("label name too long", Reason::LabelLimit),
    ("label value too long", Reason::LabelLimit),
    ("duplicate label name", Reason::LabelLimit),
];

/// What stands between the number of a group and its words.
const GROUP: &str = " errors like: ";
/// What stands before the ingester's sum.
const SUM: &str = "total ignored: ";

/// How many entries were rejected, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections([u64; Reason::ALL.len()]);

impl Rejections {
    /// So many entries for one reason.
    pub fn of(reason: Reason, entries: u64) -> Self {
        let mut rejections = Self::default();
        rejections.add(reason, entries);
        rejections
    }

    /// Reads a 400 for a push of `entries` entries; `None` where it does not speak of entries in known words.
    pub fn read(body: &str, entries: u64) -> Option<Self> {
        if let Some(ignored) = Self::ignored(body) {
            let reason = reason(body).unwrap_or(Reason::Other);
            return Some(Self::of(reason, ignored.min(entries)));
        }
        reason(body)?;
        let mut rejections = Self::default();
        for (count, words) in groups(body) {
            let reason = reason(words).unwrap_or(Reason::Other);
            if reason == Reason::LabelLimit {
                return Some(Self::of(reason, entries));
            }
            rejections.add(reason, count.min(entries.saturating_sub(rejections.total())));
        }
        Some(rejections)
    }

    /// How many entries the ingester says it ignored.
    pub(crate) fn ignored(body: &str) -> Option<u64> {
        body.split(SUM).nth(1).and_then(leading_number)
    }

    /// The reasons there are, each with its number of entries.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0).filter(|(_, entries)| *entries > 0)
    }

    /// Whether any entry was rejected for this reason.
    pub fn holds(&self, reason: Reason) -> bool {
        self.iter().any(|(known, _)| known == reason)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Takes in those of another answer.
    pub fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    fn add(&mut self, reason: Reason, entries: u64) {
        for (known, count) in Reason::ALL.into_iter().zip(&mut self.0) {
            *count += if known == reason { entries } else { 0 };
        }
    }
}

fn reason(words: &str) -> Option<Reason> {
    SIGNS.iter().find(|(sign, _)| words.contains(sign)).map(|(_, reason)| *reason)
}

/// The distributor's groups; words without a number stand for one entry.
fn groups(body: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut parts = body.split(GROUP);
    let mut count = parts.next().and_then(trailing_number);
    let alone = (!body.contains(GROUP)).then_some((1, body));
    let rest = parts.map(move |words| {
        let group = (count.unwrap_or(1), words);
        count = trailing_number(words);
        group
    });
    alone.into_iter().chain(rest)
}

fn leading_number(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn trailing_number(text: &str) -> Option<u64> {
    text.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = r#"{job="redis", log_file="dmcproxy"}"#;

    fn read(body: &str) -> Vec<(Reason, u64)> {
        Rejections::read(body, 100).map(|rejections| rejections.iter().collect()).unwrap_or_default()
    }

    #[test]
    fn takes_the_number_that_the_ingester_sums_up() {
        let body = format!(
            "entry with timestamp 2026-02-20 22:31:07 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: \
             2026-02-20T22:31:07Z, oldest acceptable timestamp is: 2026-02-20T23:00:00Z',\nuser 'fake', total ignored: 12 \
             out of 100 for stream: {STREAM}"
        );
        assert_eq!(read(&body), [(Reason::TooFarBehind, 12)]);
    }

    #[test]
    fn adds_up_the_groups_of_the_distributor() {
        let body = format!(
            "3 errors like: entry for stream '{STREAM}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable \
             timestamp is: 2026-02-13T22:31:07Z; 2 errors like: entry for stream '{STREAM}' has timestamp too old: \
             2020-01-01T00:00:01Z, oldest acceptable timestamp is: 2026-02-13T22:31:07Z; 4 errors like: max entry size \
             '256000' bytes exceeded for stream '{STREAM}' while adding an entry with length '300000' bytes"
        );
        assert_eq!(read(&body), [(Reason::TooOld, 5), (Reason::LineTooLong, 4)]);
    }

    #[test]
    fn takes_words_without_a_number_for_one_entry() {
        let body = format!("entry for stream '{STREAM}' has timestamp too new: 2030-01-01T00:00:00Z");
        assert_eq!(read(&body), [(Reason::TooNew, 1)]);
    }

    #[test]
    fn counts_every_entry_where_the_labels_are_refused() {
        let body = format!("entry for stream '{STREAM}' has 31 label names; limit 30");
        assert_eq!(read(&body), [(Reason::LabelLimit, 100)]);
    }

    #[test]
    fn counts_what_it_does_not_know_beside_what_it_knows_as_other() {
        assert_eq!(
            read("2 errors like: timestamp too old; 1 errors like: entry smells"),
            [(Reason::TooOld, 2), (Reason::Other, 1)]
        );
    }

    #[test]
    fn never_counts_more_than_was_pushed() {
        assert_eq!(read("500 errors like: timestamp too old; 7 errors like: max entry size"), [(Reason::TooOld, 100)]);
        assert_eq!(read("out of order, total ignored: 700 out of 900"), [(Reason::Other, 100)]);
    }

    #[test]
    fn leaves_words_it_does_not_know_to_others() {
        assert_eq!(Rejections::read("Bad Request", 100), None);
        assert_eq!(Rejections::read("3 errors like: entry smells", 100), None);
    }
}
