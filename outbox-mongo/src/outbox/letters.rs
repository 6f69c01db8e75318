//! Which dead letters may go: the field `ready`, kept up with each change.
//!
//! A letter is ready unless there is a dead one that nobody flagged at its place or before it in its
//! aggregate. To find that out anew for each read would mean to look at every parked event of an outbox
//! each time, so whatever changes letters writes it down. Two changes at once could each miss the other
//! (their snapshots do not show it, and they touch different documents), so each begins by writing to one
//! document that all of them write to: the server lets one of them through.

use std::collections::{BTreeSet, HashMap};

use mongodb::{
    bson::{Bson, Document, Timestamp, doc},
    error::Result,
};

use super::MongoOutbox;
use crate::{
    document::{self, Aggregate, ID, POSITION, TYPE},
    migrator::LETTERS,
    unit::Unit,
};

/// How many aggregates one statement names.
const CHUNK: usize = 200;

/// For each aggregate, the place of the first dead letter that nobody flagged.
pub(super) type FirstDead = HashMap<Aggregate, Timestamp>;

/// Keeps all others from changing letters until the end of the transaction.
pub(super) async fn lock(outbox: &MongoOutbox, unit: &mut Unit<'_>) -> Result<()> {
    let changes = doc! { "$inc": { "changes": 1_i64 } };
    unit.update(&outbox.names.outbox_relay, doc! { "_id": LETTERS }, changes).await.map(drop)
}

/// A dead letter that nobody flagged.
pub(super) fn unflagged() -> Document {
    doc! { "state": "dead", "redrive": false }
}

/// Any of these aggregates.
pub(super) fn any_of<'a>(aggregates: impl IntoIterator<Item = &'a Aggregate>) -> Document {
    let mut ids: HashMap<&str, Vec<&str>> = HashMap::new();
    for (kind, id) in aggregates {
        ids.entry(kind).or_default().push(id);
    }
    let kinds: Vec<_> =
        ids.into_iter().map(|(kind, ids)| doc! { TYPE: kind, ID: { "$in": ids } }).collect();
    doc! { "$or": kinds }
}

/// Looks for the dead letters that hold these aggregates back.
pub(super) async fn first_dead(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    aggregates: &BTreeSet<Aggregate>,
) -> Result<FirstDead> {
    let mut found = FirstDead::new();
    let all: Vec<_> = aggregates.iter().collect();
    for chunk in all.chunks(CHUNK) {
        let mut of_chunk = any_of(chunk.iter().copied());
        of_chunk.extend(unflagged());
        let by_aggregate = doc! {
            "_id": { "type": "$aggregate.type", "id": "$aggregate.id" },
            "first": { "$min": "$position" },
        };
        let pipeline = vec![doc! { "$match": of_chunk }, doc! { "$group": by_aggregate }];
        for group in unit.aggregate(&outbox.names.outbox_dead_letters, pipeline).await? {
            let Ok(id) = group.get_document("_id") else { continue };
            let text = |field| id.get_str(field).unwrap_or_default().to_owned();
            if let Some(Bson::Timestamp(first)) = group.get("first") {
                found.insert((text("type"), text("id")), *first);
            }
        }
    }
    Ok(found)
}

/// Whether a letter at this place may go.
pub(super) fn is_ready(letter: &Document, first_dead: &FirstDead) -> bool {
    let Some(first) = first_dead.get(&document::aggregate(letter)) else { return true };
    match letter.get(POSITION) {
        Some(Bson::Timestamp(at)) => at < first,
        _ => false,
    }
}

/// Writes down which letters of these aggregates may go, now that some were flagged or discarded; gives
/// how many that did not may now.
pub(super) async fn refresh(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    aggregates: &BTreeSet<Aggregate>,
) -> Result<u64> {
    let mut freed = 0;
    let first_dead = first_dead(outbox, unit, aggregates).await?;
    let all: Vec<_> = aggregates.iter().collect();
    for chunk in all.chunks(CHUNK) {
        let before_it = chunk.iter().map(|aggregate| {
            let (kind, id) = aggregate;
            match first_dead.get(aggregate) {
                Some(first) => doc! { TYPE: kind, ID: id, POSITION: { "$lt": *first } },
                None => doc! { TYPE: kind, ID: id },
            }
        });
        let waiting = doc! { "ready": false, "$or": before_it.collect::<Vec<_>>() };
        let ready = doc! { "$set": { "ready": true } };
        let found = unit.update(&outbox.names.outbox_dead_letters, waiting, ready).await?;
        freed += found.modified_count;
    }
    Ok(freed)
}

/// Writes down that nothing from this place on may go: the letter there is dead.
pub(super) async fn hold_back(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    dead: &Document,
) -> Result<()> {
    let (kind, id) = document::aggregate(dead);
    let from = dead.get(POSITION).cloned().unwrap_or(Bson::Null);
    let behind = doc! { "ready": true, TYPE: kind, ID: id, POSITION: { "$gte": from } };
    let held = doc! { "$set": { "ready": false } };
    unit.update(&outbox.names.outbox_dead_letters, behind, held).await.map(drop)
}
