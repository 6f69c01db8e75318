//! The relay's side of [`RelayProcess`](crate::process::RelayProcess): a relay from Postgres to
//! Kafka that does and tells what its parent says on stdin, and ends with its parent.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use relaybox::{CancellationToken, Relay, TopicName, postgres::PgOutbox};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::mpsc;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    layer::{Context, SubscriberExt},
};
use uuid::Uuid;

use crate::{
    observed::{ObservedBus, ObservedStore, Seen},
    records,
    support::{
        database::connect,
        parent::{commands, say},
    },
};

/// By which `pg_stat_activity` knows the child's connections.
pub(crate) const APPLICATION: &str = "relaybox-bench-child";

/// What to relay: the first line on stdin.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) server: String,
    pub(crate) database: String,
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) watch: Watch,
}

/// What to watch besides the settlements. It takes time, so it is done for the rows that ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Watch {
    Nothing,
    /// How many statements are sent to the database.
    Statements,
    /// When each event is acknowledged.
    Acknowledgements,
}

/// What was seen, for the parent.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    /// How many events were settled, at which second.
    pub(crate) timeline: Vec<(u64, f64)>,
    /// When events were acknowledged, in microseconds of the epoch, since the last report; if that was
    /// asked for.
    pub(crate) acknowledged: Vec<(Uuid, i64)>,
    /// How many statements were sent to the database, if that was asked for.
    pub(crate) statements: u64,
}

static STATEMENTS: AtomicU64 = AtomicU64::new(0);

pub(crate) async fn run() -> ExitCode {
    let mut commands = commands();
    let Some(job) = commands.recv().await else { return ExitCode::FAILURE };
    let job: Job = serde_json::from_str(&job).unwrap();
    if job.watch == Watch::Statements {
        let sqlx = filter_fn(|metadata: &Metadata<'_>| metadata.target() == "sqlx::query");
        let counting = tracing_subscriber::registry().with(Statements.with_filter(sqlx));
        tracing::subscriber::set_global_default(counting).unwrap();
    }
    let (seen, shutdown) = (Seen::new(), CancellationToken::new());
    let connect = connect(&job.server, &job.database).application_name(APPLICATION);
    let pool = PgPoolOptions::new().max_connections(4).connect_with(connect).await.unwrap();
    let store = ObservedStore { inner: PgOutbox::new(pool), seen: seen.clone() };
    let bus = records::bus(&job.brokers).await;
    let topics = records::route(&TopicName::new(job.topic).unwrap());
    let mut relay = if job.watch == Watch::Acknowledgements {
        let bus = ObservedBus { inner: bus, seen: seen.clone() };
        tokio::spawn(Relay::builder(store, bus).topics(topics).build().run(shutdown.clone()))
    } else {
        tokio::spawn(Relay::builder(store, bus).topics(topics).build().run(shutdown.clone()))
    };
    tokio::select! {
        () = obey(&mut commands, &seen) => {}
        ended = &mut relay => panic!("the relay ended: {ended:?}"),
    }
    shutdown.cancel();
    relay.await.unwrap().unwrap();
    say("stopped");
    ExitCode::SUCCESS
}

/// Does what the parent says until it says `stop`.
async fn obey(commands: &mut mpsc::UnboundedReceiver<String>, seen: &Seen) {
    seen.leased().await;
    say("leased");
    while let Some(command) = commands.recv().await {
        match command.split_once(' ').unwrap_or((&command, "")) {
            ("settle", events) => {
                seen.settled(events.parse().unwrap()).await;
                say("settled");
            }
            ("report", _) => {
                let report = Report {
                    timeline: seen.timeline(),
                    acknowledged: seen.take_acknowledged(),
                    statements: STATEMENTS.load(Ordering::Relaxed),
                };
                say(&serde_json::to_string(&report).unwrap());
            }
            ("stop", _) => return,
            (other, _) => panic!("{other}?"),
        }
    }
}

/// Counts what sqlx logs: one event a statement.
struct Statements;

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
    }
}
