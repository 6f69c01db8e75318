//! The archive: where published events went.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mongodb::bson::{Bson, Document, Timestamp, doc};
use relaybox_core::{
    AggregateId, AggregateType, ArchiveQuery, ArchiveStore, ArchivedEvent, Error, ErrorKind,
    EventRef, Origin, Published, Receipt, Result, TopicName,
};

use super::MongoOutbox;
use crate::{
    document::{self, ID, POSITION, TYPE},
    error, position, purge,
    unit::{Unit, Wanted},
};

const LIST: &str = "look into the archive";
const PURGE: &str = "purge the archive";
const PUBLISHED_AT: &str = "published_at";

#[async_trait]
impl ArchiveStore for MongoOutbox {
    async fn archived(&self, query: &ArchiveQuery) -> Result<Vec<ArchivedEvent>> {
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        let wanted = Wanted {
            sort: Some(doc! { PUBLISHED_AT: -1, POSITION: -1 }),
            limit: Some(query.limit as usize),
            ..Wanted::default()
        };
        let mut unit = Unit::alone(&self.database);
        let found = unit.find(&self.names.outbox_archive, filter(query), wanted).await;
        found.map_err(error::database(LIST))?.into_iter().map(decode).collect()
    }

    async fn purge_archive(&self, age: Duration, limit: u32) -> Result<u64> {
        let Some(bound) = purge::bound(&self.database, age, PURGE).await? else { return Ok(0) };
        purge::oldest(
            &self.database,
            &self.names.outbox_archive,
            doc! {},
            PUBLISHED_AT,
            bound,
            limit,
        )
        .await
        .map_err(error::commit(PURGE))
    }
}

fn filter(query: &ArchiveQuery) -> Document {
    let mut filter = doc! {};
    if !query.event_ids.is_empty() {
        let ids: Vec<_> = query.event_ids.iter().map(|id| document::id(*id)).collect();
        filter.insert("event_id", doc! { "$in": ids });
    }
    if let Some(kind) = query.aggregate_type.as_ref().map(AggregateType::as_str) {
        filter.insert(TYPE, kind);
    }
    if let Some(id) = query.aggregate_id.as_ref().map(AggregateId::as_str) {
        filter.insert(ID, id);
    }
    let mut published = doc! {};
    if let Some(from) = query.published_from {
        published.insert("$gte", second(from));
    }
    if let Some(before) = query.published_before {
        // The store knows whole seconds: what was published in that of the bound is not before it.
        published.insert("$lt", second(before));
    }
    if !published.is_empty() {
        filter.insert(PUBLISHED_AT, published);
    }
    filter
}

/// The first timestamp of a time's second.
fn second(at: DateTime<Utc>) -> Timestamp {
    let latest = if at.timestamp() < 0 { 0 } else { u32::MAX };
    Timestamp { time: u32::try_from(at.timestamp()).unwrap_or(latest), increment: 0 }
}

fn decode(mut entry: Document) -> Result<ArchivedEvent> {
    let malformed = |field: &str| {
        Error::new(ErrorKind::Schema, LIST)
            .detail(format!("the field {field} of an archived event is malformed"))
    };
    let time = |value: Option<&Bson>| match value {
        Some(Bson::Timestamp(at)) => position::time(*at),
        _ => DateTime::UNIX_EPOCH,
    };
    let event_id = document::event_id(entry.remove("event_id").as_ref());
    let event_id = event_id.ok_or_else(|| malformed("event_id"))?;
    let topic = entry.get_str("topic").ok().and_then(|topic| topic.parse::<TopicName>().ok());
    let mut receipt = Receipt::unnumbered();
    receipt.partition = entry.get_i32("record_partition").ok();
    receipt.offset = entry.get_i64("record_offset").ok();
    let (enqueued_at, published_at) = (time(entry.get(POSITION)), time(entry.get(PUBLISHED_AT)));
    let place = position::number_of(entry.get(POSITION));
    let event = EventRef::new(place, event_id, Origin::Outbox);
    let published = Published::new(event, topic.ok_or_else(|| malformed("topic"))?, receipt);
    let envelope = document::envelope(entry, event_id);
    Ok(ArchivedEvent::new(published, enqueued_at, published_at, envelope))
}
