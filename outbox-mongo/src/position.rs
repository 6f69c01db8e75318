//! An event's place in the order: the BSON timestamp that the server gave it, as one number.

use chrono::{DateTime, Utc};
use mongodb::bson::{Bson, Timestamp};

/// How many bits the number has for the increment. The server never counts further in one second: it
/// goes on to the next one.
const INCREMENT_BITS: u32 = 31;
const MAX_INCREMENT: u32 = (1 << INCREMENT_BITS) - 1;

/// What an insert writes where the server is to put its own time: it replaces an empty timestamp in a
/// field of the document itself, and gives each such field a time that it never gave before.
pub(crate) const NOW: Timestamp = Timestamp { time: 0, increment: 0 };

/// The seconds, then the increment; the order of the numbers is that of the timestamps.
pub(crate) fn number(at: Timestamp) -> i64 {
    i64::from(at.time) << INCREMENT_BITS | i64::from(at.increment.min(MAX_INCREMENT))
}

/// The same for what a document has there; what is no timestamp is before all that are.
pub(crate) fn number_of(value: Option<&Bson>) -> i64 {
    match value {
        Some(Bson::Timestamp(at)) => number(*at),
        _ => i64::MIN,
    }
}

/// The time of a timestamp, in whole seconds.
pub(crate) fn time(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(at.time.into(), 0).expect("32 bits of seconds are in the calendar")
}

/// The last timestamp of the second before that of `at`.
pub(crate) fn before(at: DateTime<Utc>) -> Option<Timestamp> {
    let time = u32::try_from(at.timestamp().checked_sub(1)?).ok()?;
    Some(Timestamp { time, increment: u32::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_order_of_the_timestamps() {
        let all = [
            (0, 1),
            (1, 0),
            (1, 1),
            (1, MAX_INCREMENT),
            (2, 0),
            (1_700_000_000, 7),
            (u32::MAX, 0),
            (u32::MAX, MAX_INCREMENT),
        ];
        let numbers = all.map(|(time, increment)| number(Timestamp { time, increment }));
        assert!(numbers.is_sorted() && numbers[0] > 0, "{numbers:?}");
        assert_eq!(numbers[7], i64::MAX);
        assert_eq!(number(Timestamp { time: 1, increment: u32::MAX }), numbers[3]);
        assert_eq!(number_of(None), i64::MIN);
    }

    #[test]
    fn a_bound_is_older_than_asked_for_never_younger() {
        let at = DateTime::from_timestamp_millis(10_900).unwrap();
        assert_eq!(before(at), Some(Timestamp { time: 9, increment: u32::MAX }));
        assert_eq!(before(DateTime::from_timestamp(0, 0).unwrap()), None);
    }
}
