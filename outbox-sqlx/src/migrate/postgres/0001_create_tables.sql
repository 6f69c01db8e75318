-- The events that wait to be published: inserted in the service's transactions, deleted once acknowledged.
-- There is no unique index on event_id: each index costs every writer, and consumers know repeats anyway.
-- The check on occurred_at keeps out what RFC 3339 cannot say ('infinity').
CREATE TABLE {outbox_events} (
    seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id       uuid NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    event_name     text NOT NULL,
    event_version  integer NOT NULL,
    occurred_at    timestamptz NOT NULL
        CHECK (occurred_at >= '0001-01-01 00:00:00+00' AND occurred_at < '10000-01-01 00:00:00+00'),
    content_type   text NOT NULL,
    partition_key  text,
    source         text NOT NULL,
    correlation_id text,
    causation_id   uuid,
    user_id        text,
    traceparent    text,
    tracestate     text,
    headers        text,
    payload        bytea NOT NULL,
    enqueued_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- Rows live for moments: vacuum by how many died, not by a share of how many there are.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000
);

-- The lease: one row, who may settle.
CREATE TABLE {outbox_relay} (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    owner       text,
    epoch       bigint NOT NULL DEFAULT 0,
    lease_until timestamptz
);
INSERT INTO {outbox_relay} DEFAULT VALUES;

-- What the relay gave up on, and what is parked behind it. seq is the place in the original order.
CREATE TABLE {outbox_dead_letters} (
    seq            bigint NOT NULL,
    event_id       uuid NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    event_name     text NOT NULL,
    event_version  integer NOT NULL,
    occurred_at    timestamptz NOT NULL
        CHECK (occurred_at >= '0001-01-01 00:00:00+00' AND occurred_at < '10000-01-01 00:00:00+00'),
    content_type   text NOT NULL,
    partition_key  text,
    source         text NOT NULL,
    correlation_id text,
    causation_id   uuid,
    user_id        text,
    traceparent    text,
    tracestate     text,
    headers        text,
    payload        bytea NOT NULL,
    enqueued_at    timestamptz NOT NULL,
    state          text NOT NULL CHECK (state IN ('dead', 'parked')),
    redrive_requested_at timestamptz,
    error_kind     text,
    reason         text,
    attempts       integer NOT NULL DEFAULT 0,
    failed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- seq alone would collide after TRUNCATE … RESTART IDENTITY of the outbox.
    PRIMARY KEY (event_id, seq)
);
CREATE INDEX {outbox_dead_letters.idx_aggregate}
    ON {outbox_dead_letters} (aggregate_type, aggregate_id, seq)
    -- What may be published again is found in the index alone, without the payloads.
    INCLUDE (event_id, state, redrive_requested_at);

-- The marks of the consumers.
CREATE TABLE {processed_events} (
    consumer     text NOT NULL,
    event_id     uuid NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX {processed_events.idx_processed_at} ON {processed_events} (processed_at);

-- What the consumers gave up on: not processed, but not to be tried again at this place.
CREATE TABLE {given_up_events} (
    consumer      text NOT NULL,
    topic         text NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    -- Tells the record from another one at the same place: the topic may be made anew.
    fingerprint   bigint NOT NULL,
    progress      text NOT NULL CHECK (progress IN ('decided', 'dead_lettered')),
    error_kind    text NOT NULL,
    reason        text NOT NULL,
    attempts      integer NOT NULL,
    decided_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, topic, partition, record_offset)
);
CREATE INDEX {given_up_events.idx_decided_at} ON {given_up_events} (decided_at);
