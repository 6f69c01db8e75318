-- The schemas that payloads were written with, for the relay to register: by the SHA-256 of their text.
CREATE TABLE {outbox_schemas} (
    fingerprint bytea PRIMARY KEY CHECK (octet_length(fingerprint) = 32),
    format      text NOT NULL,
    schema      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
