CREATE TABLE sessions (
    id BLOB PRIMARY KEY,
    user_id BLOB NOT NULL,
    expires_at TEXT NOT NULL,
    revoked BOOLEAN NOT NULL,
    version INTEGER NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE session_views (
    id BLOB PRIMARY KEY,
    user_id BLOB NOT NULL,
    browser TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    refreshes INTEGER NOT NULL,
    revoked BOOLEAN NOT NULL,
    version INTEGER NOT NULL
);

-- The handlers' ledger. Nothing here keeps an event from being written twice: the inbox has to.
CREATE TABLE effects (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL,
    session_id BLOB NOT NULL,
    version INTEGER NOT NULL
);
