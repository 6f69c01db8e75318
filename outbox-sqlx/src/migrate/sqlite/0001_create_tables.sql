-- Times are microseconds since 1970, by the host's clock; ids are the 16 bytes of the UUID.

-- The events that wait to be published: inserted in the service's transactions, deleted once acknowledged.
-- AUTOINCREMENT: a number is never given twice, and with one writer at a time its order is commit order.
CREATE TABLE {outbox_events} (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id       BLOB NOT NULL CHECK (length(event_id) = 16),
    aggregate_type TEXT NOT NULL,
    aggregate_id   TEXT NOT NULL,
    event_name     TEXT NOT NULL,
    event_version  INTEGER NOT NULL,
    occurred_at    INTEGER NOT NULL,
    content_type   TEXT NOT NULL,
    partition_key  TEXT,
    source         TEXT NOT NULL,
    correlation_id TEXT,
    causation_id   BLOB,
    user_id        TEXT,
    traceparent    TEXT,
    tracestate     TEXT,
    headers        TEXT,
    payload        BLOB NOT NULL,
    enqueued_at    INTEGER NOT NULL DEFAULT ({now})
) STRICT;

-- The lease: one row, who may settle.
CREATE TABLE {outbox_relay} (
    singleton   INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    owner       TEXT,
    epoch       INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER
) STRICT;
INSERT INTO {outbox_relay} (singleton) VALUES (1);

-- What the relay gave up on, and what is parked behind it. seq is the place in the original order.
CREATE TABLE {outbox_dead_letters} (
    seq            INTEGER PRIMARY KEY,
    event_id       BLOB NOT NULL CHECK (length(event_id) = 16),
    aggregate_type TEXT NOT NULL,
    aggregate_id   TEXT NOT NULL,
    event_name     TEXT NOT NULL,
    event_version  INTEGER NOT NULL,
    occurred_at    INTEGER NOT NULL,
    content_type   TEXT NOT NULL,
    partition_key  TEXT,
    source         TEXT NOT NULL,
    correlation_id TEXT,
    causation_id   BLOB,
    user_id        TEXT,
    traceparent    TEXT,
    tracestate     TEXT,
    headers        TEXT,
    payload        BLOB NOT NULL,
    enqueued_at    INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('dead', 'parked')),
    redrive_requested_at INTEGER,
    error_kind     TEXT,
    reason         TEXT,
    attempts       INTEGER NOT NULL DEFAULT 0,
    failed_at      INTEGER NOT NULL DEFAULT ({now})
) STRICT;
CREATE INDEX {outbox_dead_letters.schema}{outbox_dead_letters.idx_event_id}
    ON {outbox_dead_letters.local} (event_id);
CREATE INDEX {outbox_dead_letters.schema}{outbox_dead_letters.idx_aggregate}
    ON {outbox_dead_letters.local} (aggregate_type, aggregate_id, seq);

-- The marks of the consumers.
CREATE TABLE {processed_events} (
    consumer     TEXT NOT NULL,
    event_id     BLOB NOT NULL CHECK (length(event_id) = 16),
    processed_at INTEGER NOT NULL DEFAULT ({now}),
    PRIMARY KEY (consumer, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX {processed_events.schema}{processed_events.idx_processed_at}
    ON {processed_events.local} (processed_at);

-- What the consumers gave up on: not processed, but not to be tried again at this place.
CREATE TABLE {given_up_events} (
    consumer      TEXT NOT NULL,
    topic         TEXT NOT NULL,
    partition     INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    -- Tells the record from another one at the same place: the topic may be made anew.
    fingerprint   INTEGER NOT NULL,
    progress      TEXT NOT NULL CHECK (progress IN ('decided', 'dead_lettered')),
    error_kind    TEXT NOT NULL,
    reason        TEXT NOT NULL,
    attempts      INTEGER NOT NULL,
    decided_at    INTEGER NOT NULL DEFAULT ({now}),
    PRIMARY KEY (consumer, topic, partition, record_offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX {given_up_events.schema}{given_up_events.idx_decided_at}
    ON {given_up_events.local} (decided_at);
