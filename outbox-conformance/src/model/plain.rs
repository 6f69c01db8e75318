//! The plain model: what an outbox is, in as few words as possible.

use std::collections::{BTreeMap, BTreeSet};

use relaybox_core::{Origin, Settled};

use super::history::Which;

/// An event's number, in the order of writing.
pub(super) type Number = usize;

/// A store and the reader of the relay that holds the lease.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// Committed, and neither published nor discarded.
    pub(super) events: BTreeMap<Number, Event>,
    /// What the reader gave and was not told to forget, in the order of giving.
    pub(super) in_flight: Vec<Given>,
    /// Settled as published, and not purged.
    pub(super) archive: BTreeSet<Number>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) aggregate: u8,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Outbox,
    Dead,
    Redriving,
    Parked,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    pub(super) number: Number,
    pub(super) origin: Origin,
    pub(super) parked: bool,
    pub(super) acknowledged: bool,
}

impl Event {
    fn origin(&self) -> Origin {
        if self.place == Place::Outbox { Origin::Outbox } else { Origin::DeadLetter }
    }
}

impl Plain {
    /// Backlog, dead letters, parked.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let count = |places: &[Place]| {
            self.events.values().filter(|event| places.contains(&event.place)).count() as u64
        };
        (count(&[Place::Outbox]), count(&[Place::Dead, Place::Redriving]), count(&[Place::Parked]))
    }

    /// What a read may give, from one part of the store, in order.
    pub(super) fn readable(&self, origin: Origin) -> Vec<Number> {
        let in_flight = |number: Number| {
            self.in_flight.iter().any(|given| given.number == number && given.origin == origin)
        };
        self.events
            .iter()
            .filter(|(_, event)| event.origin() == origin)
            .filter(|(number, _)| origin == Origin::Outbox || self.is_free(**number))
            .map(|(number, _)| *number)
            .filter(|number| !in_flight(*number))
            .collect()
    }

    /// Whether an event that is given from the outbox now is to be parked.
    pub(super) fn is_parked(&self, number: Number) -> bool {
        let aggregate = self.events[&number].aggregate;
        let letters = self
            .events
            .values()
            .any(|event| event.aggregate == aggregate && event.place != Place::Outbox);
        letters
            || self.in_flight.iter().any(|given| {
                let event = self.events.get(&given.number);
                given.parked && event.is_some_and(|event| event.aggregate == aggregate)
            })
    }

    /// Whether no dead letter that isn't flagged is before a letter, or is it.
    fn is_free(&self, number: Number) -> bool {
        let aggregate = self.events[&number].aggregate;
        self.events
            .range(..=number)
            .all(|(_, event)| event.aggregate != aggregate || event.place != Place::Dead)
    }

    /// Settles what is in flight as far as it is decided: what is acknowledged, what is parked, and
    /// what is given up on. Gives what a store must have found.
    pub(super) fn settle(&mut self, dead: Option<Number>) -> Settled {
        let (mut published, mut parked, mut given_up) = (0, 0, 0);
        for given in &self.in_flight {
            let Some(event) = self.events.get_mut(&given.number) else { continue };
            if event.origin() != given.origin {
                continue;
            }
            if dead == Some(given.number) {
                event.place = Place::Dead;
                given_up += 1;
            } else if given.acknowledged {
                self.events.remove(&given.number);
                self.archive.insert(given.number);
                published += 1;
            } else if given.parked {
                event.place = Place::Parked;
                parked += 1;
            }
        }
        Settled::new(published, parked, given_up)
    }

    /// The dead and the parked, by aggregate and original order.
    pub(super) fn letters(&self) -> Vec<Number> {
        let mut letters: Vec<_> = self
            .events
            .iter()
            .filter(|(_, event)| event.place != Place::Outbox)
            .map(|(number, event)| (event.aggregate, *number))
            .collect();
        letters.sort_unstable();
        letters.into_iter().map(|(_, number)| number).collect()
    }

    fn matching(&self, which: &Which, mut letters: Vec<Number>) -> Vec<Number> {
        match which {
            Which::All => {}
            Which::First(limit) => letters.truncate(*limit as usize),
            Which::Of(aggregate) => {
                letters.retain(|number| self.events[number].aggregate == *aggregate);
            }
            Which::Nth(nth) => {
                let all = self.letters();
                let chosen = (!all.is_empty()).then(|| all[nth % all.len()]);
                letters.retain(|number| Some(*number) == chosen);
            }
        }
        letters
    }

    /// Flags; gives how many.
    pub(super) fn redrive(&mut self, which: &Which) -> u64 {
        let helped = self.letters().into_iter().filter(|number| !self.is_free(*number)).collect();
        let mut flagged = 0;
        for chosen in self.matching(which, helped) {
            let aggregate = self.events[&chosen].aggregate;
            for (_, event) in self.events.range_mut(..=chosen) {
                if event.aggregate == aggregate && event.place == Place::Dead {
                    event.place = Place::Redriving;
                    flagged += 1;
                }
            }
        }
        flagged
    }

    /// Removes; gives which.
    pub(super) fn discard(&mut self, which: &Which, successors: bool) -> BTreeSet<Number> {
        let chosen = self.matching(which, self.letters());
        let mut gone: BTreeSet<_> = chosen.iter().copied().collect();
        for head in chosen.iter().filter(|_| successors) {
            let Event { aggregate, place } = self.events[head];
            if place == Place::Parked {
                continue;
            }
            let behind = self
                .events
                .range(head + 1..)
                .filter(|(_, event)| event.aggregate == aggregate && event.place != Place::Outbox);
            gone.extend(
                behind.take_while(|(_, event)| event.place == Place::Parked).map(|(at, _)| *at),
            );
        }
        self.events.retain(|number, _| !gone.contains(number));
        gone
    }
}
