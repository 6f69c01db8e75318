//! The outbox's units of work, for tests on a server that has no transactions for them.

use mongodb::bson::Document;
use relaybox_core::{
    DeadLetterQuery, Lease, OutboxStats, Result, Settled, Settlement, StoredSchema, Successors,
};

pub(crate) use super::reader::Page;
use super::{MongoOutbox, dead_letters, lease, schemas, settle, stats};
use crate::{error, unit::Unit};

pub(crate) fn held(lease: &Lease) -> Document {
    lease::held(lease)
}

pub(crate) async fn has_collections(outbox: &MongoOutbox) -> Result<()> {
    stats::has_collections(outbox).await
}

pub(crate) async fn measure(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<OutboxStats> {
    stats::measure(outbox, unit, now).await
}

pub(crate) async fn apply(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<Settled> {
    settle::apply(outbox, unit, lease, settlement).await
}

pub(crate) async fn redrive(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    query: &DeadLetterQuery,
) -> Result<u64> {
    let Some(filter) = dead_letters::matching(outbox, query, "redrive").await? else {
        return Ok(0);
    };
    let page = query.limit.unwrap_or(1000) as usize;
    let paged = dead_letters::redrive_page(outbox, unit, filter, page).await;
    Ok(paged.map_err(error::database("redrive"))?.changed)
}

pub(crate) async fn discard(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    query: &DeadLetterQuery,
    successors: Successors,
) -> Result<u64> {
    let Some(filter) = dead_letters::matching(outbox, query, "discard").await? else {
        return Ok(0);
    };
    let page = query.limit.unwrap_or(1000) as usize;
    let paged = dead_letters::discard_page(outbox, unit, filter, successors, page).await;
    Ok(paged.map_err(error::database("discard"))?.changed)
}

pub(crate) async fn put(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    schemas: &[StoredSchema],
) -> Result<()> {
    schemas::put(outbox, unit, schemas).await.map_err(error::database("put"))
}
