//! The statements for Postgres: templates, rendered once with the names of the tables.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

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

/// Deletes what was published: `$3` positions in the outbox, `$4`, `$5` dead letters. Gives the
/// number of leases (1 or 0) and of events.
///
/// The lock on the lease keeps a takeover waiting until the transaction ends.
const PUBLISHED: &str = "WITH lease AS (\
         SELECT 1 FROM {outbox_relay} WHERE owner = $1 AND epoch = $2 FOR SHARE\
     ), first_time AS (\
         DELETE FROM {outbox_events} \
         WHERE seq = ANY($3) AND EXISTS (SELECT 1 FROM lease) RETURNING 1\
     ), redriven AS (\
         DELETE FROM {outbox_dead_letters} AS dead USING unnest($4::bigint[], $5::uuid[]) \
             AS given (seq, event_id) \
         WHERE dead.event_id = given.event_id AND dead.seq = given.seq \
             AND EXISTS (SELECT 1 FROM lease) RETURNING 1\
     ) SELECT (SELECT count(*) FROM lease), \
         (SELECT count(*) FROM first_time) + (SELECT count(*) FROM redriven)";

/// Moves events behind the dead letter of their aggregate, byte for byte.
const PARK: &str = "WITH moved AS (\
         DELETE FROM {outbox_events} WHERE seq = ANY($1) RETURNING seq, {columns}, enqueued_at\
     ) INSERT INTO {outbox_dead_letters} (seq, {columns}, enqueued_at, state) \
     SELECT seq, {columns}, enqueued_at, 'parked' FROM moved";

/// Moves events to the dead letters, byte for byte.
const GIVE_UP: &str = "WITH moved AS (\
         DELETE FROM {outbox_events} WHERE seq = ANY($1) RETURNING seq, {columns}, enqueued_at\
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

/// Backlog, age of its oldest in microseconds, dead, parked, holder, its lease.
const STATS: &str = "SELECT (SELECT count(*) FROM {outbox_events}), \
     (SELECT (extract(epoch FROM clock_timestamp() - enqueued_at) * 1000000)::bigint \
         FROM {outbox_events} ORDER BY seq LIMIT 1), \
     (SELECT count(*) FROM {outbox_dead_letters} WHERE state = 'dead'), \
     (SELECT count(*) FROM {outbox_dead_letters} WHERE state = 'parked'), \
     CASE WHEN lease_until > clock_timestamp() THEN owner END, lease_until \
     FROM {outbox_relay}";

/// Whether this is a standby, which tables are missing, and how the identity counts.
const CHECK: &str = "SELECT pg_is_in_recovery(), \
     ARRAY(SELECT name FROM unnest(ARRAY['{outbox_events}', '{outbox_relay}', \
         '{outbox_dead_letters}']) AS name WHERE to_regclass(name) IS NULL)";
const CHECK_IDENTITY: &str = "SELECT seqincrement, seqcache, seqcycle FROM pg_sequence \
     WHERE seqrelid = pg_get_serial_sequence('{outbox_events}', 'seq')::regclass";

/// The next events: origin (0 dead letters, 1 outbox), seq, parked, columns.
///
/// One statement, so that one snapshot decides which rows are parked. `$1` are the positions in
/// flight, `$2` and `$3` the dead letters in flight, `$4` the aggregate types to leave, `$5` the bytes
/// of payload, `$6` whether to look through the dead letters even if they are many. Where it deviates
/// from the obvious, it is for the plan, which sqlx caches for any parameters:
/// - `NOT IN (SELECT unnest(…))` hashes the array once; `<> ALL(…)` would walk it for every row,
///   and, by its estimate, make the planner sort the whole table.
/// - the limit is a literal: for an unknown limit the planner prepares to read a tenth of the table.
/// - the bytes are bounded here: what the client doesn't want would be sent all the same.
/// - which dead letters may be published is found in the index alone; their rows are joined after.
/// - the rows are not sorted as a whole: the reader does that.
const READ: &str = "SELECT 0 AS origin, seq, false AS parked, {columns} FROM (\
     SELECT letter.*, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) \
         - octet_length(payload) AS bytes_before \
     FROM (SELECT seq, event_id FROM {outbox_dead_letters} AS dead \
         WHERE ($6 OR (SELECT count(*) FROM (SELECT FROM {outbox_dead_letters} LIMIT {few}) AS few) \
             < {few}) \
         AND (state = 'parked' OR redrive_requested_at IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM {outbox_dead_letters} AS held \
             WHERE held.aggregate_type = dead.aggregate_type \
             AND held.aggregate_id = dead.aggregate_id AND held.seq <= dead.seq \
             AND held.state = 'dead' AND held.redrive_requested_at IS NULL) \
         AND (seq, event_id) NOT IN (SELECT * FROM unnest($2::bigint[], $3::uuid[])) \
         AND aggregate_type NOT IN (SELECT unnest($4::text[])) \
         ORDER BY seq LIMIT {limit}) AS candidate \
     JOIN {outbox_dead_letters} AS letter USING (seq, event_id)) AS measured \
     WHERE bytes_before < $5 \
     UNION ALL \
     SELECT 1, seq, EXISTS (SELECT 1 FROM {outbox_dead_letters}) \
         AND EXISTS (SELECT 1 FROM {outbox_dead_letters} AS dead \
             WHERE dead.aggregate_type = measured.aggregate_type \
             AND dead.aggregate_id = measured.aggregate_id), {columns} FROM (\
     SELECT *, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) \
         - octet_length(payload) AS bytes_before \
     FROM (SELECT * FROM {outbox_events} \
         WHERE seq NOT IN (SELECT unnest($1::bigint[])) \
         AND aggregate_type NOT IN (SELECT unnest($4::text[])) \
         ORDER BY seq LIMIT {limit}) AS candidate) AS measured WHERE bytes_before < $5";

/// So many dead letters are looked through now and then only: 100,000 cost 70 ms.
const FEW: &str = "1000";

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

const MARK: &str = "INSERT INTO {processed_events} (consumer, event_id) \
     SELECT $1, event_id FROM unnest($2::uuid[]) AS event_id \
     ON CONFLICT DO NOTHING RETURNING event_id";

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
     WHERE processed_at < clock_timestamp() - $1 * interval '1 microsecond' \
     ORDER BY processed_at LIMIT $2))";

/// The age is asked again for the row itself: it may have been replaced in the meantime.
const PURGE_GIVEN_UP: &str = "DELETE FROM {given_up_events} \
     WHERE decided_at < clock_timestamp() - $1 * interval '1 microsecond' \
     AND (consumer, topic, partition, record_offset) IN (\
         SELECT consumer, topic, partition, record_offset FROM {given_up_events} \
         WHERE decided_at < clock_timestamp() - $1 * interval '1 microsecond' \
         ORDER BY decided_at LIMIT $2)";

/// The statements of the outbox.
pub(super) struct OutboxSql {
    pub(super) insert: SqlStr,
    pub(super) insert_all: SqlStr,
    pub(super) acquire: SqlStr,
    pub(super) holder: SqlStr,
    pub(super) renew: SqlStr,
    pub(super) release: SqlStr,
    pub(super) published: SqlStr,
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
    read: String,
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
            published: sql(PUBLISHED),
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
            read: sql(READ).as_str().replace("{few}", FEW),
        }
    }

    /// The statement that reads at most `limit` events of each origin.
    pub(super) fn read(&self, limit: usize) -> SqlStr {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX).to_string();
        AssertSqlSafe(self.read.replace("{limit}", &limit)).into_sql_str()
    }
}

/// The statements of the inbox.
pub(super) struct InboxSql {
    pub(super) mark: SqlStr,
    pub(super) given_up: SqlStr,
    pub(super) record_given_up: SqlStr,
    pub(super) purge: SqlStr,
    pub(super) purge_given_up: SqlStr,
}

impl InboxSql {
    pub(super) fn new(tables: &Tables) -> Self {
        let sql = |template| render(tables, template);
        Self {
            mark: sql(MARK),
            given_up: sql(GIVEN_UP),
            record_given_up: sql(RECORD_GIVEN_UP),
            purge: sql(PURGE),
            purge_given_up: sql(PURGE_GIVEN_UP),
        }
    }
}

fn render(tables: &Tables, template: &str) -> SqlStr {
    let template = template.replace("{matches}", MATCHES).replace("{columns}", COLUMNS);
    AssertSqlSafe(Arc::<str>::from(template::render(tables, &template))).into_sql_str()
}
