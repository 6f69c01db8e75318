//! What the consumers gave up on: not processed, but not to be tried again at this place.

use mongodb::{
    Collection,
    bson::{Document, doc},
};
use relaybox_core::{
    ConsumerName, Error, ErrorKind, Failure, GiveUp, GivenUpAt, Offset, Partition, Result,
};

use super::MongoProcessedEvents;
use crate::{
    error,
    unit::{Unit, Wanted},
};

const LOOK: &str = "look up what was given up on";
const GIVE_UP: &str = "record what was given up on";
pub(super) const DECIDED_AT: &str = "decided_at";
const DEAD_LETTERED: &str = "dead_lettered";
/// How often somebody else may write the same note in between.
const TRIES: usize = 10;

pub(super) async fn given_up(
    inbox: &MongoProcessedEvents,
    consumer: &ConsumerName,
    partition: &Partition,
    from: Offset,
) -> Result<Vec<GivenUpAt>> {
    let filter = doc! {
        "_id.consumer": consumer.as_str(),
        "_id.topic": partition.topic.as_str(),
        "_id.partition": partition.number,
        "_id.offset": { "$gte": from },
    };
    let notes = Unit::alone(&inbox.database)
        .find(&inbox.names.given_up_events, filter, Wanted::fields(&["fingerprint", "progress"]))
        .await
        .map_err(error::database(LOOK))?;
    notes.iter().map(decode).collect()
}

pub(super) async fn give_up(
    inbox: &MongoProcessedEvents,
    partition: &Partition,
    at: GivenUpAt,
    failure: &Failure,
) -> Result<()> {
    let notes: Collection<Document> =
        inbox.database.collection(inbox.names.given_up_events.as_str());
    let id = doc! {
        "consumer": failure.consumer.as_str(),
        "topic": partition.topic.as_str(),
        "partition": partition.number,
        "offset": at.offset,
    };
    let progress = match at.progress {
        GiveUp::Decided => "decided",
        GiveUp::DeadLettered => DEAD_LETTERED,
    };
    let same = doc! { "_id": &id, "fingerprint": at.fingerprint };
    let another = doc! { "_id": id, "fingerprint": { "$ne": at.fingerprint } };
    let all = doc! {
        "$set": {
            "fingerprint": at.fingerprint,
            "progress": progress,
            "error_kind": failure.kind.as_str(),
            "reason": &failure.reason,
            "attempts": i64::from(failure.attempts),
        },
        "$currentDate": { DECIDED_AT: { "$type": "timestamp" } },
    };
    for _ in 0..TRIES {
        // The same record again changes its progress alone; another one replaces all.
        let changed = notes
            .update_one(same.clone(), doc! { "$set": { "progress": progress } })
            .await
            .map_err(error::commit(GIVE_UP))?;
        if changed.matched_count > 0 {
            return Ok(());
        }
        match notes.update_one(another.clone(), all.clone()).upsert(true).await {
            Ok(_) => return Ok(()),
            // Somebody else wrote this note meanwhile.
            Err(error) if error::is_duplicate_key(&error) => {}
            Err(error) => return Err(error::commit(GIVE_UP)(error)),
        }
    }
    Err(Error::new(ErrorKind::Conflict, GIVE_UP).detail("others write the same note at once"))
}

fn decode(note: &Document) -> Result<GivenUpAt> {
    let read = || {
        let offset = note.get_document("_id").ok()?.get_i64("offset").ok()?;
        let progress = match note.get_str("progress").ok()? {
            DEAD_LETTERED => GiveUp::DeadLettered,
            _ => GiveUp::Decided,
        };
        Some(GivenUpAt::new(offset, note.get_i64("fingerprint").ok()?, progress))
    };
    read().ok_or_else(|| {
        Error::new(ErrorKind::Schema, LOOK).detail("a note of what was given up on is malformed")
    })
}
