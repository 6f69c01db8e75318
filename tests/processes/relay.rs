//! A relay from Postgres to Kafka, to be killed by the tests.

use std::{io::Write, time::Duration};

use relaybox::{
    Acquired, AggregateType, CancellationToken, Error, Lease, OutboxReader, OutboxStats,
    OutboxStore, Relay, RelayId, Settled, Settlement, TopicMap, TopicName, async_trait,
    kafka::{KafkaBus, KafkaConfig},
    postgres::PgOutbox,
};
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn").init();
    let pool = PgPoolOptions::new().max_connections(4).connect(&setting("DATABASE_URL")?).await?;
    let store = Hanging { inner: PgOutbox::new(pool), hang: setting("HANG")? == "1" };
    let bus = KafkaBus::new(KafkaConfig::new(setting("BROKERS")?))?;
    let topics =
        TopicMap::new().route(AggregateType::new("thing")?, TopicName::new(setting("TOPIC")?)?);
    let relay = Relay::builder(store, bus)
        .topics(topics)
        .lease_ttl(Duration::from_millis(setting("LEASE_MS")?.parse()?))
        .build();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        stop.cancel();
    });
    say("READY");
    relay.run(shutdown).await?;
    Ok(())
}

fn setting(name: &str) -> Result<String, std::env::VarError> {
    std::env::var(format!("RELAY_{name}"))
}

fn say(what: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{what}").and_then(|()| stdout.flush());
}

/// Says `SETTLING` and hangs when it is told to settle what was published: the broker has the events,
/// the database doesn't know.
struct Hanging {
    inner: PgOutbox,
    hang: bool,
}

#[async_trait]
impl OutboxStore for Hanging {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired, Error> {
        self.inner.acquire(relay, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), Error> {
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.release(lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>, Error> {
        self.inner.reader().await
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled, Error> {
        if self.hang {
            say("SETTLING");
            std::future::pending::<()>().await;
        }
        self.inner.settle(lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats, Error> {
        self.inner.stats().await
    }
}
