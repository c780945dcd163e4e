//! Counts the entries that Loki rejected for good, by reason, from the text of a 400. Loki stored the other entries.
//!
//! Two parts of Loki reject entries. The distributor groups them (`3 errors like: entry for stream '{...}' has timestamp too
//! old: ...; 2 errors like: ...`). The ingester lists a few entries and ends with a total (`total ignored: 12 out of 5000 for
//! stream: {...}`). If both reject entries, the answer shows only the ingester's text.

/// Why Loki rejected an entry. The set is fixed, because it is a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The entry is more than half of a chunk's maximum age older than the newest entry of its stream.
    TooFarBehind,
    /// The entry is older than the newest entry of its stream, and this Loki requires entries in order.
    OutOfOrder,
    /// The entry is older than `reject_old_samples_max_age`.
    TooOld,
    /// The entry is further ahead than `creation_grace_period`. It is retried later, and never counted as rejected.
    TooNew,
    /// The entry is longer than `max_line_size`.
    LineTooLong,
    /// There are too many labels, or a label is too long. This applies to all entries of the push.
    LabelLimit,
    /// The entry alone is larger than a proxy on the way allows.
    TooLarge,
    /// Loki refused the entry alone with an unknown text, and stored its neighbours.
    Other,
}

impl Reason {
    /// All reasons.
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

/// The words of an answer that identify a reason.
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

/// The text between the number of a group and its words.
const GROUP: &str = " errors like: ";
/// The text before the ingester's total.
const SUM: &str = "total ignored: ";

/// How many entries were rejected, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections([u64; Reason::ALL.len()]);

impl Rejections {
    /// A number of entries with one reason.
    pub fn of(reason: Reason, entries: u64) -> Self {
        let mut rejections = Self::default();
        rejections.add(reason, entries);
        rejections
    }

    /// Reads the body of a 400 for a push of `entries` entries. Returns `None` if it gives no known reason.
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

    /// The ingester's total of ignored entries.
    pub(crate) fn ignored(body: &str) -> Option<u64> {
        body.split(SUM).nth(1).and_then(leading_number)
    }

    /// The reasons that occur, each with its number of entries.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0).filter(|(_, entries)| *entries > 0)
    }

    /// Whether any entry was rejected for this reason.
    pub fn holds(&self, reason: Reason) -> bool {
        self.iter().any(|(known, _)| known == reason)
    }

    /// The number of all rejected entries.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the rejections of another answer.
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

/// The distributor's groups. A text without a number counts as one entry.
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
    fn reads_the_total_of_the_ingester() {
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
    fn counts_a_text_without_a_number_as_one_entry() {
        let body = format!("entry for stream '{STREAM}' has timestamp too new: 2030-01-01T00:00:00Z");
        assert_eq!(read(&body), [(Reason::TooNew, 1)]);
    }

    #[test]
    fn counts_all_entries_if_the_labels_are_refused() {
        let body = format!("entry for stream '{STREAM}' has 31 label names; limit 30");
        assert_eq!(read(&body), [(Reason::LabelLimit, 100)]);
    }

    #[test]
    fn counts_an_unknown_reason_beside_known_ones_as_other() {
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
    fn does_not_read_an_answer_without_a_known_reason() {
        assert_eq!(Rejections::read("Bad Request", 100), None);
        assert_eq!(Rejections::read("3 errors like: entry smells", 100), None);
    }
}
