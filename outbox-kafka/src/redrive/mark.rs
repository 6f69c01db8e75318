//! The records that note which letters of their partition were put back.

use std::ops::RangeInclusive;

use rdkafka::message::{Header, OwnedHeaders};
use relaybox_core::{Delivery, Offset};

/// Names offsets of the mark's own partition: `3-7,9`.
const OFFSETS: &str = "dlq-redriven-offsets";
/// How many offsets one entry may name: a broken record must not cost unbounded work.
const LONGEST: i64 = 1_000_000;

/// The headers of a mark for letters whose offsets ascend.
pub(super) fn headers(offsets: &[Offset]) -> OwnedHeaders {
    let mut text = String::new();
    for run in offsets.chunk_by(|before, after| before + 1 == *after) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&first.to_string());
        if last > first {
            text.push('-');
            text.push_str(&last.to_string());
        }
    }
    OwnedHeaders::new_with_capacity(1).insert(Header { key: OFFSETS, value: Some(&text) })
}

/// The offsets that a record marks; `None` when it is no mark.
pub(super) fn read(record: &Delivery) -> Option<Vec<RangeInclusive<Offset>>> {
    let (None, None, [(OFFSETS, text)]) =
        (&record.key, &record.value, &record.headers().collect::<Vec<_>>()[..])
    else {
        return None;
    };
    std::str::from_utf8(text).ok()?.split(',').map(range).collect()
}

fn range(entry: &str) -> Option<RangeInclusive<Offset>> {
    let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
    let (first, last) = (first.parse::<Offset>().ok()?, last.parse::<Offset>().ok()?);
    (0 <= first && first <= last && last - first < LONGEST).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rdkafka::message::Headers;
    use relaybox_core::{Partition, TopicName};

    use super::*;

    fn record(text: &str) -> Delivery {
        let partition = Partition::new(TopicName::new("t.dlq").unwrap(), 0, 0);
        let mut record = Delivery::new(partition, 100);
        record.headers = vec![(OFFSETS.into(), Bytes::copy_from_slice(text.as_bytes()))];
        record
    }

    #[test]
    fn a_mark_names_what_it_was_made_for() {
        let headers = headers(&[3, 4, 5, 9, 11, 12]);
        let text = std::str::from_utf8(headers.get(0).value.unwrap()).unwrap();
        assert_eq!(text, "3-5,9,11-12");
        assert_eq!(read(&record(text)), Some(vec![3..=5, 9..=9, 11..=12]));
    }

    #[test]
    fn what_is_no_mark_marks_nothing() {
        for text in ["", "x", "5-3", "1,,2", "-1", "0-99999999999", "9223372036854775807-1"] {
            assert_eq!(read(&record(text)), None, "{text}");
        }
        let mut letter = record("1");
        letter.value = Some(Bytes::from_static(b"a letter with such a header of its own"));
        assert_eq!(read(&letter), None);
        let mut more = record("1");
        more.headers.push(("dlq-original-topic".into(), Bytes::new()));
        assert_eq!(read(&more), None);
    }
}
