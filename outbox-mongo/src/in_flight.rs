//! What a reader has given and nobody has settled yet.

use std::collections::{HashMap, HashSet};

use relaybox_core::{EventId, EventRef, Origin, OutboxRow};

use crate::document::Aggregate;

/// The events in flight, and the aggregates that must stay parked because of them.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    outbox: HashSet<EventId>,
    dead_letters: HashSet<EventId>,
    /// The aggregates of events that were given as parked.
    ///
    /// Such an event still is in the outbox, on its way behind a dead letter. If that dead letter is
    /// redriven and settled first, the collection says for a moment that the aggregate has none, and a
    /// later event would pass the waiting one.
    waiting: HashMap<EventId, Aggregate>,
    waiting_in: HashMap<Aggregate, usize>,
}

impl InFlight {
    /// The ids in flight from one part of the store.
    pub(crate) fn of(&self, origin: Origin) -> &HashSet<EventId> {
        match origin {
            Origin::Outbox => &self.outbox,
            Origin::DeadLetter => &self.dead_letters,
        }
    }

    /// How many events are in flight.
    pub(crate) fn len(&self) -> usize {
        self.outbox.len() + self.dead_letters.len()
    }

    /// Takes a row as given; one of the outbox is parked if one that waits is before it.
    pub(crate) fn give(&mut self, row: &mut OutboxRow, aggregate: Aggregate) {
        let id = row.event.event_id;
        match row.event.origin {
            Origin::DeadLetter => {
                self.dead_letters.insert(id);
            }
            Origin::Outbox => {
                row.parked |= self.waiting_in.contains_key(&aggregate);
                if self.outbox.insert(id) && row.parked {
                    *self.waiting_in.entry(aggregate.clone()).or_default() += 1;
                    self.waiting.insert(id, aggregate);
                }
            }
        }
    }

    /// Takes out what is settled.
    pub(crate) fn forget(&mut self, settled: &[EventRef]) {
        for EventRef { event_id, origin, .. } in settled {
            match origin {
                Origin::Outbox => {
                    self.outbox.remove(event_id);
                    self.no_longer_waiting(*event_id);
                }
                Origin::DeadLetter => {
                    self.dead_letters.remove(event_id);
                }
            }
        }
    }

    /// Takes out everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn no_longer_waiting(&mut self, id: EventId) {
        let Some(aggregate) = self.waiting.remove(&id) else { return };
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

    fn give(in_flight: &mut InFlight, parked: bool) -> OutboxRow {
        let event = EventRef::new(1, EventId::new(), Origin::Outbox);
        let error = Error::new(ErrorKind::Decode, "read");
        let mut row = OutboxRow::new(event, parked, Err(error));
        in_flight.give(&mut row, ("session".into(), "s-1".into()));
        row
    }

    #[test]
    fn an_event_does_not_pass_one_that_is_still_being_parked() {
        let mut in_flight = InFlight::default();
        let first = give(&mut in_flight, true);
        // Its dead letter was settled meanwhile, so the collection calls the aggregate free.
        assert!(give(&mut in_flight, false).parked);
        in_flight.forget(&[first.event]);
        assert!(give(&mut in_flight, false).parked, "another one waits");
        in_flight.clear();
        assert!(!give(&mut in_flight, false).parked);
    }
}
