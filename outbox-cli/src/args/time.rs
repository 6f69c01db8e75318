//! Times and spans as people type them.

use std::{str::FromStr, time::Duration};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

/// Parses a span: `500ms`, `90s`, `15m`, `12h`, `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || "a time is a whole number and a unit: 500ms, 90s, 15m, 12h or 30d".to_owned();
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    // What the databases can count in microseconds, with room to spare.
    let limit = Duration::from_secs(100_000 * 86_400);
    let span = number.checked_mul(milliseconds).map(Duration::from_millis);
    span.filter(|span| *span <= limit).ok_or_else(|| "that is more than 100000d".to_owned())
}

/// A moment: `2026-07-01T12:00:00Z`, `2026-07-01` (its beginning in UTC), or a span ago, `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When(pub(crate) DateTime<Utc>);

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(at.with_timezone(&Utc)));
        }
        if let Ok(date) = text.parse::<NaiveDate>() {
            return Ok(Self(date.and_time(NaiveTime::MIN).and_utc()));
        }
        let ago = duration(text).map_err(|_| {
            "a moment is 2026-07-01T12:00:00Z, 2026-07-01 (UTC), or a time ago: 2h".to_owned()
        })?;
        Ok(Self(Utc::now() - ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_number_and_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "5", "m", "-1s", "1.5h", "1 h", "1w", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(duration("18446744073709551615d").is_err());
        assert!(duration("100001d").is_err());
    }

    #[test]
    fn a_moment_is_absolute_or_ago() {
        let at = |text: &str| text.parse::<When>().map(|when| when.0.to_rfc3339());
        assert_eq!(at("2026-07-01T14:00:00+02:00").unwrap(), "2026-07-01T12:00:00+00:00");
        assert_eq!(at("2026-07-01").unwrap(), "2026-07-01T00:00:00+00:00");
        let ago = Utc::now() - "2h".parse::<When>().unwrap().0;
        assert!((119..=121).contains(&ago.num_minutes()), "{ago}");
        assert!(at("yesterday").is_err());
    }
}
