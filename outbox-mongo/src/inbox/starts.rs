//! Starts and attempts: one document a consumer and partition, whatever the partition's generation.
//!
//! Each note is one statement on it, and where two are needed to say which place is new, the second one holds
//! only as long as what the first one saw still is so.

use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
    options::ReturnDocument,
};
use relaybox_core::{ConsumerName, Error, ErrorKind, Offset, Partition, Result};

use super::MongoProcessedEvents;
use crate::error;

const STARTED: &str = "note a start";
const ATTEMPTED: &str = "note an attempt";
const SURVIVED: &str = "note that an attempt was survived";
const STOPPED: &str = "note an orderly stop";

/// How often somebody else may note another place in between.
const TRIES: usize = 50;

pub(super) async fn started(
    inbox: &MongoProcessedEvents,
    consumer: &ConsumerName,
    partition: &Partition,
    place: Offset,
) -> Result<u32> {
    let id = id(consumer, partition);
    let there = doc! { "_id": &id, "$or": [{ "place": place }, { "attempt_place": place }] };
    let elsewhere =
        doc! { "_id": id, "place": { "$ne": place }, "attempt_place": { "$ne": place } };
    count(inbox, STARTED, there, elsewhere, ("place", place), "starts").await
}

pub(super) async fn attempted(
    inbox: &MongoProcessedEvents,
    consumer: &ConsumerName,
    partition: &Partition,
    place: Offset,
) -> Result<u32> {
    let id = id(consumer, partition);
    let there = doc! { "_id": &id, "attempt_place": place };
    let elsewhere = doc! { "_id": id, "attempt_place": { "$ne": place } };
    count(inbox, ATTEMPTED, there, elsewhere, ("attempt_place", place), "attempts").await
}

pub(super) async fn survived(
    inbox: &MongoProcessedEvents,
    consumer: &ConsumerName,
    partition: &Partition,
    place: Offset,
) -> Result<()> {
    let there = doc! { "_id": id(consumer, partition), "attempt_place": place };
    collection(inbox)
        .update_one(there, doc! { "$set": { "attempts": 0_i64 } })
        .await
        .map_err(error::commit(SURVIVED))
        .map(drop)
}

pub(super) async fn stopped(
    inbox: &MongoProcessedEvents,
    consumer: &ConsumerName,
    partition: &Partition,
) -> Result<()> {
    collection(inbox)
        .delete_one(doc! { "_id": id(consumer, partition) })
        .await
        .map_err(error::commit(STOPPED))
        .map(drop)
}

/// Counts one more at a place, or the first at a new one; gives the count.
async fn count(
    inbox: &MongoProcessedEvents,
    operation: &'static str,
    there: Document,
    elsewhere: Document,
    (field, place): (&str, Offset),
    counter: &str,
) -> Result<u32> {
    let changed = doc! { "changed_at": { "$type": "timestamp" } };
    let again = doc! {
        "$inc": { counter: 1_i64 },
        "$set": { field: place },
        "$currentDate": changed.clone(),
    };
    let anew = doc! { "$set": { field: place, counter: 1_i64 }, "$currentDate": changed };
    for _ in 0..TRIES {
        for (filter, update, upsert) in [(&there, &again, false), (&elsewhere, &anew, true)] {
            let noted = collection(inbox)
                .find_one_and_update(filter.clone(), update.clone())
                .upsert(upsert)
                .return_document(ReturnDocument::After)
                .await;
            match noted {
                Ok(Some(noted)) => return Ok(number(noted.get(counter))),
                Ok(None) => {}
                // Somebody else noted this place meanwhile: look again.
                Err(error) if upsert && error::is_duplicate_key(&error) => {}
                Err(error) => return Err(error::commit(operation)(error)),
            }
        }
    }
    Err(Error::new(ErrorKind::Conflict, operation)
        .detail("others note other places of the partition again and again"))
}

fn number(count: Option<&Bson>) -> u32 {
    match count {
        Some(Bson::Int64(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
        Some(Bson::Int32(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
        _ => 1,
    }
}

fn id(consumer: &ConsumerName, partition: &Partition) -> Document {
    doc! {
        "consumer": consumer.as_str(),
        "topic": partition.topic.as_str(),
        "partition": partition.number,
    }
}

fn collection(inbox: &MongoProcessedEvents) -> Collection<Document> {
    inbox.database.collection(inbox.names.consumer_starts.as_str())
}
