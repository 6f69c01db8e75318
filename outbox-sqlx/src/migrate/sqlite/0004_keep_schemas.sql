-- The schemas that payloads were written with, for the relay to register: by the SHA-256 of their text.
CREATE TABLE {outbox_schemas} (
    fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
    format      TEXT NOT NULL,
    schema      TEXT NOT NULL,
    created_at  INTEGER NOT NULL DEFAULT ({now})
) STRICT, WITHOUT ROWID;
