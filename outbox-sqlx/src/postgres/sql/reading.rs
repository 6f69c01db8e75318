//! The reading statements.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::OutboxSql;
use crate::row::COLUMNS;

/// Whether there is anything from position `$1` on, or any dead letter. One cheap look for an idle relay.
pub(super) const PEEK: &str = "SELECT EXISTS (SELECT FROM {outbox_events} WHERE seq >= $1) \
     OR EXISTS (SELECT FROM {outbox_dead_letters})";

/// Whether what was written up to `$1` is on the disk.
pub(super) const IS_FLUSHED: &str =
    "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint >= $1";

/// Puts all that was written so far onto the disk: a commit that waits for it does so for the whole log.
pub(in crate::postgres) const FLUSH: &str = "BEGIN; SET LOCAL synchronous_commit = local; \
     SELECT pg_logical_emit_message(true, 'relaybox', ''); COMMIT";

/// The next events, behind the state of the server, which each row repeats and which is there when no
/// event is: what is on the disk and what was written (bytes of the log), the oldest transaction
/// under way and its age, whether there are dead letters, the size of the table, the transactions that
/// hold the writers' lock and the ages of their ids, whether the gaps that are asleep were looked at.
/// Then origin (0 dead letters, 1 outbox), seq, parked, held back, the age of the transaction that wrote
/// it, columns.
///
/// One statement, so that one snapshot decides what is there and which rows are parked; the state is
/// looked at after the snapshot was taken. `$1` is the position to go on from; `$2` and `$3` are the
/// first and the last positions of the gaps below, `$4` the positions in flight among all these; `$5`
/// and `$6` the dead letters in flight, `$7` the aggregate types to leave, `$8` the bytes of payload,
/// `$9` whether to look through the dead letters even if they are many, `$10` whether to look at the
/// locks, `$11` which gaps are asleep, `$12` the transactions that own those. Where it deviates from the
/// obvious, it is for the plan:
/// - `(SELECT $1)` hides the parameter from the planner. With its value in sight, each plan for that
///   value seems better than the one for any, and the statement is planned anew each time: 4 ms.
/// - `NOT IN (SELECT unnest(…))` hashes the array once; `<> ALL(…)` would walk it for every row,
///   and, by its estimate, make the planner sort the whole table.
/// - the limits are literals: for an unknown limit the planner prepares to read a tenth of the table.
/// - the bytes are bounded here: what the client doesn't want would be sent all the same.
/// - which dead letters may be published is found in the index alone; their rows are joined after.
/// - what is held back comes without its payload: the reader must know that it is there.
/// - the rows are not sorted as a whole: the reader does that.
const READ: &str = "SELECT status.*, event.* FROM (\
     SELECT {status}, names, ages, {woken} FROM ({holders}) AS holders) AS status \
     LEFT JOIN ({dead_letters} UNION ALL {gaps} UNION ALL {rows}) AS event ON true";

/// The same while there are neither gaps nor dead letters nor anything held back, which is most of the
/// time: a third of the work. It says whether there are dead letters, and is not to be used then.
const READ_NEW: &str = "SELECT status.*, event.* FROM (\
     SELECT {status}, NULL::text[], NULL::integer[], false) AS status \
     LEFT JOIN {rows} AS event ON true";

const STATUS: &str = "pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint, \
     pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, \
     pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
     age(pg_snapshot_xmin(pg_current_snapshot())::xid), \
     EXISTS (SELECT FROM {outbox_dead_letters}), pg_relation_size('{outbox_events}')";

/// Who may own a missing position: a writer has this lock, on the table or on a partition of it, from
/// before its first row until after its end. A prepared transaction has no connection.
const HOLDERS: &str = "SELECT array_agg(name) AS names, array_agg(age) AS ages FROM (\
     SELECT CASE WHEN writer.pid IS NULL THEN 'prepared ' ELSE '' END \
             || writer.virtualtransaction AS name, \
         max(age(own.transactionid)) AS age \
     FROM pg_locks AS writer LEFT JOIN pg_locks AS own \
         ON own.virtualtransaction = writer.virtualtransaction \
         AND own.locktype = 'transactionid' AND own.mode = 'ExclusiveLock' \
     WHERE (SELECT $10::boolean) \
     AND writer.locktype = 'relation' AND writer.mode = 'RowExclusiveLock' AND writer.granted \
     AND writer.pid IS DISTINCT FROM pg_backend_pid() \
     AND writer.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND writer.relation IN (SELECT '{outbox_events}'::regclass \
         UNION ALL SELECT relid FROM pg_partition_tree('{outbox_events}')) \
     GROUP BY 1) AS holder";

/// Whether one of the transactions `$12` has ended, for this statement's snapshot.
const WOKEN: &str = "(SELECT coalesce(bool_or(pg_visible_in_snapshot(id::text::xid8, \
     pg_current_snapshot())), false) FROM unnest($12::bigint[]) AS id)";

const READ_DEAD_LETTERS: &str = "SELECT 0 AS origin, seq, false AS parked, false AS held, \
         2147483647 AS xid_age, {columns} FROM (\
     SELECT letter.*, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) \
         - octet_length(payload) AS bytes_before \
     FROM (SELECT seq, event_id FROM {outbox_dead_letters} AS dead \
         WHERE ((SELECT $9::boolean) OR (SELECT count(*) FROM (SELECT FROM {outbox_dead_letters} LIMIT {few}) AS few) \
             < {few}) \
         AND (state = 'parked' OR redrive_requested_at IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM {outbox_dead_letters} AS held \
             WHERE held.aggregate_type = dead.aggregate_type \
             AND held.aggregate_id = dead.aggregate_id AND held.seq <= dead.seq \
             AND held.state = 'dead' AND held.redrive_requested_at IS NULL) \
         AND (seq, event_id) NOT IN (SELECT * FROM unnest($5::bigint[], $6::uuid[])) \
         AND aggregate_type NOT IN (SELECT unnest($7::text[])) \
         ORDER BY seq LIMIT {limit}) AS candidate \
     JOIN {outbox_dead_letters} AS letter USING (seq, event_id)) AS measured \
     WHERE bytes_before < (SELECT $8::bigint)";

/// Whether the aggregate has dead letters. Asked of each row only where there are any at all.
const PARKED: &str = "EXISTS (SELECT 1 FROM {outbox_dead_letters}) \
         AND EXISTS (SELECT 1 FROM {outbox_dead_letters} AS dead \
             WHERE dead.aggregate_type = event.aggregate_type \
             AND dead.aggregate_id = event.aggregate_id)";

/// Rows of the outbox, up to the last one that is within the limits.
const READ_ROWS: &str = "(SELECT 1, seq, {parked}, {held}, age(xmin), {columns_unless_held} \
     FROM {outbox_events} AS event WHERE seq >= (SELECT $1::bigint) AND seq <= ({cut}) \
         AND seq NOT IN (SELECT unnest($4::bigint[])) ORDER BY seq LIMIT {window})";

/// The same from the gaps.
const READ_GAPS: &str = "SELECT found.* FROM (SELECT {cut} AS last) AS cut \
     CROSS JOIN unnest((SELECT $2::bigint[]), (SELECT $3::bigint[]), \
         (SELECT $11::boolean[])) AS gap (first, last, asleep) \
     CROSS JOIN LATERAL (SELECT 1, seq, {parked}, {held}, age(xmin), {columns_unless_held} \
         FROM {outbox_events} AS event \
         WHERE seq BETWEEN gap.first AND gap.last AND seq <= cut.last \
         AND seq NOT IN (SELECT unnest($4::bigint[])) ORDER BY seq LIMIT {window}) AS found \
     WHERE NOT gap.asleep OR {woken}";

/// The last position within the limits of events and bytes. Measured apart from the rows: a window over
/// whole rows would copy each of them, payload and all, and take ten times as long.
const CUT: &str = "SELECT max(seq) FROM (\
     SELECT seq, count(*) FILTER (WHERE NOT held) OVER so_far AS nth, \
         coalesce(sum(bytes) FILTER (WHERE NOT held) OVER so_far, 0) \
             - CASE WHEN held THEN 0 ELSE bytes END AS bytes_before \
     FROM ({candidates}) AS candidate \
     WINDOW so_far AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)) AS measured \
     WHERE nth <= {limit} AND bytes_before < (SELECT $8::bigint)";

const ROWS: &str = "SELECT seq, octet_length(payload) AS bytes, {held} AS held \
     FROM {outbox_events} WHERE seq >= (SELECT $1::bigint) AND seq NOT IN (SELECT unnest($4::bigint[])) \
     ORDER BY seq LIMIT {window}";

const GAPS: &str = "SELECT found.* FROM unnest((SELECT $2::bigint[]), (SELECT $3::bigint[]), \
         (SELECT $11::boolean[])) AS gap (first, last, asleep) \
     CROSS JOIN LATERAL (SELECT seq, octet_length(payload) AS bytes, {held} AS held \
         FROM {outbox_events} WHERE seq BETWEEN gap.first AND gap.last \
         AND seq NOT IN (SELECT unnest($4::bigint[])) ORDER BY seq LIMIT {window}) AS found \
     WHERE NOT gap.asleep OR {woken} ORDER BY found.seq LIMIT {window}";

/// So many dead letters are looked through now and then only: 100,000 cost 70 ms.
const FEW: &str = "1000";

impl OutboxSql {
    /// The statement that reads at most `limit` events of each origin.
    ///
    /// With a `window`, it looks at so many rows to find those that are not held back.
    pub(in crate::postgres) fn read(&self, limit: usize, window: Option<usize>) -> SqlStr {
        let held = if window.is_some() {
            "aggregate_type = ANY((SELECT $7::text[])::text[])"
        } else {
            "false"
        };
        let sql = self
            .read
            .replace("{held}", held)
            .replace("{window}", &bigint(window.unwrap_or(limit)))
            .replace("{limit}", &bigint(limit));
        AssertSqlSafe(sql).into_sql_str()
    }

    /// The statement that reads at most `limit` new events.
    pub(in crate::postgres) fn read_new(&self, limit: usize) -> SqlStr {
        let limit = bigint(limit);
        let sql = self.read_new.replace("{window}", &limit).replace("{limit}", &limit);
        AssertSqlSafe(sql).into_sql_str()
    }
}

fn bigint(number: usize) -> String {
    i64::try_from(number).unwrap_or(i64::MAX).to_string()
}

/// The reading statement but for its limits.
pub(super) fn read_template() -> String {
    let cut = |candidates| CUT.replace("{candidates}", candidates);
    READ.replace("{status}", STATUS)
        .replace("{holders}", HOLDERS)
        .replace("{dead_letters}", READ_DEAD_LETTERS)
        .replace("{gaps}", &READ_GAPS.replace("{cut}", &format!("({})", cut(GAPS))))
        .replace("{rows}", &READ_ROWS.replace("{cut}", &cut(ROWS)))
        .replace("{woken}", WOKEN)
        .replace("{columns_unless_held}", &columns_unless_held())
        .replace("{parked}", PARKED)
        .replace("{few}", FEW)
}

/// The brief reading statement but for its limit.
pub(super) fn read_new_template() -> String {
    READ_NEW
        .replace("{status}", STATUS)
        .replace("{rows}", &READ_ROWS.replace("{cut}", &CUT.replace("{candidates}", ROWS)))
        .replace("{columns_unless_held}", &columns_unless_held())
        .replace("{parked}", "false")
        .replace("{held}", "false")
}

fn columns_unless_held() -> String {
    COLUMNS.replace("payload", "CASE WHEN NOT {held} THEN payload END")
}
