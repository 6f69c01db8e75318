//! Whether a drain is slowed by a transaction that has nothing to do with the outbox.

use sqlx::{Connection, PgConnection};

use super::{Bench, drain::drain};
use crate::support::{
    POSTGRES_KAFKA,
    database::{Database, connect},
    figures::{median, rate},
    report::{Bar, Line},
    topic::Topic,
};

pub(super) async fn measure(bench: &Bench) {
    let events = bench.options.events(300_000);
    let servers = bench.servers();
    let (database, other) =
        (Database::create(&servers.postgres).await, Database::create(&servers.postgres).await);
    let (mut alone, mut here, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds() {
        for (stranger_in, rates) in
            [(None, &mut alone), (Some(&database), &mut here), (Some(&other), &mut elsewhere)]
        {
            let topic = Topic::create(&servers.kafka).await;
            database.fill(events).await;
            let stranger = match stranger_in {
                Some(database) => Some(Stranger::begin(database).await),
                None => None,
            };
            rates.push(rate(events, drain(&database, &topic, events).await));
            if let Some(stranger) = stranger {
                stranger.end().await;
            }
        }
    }
    let alone = median(alone);
    for (bench_name, rates) in
        [("stranger-same-database", here), ("stranger-other-database", elsewhere)]
    {
        let disturbed = median(rates);
        Line::new(bench_name, POSTGRES_KAFKA, events)
            .rates(disturbed, alone)
            .bar("ratio", disturbed / alone, Bar::AtLeast(0.9))
            .print(bench.options.json);
    }
}

/// A transaction that has taken its snapshot and does nothing more.
struct Stranger(PgConnection);

impl Stranger {
    async fn begin(database: &Database) -> Self {
        let (server, name) = database.address();
        let mut connection = PgConnection::connect_with(&connect(server, name)).await.unwrap();
        for statement in ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM things"] {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        }
        Self(connection)
    }

    /// It must have lasted until now.
    async fn end(mut self) {
        let open = "SELECT now() < statement_timestamp()";
        let open: bool = sqlx::query_scalar(open).fetch_one(&mut self.0).await.unwrap();
        assert!(open, "the stranger's transaction was ended");
        self.0.close().await.unwrap();
    }
}
