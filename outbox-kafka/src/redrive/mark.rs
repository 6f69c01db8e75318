//! The records that note what became of the letters of their partition.

use std::ops::RangeInclusive;

use rdkafka::message::{Header, OwnedHeaders};
use relaybox_core::{Delivery, Offset};

use super::{letter::LetterState, places::Places};

/// How many offsets one entry may name: a broken record must not cost unbounded work.
const LONGEST: i64 = 1_000_000;

/// What is noted of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Redriven,
    Discarded,
}

/// What the marks of a dead-letter topic say: of two about one letter, the later one counts.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) redriven: Places,
    pub(super) discarded: Places,
}

impl Fate {
    /// The header that names offsets of the mark's own partition: `3-7,9`.
    fn header(self) -> &'static str {
        match self {
            Self::Redriven => "dlq-redriven-offsets",
            Self::Discarded => "dlq-discarded-offsets",
        }
    }
}

impl Marks {
    /// Takes in a record, if it is a mark.
    pub(super) fn note(&mut self, record: &Delivery) {
        let Some((fate, ranges)) = read(record) else { return };
        let number = record.partition.number;
        let (set, unset) = match fate {
            Fate::Redriven => (&mut self.redriven, &mut self.discarded),
            Fate::Discarded => (&mut self.discarded, &mut self.redriven),
        };
        for offset in ranges.into_iter().flatten() {
            set.insert(number, offset);
            unset.remove(number, offset);
        }
    }

    pub(super) fn state(&self, number: i32, offset: Offset) -> LetterState {
        match () {
            () if self.redriven.contains(number, offset) => LetterState::Redriven,
            () if self.discarded.contains(number, offset) => LetterState::Discarded,
            () => LetterState::Open,
        }
    }
}

/// The headers of a mark for letters whose offsets ascend.
pub(super) fn headers(fate: Fate, offsets: &[Offset]) -> OwnedHeaders {
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
    OwnedHeaders::new_with_capacity(1).insert(Header { key: fate.header(), value: Some(&text) })
}

/// Whether a record is a mark, and no letter.
pub(super) fn is_mark(record: &Delivery) -> bool {
    read(record).is_some()
}

/// The offsets that a record marks; `None` when it is no mark.
fn read(record: &Delivery) -> Option<(Fate, Vec<RangeInclusive<Offset>>)> {
    if record.key.is_some() || record.value.is_some() {
        return None;
    }
    let mut headers = record.headers();
    let (name, text) = headers.next().filter(|_| record.headers.len() == 1)?;
    let fate = [Fate::Redriven, Fate::Discarded].into_iter().find(|fate| fate.header() == name)?;
    let ranges = std::str::from_utf8(text).ok()?.split(',').map(range).collect::<Option<_>>()?;
    Some((fate, ranges))
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
        mark(Fate::Redriven, text)
    }

    fn mark(fate: Fate, text: &str) -> Delivery {
        let partition = Partition::new(TopicName::new("t.dlq").unwrap(), 0, 0);
        let mut record = Delivery::new(partition, 100);
        record.headers = vec![(fate.header().into(), Bytes::copy_from_slice(text.as_bytes()))];
        record
    }

    #[test]
    fn of_two_marks_about_a_letter_the_later_one_counts() {
        let mut marks = Marks::default();
        marks.note(&mark(Fate::Discarded, "1-3"));
        marks.note(&mark(Fate::Redriven, "2,9"));
        marks.note(&mark(Fate::Discarded, "9"));
        let states: Vec<_> = [0, 1, 2, 3, 9].map(|offset| marks.state(0, offset)).into();
        use LetterState::{Discarded, Open, Redriven};
        assert_eq!(states, [Open, Discarded, Redriven, Discarded, Discarded]);
        assert_eq!(marks.state(1, 1), Open, "of another partition");
    }

    #[test]
    fn a_mark_names_what_it_was_made_for() {
        for fate in [Fate::Redriven, Fate::Discarded] {
            let headers = headers(fate, &[3, 4, 5, 9, 11, 12]);
            let header = headers.get(0);
            let text = std::str::from_utf8(header.value.unwrap()).unwrap();
            assert_eq!((header.key, text), (fate.header(), "3-5,9,11-12"));
            assert_eq!(read(&mark(fate, text)), Some((fate, vec![3..=5, 9..=9, 11..=12])));
        }
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
