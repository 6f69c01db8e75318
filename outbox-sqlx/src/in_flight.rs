//! What a reader has given and nobody has settled yet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeBounds,
};

use relaybox_core::{Envelope, EventId, EventRef, Origin, OutboxRow, Result};

/// The events in flight, and the aggregates that must stay parked because of them.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    outbox: BTreeSet<i64>,
    dead_letters: BTreeSet<(i64, EventId)>,
    /// By position, the aggregates of events that were given as parked.
    ///
    /// Such an event still is in the outbox, on its way behind a dead letter. If that dead letter is
    /// redriven and settled first, the table says for a moment that the aggregate has none, and a
    /// later event would pass the waiting one.
    waiting: BTreeMap<i64, Aggregate>,
    waiting_in: HashMap<Aggregate, usize>,
}

/// An aggregate's type and id as the row has them, valid or not.
pub(crate) type Aggregate = (String, String);

/// A row as it was read.
pub(crate) struct Read {
    pub(crate) event: EventRef,
    pub(crate) parked: bool,
    /// Of an event that is parked, and of any while [`InFlight::keeps_parked`].
    pub(crate) aggregate: Option<Aggregate>,
    pub(crate) payload_bytes: usize,
    pub(crate) envelope: Result<Envelope>,
}

impl InFlight {
    /// The positions in the outbox, ascending.
    pub(crate) fn outbox(&self, within: impl RangeBounds<i64>) -> impl Iterator<Item = i64> + '_ {
        self.outbox.range(within).copied()
    }

    /// The dead letters.
    pub(crate) fn dead_letters(&self) -> impl Iterator<Item = (i64, EventId)> + '_ {
        self.dead_letters.iter().copied()
    }

    /// Whether some aggregate must stay parked: what is given needs its aggregate then.
    pub(crate) fn keeps_parked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Gives what was read, in order.
    pub(crate) fn give(&mut self, reads: Vec<Read>) -> Vec<OutboxRow> {
        reads.into_iter().map(|read| self.give_one(read)).collect()
    }

    /// Takes out what is settled.
    pub(crate) fn forget(&mut self, settled: &[EventRef]) {
        for event in settled {
            match event.origin {
                Origin::Outbox => {
                    self.outbox.remove(&event.position);
                    self.no_longer_waiting(event.position);
                }
                Origin::DeadLetter => {
                    self.dead_letters.remove(&(event.position, event.event_id));
                }
            }
        }
    }

    /// Takes out everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn give_one(&mut self, read: Read) -> OutboxRow {
        let Read { event, mut parked, aggregate, envelope, .. } = read;
        match event.origin {
            Origin::DeadLetter => {
                self.dead_letters.insert((event.position, event.event_id));
            }
            Origin::Outbox => {
                self.outbox.insert(event.position);
                if let Some(aggregate) = aggregate {
                    parked |= self.waiting_in.contains_key(&aggregate);
                    if parked {
                        *self.waiting_in.entry(aggregate.clone()).or_default() += 1;
                        self.waiting.insert(event.position, aggregate);
                    }
                }
            }
        }
        OutboxRow::new(event, parked, envelope)
    }

    fn no_longer_waiting(&mut self, position: i64) {
        let Some(aggregate) = self.waiting.remove(&position) else { return };
        if let Some(count) = self.waiting_in.get_mut(&aggregate) {
            *count -= 1;
            if *count == 0 {
                self.waiting_in.remove(&aggregate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use relaybox_core::{Error, ErrorKind};

    use super::*;

    fn read(position: i64, parked: bool) -> Read {
        Read {
            event: EventRef::new(position, EventId::new(), Origin::Outbox),
            parked,
            aggregate: Some(("session".into(), "s-1".into())),
            payload_bytes: 10,
            envelope: Err(Error::new(ErrorKind::Decode, "read")),
        }
    }

    #[test]
    fn an_event_does_not_pass_one_that_is_still_being_parked() {
        let mut in_flight = InFlight::default();
        let first = in_flight.give(vec![read(1, true)]);
        // Its dead letter was settled meanwhile, so the table calls the aggregate free.
        assert!(in_flight.give(vec![read(2, false)])[0].parked);
        in_flight.forget(&[first[0].event]);
        assert!(in_flight.give(vec![read(3, false)])[0].parked, "2 waits");
        in_flight.clear();
        assert!(!in_flight.give(vec![read(2, false)])[0].parked);
    }
}
