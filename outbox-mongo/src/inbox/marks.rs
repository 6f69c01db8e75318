//! Marks: one document each, with the consumer and the event for an id.
//!
//! Those that are there are found in the transaction's snapshot, the rest is inserted. Two transactions that
//! insert the same one conflict, whether the other one is open or was committed after this one's snapshot was
//! taken; the server says so by a write conflict, or by a duplicate key. Neither says that the other one will
//! commit, or that its effect was had: both mean to look again, with a new snapshot.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use mongodb::bson::{Bson, Document, doc};
use relaybox_core::{ConsumerName, ErrorKind, EventId, Mark, Result, RetryPolicy};
use tokio::time::Instant;

use super::MongoProcessedEvents;
use crate::{
    MongoTx, document, error, position,
    unit::{Unit, Wanted, one_of},
};

const MARK: &str = "mark events as handled";
const LOOK: &str = "look up marks";
pub(super) const PROCESSED_AT: &str = "processed_at";

/// How many ids one statement names.
const CHUNK: usize = 10_000;

pub(super) async fn mark(
    inbox: &MongoProcessedEvents,
    tx: &mut MongoTx,
    consumer: &ConsumerName,
    events: &[EventId],
) -> Result<Vec<Mark>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let backoff =
        RetryPolicy::default().base(Duration::from_millis(4)).cap(Duration::from_millis(100));
    let mut failures = 0;
    loop {
        // With nothing done in it before, it can begin anew by itself.
        let fresh = tx.is_fresh();
        let marked = insert(inbox, &mut tx.unit(&inbox.database), consumer, events).await;
        let waits = fresh && Instant::now() < tx.deadline();
        match marked {
            Err(error) if error.kind() == ErrorKind::Conflict && waits => {
                failures += 1;
                tx.begin_anew().await?;
                tokio::time::sleep(backoff.delay(failures, fastrand::f64())).await;
            }
            marked => return tx.watch(marked),
        }
    }
}

/// Finds the marks that are there, and inserts the rest, in the transaction of `unit`.
pub(super) async fn insert(
    inbox: &MongoProcessedEvents,
    unit: &mut Unit<'_>,
    consumer: &ConsumerName,
    events: &[EventId],
) -> Result<Vec<Mark>> {
    // In one order, so that of two transactions with the same events one gets on.
    let wanted: BTreeSet<_> = events.iter().copied().collect();
    let wanted: Vec<_> = wanted.into_iter().collect();
    let there = found(inbox, unit, consumer, &wanted).await.map_err(error::database(MARK))?;
    let new: Vec<_> = wanted.into_iter().filter(|event| !there.contains(event)).collect();
    let marks = new.iter().map(|event| {
        doc! { "_id": id(consumer, *event), PROCESSED_AT: position::NOW }
    });
    unit.insert(&inbox.names.processed_events, marks.collect()).await.map_err(error::race(MARK))?;
    let mut new: HashSet<_> = new.into_iter().collect();
    let mark = |event: &EventId| if new.remove(event) { Mark::First } else { Mark::Repeat };
    Ok(events.iter().map(mark).collect())
}

pub(super) async fn known(
    inbox: &MongoProcessedEvents,
    consumer: &ConsumerName,
    events: &[EventId],
) -> Result<Vec<Mark>> {
    let mut unit = Unit::alone(&inbox.database);
    let known = found(inbox, &mut unit, consumer, events).await.map_err(error::database(LOOK))?;
    let mark = |event| if known.contains(event) { Mark::Repeat } else { Mark::First };
    Ok(events.iter().map(mark).collect())
}

/// Which of the events are marked.
async fn found(
    inbox: &MongoProcessedEvents,
    unit: &mut Unit<'_>,
    consumer: &ConsumerName,
    events: &[EventId],
) -> mongodb::error::Result<HashSet<EventId>> {
    let mut found = HashSet::new();
    for chunk in events.chunks(CHUNK) {
        let ids = one_of::<Bson>("_id", chunk.iter().map(|event| id(consumer, *event).into()));
        let wanted = Wanted { batch: u32::try_from(chunk.len()).ok(), ..Wanted::fields(&["_id"]) };
        for mark in unit.find(&inbox.names.processed_events, ids, wanted).await? {
            let event = mark.get_document("_id").ok().and_then(|id| id.get("event"));
            found.extend(document::event_id(event));
        }
    }
    Ok(found)
}

/// The order of the fields counts: another order is another id.
fn id(consumer: &ConsumerName, event: EventId) -> Document {
    doc! { "consumer": consumer.as_str(), "event": document::id(event) }
}
