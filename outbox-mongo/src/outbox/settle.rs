//! Settling: in a transaction that holds the lease's document, all or nothing.
//!
//! The last statement writes to the lease, so a takeover waits for the end of the transaction, or has won
//! before it: then the write conflicts, the whole is tried again, and finds the other epoch. The last and not
//! the first, for a relay that is killed in the middle of a settlement leaves its transaction behind, which the
//! server ends only after its `transactionLifetimeLimitSeconds`: until then nobody could take the lease.

use std::collections::{BTreeSet, HashMap};

use mongodb::{
    bson::{Bson, Document, doc},
    error::Result as DriverResult,
};
use relaybox_core::{
    EventId, EventRef, GivenUp, Lease, Origin, Published, Result, Settled, Settlement,
};

use super::{MongoOutbox, lease, letters};
use crate::{
    CollectionName, document, error, position,
    unit::{Unit, Wanted, one_of},
};

const SETTLE: &str = "settle events";

/// How many whole events are in memory at once.
const CHUNK: usize = 50;

pub(super) async fn settle(
    outbox: &MongoOutbox,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<Settled> {
    outbox
        .transactions
        .run(|mut tx| async move {
            let mut unit = tx.unit(&outbox.database);
            let settled = apply(outbox, &mut unit, lease, settlement).await;
            let settled = tx.watch(settled)?;
            Ok((tx, settled))
        })
        .await
}

/// Makes the changes, in the transaction of `unit`.
pub(super) async fn apply(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<Settled> {
    let failed = error::database(SETTLE);
    let relay = &outbox.names.outbox_relay;
    let held = unit.find_one(relay, lease::held(lease), Wanted::fields(&["_id"])).await;
    if held.map_err(&failed)?.is_none() {
        return Err(error::lease_lost(SETTLE, lease));
    }
    if !(settlement.parked.is_empty() && settlement.dead.is_empty()) {
        letters::lock(outbox, unit).await.map_err(&failed)?;
    }
    let published = published(outbox, unit, &settlement.published).await.map_err(&failed)?;
    // Before what is parked: that waits behind them.
    let dead = give_up(outbox, unit, &settlement.dead).await.map_err(&failed)?;
    let parked = park(outbox, unit, &settlement.parked).await.map_err(&failed)?;
    let touch = doc! { "$inc": { "settlements": 1_i64 } };
    let held = unit.update(relay, lease::held(lease), touch).await.map_err(&failed)?;
    if held.matched_count == 0 {
        return Err(error::lease_lost(SETTLE, lease));
    }
    Ok(Settled::new(published, parked, dead))
}

async fn published(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    events: &[Published],
) -> DriverResult<u64> {
    let mut removed = 0;
    for origin in [Origin::Outbox, Origin::DeadLetter] {
        let from = collection(outbox, origin);
        let of_origin: Vec<_> =
            events.iter().filter(|published| published.event.origin == origin).collect();
        if outbox.archives {
            archive(outbox, unit, from, &of_origin).await?;
        }
        let ids = of_origin.iter().map(|published| published.event.event_id);
        removed += delete(unit, from, ids).await?;
    }
    Ok(removed)
}

/// Copies events to the archive, with where they went.
async fn archive(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    from: &CollectionName,
    events: &[&Published],
) -> DriverResult<()> {
    let went: HashMap<_, _> =
        events.iter().map(|published| (published.event.event_id, *published)).collect();
    let ids: Vec<_> = went.keys().copied().collect();
    for chunk in ids.chunks(CHUNK) {
        let found = unit.find(from, named(chunk), Wanted::default()).await?;
        let archived = found.into_iter().filter_map(|mut event| {
            let id = event.remove("_id")?;
            let Published { topic, receipt, .. } = went.get(&document::event_id(Some(&id))?)?;
            // A log: should an event be published twice (from a backup, say), it is here twice. So its
            // id is a field, and the driver makes one for the entry.
            event.insert("event_id", id);
            event.insert("published_at", position::NOW);
            event.insert("topic", topic.as_str());
            event.insert("record_partition", receipt.partition);
            event.insert("record_offset", receipt.offset);
            Some(event)
        });
        unit.insert(&outbox.names.outbox_archive, archived.collect()).await?;
    }
    Ok(())
}

async fn give_up(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    events: &[GivenUp],
) -> DriverResult<u64> {
    let mut dead = 0;
    for chunk in events.chunks(CHUNK) {
        let why: HashMap<_, _> = chunk.iter().map(|dead| (dead.event.event_id, dead)).collect();
        let refs: Vec<_> = chunk.iter().map(|dead| dead.event).collect();
        let moved = take_out(outbox, unit, &of_origin(&refs, Origin::Outbox)).await?;
        dead += moved.len() as u64;
        for letter in &moved {
            letters::hold_back(outbox, unit, letter).await?;
        }
        let moved = moved.into_iter().filter_map(|event| {
            let given_up = why.get(&document::event_id(event.get("_id"))?)?;
            let mut letter = letter(event, "dead", false);
            letter.insert("error_kind", given_up.kind.as_str());
            letter.insert("reason", given_up.reason.as_str());
            letter.insert("attempts", i64::from(given_up.attempts));
            Some(letter)
        });
        put_in(outbox, unit, moved.collect()).await?;
        let again = chunk.iter().filter(|dead| dead.event.origin == Origin::DeadLetter);
        for given_up in again {
            dead += give_up_again(outbox, unit, given_up).await?;
        }
    }
    Ok(dead)
}

/// A dead letter that was redriven and failed again.
async fn give_up_again(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    given_up: &GivenUp,
) -> DriverResult<u64> {
    let letters = &outbox.names.outbox_dead_letters;
    let id = doc! { "_id": document::id(given_up.event.event_id) };
    let fields = Wanted::fields(&["aggregate", document::POSITION]);
    let Some(letter) = unit.find_one(letters, id.clone(), fields).await? else { return Ok(0) };
    let update = doc! {
        "$set": {
            "state": "dead",
            "redrive": false,
            "ready": false,
            "error_kind": given_up.kind.as_str(),
            "reason": given_up.reason.as_str(),
        },
        "$unset": { "redrive_requested_at": "" },
        "$inc": { "attempts": i64::from(given_up.attempts) },
        "$currentDate": { "failed_at": { "$type": "timestamp" } },
    };
    let found = unit.update(letters, id, update).await?.matched_count;
    letters::hold_back(outbox, unit, &letter).await?;
    Ok(found)
}

async fn park(outbox: &MongoOutbox, unit: &mut Unit<'_>, events: &[EventRef]) -> DriverResult<u64> {
    let mut parked = 0;
    for chunk in of_origin(events, Origin::Outbox).chunks(CHUNK) {
        let moved = take_out(outbox, unit, chunk).await?;
        parked += moved.len() as u64;
        let first_dead = first_dead(outbox, unit, &moved).await?;
        let moved = moved.into_iter().map(|event| {
            let ready = letters::is_ready(&event, &first_dead);
            letter(event, "parked", ready)
        });
        put_in(outbox, unit, moved.collect()).await?;
    }
    for chunk in of_origin(events, Origin::DeadLetter).chunks(CHUNK) {
        parked += park_again(outbox, unit, chunk).await?;
    }
    Ok(parked)
}

/// Dead letters that were redriven and are to wait again.
async fn park_again(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    ids: &[EventId],
) -> DriverResult<u64> {
    let letters = &outbox.names.outbox_dead_letters;
    let fields = Wanted::fields(&["aggregate", document::POSITION]);
    let found = unit.find(letters, named(ids), fields).await?;
    let update = |ready: bool| {
        let set = doc! { "state": "parked", "redrive": false, "ready": ready };
        doc! { "$set": set, "$unset": { "redrive_requested_at": "" } }
    };
    let parked = unit.update(letters, named(ids), update(true)).await?.matched_count;
    let first_dead = first_dead(outbox, unit, &found).await?;
    let held: Vec<_> = found
        .iter()
        .filter(|letter| !letters::is_ready(letter, &first_dead))
        .filter_map(|letter| document::event_id(letter.get("_id")))
        .collect();
    if !held.is_empty() {
        unit.update(letters, named(&held), update(false)).await?;
    }
    Ok(parked)
}

async fn first_dead(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    letters: &[Document],
) -> DriverResult<letters::FirstDead> {
    let aggregates: BTreeSet<_> = letters.iter().map(document::aggregate).collect();
    letters::first_dead(outbox, unit, &aggregates).await
}

/// Takes events out of the outbox, byte for byte.
async fn take_out(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    ids: &[EventId],
) -> DriverResult<Vec<Document>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let events = &outbox.names.outbox_events;
    let found = unit.find(events, named(ids), Wanted::default()).await?;
    delete(unit, events, ids.iter().copied()).await?;
    Ok(found)
}

/// Puts letters in, but for those that are there: a restored backup must not keep a settlement from going
/// through.
async fn put_in(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    mut documents: Vec<Document>,
) -> DriverResult<()> {
    if documents.is_empty() {
        return Ok(());
    }
    let letters = &outbox.names.outbox_dead_letters;
    let ids = documents.iter().filter_map(|letter| letter.get("_id").cloned());
    let there = unit.find(letters, one_of("_id", ids), Wanted::fields(&["_id"])).await?;
    documents.retain(|new| !there.iter().any(|old| old.get("_id") == new.get("_id")));
    unit.insert(letters, documents).await
}

/// An event as a letter. The server fills in the time.
fn letter(mut event: Document, state: &str, ready: bool) -> Document {
    event.insert("state", state);
    event.insert("redrive", false);
    event.insert("ready", ready);
    event.insert("attempts", 0_i64);
    event.insert("failed_at", position::NOW);
    event
}

async fn delete(
    unit: &mut Unit<'_>,
    from: &CollectionName,
    ids: impl Iterator<Item = EventId>,
) -> DriverResult<u64> {
    let ids: Vec<_> = ids.collect();
    if ids.is_empty() { Ok(0) } else { unit.delete(from, named(&ids)).await }
}

fn named(ids: &[EventId]) -> Document {
    one_of::<Bson>("_id", ids.iter().map(|id| document::id(*id)))
}

fn of_origin(events: &[EventRef], origin: Origin) -> Vec<EventId> {
    events.iter().filter(|event| event.origin == origin).map(|event| event.event_id).collect()
}

fn collection(outbox: &MongoOutbox, origin: Origin) -> &CollectionName {
    match origin {
        Origin::Outbox => &outbox.names.outbox_events,
        Origin::DeadLetter => &outbox.names.outbox_dead_letters,
    }
}
