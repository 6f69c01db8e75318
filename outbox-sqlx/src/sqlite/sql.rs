//! The statements for SQLite: templates, rendered once with the names of the tables.
//!
//! Lists are bound as JSON. Ids are compared as the text that `hex` makes of them.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::{Tables, row::COLUMNS, template};

/// A transaction that reads and then writes must be a writer from its start: a deferred one fails at
/// once when somebody else has written in between, whatever the busy timeout.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// The host's time in microseconds.
const NOW: &str = "CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000";

const INSERT: &str = "INSERT INTO {outbox_events} ({columns}) VALUES ";
const VALUES: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const ACQUIRE: &str = "UPDATE {outbox_relay} SET owner = ?1, epoch = epoch + 1, \
     lease_until = {now} + ?2 WHERE lease_until IS NULL OR lease_until <= {now} RETURNING epoch";

/// Who holds the lease, and for how many microseconds; no owner when nobody does.
const HOLDER: &str = "SELECT CASE WHEN lease_until > {now} THEN owner END, lease_until - {now} \
     FROM {outbox_relay}";

const RENEW: &str =
    "UPDATE {outbox_relay} SET lease_until = {now} + ?3 WHERE owner = ?1 AND epoch = ?2";

const RELEASE: &str = "UPDATE {outbox_relay} SET owner = NULL, lease_until = {now} \
     WHERE owner = ?1 AND epoch = ?2";

/// Up to where everything is settled; no row when the lease is another's.
const HOLD: &str = "SELECT settled_to FROM {outbox_relay} WHERE owner = ?1 AND epoch = ?2";

/// The events that are not settled. With a `+` before it, a list or a join decides where to look, not this.
const WAITING: &str = "seq > (SELECT settled_to FROM {outbox_relay})";
/// The position of the first of those at the earliest. In one bound with another: SQLite uses only one.
const FIRST: &str = "(SELECT settled_to + 1 FROM {outbox_relay})";

/// Moves the mark from `?1` to `?3`, if nothing waits before `?2`, and `?4` and `?5` are the events there.
const SETTLE_TO: &str = "UPDATE {outbox_relay} SET settled_to = ?3 \
     WHERE NOT EXISTS (SELECT 1 FROM {outbox_events} WHERE seq > ?1 AND seq < ?2) \
     AND EXISTS (SELECT 1 FROM {outbox_events} WHERE seq = ?2 AND event_id = ?4) \
     AND EXISTS (SELECT 1 FROM {outbox_events} WHERE seq = ?3 AND event_id = ?5)";
/// Up to where everything is settled, whether anything waits, and the lowest row.
const LEFT: &str = "SELECT settled_to, \
     EXISTS (SELECT 1 FROM {outbox_events} WHERE {waiting}), \
     (SELECT min(seq) FROM {outbox_events}) FROM {outbox_relay}";
/// Without a condition, SQLite frees the pages of a table without writing them. No condition is needed: it is
/// run while no event waits, in a transaction that holds the file's one write lock.
const CLEAR: &str = "DELETE FROM {outbox_events}";

/// Which events of the outbox: `?1` is a list of `[seq, event id, …]`. An event is known by its id: numbers
/// that were set back are another one's, which nobody has published.
const GIVEN: &str = "seq IN (SELECT value ->> 0 FROM json_each(?1)) \
     AND event_id IN (SELECT unhex(value ->> 1) FROM json_each(?1)) AND +{waiting}";
const DELETE: &str = "DELETE FROM {outbox_events} WHERE {given}";
/// A walk along the table, where a list is a search for each.
const DELETE_RANGE: &str = "DELETE FROM {outbox_events} WHERE seq BETWEEN ?1 AND ?2";
const DELETE_REDRIVEN: &str =
    "DELETE FROM {outbox_dead_letters} WHERE seq IN (SELECT value ->> 0 FROM json_each(?1))";

/// Copies events to the archive, byte for byte: `?1` is a list of `[seq, event id, topic, partition, offset]`,
/// `?2` one of dead letters.
///
/// A conflict must never keep a settlement from going through; there is one only when the same event
/// is twice in a list, or in both places.
const ARCHIVE: &str = "INSERT INTO {outbox_archive} (seq, {columns}, enqueued_at, published_at, \
         topic, record_partition, record_offset) \
     SELECT seq, {columns}, enqueued_at, {now}, \
         given.value ->> 2, given.value ->> 3, given.value ->> 4 \
     FROM json_each(?1) AS given JOIN {outbox_events} AS event ON event.seq = given.value ->> 0 \
     WHERE event.event_id = unhex(given.value ->> 1) AND +{waiting} \
     UNION ALL SELECT seq, {columns}, enqueued_at, {now}, \
         given.value ->> 2, given.value ->> 3, given.value ->> 4 \
     FROM json_each(?2) AS given JOIN {outbox_dead_letters} AS dead ON dead.seq = given.value ->> 0 \
     WHERE true ON CONFLICT DO NOTHING";

/// Copies events behind the dead letter of their aggregate, byte for byte.
const PARK: &str = "INSERT INTO {outbox_dead_letters} (seq, {columns}, enqueued_at, state) \
     SELECT seq, {columns}, enqueued_at, 'parked' FROM {outbox_events} WHERE {given}";

/// Copies events to the dead letters, byte for byte. `?1` is a list of
/// `[seq, event id, kind, reason, attempts]`, as below.
const GIVE_UP: &str = "INSERT INTO {outbox_dead_letters} \
         (seq, {columns}, enqueued_at, state, error_kind, reason, attempts) \
     SELECT seq, {columns}, enqueued_at, 'dead', \
         given.value ->> 2, given.value ->> 3, given.value ->> 4 \
     FROM json_each(?1) AS given JOIN {outbox_events} AS event ON event.seq = given.value ->> 0 \
     WHERE event.event_id = unhex(given.value ->> 1) AND +{waiting}";

/// Dead letters that were redriven and are to wait again.
const PARK_AGAIN: &str = "UPDATE {outbox_dead_letters} \
     SET state = 'parked', redrive_requested_at = NULL \
     WHERE seq IN (SELECT value ->> 0 FROM json_each(?1))";

/// Dead letters that were redriven and failed again.
const GIVE_UP_AGAIN: &str = "UPDATE {outbox_dead_letters} AS dead \
     SET state = 'dead', redrive_requested_at = NULL, error_kind = given.value ->> 2, \
         reason = given.value ->> 3, attempts = dead.attempts + (given.value ->> 4), \
         failed_at = {now} \
     FROM json_each(?1) AS given WHERE dead.seq = given.value ->> 0";

/// Backlog, age of its oldest in microseconds, dead, parked, redriving, holder, its lease; of one
/// snapshot.
///
/// With one writer at a time the lowest is the oldest.
const STATS: &str = "SELECT (SELECT count(*) FROM {outbox_events} WHERE {waiting}), \
     (SELECT {now} - enqueued_at FROM {outbox_events} WHERE {waiting} ORDER BY seq LIMIT 1), \
     letters.dead, letters.parked, (SELECT count(*) FROM {outbox_dead_letters} AS letter \
         WHERE (state = 'parked' OR redrive_requested_at IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM {outbox_dead_letters} AS held \
             WHERE held.aggregate_type = letter.aggregate_type \
             AND held.aggregate_id = letter.aggregate_id AND held.seq <= letter.seq \
             AND held.state = 'dead' AND held.redrive_requested_at IS NULL)), \
     CASE WHEN lease_until > {now} THEN owner END, lease_until \
     FROM {outbox_relay} CROSS JOIN (SELECT count(*) FILTER (WHERE state = 'dead') AS dead, \
         count(*) FILTER (WHERE state = 'parked') AS parked FROM {outbox_dead_letters}) AS letters";

/// Fails when a table is missing.
const CHECK: &str = "SELECT EXISTS (SELECT 1 FROM {outbox_events}), \
     EXISTS (SELECT settled_to FROM {outbox_relay}), EXISTS (SELECT 1 FROM {outbox_dead_letters})";
/// Whether the table `?1` is there, and how many of the two triggers it has that keep a number below the mark
/// from being overlooked: one that was made anew, as one alters a table here, has none.
const TRIGGERS: &str = "SELECT count(*) FILTER (WHERE type = 'table'), \
     count(*) FILTER (WHERE type = 'trigger' AND sql LIKE '%settled_to%') \
     FROM {outbox_events.schema}sqlite_master WHERE tbl_name = ?1";
const CHECK_ARCHIVE: &str = "SELECT EXISTS (SELECT 1 FROM {outbox_archive})";

/// The next events by position: origin (0 dead letters, 1 outbox), seq, parked, columns.
///
/// One statement, so that one snapshot decides which rows are parked. `?1` are the positions in
/// flight, `?2` the dead letters in flight, `?3` the aggregate types to leave, `?4` the limit, `?5` the
/// position to go on from. In this order the two halves are merged as they come, each by its primary
/// key; by origin first, they would be sorted, payloads and all.
const READ: &str = "SELECT 0 AS origin, seq, 0 AS parked, {columns} \
         FROM {outbox_dead_letters} AS dead \
         WHERE (state = 'parked' OR redrive_requested_at IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM {outbox_dead_letters} AS held \
             WHERE held.aggregate_type = dead.aggregate_type \
             AND held.aggregate_id = dead.aggregate_id AND held.seq <= dead.seq \
             AND held.state = 'dead' AND held.redrive_requested_at IS NULL) \
         AND seq NOT IN (SELECT value FROM json_each(?2)) \
         AND aggregate_type NOT IN (SELECT value FROM json_each(?3)) \
     UNION ALL \
     SELECT 1, seq, EXISTS (SELECT 1 FROM {outbox_dead_letters} AS dead \
             WHERE dead.aggregate_type = event.aggregate_type \
             AND dead.aggregate_id = event.aggregate_id), {columns} \
         FROM {outbox_events} AS event \
         WHERE seq >= max(?5, {first}) AND seq NOT IN (SELECT value FROM json_each(?1)) \
         AND aggregate_type NOT IN (SELECT value FROM json_each(?3)) \
     ORDER BY seq, origin LIMIT ?4";

/// The same while nothing from the position `?1` on is in flight, nothing is held back, and there are no
/// dead letters, which is most of the time. It says of each row whether there are any, and is not to be
/// used then. `?2` is the limit.
const READ_NEW: &str = "SELECT 1, seq, EXISTS (SELECT 1 FROM {outbox_dead_letters}), {columns} \
     FROM {outbox_events} WHERE seq >= max(?1, {first}) ORDER BY seq LIMIT ?2";

/// Which dead letters: `?1` ids, `?2` aggregate type, `?3` aggregate id, `?4` microseconds.
const MATCHES: &str = "(json_array_length(?1) = 0 \
         OR event_id IN (SELECT unhex(value) FROM json_each(?1))) \
     AND (?2 IS NULL OR aggregate_type = ?2) AND (?3 IS NULL OR aggregate_id = ?3) \
     AND (?4 IS NULL OR failed_at <= {now} - ?4)";

/// A negative limit is none.
const DEAD_LETTERS: &str = "SELECT seq, state, redrive_requested_at IS NOT NULL, reason, attempts, \
     failed_at, {columns} FROM {outbox_dead_letters} WHERE {matches} \
     ORDER BY aggregate_type, aggregate_id, seq LIMIT ?5";

/// Matches only what a flag would help, so that a limit doesn't stop at what is flagged already.
const REDRIVE: &str = "WITH matched AS (\
         SELECT aggregate_type, aggregate_id, seq FROM {outbox_dead_letters} AS wanted \
         WHERE {matches} AND EXISTS (SELECT 1 FROM {outbox_dead_letters} AS held \
             WHERE held.aggregate_type = wanted.aggregate_type \
             AND held.aggregate_id = wanted.aggregate_id AND held.seq <= wanted.seq \
             AND held.state = 'dead' AND held.redrive_requested_at IS NULL) \
         ORDER BY aggregate_type, aggregate_id, seq LIMIT ?5\
     ) UPDATE {outbox_dead_letters} AS dead SET redrive_requested_at = {now} \
     WHERE state = 'dead' AND redrive_requested_at IS NULL \
     AND EXISTS (SELECT 1 FROM matched WHERE matched.aggregate_type = dead.aggregate_type \
         AND matched.aggregate_id = dead.aggregate_id AND matched.seq >= dead.seq)";

/// `?6`: with what is parked behind a matching one, up to the next dead one.
const DISCARD: &str = "WITH matched AS (\
         SELECT aggregate_type, aggregate_id, seq, state FROM {outbox_dead_letters} \
         WHERE {matches} ORDER BY aggregate_type, aggregate_id, seq LIMIT ?5\
     ), successors AS (\
         SELECT seq FROM {outbox_dead_letters} AS later \
         WHERE ?6 AND state = 'parked' AND EXISTS (SELECT 1 FROM matched \
             WHERE matched.state = 'dead' AND matched.aggregate_type = later.aggregate_type \
             AND matched.aggregate_id = later.aggregate_id AND matched.seq < later.seq \
             AND NOT EXISTS (SELECT 1 FROM {outbox_dead_letters} AS next \
                 WHERE next.aggregate_type = later.aggregate_type \
                 AND next.aggregate_id = later.aggregate_id AND next.state = 'dead' \
                 AND next.seq > matched.seq AND next.seq < later.seq))\
     ) DELETE FROM {outbox_dead_letters} \
     WHERE seq IN (SELECT seq FROM matched UNION SELECT seq FROM successors)";

/// Which published events: `?1` ids, `?2` aggregate type, `?3` aggregate id, `?4` from, `?5` before.
const ARCHIVED: &str = "SELECT seq, topic, record_partition, record_offset, enqueued_at, \
     published_at, {columns} FROM {outbox_archive} \
     WHERE (json_array_length(?1) = 0 OR event_id IN (SELECT unhex(value) FROM json_each(?1))) \
     AND (?2 IS NULL OR aggregate_type = ?2) AND (?3 IS NULL OR aggregate_id = ?3) \
     AND (?4 IS NULL OR published_at >= ?4) AND (?5 IS NULL OR published_at < ?5) \
     ORDER BY published_at DESC, seq DESC LIMIT ?6";

const PURGE_ARCHIVE: &str = "DELETE FROM {outbox_archive} WHERE rowid IN (\
     SELECT rowid FROM {outbox_archive} WHERE published_at <= {now} - ?1 \
     ORDER BY published_at LIMIT ?2)";

const MARK: &str = "INSERT INTO {processed_events} (consumer, event_id) \
     SELECT ?1, unhex(value) FROM json_each(?2) WHERE true \
     ON CONFLICT DO NOTHING RETURNING event_id";

const KNOWN: &str = "SELECT event_id FROM {processed_events} \
     WHERE consumer = ?1 AND event_id IN (SELECT unhex(value) FROM json_each(?2))";

const GIVEN_UP: &str = "SELECT record_offset, fingerprint, progress FROM {given_up_events} \
     WHERE consumer = ?1 AND topic = ?2 AND partition = ?3 AND record_offset >= ?4";

/// The same record again changes its progress alone; another one replaces all.
const RECORD_GIVEN_UP: &str = "INSERT INTO {given_up_events} AS known \
     (consumer, topic, partition, record_offset, fingerprint, progress, error_kind, reason, attempts) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
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

/// A start at another place is the first one there.
const STARTED: &str = "INSERT INTO {consumer_starts} AS known \
     (consumer, topic, partition, place, starts) VALUES (?1, ?2, ?3, ?4, 1) \
     ON CONFLICT (consumer, topic, partition) DO UPDATE \
     SET starts = CASE WHEN excluded.place IN (known.place, known.attempt_place) \
         THEN known.starts + 1 ELSE 1 END, \
         place = excluded.place, changed_at = excluded.changed_at \
     RETURNING starts";

const ATTEMPTED: &str = "INSERT INTO {consumer_starts} AS known \
     (consumer, topic, partition, attempt_place, attempts) VALUES (?1, ?2, ?3, ?4, 1) \
     ON CONFLICT (consumer, topic, partition) DO UPDATE \
     SET attempts = CASE WHEN known.attempt_place = excluded.attempt_place \
             THEN known.attempts + 1 ELSE 1 END, \
         attempt_place = excluded.attempt_place, changed_at = excluded.changed_at \
     RETURNING attempts";

const SURVIVED: &str = "UPDATE {consumer_starts} SET attempts = 0 \
     WHERE consumer = ?1 AND topic = ?2 AND partition = ?3 AND attempt_place = ?4";

const STOPPED: &str = "DELETE FROM {consumer_starts} \
     WHERE consumer = ?1 AND topic = ?2 AND partition = ?3";

const PURGE: &str = "DELETE FROM {processed_events} WHERE (consumer, event_id) IN (\
     SELECT consumer, event_id FROM {processed_events} \
     WHERE consumer = ?3 AND processed_at < {now} - ?1 \
     ORDER BY processed_at LIMIT ?2)";

const PURGE_GIVEN_UP: &str = "DELETE FROM {given_up_events} \
     WHERE (consumer, topic, partition, record_offset) IN (\
         SELECT consumer, topic, partition, record_offset FROM {given_up_events} \
         WHERE consumer = ?3 AND decided_at < {now} - ?1 ORDER BY decided_at LIMIT ?2)";

const PUT_SCHEMA: &str = "INSERT INTO {outbox_schemas} (fingerprint, format, schema) \
     VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

const SCHEMA: &str =
    "SELECT fingerprint, format, schema FROM {outbox_schemas} WHERE fingerprint = ?1";

const SCHEMAS: &str =
    "SELECT fingerprint, format, schema FROM {outbox_schemas} ORDER BY fingerprint";

/// The statements of the outbox.
pub(super) struct OutboxSql {
    pub(super) acquire: SqlStr,
    pub(super) holder: SqlStr,
    pub(super) renew: SqlStr,
    pub(super) release: SqlStr,
    pub(super) hold: SqlStr,
    pub(super) settle_to: SqlStr,
    pub(super) left: SqlStr,
    pub(super) clear: SqlStr,
    pub(super) delete: SqlStr,
    pub(super) delete_range: SqlStr,
    pub(super) delete_redriven: SqlStr,
    pub(super) archive: SqlStr,
    pub(super) park: SqlStr,
    pub(super) give_up: SqlStr,
    pub(super) park_again: SqlStr,
    pub(super) give_up_again: SqlStr,
    pub(super) stats: SqlStr,
    pub(super) check: SqlStr,
    pub(super) triggers: SqlStr,
    pub(super) check_archive: SqlStr,
    pub(super) read: SqlStr,
    pub(super) read_new: SqlStr,
    pub(super) dead_letters: SqlStr,
    pub(super) redrive: SqlStr,
    pub(super) discard: SqlStr,
    pub(super) archived: SqlStr,
    pub(super) purge_archive: SqlStr,
    pub(super) put_schema: SqlStr,
    pub(super) schema: SqlStr,
    pub(super) schemas: SqlStr,
    insert: String,
    insert_one: SqlStr,
}

impl OutboxSql {
    pub(super) fn new(tables: &Tables) -> Self {
        let sql = |template: &str| prepare(tables, template);
        Self {
            acquire: sql(ACQUIRE),
            holder: sql(HOLDER),
            renew: sql(RENEW),
            release: sql(RELEASE),
            hold: sql(HOLD),
            settle_to: sql(SETTLE_TO),
            left: sql(LEFT),
            clear: sql(CLEAR),
            delete: sql(DELETE),
            delete_range: sql(DELETE_RANGE),
            delete_redriven: sql(DELETE_REDRIVEN),
            archive: sql(ARCHIVE),
            park: sql(PARK),
            give_up: sql(GIVE_UP),
            park_again: sql(PARK_AGAIN),
            give_up_again: sql(GIVE_UP_AGAIN),
            stats: sql(STATS),
            check: sql(CHECK),
            triggers: sql(TRIGGERS),
            check_archive: sql(CHECK_ARCHIVE),
            read: sql(READ),
            read_new: sql(READ_NEW),
            dead_letters: sql(DEAD_LETTERS),
            redrive: sql(REDRIVE),
            discard: sql(DISCARD),
            archived: sql(ARCHIVED),
            purge_archive: sql(PURGE_ARCHIVE),
            put_schema: sql(PUT_SCHEMA),
            schema: sql(SCHEMA),
            schemas: sql(SCHEMAS),
            insert: render(tables, INSERT),
            insert_one: sql(&format!("{INSERT}{VALUES}")),
        }
    }

    /// The statement that inserts so many events.
    pub(super) fn insert(&self, events: usize) -> SqlStr {
        if events == 1 {
            return self.insert_one.clone();
        }
        let values = vec![VALUES; events].join(", ");
        AssertSqlSafe(format!("{}{values}", self.insert)).into_sql_str()
    }
}

/// The statements of the inbox.
pub(super) struct InboxSql {
    pub(super) mark: SqlStr,
    pub(super) known: SqlStr,
    pub(super) given_up: SqlStr,
    pub(super) record_given_up: SqlStr,
    pub(super) started: SqlStr,
    pub(super) attempted: SqlStr,
    pub(super) survived: SqlStr,
    pub(super) stopped: SqlStr,
    pub(super) purge: SqlStr,
    pub(super) purge_given_up: SqlStr,
}

impl InboxSql {
    pub(super) fn new(tables: &Tables) -> Self {
        let sql = |template| prepare(tables, template);
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

/// Fills in the names of the tables, and what else is common.
pub(crate) fn render(tables: &Tables, template: &str) -> String {
    let template = template
        .replace("{matches}", MATCHES)
        .replace("{given}", GIVEN)
        .replace("{waiting}", WAITING)
        .replace("{first}", FIRST)
        .replace("{now}", NOW)
        .replace("{columns}", COLUMNS);
    template::render(tables, &template)
}

fn prepare(tables: &Tables, template: &str) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(render(tables, template))).into_sql_str()
}
