-- What was published, where a relay is told to keep it: moved here by its settlement.
-- A log: should an event be published twice (from a backup, say), it is here twice.
CREATE TABLE {outbox_archive} (
    seq              bigint NOT NULL,
    event_id         uuid NOT NULL,
    aggregate_type   text NOT NULL,
    aggregate_id     text NOT NULL,
    event_name       text NOT NULL,
    event_version    integer NOT NULL,
    occurred_at      timestamptz NOT NULL,
    content_type     text NOT NULL,
    partition_key    text,
    source           text NOT NULL,
    correlation_id   text,
    causation_id     uuid,
    user_id          text,
    traceparent      text,
    tracestate       text,
    headers          text,
    payload          bytea NOT NULL,
    enqueued_at      timestamptz NOT NULL,
    published_at     timestamptz NOT NULL,
    topic            text NOT NULL,
    -- As far as the broker said.
    record_partition integer,
    record_offset    bigint,
    -- With the time, so that a repeat is no conflict, and the table can be partitioned by it.
    PRIMARY KEY (event_id, seq, published_at)
);
-- A settlement has one time for all, so this index is small.
CREATE INDEX {outbox_archive.idx_published_at} ON {outbox_archive} (published_at);
CREATE INDEX {outbox_archive.idx_aggregate} ON {outbox_archive} (aggregate_type, aggregate_id, seq);
