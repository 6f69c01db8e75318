//! The statements for Postgres: templates, rendered once with the names of the tables.

mod inbox;
mod reading;

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use self::reading::{IS_FLUSHED, PEEK, read_new_template, read_template};
pub(super) use self::{inbox::InboxSql, reading::FLUSH};
use crate::{Tables, row::COLUMNS, template};

/// Begins a transaction of the relay. The server ends it when the relay is paused in the middle: it
/// holds a lock that a takeover waits for.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
     SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// Fails in a transaction in which a statement has failed; its COMMIT would roll back and say
/// nothing.
pub(super) const STILL_GOOD: &str = "SELECT 1";

/// One event.
const INSERT: &str = "INSERT INTO {outbox_events} ({columns}) VALUES \
     ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// Any number of events, numbered in their order.
const INSERT_ALL: &str = "INSERT INTO {outbox_events} ({columns}) SELECT {columns} FROM unnest(\
     $1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::timestamptz[], $7::text[], \
     $8::text[], $9::text[], $10::text[], $11::uuid[], $12::text[], $13::text[], $14::text[], \
     $15::text[], $16::bytea[]) WITH ORDINALITY AS event ({columns}, ordinal) ORDER BY ordinal";

const ACQUIRE: &str = "UPDATE {outbox_relay} SET owner = $1, epoch = epoch + 1, \
     lease_until = clock_timestamp() + $2 * interval '1 microsecond' \
     WHERE lease_until IS NULL OR lease_until <= clock_timestamp() RETURNING epoch";

/// Who holds the lease, and for how many microseconds; no owner when nobody does.
const HOLDER: &str = "SELECT CASE WHEN lease_until > clock_timestamp() THEN owner END, \
     (extract(epoch FROM lease_until - clock_timestamp()) * 1000000)::bigint FROM {outbox_relay}";

const RENEW: &str = "UPDATE {outbox_relay} \
     SET lease_until = clock_timestamp() + $3 * interval '1 microsecond' \
     WHERE owner = $1 AND epoch = $2";

const RELEASE: &str = "UPDATE {outbox_relay} SET owner = NULL, lease_until = clock_timestamp() \
     WHERE owner = $1 AND epoch = $2";

/// Deletes what was published: `$3`, `$4` dead letters, and the events in the outbox. Gives the number of
/// leases (1 or 0) and of events.
///
/// The lock on the lease keeps a takeover waiting until the transaction ends. An event is known by its id,
/// `$5`: a sequence that was set back gives its number to another one, which nobody has published.
const PUBLISHED: &str = "WITH lease AS (\
         SELECT 1 FROM {outbox_relay} WHERE owner = $1 AND epoch = $2 FOR SHARE\
     ), first_time AS (\
         DELETE FROM {outbox_events} \
         WHERE {published} AND event_id = ANY($5) AND EXISTS (SELECT 1 FROM lease) RETURNING 1\
     ), redriven AS (\
         DELETE FROM {outbox_dead_letters} AS dead USING unnest($3::bigint[], $4::uuid[]) \
             AS given (seq, event_id) \
         WHERE dead.event_id = given.event_id AND dead.seq = given.seq \
             AND EXISTS (SELECT 1 FROM lease) RETURNING 1\
     ) SELECT (SELECT count(*) FROM lease), \
         (SELECT count(*) FROM first_time) + (SELECT count(*) FROM redriven)";

/// By their positions; or from the first to the last, which takes half of the time, where nothing else is
/// between them. Several such runs in one statement would be taken for half a percent of the table each, and
/// compiled (`jit_above_cost`).
const POSITIONS: &str = "seq = ANY($6)";
const RUN: &str = "seq BETWEEN $6 AND $7";

/// The same, moving them to the archive: `$3` to `$7` say of each in the outbox to which topic,
/// partition and offset it went, `$8` to `$12` of each dead letter.
///
/// `USING`, because a join with what was deleted would be planned as a nested loop without an index.
/// A conflict must never keep a settlement from going through; there is one only when the same event
/// was in both places.
const ARCHIVE: &str = "WITH lease AS (\
         SELECT 1 FROM {outbox_relay} WHERE owner = $1 AND epoch = $2 FOR SHARE\
     ), first_time AS (\
         DELETE FROM {outbox_events} AS event \
         USING unnest($3::bigint[], $4::uuid[], $5::text[], $6::integer[], $7::bigint[]) \
             AS given (at, id, topic, record_partition, record_offset) \
         WHERE event.seq = given.at AND event.event_id = given.id \
             AND EXISTS (SELECT 1 FROM lease) \
         RETURNING seq, {columns}, enqueued_at, topic, record_partition, record_offset\
     ), redriven AS (\
         DELETE FROM {outbox_dead_letters} AS dead \
         USING unnest($8::bigint[], $9::uuid[], $10::text[], $11::integer[], $12::bigint[]) \
             AS given (at, id, topic, record_partition, record_offset) \
         WHERE dead.event_id = given.id AND dead.seq = given.at \
             AND EXISTS (SELECT 1 FROM lease) \
         RETURNING seq, {columns}, enqueued_at, topic, record_partition, record_offset\
     ), archived AS (\
         INSERT INTO {outbox_archive} (seq, {columns}, enqueued_at, \
             topic, record_partition, record_offset, published_at) \
         SELECT *, statement_timestamp() \
         FROM (SELECT * FROM first_time UNION ALL SELECT * FROM redriven) AS published \
         ON CONFLICT DO NOTHING\
     ) SELECT (SELECT count(*) FROM lease), \
         (SELECT count(*) FROM first_time) + (SELECT count(*) FROM redriven)";

/// Moves events behind the dead letter of their aggregate, byte for byte.
const PARK: &str = "WITH moved AS (\
         DELETE FROM {outbox_events} WHERE seq = ANY($1) AND event_id = ANY($2) \
         RETURNING seq, {columns}, enqueued_at\
     ) INSERT INTO {outbox_dead_letters} (seq, {columns}, enqueued_at, state) \
     SELECT seq, {columns}, enqueued_at, 'parked' FROM moved";

/// Moves events to the dead letters, byte for byte.
const GIVE_UP: &str = "WITH moved AS (\
         DELETE FROM {outbox_events} WHERE seq = ANY($1) AND event_id = ANY($5) \
         RETURNING seq, {columns}, enqueued_at\
     ) INSERT INTO {outbox_dead_letters} \
         (seq, {columns}, enqueued_at, state, error_kind, reason, attempts) \
     SELECT seq, {columns}, enqueued_at, 'dead', given.error_kind, given.reason, given.attempts \
     FROM moved JOIN unnest($1::bigint[], $2::text[], $3::text[], $4::integer[]) \
         AS given (seq, error_kind, reason, attempts) USING (seq)";

/// Dead letters that were redriven and are to wait again.
const PARK_AGAIN: &str = "UPDATE {outbox_dead_letters} AS dead \
     SET state = 'parked', redrive_requested_at = NULL \
     FROM unnest($1::bigint[], $2::uuid[]) AS given (seq, event_id) \
     WHERE dead.event_id = given.event_id AND dead.seq = given.seq";

/// Dead letters that were redriven and failed again.
const GIVE_UP_AGAIN: &str = "UPDATE {outbox_dead_letters} AS dead \
     SET state = 'dead', redrive_requested_at = NULL, error_kind = given.error_kind, \
         reason = given.reason, attempts = dead.attempts + given.attempts, \
         failed_at = clock_timestamp() \
     FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::integer[]) \
         AS given (seq, event_id, error_kind, reason, attempts) \
     WHERE dead.event_id = given.event_id AND dead.seq = given.seq";

/// Backlog, age of its oldest in microseconds, dead, parked, redriving, holder, its lease; of one
/// snapshot.
///
/// The counts come from the indexes alone, where the tables were vacuumed. The oldest is among the
/// lowest: an event gets its number, then its time, so writers at the same moment may get them the
/// other way round, but not thousands of them.
const STATS: &str = "SELECT (SELECT count(*) FROM {outbox_events}), \
     (SELECT (extract(epoch FROM clock_timestamp() - min(enqueued_at)) * 1000000)::bigint \
         FROM (SELECT enqueued_at FROM {outbox_events} ORDER BY seq LIMIT 1000) AS lowest), \
     letters.dead, letters.parked, (SELECT count(*) FROM {outbox_dead_letters} AS letter \
         WHERE (state = 'parked' OR redrive_requested_at IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM {outbox_dead_letters} AS held \
             WHERE held.aggregate_type = letter.aggregate_type \
             AND held.aggregate_id = letter.aggregate_id AND held.seq <= letter.seq \
             AND held.state = 'dead' AND held.redrive_requested_at IS NULL)), \
     CASE WHEN lease_until > clock_timestamp() THEN owner END, lease_until \
     FROM {outbox_relay} CROSS JOIN (SELECT count(*) FILTER (WHERE state = 'dead') AS dead, \
         count(*) FILTER (WHERE state = 'parked') AS parked FROM {outbox_dead_letters}) AS letters";

/// Whether this is a standby, which tables are missing, whether there is no right on the archive; and
/// how the identity counts. `$1`: with the archive.
const CHECK: &str = "SELECT pg_is_in_recovery(), \
     ARRAY(SELECT name FROM unnest(ARRAY['{outbox_events}', '{outbox_relay}', \
         '{outbox_dead_letters}'] || CASE WHEN $1 THEN ARRAY['{outbox_archive}'] END) AS name \
         WHERE to_regclass(name) IS NULL), \
     $1 AND NOT has_table_privilege(to_regclass('{outbox_archive}'), 'INSERT') IS TRUE";
const CHECK_IDENTITY: &str = "SELECT seqincrement, seqcache, seqcycle FROM pg_sequence \
     WHERE seqrelid = pg_get_serial_sequence('{outbox_events}', 'seq')::regclass";

/// Which dead letters: `$1` ids, `$2` aggregate type, `$3` aggregate id, `$4` microseconds.
const MATCHES: &str = "(cardinality($1::uuid[]) = 0 OR event_id = ANY($1)) \
     AND ($2::text IS NULL OR aggregate_type = $2) AND ($3::text IS NULL OR aggregate_id = $3) \
     AND ($4::bigint IS NULL OR failed_at <= clock_timestamp() - $4 * interval '1 microsecond')";

const DEAD_LETTERS: &str = "SELECT seq, state, redrive_requested_at IS NOT NULL, reason, attempts, \
     failed_at, {columns} FROM {outbox_dead_letters} WHERE {matches} \
     ORDER BY aggregate_type, aggregate_id, seq LIMIT $5";

/// Matches only what a flag would help, so that a limit doesn't stop at what is flagged already.
const REDRIVE: &str = "WITH matched AS (\
         SELECT aggregate_type, aggregate_id, seq FROM {outbox_dead_letters} AS wanted \
         WHERE {matches} AND EXISTS (SELECT 1 FROM {outbox_dead_letters} AS held \
             WHERE held.aggregate_type = wanted.aggregate_type \
             AND held.aggregate_id = wanted.aggregate_id AND held.seq <= wanted.seq \
             AND held.state = 'dead' AND held.redrive_requested_at IS NULL) \
         ORDER BY aggregate_type, aggregate_id, seq LIMIT $5\
     ) UPDATE {outbox_dead_letters} AS dead SET redrive_requested_at = clock_timestamp() \
     WHERE state = 'dead' AND redrive_requested_at IS NULL \
     AND EXISTS (SELECT 1 FROM matched WHERE matched.aggregate_type = dead.aggregate_type \
         AND matched.aggregate_id = dead.aggregate_id AND matched.seq >= dead.seq)";

/// `$6`: with what is parked behind a matching one, up to the next dead one.
const DISCARD: &str = "WITH matched AS (\
         SELECT event_id, aggregate_type, aggregate_id, seq, state FROM {outbox_dead_letters} \
         WHERE {matches} ORDER BY aggregate_type, aggregate_id, seq LIMIT $5\
     ), successors AS (\
         SELECT event_id, seq FROM {outbox_dead_letters} AS later \
         WHERE $6 AND state = 'parked' AND EXISTS (SELECT 1 FROM matched \
             WHERE matched.state = 'dead' AND matched.aggregate_type = later.aggregate_type \
             AND matched.aggregate_id = later.aggregate_id AND matched.seq < later.seq \
             AND NOT EXISTS (SELECT 1 FROM {outbox_dead_letters} AS next \
                 WHERE next.aggregate_type = later.aggregate_type \
                 AND next.aggregate_id = later.aggregate_id AND next.state = 'dead' \
                 AND next.seq > matched.seq AND next.seq < later.seq))\
     ) DELETE FROM {outbox_dead_letters} AS dead \
     USING (SELECT event_id, seq FROM matched UNION SELECT event_id, seq FROM successors) AS gone \
     WHERE dead.event_id = gone.event_id AND dead.seq = gone.seq";

/// Which published events: `$1` ids, `$2` aggregate type, `$3` aggregate id, `$4` from, `$5` before.
const ARCHIVED: &str = "SELECT seq, topic, record_partition, record_offset, enqueued_at, \
     published_at, {columns} FROM {outbox_archive} \
     WHERE (cardinality($1::uuid[]) = 0 OR event_id = ANY($1)) \
     AND ($2::text IS NULL OR aggregate_type = $2) AND ($3::text IS NULL OR aggregate_id = $3) \
     AND ($4::timestamptz IS NULL OR published_at >= $4) \
     AND ($5::timestamptz IS NULL OR published_at < $5) \
     ORDER BY published_at DESC, seq DESC LIMIT $6";

/// The age is asked again for the row itself: in a partitioned table others have the same `ctid`.
const PURGE_ARCHIVE: &str = "DELETE FROM {outbox_archive} WHERE ctid = ANY(ARRAY(\
     SELECT ctid FROM {outbox_archive} WHERE published_at <= {before} \
     ORDER BY published_at LIMIT $2)) AND published_at <= {before}";

/// `$1` microseconds ago. A query of its own: the clock is volatile, which no index is searched by,
/// and a purge that finds nothing would walk the whole index.
const BEFORE: &str = "(SELECT clock_timestamp() - $1 * interval '1 microsecond')";

const PUT_SCHEMAS: &str = "INSERT INTO {outbox_schemas} (fingerprint, format, schema) \
     SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING";

const SCHEMA: &str =
    "SELECT fingerprint, format, schema FROM {outbox_schemas} WHERE fingerprint = $1";

const SCHEMAS: &str =
    "SELECT fingerprint, format, schema FROM {outbox_schemas} ORDER BY fingerprint";

/// The statements of the outbox.
pub(super) struct OutboxSql {
    pub(super) insert: SqlStr,
    pub(super) insert_all: SqlStr,
    pub(super) acquire: SqlStr,
    pub(super) holder: SqlStr,
    pub(super) renew: SqlStr,
    pub(super) release: SqlStr,
    pub(super) published: SqlStr,
    pub(super) published_run: SqlStr,
    pub(super) archive: SqlStr,
    pub(super) park: SqlStr,
    pub(super) give_up: SqlStr,
    pub(super) park_again: SqlStr,
    pub(super) give_up_again: SqlStr,
    pub(super) stats: SqlStr,
    pub(super) check: SqlStr,
    pub(super) check_identity: SqlStr,
    pub(super) dead_letters: SqlStr,
    pub(super) redrive: SqlStr,
    pub(super) discard: SqlStr,
    pub(super) archived: SqlStr,
    pub(super) purge_archive: SqlStr,
    pub(super) put_schemas: SqlStr,
    pub(super) schema: SqlStr,
    pub(super) schemas: SqlStr,
    pub(super) peek: SqlStr,
    pub(super) is_flushed: SqlStr,
    read: String,
    read_new: String,
}

impl OutboxSql {
    pub(super) fn new(tables: &Tables) -> Self {
        let sql = |template| render(tables, template);
        Self {
            insert: sql(INSERT),
            insert_all: sql(INSERT_ALL),
            acquire: sql(ACQUIRE),
            holder: sql(HOLDER),
            renew: sql(RENEW),
            release: sql(RELEASE),
            published: sql(&PUBLISHED.replace("{published}", POSITIONS)),
            published_run: sql(&PUBLISHED.replace("{published}", RUN)),
            archive: sql(ARCHIVE),
            park: sql(PARK),
            give_up: sql(GIVE_UP),
            park_again: sql(PARK_AGAIN),
            give_up_again: sql(GIVE_UP_AGAIN),
            stats: sql(STATS),
            check: sql(CHECK),
            check_identity: sql(CHECK_IDENTITY),
            dead_letters: sql(DEAD_LETTERS),
            redrive: sql(REDRIVE),
            discard: sql(DISCARD),
            archived: sql(ARCHIVED),
            purge_archive: sql(PURGE_ARCHIVE),
            put_schemas: sql(PUT_SCHEMAS),
            schema: sql(SCHEMA),
            schemas: sql(SCHEMAS),
            peek: sql(PEEK),
            is_flushed: sql(IS_FLUSHED),
            read: sql(&read_template()).as_str().to_owned(),
            read_new: sql(&read_new_template()).as_str().to_owned(),
        }
    }
}

fn render(tables: &Tables, template: &str) -> SqlStr {
    let template = template
        .replace("{matches}", MATCHES)
        .replace("{before}", BEFORE)
        .replace("{columns}", COLUMNS);
    AssertSqlSafe(Arc::<str>::from(template::render(tables, &template))).into_sql_str()
}
