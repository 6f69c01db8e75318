//! Services that change aggregates and say so.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use relaybox_core::{Envelope, EventId, Outbox, OutboxWriter, memory::MemoryStore};

use super::{
    event::{Happened, KINDS, is_poison},
    weather::Chance,
};

/// What was committed and what was not: what the checks go by.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
pub(super) struct Entries {
    /// By aggregate, in the order of the commits.
    pub(super) committed: HashMap<Aggregate, Vec<EventId>>,
    pub(super) poison: HashSet<EventId>,
    pub(super) rolled_back: HashSet<EventId>,
    /// Aggregates whose row lock a transaction holds.
    locked: HashSet<Aggregate>,
    written: usize,
}

pub(super) type Aggregate = (String, String);

pub(super) fn aggregate(envelope: &Envelope) -> Aggregate {
    (envelope.aggregate_type.to_string(), envelope.aggregate_id.to_string())
}

impl Ledger {
    pub(super) fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().expect("no panic while it is held")
    }
}

/// Commits, rolls back and crashes, one transaction after the other.
pub(super) struct Writer {
    pub(super) store: MemoryStore,
    pub(super) ledger: Ledger,
    pub(super) chance: Chance,
    pub(super) aggregates: usize,
    pub(super) transactions: usize,
    pub(super) poison: u32,
}

impl Writer {
    pub(super) async fn run(self) {
        let outbox = Outbox::new(self.store.clone());
        for _ in 0..self.transactions {
            tokio::time::sleep(self.chance.millis(150)).await;
            let locked = self.lock_aggregates();
            let mut tx = self.store.begin();
            let mut written = Vec::new();
            for _ in 0..1 + self.chance.below(3) {
                if locked.is_empty() {
                    break;
                }
                let (kind, id) = &locked[self.chance.below(locked.len())];
                let kind = KINDS.iter().position(|known| known == kind).expect("one of them");
                let n = {
                    let mut ledger = self.ledger.lock();
                    ledger.written += 1;
                    ledger.written
                };
                let happened =
                    Happened::new(kind, id.clone(), n, self.chance.permille(self.poison));
                written.push(outbox.envelope(&happened).expect("it is encoded as JSON"));
                if self.chance.permille(300) {
                    tokio::time::sleep(self.chance.millis(30)).await;
                }
                let last = &written[written.len() - 1..];
                OutboxWriter::write(&self.store, &mut tx, last).await.expect("in memory");
            }
            // Some stay open for long.
            let most = if self.chance.permille(60) { 3_000 } else { 40 };
            tokio::time::sleep(self.chance.millis(most)).await;
            let mut ledger = self.ledger.lock();
            if self.chance.permille(200) {
                drop(tx);
                ledger.rolled_back.extend(written.iter().map(|envelope| envelope.event_id));
            } else {
                tx.commit();
                for envelope in &written {
                    if is_poison(envelope) {
                        ledger.poison.insert(envelope.event_id);
                    }
                    let of = aggregate(envelope);
                    ledger.committed.entry(of).or_default().push(envelope.event_id);
                }
            }
            for aggregate in &locked {
                ledger.locked.remove(aggregate);
            }
        }
    }

    /// Takes the row locks of one or two aggregates, as far as they are free.
    fn lock_aggregates(&self) -> Vec<Aggregate> {
        let mut locked = Vec::new();
        let mut ledger = self.ledger.lock();
        for _ in 0..1 + self.chance.below(2) {
            let kind = KINDS[self.chance.below(KINDS.len())].to_owned();
            let aggregate = (kind, format!("a{}", self.chance.below(self.aggregates)));
            if ledger.locked.insert(aggregate.clone()) {
                locked.push(aggregate);
            }
        }
        locked
    }
}
