//! Spans of time, as the databases take them.

use std::time::Duration;

/// Longer spans would leave the range of the databases' timestamps.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

/// Microseconds, at most a thousand years.
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.min(LONGEST).as_micros()).expect("a thousand years fit")
}

/// From microseconds; a negative span is none.
pub(crate) fn span(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
