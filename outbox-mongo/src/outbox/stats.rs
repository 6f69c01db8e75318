//! What must be so before a reader works, and how it stands.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mongodb::{
    ClientSession,
    bson::{Bson, Document, doc},
};
use relaybox_core::{Error, ErrorKind, OutboxStats, RelayId, Result};

use super::{MongoOutbox, lease};
use crate::{
    CollectionName, deployment, document, error,
    migrator::{BY_AGGREGATE, BY_POSITION, BY_STATE, LEASE, READY, SCHEMA, is_known},
    position,
    unit::{Unit, Wanted},
};

const CHECK: &str = "check that the outbox can be read";
const STATS: &str = "measure the outbox";

/// Checks that the server has transactions, and that the collections and their indexes are there.
pub(super) async fn is_readable(outbox: &MongoOutbox) -> Result<()> {
    deployment::check(&outbox.database, CHECK).await?;
    has_collections(outbox).await
}

pub(super) async fn has_collections(outbox: &MongoOutbox) -> Result<()> {
    let names = &outbox.names;
    let mut unit = Unit::alone(&outbox.database);
    let wanted = doc! { "_id": { "$in": [LEASE, SCHEMA] } };
    let notes = unit.find(&names.outbox_relay, wanted, Wanted::default()).await;
    let notes = notes.map_err(error::database(CHECK))?;
    let note = |id| notes.iter().find(|note| note.get_str("_id").is_ok_and(|found| found == id));
    is_known(note(SCHEMA), CHECK)?;
    note(LEASE).ok_or_else(|| lease::no_lease(CHECK))?;
    has_indexes(outbox, &names.outbox_events, &[BY_POSITION]).await?;
    has_indexes(outbox, &names.outbox_dead_letters, &[BY_AGGREGATE, READY, BY_STATE]).await
}

async fn has_indexes(outbox: &MongoOutbox, of: &CollectionName, wanted: &[&str]) -> Result<()> {
    let collection = outbox.database.collection::<Document>(of.as_str());
    let there = collection.list_index_names().await.map_err(error::database(CHECK))?;
    match wanted.iter().find(|wanted| !there.iter().any(|there| there == *wanted)) {
        None => Ok(()),
        Some(missing) => Err(Error::new(ErrorKind::Schema, CHECK)
            .detail(format!("{of} lacks the index {missing}; run MongoMigrator"))),
    }
}

pub(super) async fn stats(outbox: &MongoOutbox) -> Result<OutboxStats> {
    let now = deployment::now(&outbox.database, STATS).await?;
    let mut session = snapshot(outbox, STATS).await?;
    measure(outbox, &mut Unit::in_snapshot(&outbox.snapshots, &mut session), now).await
}

/// A session whose reads all see one moment: that of the first one. For `outbox.snapshots`.
pub(super) async fn snapshot(
    outbox: &MongoOutbox,
    operation: &'static str,
) -> Result<ClientSession> {
    let session = outbox.database.client().start_session().snapshot(true).await;
    session.map_err(error::database(operation))
}

pub(super) async fn measure(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    now: DateTime<Utc>,
) -> Result<OutboxStats> {
    let names = &outbox.names;
    let failed = error::database(STATS);
    let letters = |state: &str| doc! { "state": state };

    let mut stats = OutboxStats::default();
    let all = unit.count(&names.outbox_events, doc! {}, BY_POSITION).await;
    stats.backlog = all.map_err(&failed)?;
    let dead = unit.count(&names.outbox_dead_letters, letters("dead"), BY_STATE).await;
    stats.dead_letters = dead.map_err(&failed)?;
    let parked = unit.count(&names.outbox_dead_letters, letters("parked"), BY_STATE).await;
    stats.parked = parked.map_err(&failed)?;
    let ready = unit.count(&names.outbox_dead_letters, doc! { "ready": true }, READY).await;
    stats.redriving = ready.map_err(&failed)?;

    let lowest = Wanted {
        sort: Some(doc! { document::POSITION: 1 }),
        hint: Some(BY_POSITION),
        ..Wanted::fields(&[document::POSITION])
    };
    let lowest = unit.find_one(&names.outbox_events, doc! {}, lowest).await.map_err(&failed)?;
    stats.oldest_age = lowest.map(|event| match event.get(document::POSITION) {
        Some(Bson::Timestamp(at)) => (now - position::time(*at)).to_std().unwrap_or_default(),
        _ => Duration::ZERO,
    });

    let lease = unit.find_one(&names.outbox_relay, doc! { "_id": LEASE }, Wanted::default()).await;
    let lease = lease.map_err(&failed)?.ok_or_else(|| lease::no_lease(STATS))?;
    let until = lease.get_datetime("until").ok().and_then(|until| deployment::time(*until));
    let until = until.filter(|until| *until > now);
    let owner = lease.get_str("owner").ok().map(|owner| RelayId::from_stored(owner.to_owned()));
    stats.holder = owner.zip(until);
    Ok(stats)
}
