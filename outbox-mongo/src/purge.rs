//! Removing what is old, the oldest first.

use std::time::Duration;

use chrono::TimeDelta;
use mongodb::{
    Database,
    bson::{Document, Timestamp, doc},
};
use relaybox_core::Result;

use crate::{
    CollectionName, deployment, position,
    unit::{Unit, Wanted, one_of},
};

/// How many documents one statement deletes.
const CHUNK: usize = 10_000;

/// The last server's time that is at least so old; `None` when none is.
///
/// Timestamps count seconds, so what is a little older than asked for may stay for one more.
pub(crate) async fn bound(
    database: &Database,
    age: Duration,
    operation: &'static str,
) -> Result<Option<Timestamp>> {
    let Ok(age) = TimeDelta::from_std(age) else { return Ok(None) };
    let now = deployment::now(database, operation).await?;
    Ok(now.checked_sub_signed(age).and_then(position::before))
}

/// Removes at most `limit` of what matches, and has a time up to `bound` in `field`; gives how many.
pub(crate) async fn oldest(
    database: &Database,
    from: &CollectionName,
    mut filter: Document,
    field: &str,
    bound: Timestamp,
    limit: u32,
) -> mongodb::error::Result<u64> {
    let mut unit = Unit::alone(database);
    filter.insert(field, doc! { "$lte": bound });
    let mut removed = 0;
    let mut left = limit as usize;
    while left > 0 {
        let page = left.min(CHUNK);
        let wanted =
            Wanted { sort: Some(doc! { field: 1 }), limit: Some(page), ..Wanted::fields(&["_id"]) };
        let found = unit.find(from, filter.clone(), wanted).await?;
        let ids: Vec<_> = found.into_iter().filter_map(|mut old| old.remove("_id")).collect();
        let full = ids.len() == page;
        if !ids.is_empty() {
            // The age is asked again: the document may have been replaced in the meantime.
            let mut old = one_of("_id", ids);
            old.insert(field, doc! { "$lte": bound });
            removed += unit.delete(from, old).await?;
        }
        left = if full { left - page } else { 0 };
    }
    Ok(removed)
}
