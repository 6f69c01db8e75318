//! The archive beside the model's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use relaybox_core::{ArchiveQuery, ArchiveStore, EventId};

use super::checked::{done, same};

/// What is in it, with the time of its publication.
pub(super) async fn events(
    archive: &dyn ArchiveStore,
) -> Result<Vec<(EventId, DateTime<Utc>)>, String> {
    let found = archive.archived(&ArchiveQuery::latest()).await;
    let found = done("look into the archive", found)?;
    Ok(found.iter().map(|event| (event.event_id, event.published_at)).collect())
}

/// Purges, and gives which events that took: of those with the same time, it may be any.
pub(super) async fn purge(archive: &dyn ArchiveStore, limit: u32) -> Result<Vec<EventId>, String> {
    let before = events(archive).await?;
    let purged = done("purge", archive.purge_archive(Duration::ZERO, limit).await)?;
    same("purged", &purged, &(before.len().min(limit as usize) as u64))?;
    let kept = events(archive).await?;
    let gone: Vec<_> = before.into_iter().filter(|event| !kept.contains(event)).collect();
    same("gone from the archive", &(gone.len() as u64), &purged)?;
    let latest = gone.iter().map(|(_, at)| at).max();
    match kept.iter().find(|(_, at)| latest.is_some_and(|latest| at < latest)) {
        Some((_, older)) => Err(format!(
            "a purge takes the oldest\n      seen: one of {older} is kept, and one of {latest:?} gone"
        )),
        None => Ok(gone.into_iter().map(|(id, _)| id).collect()),
    }
}
