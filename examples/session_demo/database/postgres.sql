CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked boolean NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE session_views (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    browser text NOT NULL,
    expires_at timestamptz NOT NULL,
    refreshes bigint NOT NULL,
    revoked boolean NOT NULL,
    version bigint NOT NULL
);

-- The handlers' ledger. Nothing here keeps an event from being written twice: the inbox has to.
CREATE TABLE effects (
    serial bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    session_id uuid NOT NULL,
    version bigint NOT NULL
);
