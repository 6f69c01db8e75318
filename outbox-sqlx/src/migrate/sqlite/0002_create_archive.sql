-- What was published, where a relay is told to keep it: moved here by its settlement.
-- A log: should an event be published twice (from a backup, say), it is here twice.
CREATE TABLE {outbox_archive} (
    seq              INTEGER NOT NULL,
    event_id         BLOB NOT NULL CHECK (length(event_id) = 16),
    aggregate_type   TEXT NOT NULL,
    aggregate_id     TEXT NOT NULL,
    event_name       TEXT NOT NULL,
    event_version    INTEGER NOT NULL,
    occurred_at      INTEGER NOT NULL,
    content_type     TEXT NOT NULL,
    partition_key    TEXT,
    source           TEXT NOT NULL,
    correlation_id   TEXT,
    causation_id     BLOB,
    user_id          TEXT,
    traceparent      TEXT,
    tracestate       TEXT,
    headers          TEXT,
    payload          BLOB NOT NULL,
    enqueued_at      INTEGER NOT NULL,
    published_at     INTEGER NOT NULL,
    topic            TEXT NOT NULL,
    -- As far as the broker said.
    record_partition INTEGER,
    record_offset    INTEGER,
    PRIMARY KEY (event_id, seq, published_at)
) STRICT;
CREATE INDEX {outbox_archive.schema}{outbox_archive.idx_published_at}
    ON {outbox_archive.local} (published_at);
CREATE INDEX {outbox_archive.schema}{outbox_archive.idx_aggregate}
    ON {outbox_archive.local} (aggregate_type, aggregate_id, seq);
