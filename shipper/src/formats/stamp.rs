//! A time as a line writes it.

/// A time, and the part of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// To the second.
    pub(super) at: At,
    /// Nanoseconds after it.
    pub(super) nanos: u32,
}

/// A time to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// On the clock of the container: `YYYY-MM-DD?HH:MM:SS`, the separators whatever they are.
    Local([u8; 19]),
    /// The same, of any year.
    Yearless([u8; 19]),
    /// The same digits, so many seconds east of UTC.
    Offset([u8; 19], i32),
    /// Seconds since 1970 UTC.
    Epoch(i64),
}
