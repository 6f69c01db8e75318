//! What must be so before a reader works, and how it stands.

use relaybox_core::{Error, ErrorKind, OutboxStats, RelayId, Result};

use sqlx::PgConnection;

use super::PgOutbox;
use crate::{error, lease, time::span};

const CHECK: &str = "check that the outbox can be read";
const STATS: &str = "measure the outbox";

/// Checks that this is no standby, that the tables exist, and that positions are given in order.
pub(super) async fn is_readable(outbox: &PgOutbox, connection: &mut PgConnection) -> Result<()> {
    let (standby, missing, refused): (bool, Vec<String>, bool) =
        sqlx::query_as(outbox.sql.check.clone())
            .bind(outbox.archives)
            .fetch_one(&mut *connection)
            .await
            .map_err(error::database(CHECK))?;
    if standby {
        // It may be promoted, or the name may point to the primary soon: a switchover ends no relay.
        return Err(Error::new(ErrorKind::Unavailable, CHECK).detail(
            "the database is a standby (pg_is_in_recovery() is true); connect the relay to the \
             primary",
        ));
    }
    if !missing.is_empty() {
        return Err(Error::new(ErrorKind::Schema, CHECK).detail(format!(
            "missing: {}; run the migrations (PgMigrator), and check the search path",
            missing.join(", ")
        )));
    }
    if refused {
        // Or it would publish what it can't settle.
        return Err(Error::new(ErrorKind::Authentication, CHECK)
            .detail("the relay archives what it published, and its role may not INSERT there"));
    }
    let identity: Option<(i64, i64, bool)> = sqlx::query_as(outbox.sql.check_identity.clone())
        .fetch_optional(&mut *connection)
        .await
        .map_err(error::database(CHECK))?;
    match identity {
        Some((1, 1, false)) => Ok(()),
        Some((increment, cache, cycle)) => {
            Err(Error::new(ErrorKind::Schema, CHECK).detail(format!(
                "the identity of the outbox has INCREMENT {increment}, CACHE {cache}, {}; with \
                 anything but INCREMENT 1, CACHE 1, NO CYCLE events of an aggregate could change \
                 places",
                if cycle { "CYCLE" } else { "NO CYCLE" }
            )))
        }
        None => Err(Error::new(ErrorKind::Schema, CHECK)
            .detail("the column seq of the outbox is no identity column")),
    }
}

pub(super) async fn stats(outbox: &PgOutbox) -> Result<OutboxStats> {
    type Row =
        (i64, Option<i64>, i64, i64, i64, Option<String>, Option<chrono::DateTime<chrono::Utc>>);
    let row: Option<Row> = sqlx::query_as(outbox.sql.stats.clone())
        .fetch_optional(&outbox.pool)
        .await
        .map_err(error::database(STATS))?;
    let (backlog, oldest, dead, parked, redriving, owner, until) =
        row.ok_or_else(|| lease::no_row(STATS))?;
    let mut stats = OutboxStats::default();
    stats.backlog = backlog.unsigned_abs();
    stats.oldest_age = oldest.map(span);
    stats.dead_letters = dead.unsigned_abs();
    stats.parked = parked.unsigned_abs();
    stats.redriving = redriving.unsigned_abs();
    stats.holder = owner.map(RelayId::from_stored).zip(until);
    Ok(stats)
}
