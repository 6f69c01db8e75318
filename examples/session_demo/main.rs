//! Sessions, end to end: a service commits them with their events, a relay publishes those, a
//! consumer handles each exactly once - and the broker goes away, deliveries repeat, transactions
//! roll back, and one event is poison.
//!
//! ```text
//! cargo run --example session_demo                    # SQLite, and Kafka inside this process
//! cargo run --example session_demo -- --postgres URL --brokers HOST:PORT
//! cargo run --example session_demo -- --broker rabbitmq --rabbitmq URL
//! cargo run --example session_demo -- --mongodb URL
//! cargo run --example session_demo -- --brokers HOST:PORT --registry URL    # Avro
//! cargo run --example session_demo -- --serve 127.0.0.1:8080
//! ```
//!
//! `session` is what a user writes; `main` and `consumer` wire it; `scenario` makes the trouble and
//! compares what was committed with what was handled.

mod args;
mod broker;
mod consumer;
mod database;
mod error;
mod http;
mod scenario;
mod session;
mod shutdown;

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use relaybox::{CancellationToken, Label, Outbox, Relay};
use tokio::{net::TcpListener, task::JoinSet};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use crate::{
    args::{Args, BrokerKind},
    broker::{Broker, Kafka, Rabbit},
    consumer::session_consumer,
    database::{MongoDatabase, PostgresDatabase, SqliteDatabase},
    error::DemoError,
    scenario::{Delivered, Scenario, counters::Counters, ledger::Effects, report},
    session::{ReadModel, SessionCodec, SessionRepository, Sessions},
};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // The demo's failures are on purpose: RUST_LOG=warn shows what the library says about them.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("session_demo=error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match demo(&args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("session_demo: {}", relaybox::error_chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Chooses the database; gives whether all promises were kept.
async fn demo(args: &Args) -> Result<bool, DemoError> {
    let run = Uuid::now_v7().simple().to_string();
    match (&args.postgres, &args.mongodb) {
        (Some(url), _) => {
            let database = PostgresDatabase::create(url, &run).await?;
            let kept = connected(args, &run, database.clone()).await;
            database.remove().await?;
            kept
        }
        (None, Some(url)) => {
            let database = MongoDatabase::create(url, &run).await?;
            let kept = connected(args, &run, database.clone()).await;
            database.remove().await?;
            kept
        }
        (None, None) => {
            let database = SqliteDatabase::create(&run).await?;
            let kept = connected(args, &run, database.clone()).await;
            database.remove().await;
            kept
        }
    }
}

/// Chooses the broker.
async fn connected<D>(args: &Args, run: &str, database: D) -> Result<bool, DemoError>
where
    D: SessionRepository + ReadModel + Effects,
{
    let source = Label::new(format!("session-demo-{run}"))?;
    match args.broker {
        BrokerKind::Kafka => {
            let broker = Kafka::start(args.brokers.as_deref(), source).await?;
            wired(args, run, database, broker).await
        }
        BrokerKind::Rabbitmq => {
            let broker =
                Rabbit::start(args.rabbitmq.as_deref().unwrap_or_default(), source).await?;
            wired(args, run, database, broker).await
        }
    }
}

/// Starts relay and consumer, runs the scenario, serves if asked to, and stops everything.
async fn wired<D, B>(args: &Args, run: &str, database: D, broker: B) -> Result<bool, DemoError>
where
    D: SessionRepository + ReadModel + Effects,
    B: Broker,
{
    let interrupted = shutdown::on_signal();
    // Now, because an address in use is better known before the scenario than after it.
    let listener = match args.serve {
        Some(address) => Some(TcpListener::bind(address).await.map_err(DemoError::Address)?),
        None => None,
    };
    let counters = Counters::install()?;

    let mut relay = Relay::builder(database.outbox(), broker.bus()?);
    let codec = match &args.registry {
        Some(url) => {
            let (codec, framing) = SessionCodec::avro(url, database.outbox()).await?;
            relay = relay.framing(framing);
            codec
        }
        None => SessionCodec::json(),
    };
    let relay = relay.build();
    let outbox = Outbox::builder(database.outbox())
        .codec(codec.clone())
        .source(format!("session-demo-{run}"))?
        .build();
    let sessions = Sessions::new(database.clone(), outbox, relay.wake_up());
    let delivered = Delivered::default();
    let consumer =
        session_consumer(&database, broker.first_source(delivered.clone())?, codec.clone())?;

    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    background.spawn(relay.run(stop.clone()));
    background.spawn(consumer.run(stop.clone()));

    let scenario = Scenario {
        database: &database,
        broker: &broker,
        sessions: &sessions,
        codec: &codec,
        counters: &counters,
        delivered: &delivered,
        size: args.sessions,
        seed: args.seed,
        quiet: args.json,
    };
    let foreground = async {
        let since = Instant::now();
        let (summary, violations) = tokio::select! {
            () = interrupted.cancelled() => return Err(DemoError::Interrupted),
            ended = scenario.run() => ended?,
        };
        report::print(&summary, &violations, since.elapsed(), args.json);
        if let Some(listener) = listener {
            http::serve(listener, sessions.clone(), database.clone(), interrupted.clone()).await?;
        }
        Ok(violations.is_empty())
    };
    let kept = tokio::select! {
        kept = foreground => kept,
        // Neither ends by itself, unless with an error that only a person can mend.
        Some(ended) = background.join_next() => ended?.map(|()| false).map_err(DemoError::from),
    };

    stop.cancel();
    while let Some(ended) = background.join_next().await {
        ended??;
    }
    broker.remove().await?;
    kept
}
