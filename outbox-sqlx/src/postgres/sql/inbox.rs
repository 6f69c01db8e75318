//! The statements of the inbox.

use sqlx::SqlStr;

use super::render;
use crate::Tables;

const MARK: &str = "INSERT INTO {processed_events} (consumer, event_id) \
     SELECT $1, event_id FROM unnest($2::uuid[]) AS event_id \
     ON CONFLICT DO NOTHING RETURNING event_id";

const KNOWN: &str = "SELECT event_id FROM {processed_events} \
     WHERE consumer = $1 AND event_id = ANY($2::uuid[])";

const GIVEN_UP: &str = "SELECT record_offset, fingerprint, progress FROM {given_up_events} \
     WHERE consumer = $1 AND topic = $2 AND partition = $3 AND record_offset >= $4";

/// The same record again changes its progress alone; another one replaces all.
const RECORD_GIVEN_UP: &str = "INSERT INTO {given_up_events} AS known \
     (consumer, topic, partition, record_offset, fingerprint, progress, error_kind, reason, attempts) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (consumer, topic, partition, record_offset) DO UPDATE \
     SET progress = excluded.progress, fingerprint = excluded.fingerprint, \
         error_kind = CASE WHEN known.fingerprint = excluded.fingerprint \
             THEN known.error_kind ELSE excluded.error_kind END, \
         reason = CASE WHEN known.fingerprint = excluded.fingerprint \
             THEN known.reason ELSE excluded.reason END, \
         attempts = CASE WHEN known.fingerprint = excluded.fingerprint \
             THEN known.attempts ELSE excluded.attempts END, \
         decided_at = CASE WHEN known.fingerprint = excluded.fingerprint \
             THEN known.decided_at ELSE excluded.decided_at END";

const PURGE: &str = "DELETE FROM {processed_events} WHERE ctid = ANY(ARRAY(\
     SELECT ctid FROM {processed_events} \
     WHERE consumer = $3 AND processed_at < {before} \
     ORDER BY processed_at LIMIT $2)) AND consumer = $3 AND processed_at < {before}";

/// A start at another place is the first one there.
const STARTED: &str = "INSERT INTO {consumer_starts} AS known \
     (consumer, topic, partition, place, starts) VALUES ($1, $2, $3, $4, 1) \
     ON CONFLICT (consumer, topic, partition) DO UPDATE \
     SET starts = CASE WHEN excluded.place IN (known.place, known.attempt_place) \
         THEN known.starts + 1 ELSE 1 END, \
         place = excluded.place, changed_at = excluded.changed_at \
     RETURNING starts";

const ATTEMPTED: &str = "INSERT INTO {consumer_starts} AS known \
     (consumer, topic, partition, attempt_place, attempts) VALUES ($1, $2, $3, $4, 1) \
     ON CONFLICT (consumer, topic, partition) DO UPDATE \
     SET attempts = CASE WHEN known.attempt_place = excluded.attempt_place \
             THEN known.attempts + 1 ELSE 1 END, \
         attempt_place = excluded.attempt_place, changed_at = excluded.changed_at \
     RETURNING attempts";

const SURVIVED: &str = "UPDATE {consumer_starts} SET attempts = 0 \
     WHERE consumer = $1 AND topic = $2 AND partition = $3 AND attempt_place = $4";

const STOPPED: &str = "DELETE FROM {consumer_starts} \
     WHERE consumer = $1 AND topic = $2 AND partition = $3";

/// The age is asked again for the row itself: it may have been replaced in the meantime.
const PURGE_GIVEN_UP: &str = "DELETE FROM {given_up_events} WHERE ctid = ANY(ARRAY(\
     SELECT ctid FROM {given_up_events} \
     WHERE consumer = $3 AND decided_at < {before} \
     ORDER BY decided_at LIMIT $2)) AND consumer = $3 AND decided_at < {before}";

/// The statements of the inbox.
pub(in crate::postgres) struct InboxSql {
    pub(in crate::postgres) mark: SqlStr,
    pub(in crate::postgres) known: SqlStr,
    pub(in crate::postgres) given_up: SqlStr,
    pub(in crate::postgres) record_given_up: SqlStr,
    pub(in crate::postgres) started: SqlStr,
    pub(in crate::postgres) attempted: SqlStr,
    pub(in crate::postgres) survived: SqlStr,
    pub(in crate::postgres) stopped: SqlStr,
    pub(in crate::postgres) purge: SqlStr,
    pub(in crate::postgres) purge_given_up: SqlStr,
}

impl InboxSql {
    pub(in crate::postgres) fn new(tables: &Tables) -> Self {
        let sql = |template| render(tables, template);
        Self {
            mark: sql(MARK),
            known: sql(KNOWN),
            given_up: sql(GIVEN_UP),
            record_given_up: sql(RECORD_GIVEN_UP),
            started: sql(STARTED),
            attempted: sql(ATTEMPTED),
            survived: sql(SURVIVED),
            stopped: sql(STOPPED),
            purge: sql(PURGE),
            purge_given_up: sql(PURGE_GIVEN_UP),
        }
    }
}
