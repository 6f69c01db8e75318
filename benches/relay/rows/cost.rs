//! What the relay asks of the database for each event, at full rate.

use std::time::Duration;

use super::Bench;
use crate::{
    child::Watch,
    process::RelayProcess,
    support::{
        POSTGRES_KAFKA,
        database::{Database, sync},
        figures::float,
        report::{Bar, Line},
        topic::Topic,
    },
};

/// How often it is tried to find a time without a checkpoint.
const ATTEMPTS: u32 = 3;

/// When the pages that are changed were last written as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    /// Before the load: the log has each page since.
    BeforeLoad,
    /// Before the drain: the first change of each page logs it as a whole.
    BeforeDrain,
}

struct Cost {
    statements: f64,
    transactions: f64,
    rows_updated: f64,
    wal_bytes: f64,
}

pub(super) async fn measure(bench: &Bench) {
    let events = bench.options.events(100_000);
    let cost = without_checkpoint(bench, events).await;
    let (after_checkpoint, _) = drain(bench, events, Checkpoint::BeforeDrain).await;
    let per_event = |figure: f64| figure / float(events);
    Line::new("cost", POSTGRES_KAFKA, events)
        .bar("statements_per_event", per_event(cost.statements), Bar::AtMost(0.01))
        .figure("transactions_per_event", per_event(cost.transactions))
        .bar("outbox_rows_updated", cost.rows_updated, Bar::AtMost(0.0))
        .bar("wal_bytes_per_event", per_event(cost.wal_bytes), Bar::AtMost(120.0))
        .figure("wal_bytes_per_event_after_checkpoint", per_event(after_checkpoint.wal_bytes))
        .print(bench.options.json);
}

/// The server makes checkpoints of its own, and for others: a drop of a database is one.
async fn without_checkpoint(bench: &Bench, events: u64) -> Cost {
    for _ in 0..ATTEMPTS {
        let (cost, undisturbed) = drain(bench, events, Checkpoint::BeforeLoad).await;
        if undisturbed {
            return cost;
        }
        eprintln!("cost: a checkpoint came in between; measuring again");
    }
    panic!(
        "a checkpoint came in between each time: measure on a server that has nothing else to do"
    );
}

/// Drains a full outbox; says whether no other checkpoint was made meanwhile.
async fn drain(bench: &Bench, events: u64, checkpoint: Checkpoint) -> (Cost, bool) {
    let database = Database::create(&bench.servers().postgres).await;
    let topic = Topic::create(&bench.servers().kafka).await;
    // What vacuum writes is not the relay's.
    database.execute("ALTER TABLE outbox_events SET (autovacuum_enabled = false)").await;
    database.execute("CHECKPOINT").await;
    let loaded = last_checkpoint(&database).await;
    database.load(events).await;
    if checkpoint == Checkpoint::BeforeDrain {
        database.execute("CHECKPOINT").await;
    }
    sync();
    let (logged, transactions) = (wal(&database).await, transactions(&database).await);
    let mut relay = RelayProcess::start(&database, &topic, Watch::Statements).await;
    relay.settled(events).await;
    let logged = wal(&database).await - logged;
    let statements = relay.report().await.statements;
    relay.stop().await;
    let undisturbed = loaded == last_checkpoint(&database).await;
    settle_statistics(&database, events).await;
    let updated = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'outbox_events'";
    let cost = Cost {
        statements: float(statements),
        transactions: number(self::transactions(&database).await - transactions),
        rows_updated: number(database.number(updated).await),
        wal_bytes: number(logged),
    };
    (cost, undisturbed)
}

/// Waits until the backends that have ended have told what they did.
async fn settle_statistics(database: &Database, events: u64) {
    let deleted = "SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'outbox_events'";
    for _ in 0..150 {
        if database.number(deleted).await.unsigned_abs() >= events {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the server's statistics don't say that {events} rows were deleted");
}

/// How many bytes the whole server has logged: nothing else may work on it.
async fn wal(database: &Database) -> i64 {
    database.number("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint").await
}

async fn transactions(database: &Database) -> i64 {
    let ended = "SELECT xact_commit + xact_rollback FROM pg_stat_database \
         WHERE datname = current_database()";
    database.number(ended).await
}

async fn last_checkpoint(database: &Database) -> i64 {
    database.number("SELECT (redo_lsn - '0/0'::pg_lsn)::bigint FROM pg_control_checkpoint()").await
}

fn number(counted: i64) -> f64 {
    float(counted.unsigned_abs())
}
