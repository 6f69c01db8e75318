//! The attacks that lost or inverted events of other designs, on a real Postgres: whatever is committed
//! is given, in order or late; nothing that was rolled back is; and nobody else is held back.
//!
//! The business rows are the measure: a thing that was changed n times has n events, numbered in the
//! order of their commits. The readers and the relays here share nothing with the writers but the
//! database.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commits;
mod crashes;
mod pages;
mod prepared;
mod random;
mod ranges;
mod reading;
mod restored;
mod sequence;
mod standby;
mod strangers;
mod tables;

use relaybox_tests::{Database, server};
use sqlx::{AssertSqlSafe, PgConnection};

pub(crate) use self::reading::{Reading, Relaying};

/// A database of one's own on the shared server, or a skip.
async fn database() -> Option<Database> {
    Some(database_on(&server("RELAYBOX_POSTGRES_URL")?).await)
}

/// A database of one's own, in which SQL can change things as a service would.
async fn database_on(url: &str) -> Database {
    let database = Database::create(url).await;
    sqlx::raw_sql(RAISE).execute(&database.pool).await.unwrap();
    database
}

/// Runs statements.
async fn execute(connection: &mut PgConnection, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.unwrap();
}

/// Changes a thing and says so: `raise(thing)`, with a position of the caller's choice, and into a table
/// of the caller's choice.
const RAISE: &str = "
CREATE FUNCTION raise(thing text, at bigint DEFAULT NULL, target text DEFAULT 'outbox_events')
RETURNS void LANGUAGE plpgsql AS $$
DECLARE number bigint;
BEGIN
    INSERT INTO things VALUES (thing, 1)
        ON CONFLICT (id) DO UPDATE SET n = things.n + 1 RETURNING n INTO number;
    EXECUTE format(
        'INSERT INTO %I (%s event_id, aggregate_type, aggregate_id, event_name, event_version,
             occurred_at, content_type, source, payload) %s
         VALUES (%s gen_random_uuid(), ''thing'', $1, ''thing.changed'', 1, clock_timestamp(),
             ''application/json'', ''test'',
             convert_to(json_build_object(''id'', $1, ''n'', $2)::text, ''UTF8''))',
        target,
        CASE WHEN at IS NOT NULL THEN 'seq,' END,
        CASE WHEN at IS NOT NULL THEN 'OVERRIDING SYSTEM VALUE' END,
        CASE WHEN at IS NOT NULL THEN at || ',' END)
    USING thing, number;
END $$;
";
