-- How often a consumer began on a partition at the same place, and tried what is at one, without an
-- orderly stop in between: what it died of. One row a consumer and partition.
CREATE TABLE {consumer_starts} (
    consumer      TEXT NOT NULL,
    topic         TEXT NOT NULL,
    partition     INTEGER NOT NULL,
    place         INTEGER,
    starts        INTEGER NOT NULL DEFAULT 0,
    attempt_place INTEGER,
    attempts      INTEGER NOT NULL DEFAULT 0,
    changed_at    INTEGER NOT NULL DEFAULT ({now}),
    PRIMARY KEY (consumer, topic, partition)
) STRICT, WITHOUT ROWID;

-- Each consumer purges its own.
CREATE INDEX {processed_events.schema}{processed_events.idx_consumer}
    ON {processed_events.local} (consumer, processed_at);
DROP INDEX IF EXISTS {processed_events.schema}{processed_events.idx_processed_at};
CREATE INDEX {given_up_events.schema}{given_up_events.idx_consumer}
    ON {given_up_events.local} (consumer, decided_at);
DROP INDEX IF EXISTS {given_up_events.schema}{given_up_events.idx_decided_at};
