-- How often a consumer began on a partition at the same place, and tried what is at one, without an
-- orderly stop in between: what it died of. One row a consumer and partition.
CREATE TABLE {consumer_starts} (
    consumer      text NOT NULL,
    topic         text NOT NULL,
    partition     integer NOT NULL,
    place         bigint,
    starts        bigint NOT NULL DEFAULT 0,
    attempt_place bigint,
    attempts      bigint NOT NULL DEFAULT 0,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, topic, partition)
);

-- Each consumer purges its own.
CREATE INDEX {processed_events.idx_consumer} ON {processed_events} (consumer, processed_at);
DROP INDEX IF EXISTS {processed_events.schema}{processed_events.idx_processed_at};
CREATE INDEX {given_up_events.idx_consumer} ON {given_up_events} (consumer, decided_at);
DROP INDEX IF EXISTS {given_up_events.schema}{given_up_events.idx_decided_at};
