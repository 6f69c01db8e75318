//! The lease: one document, compared with the server's clock.
//!
//! Each change is one statement on one document, so no two relays can make it at once. `$$NOW` is the time
//! at which the server began the statement: one that waited for another is late, and so both finds a lease
//! less expired and gives a shorter one than it might.

use std::time::Duration;

use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
    options::ReturnDocument,
};
use relaybox_core::{Acquired, Error, ErrorKind, Lease, RelayId, Result};

use super::MongoOutbox;
use crate::{error, migrator::LEASE};

const ACQUIRE: &str = "take the relay's lease";
const RENEW: &str = "renew the relay's lease";
const RELEASE: &str = "release the relay's lease";
/// How often a lease may become free between trying to take it and asking whose it is.
const TRIES: usize = 5;
/// Longer leases would leave the range of dates.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

pub(super) async fn acquire(
    outbox: &MongoOutbox,
    relay: &RelayId,
    ttl: Duration,
) -> Result<Acquired> {
    for _ in 0..TRIES {
        let taken = collection(outbox)
            .find_one_and_update(
                doc! {
                    "_id": LEASE,
                    "$or": [{ "until": null }, { "$expr": { "$lte": ["$until", "$$NOW"] } }],
                },
                vec![doc! { "$set": {
                    "owner": literal(relay),
                    "epoch": { "$add": ["$epoch", 1_i64] },
                    "until": from_now(ttl),
                } }],
            )
            .return_document(ReturnDocument::After)
            .await
            .map_err(error::commit(ACQUIRE))?;
        if let Some(taken) = taken {
            let epoch = taken.get_i64("epoch").map_err(|_| no_lease(ACQUIRE))?;
            return Ok(Acquired::Held(Lease::new(relay.clone(), epoch)));
        }
        if let Some((holder, expires_in)) = holder(outbox).await? {
            return Ok(Acquired::Elsewhere { holder, expires_in });
        }
    }
    Err(Error::new(ErrorKind::Conflict, ACQUIRE)
        .detail("the lease changes hands faster than it is read"))
}

pub(super) async fn renew(outbox: &MongoOutbox, lease: &Lease, ttl: Duration) -> Result<()> {
    let renewed = collection(outbox)
        .update_one(held(lease), vec![doc! { "$set": { "until": from_now(ttl) } }])
        .await
        .map_err(error::commit(RENEW))?;
    found(renewed.matched_count, RENEW, lease)
}

pub(super) async fn release(outbox: &MongoOutbox, lease: &Lease) -> Result<()> {
    let freed = doc! { "$set": { "owner": null, "until": null } };
    let released =
        collection(outbox).update_one(held(lease), freed).await.map_err(error::commit(RELEASE))?;
    found(released.matched_count, RELEASE, lease)
}

/// The lease of this epoch, if it still is.
pub(super) fn held(lease: &Lease) -> Document {
    doc! { "_id": LEASE, "owner": lease.relay.as_str(), "epoch": lease.epoch }
}

/// What the lease's document is missing.
pub(super) fn no_lease(operation: &'static str) -> Error {
    Error::new(ErrorKind::Schema, operation)
        .detail("the lease's document is missing or malformed; run MongoMigrator")
}

/// Who holds the lease, and for how long; `None` when it is free by now.
async fn holder(outbox: &MongoOutbox) -> Result<Option<(RelayId, Duration)>> {
    use futures::TryStreamExt;
    use mongodb::options::ReadConcern;

    let project = doc! { "owner": 1, "left": { "$subtract": ["$until", "$$NOW"] } };
    let mut leases = collection(outbox)
        .aggregate(vec![doc! { "$match": { "_id": LEASE } }, doc! { "$project": project }])
        // The majority may not have it yet.
        .read_concern(ReadConcern::local())
        .await
        .map_err(error::database(ACQUIRE))?;
    let lease = leases.try_next().await.map_err(error::database(ACQUIRE))?;
    let lease = lease.ok_or_else(|| no_lease(ACQUIRE))?;
    let left = match lease.get("left") {
        Some(Bson::Int64(left)) => u64::try_from(*left).unwrap_or(0),
        _ => 0,
    };
    let owner = lease.get_str("owner").ok().filter(|_| left > 0);
    Ok(owner.map(|owner| (RelayId::from_stored(owner.to_owned()), Duration::from_millis(left))))
}

fn found(leases: u64, operation: &'static str, lease: &Lease) -> Result<()> {
    if leases == 0 { Err(error::lease_lost(operation, lease)) } else { Ok(()) }
}

fn from_now(ttl: Duration) -> Document {
    let millis = i64::try_from(ttl.min(LONGEST).as_millis()).expect("a thousand years fit");
    doc! { "$add": ["$$NOW", millis] }
}

/// A text that is no path to a field, whatever it begins with.
fn literal(relay: &RelayId) -> Document {
    doc! { "$literal": relay.as_str() }
}

fn collection(outbox: &MongoOutbox) -> Collection<Document> {
    outbox.database.collection(outbox.names.outbox_relay.as_str())
}
