//! Running the binary, and an outbox on SQLite to run it on.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use relaybox::{
    Acquired, AggregateId, AggregateType, Envelope, ErrorKind, EventId, EventType, GivenUp, Label,
    OutboxStore, OutboxWriter, ReadRequest, RelayId, Settlement,
    sqlite::{SqliteOutbox, SqliteProcessedEvents},
};
use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqlitePoolOptions};
use tempfile::TempDir;

/// Every secret of the tests has it in it; no run may show it.
pub(crate) const SECRET: &str = "hunter2";

/// What a run of the binary came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The binary in a folder, without the configuration of whoever runs the tests.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relaybox"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RELAYBOX_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs the binary, and checks that it shows no secret and doesn't panic.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    ran(&command(folder).args(arguments).output().unwrap())
}

pub(crate) fn ran(output: &Output) -> Ran {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let ran = Ran {
        code: output.status.code().unwrap(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{}{}", ran.out, ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

impl Ran {
    /// The output of a run that went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// The output of a run that went well, as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// What a run that ended with this code said about it.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(!self.err.is_empty(), "it says why");
        self.err
    }
}

/// An outbox on SQLite in a folder of its own, whose relaybox.toml names it.
pub(crate) struct SqliteCase {
    pub(crate) folder: TempDir,
    pub(crate) pool: SqlitePool,
}

impl SqliteCase {
    /// Makes it with `relaybox migrate`.
    pub(crate) async fn create() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("relaybox.toml"),
            "[store]\nurl = \"sqlite:outbox.db\"\narchive = true\n",
        )
        .unwrap();
        run(folder.path(), &["migrate"]).ok();
        let url = format!("sqlite:{}", folder.path().join("outbox.db").display());
        let pool = SqlitePoolOptions::new().max_connections(2).connect(&url).await.unwrap();
        Self { folder, pool }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.folder.path(), arguments)
    }

    pub(crate) fn store(&self) -> SqliteOutbox {
        SqliteOutbox::new(self.pool.clone())
    }

    pub(crate) fn inbox(&self) -> SqliteProcessedEvents {
        SqliteProcessedEvents::new(self.pool.clone())
    }

    /// Enqueues events of sessions, one each; gives their ids.
    pub(crate) async fn enqueue(&self, sessions: &[&'static str]) -> Vec<EventId> {
        let events: Vec<_> = sessions.iter().map(|id| event(id)).collect();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        self.store().write(&mut tx, &events).await.unwrap();
        tx.commit().await.unwrap();
        events.iter().map(|event| event.event_id).collect()
    }

    /// Takes all that waits and, as a relay would, gives up on the first of each session and parks the
    /// others.
    pub(crate) async fn give_up(&self) {
        let store = self.store();
        let relay = RelayId::new(&Label::new("test").unwrap());
        let ttl = std::time::Duration::from_secs(10);
        let Acquired::Held(lease) = store.acquire(&relay, ttl).await.unwrap() else {
            panic!("nobody else has the lease")
        };
        let rows = store.reader().await.unwrap().read(&ReadRequest::new(1000)).await.unwrap();
        let mut settlement = Settlement::default();
        let mut seen = std::collections::BTreeSet::new();
        for row in &rows {
            let session = row.envelope.as_ref().unwrap().aggregate_id.clone();
            if !row.parked && seen.insert(session) {
                let reason = "the broker said no".to_owned();
                settlement.dead.push(GivenUp::new(row.event, ErrorKind::Rejected, reason, 3));
            } else {
                settlement.parked.push(row.event);
            }
        }
        store.settle(&lease, &settlement).await.unwrap();
        store.release(&lease).await.unwrap();
    }

    /// Copies the only dead letter so often, each copy of a session of its own.
    pub(crate) async fn copy_letters(&self, count: u32) {
        let same = "aggregate_type, event_name, event_version, occurred_at, content_type, \
             partition_key, source, correlation_id, causation_id, user_id, traceparent, \
             tracestate, headers, payload, enqueued_at, state, redrive_requested_at, \
             error_kind, reason, attempts, failed_at";
        let copy = format!(
            "WITH RECURSIVE copy (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM copy WHERE i < {count}) \
             INSERT INTO outbox_dead_letters (seq, event_id, aggregate_id, {same}) \
             SELECT seq + i, randomblob(16), 'copy-' || i, {same} FROM outbox_dead_letters, copy"
        );
        sqlx::query(AssertSqlSafe(copy)).execute(&self.pool).await.unwrap();
    }
}

/// An event whose payload is a secret.
pub(crate) fn event(session: &'static str) -> Envelope {
    Envelope::new(
        EventType::new("session.created", 1).unwrap(),
        AggregateType::new("session").unwrap(),
        AggregateId::new(session).unwrap(),
        format!("{{\"password\":\"{SECRET}\"}}").into_bytes(),
    )
}
