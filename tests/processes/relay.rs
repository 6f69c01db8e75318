//! A relay from Postgres to Kafka, to be killed by the tests.

use std::{io::Write, sync::Mutex, time::Duration};

use relaybox::{
    Acquired, AggregateType, CancellationToken, Error, Label, Lease, OutboxReader, OutboxStats,
    OutboxStore, Relay, RelayId, Settled, Settlement, TopicMap, TopicName, async_trait,
    kafka::{KafkaBus, KafkaConfig},
    postgres::PgOutbox,
};
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,librdkafka=error")
        .init();
    let pool = PgPoolOptions::new().max_connections(4).connect(&setting("DATABASE_URL")?).await?;
    let store = Telling {
        inner: PgOutbox::new(pool),
        settle_delay: Duration::from_millis(setting("SETTLE_DELAY_MS")?.parse()?),
        hang: setting("HANG")? == "1",
        standing: Mutex::new(""),
    };
    let bus = KafkaBus::new(KafkaConfig::new(setting("BROKERS")?))?;
    let topics =
        TopicMap::new().route(AggregateType::new("thing")?, TopicName::new(setting("TOPIC")?)?);
    let relay = Relay::builder(store, bus)
        .name(&Label::new(setting("NAME")?)?)
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

/// Tells how it stands with the lease. When it is told to settle what was published, it may let the
/// request be on its way for a while, as a slow network would, and nobody can call it back then; or say
/// `SETTLING` and hang: the broker has the events, the database doesn't know.
struct Telling {
    inner: PgOutbox,
    settle_delay: Duration,
    hang: bool,
    standing: Mutex<&'static str>,
}

#[async_trait]
impl OutboxStore for Telling {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired, Error> {
        let acquired = self.inner.acquire(relay, ttl).await?;
        let standing = match acquired {
            Acquired::Held(_) => "WORKING",
            Acquired::Elsewhere { .. } => "STANDING BY",
        };
        let before = std::mem::replace(&mut *self.standing.lock().expect("no panic"), standing);
        if before != standing {
            say(standing);
        }
        Ok(acquired)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), Error> {
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.release(lease).await?;
        say("RELEASED");
        Ok(())
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>, Error> {
        self.inner.reader().await
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled, Error> {
        if self.hang {
            say("SETTLING");
            std::future::pending::<()>().await;
        }
        if self.settle_delay.is_zero() {
            return self.inner.settle(lease, settlement).await;
        }
        let (inner, delay) = (self.inner.clone(), self.settle_delay);
        let (lease, settlement) = (lease.clone(), settlement.clone());
        let on_its_way = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            inner.settle(&lease, &settlement).await
        });
        on_its_way.await.expect("settling doesn't panic")
    }

    async fn stats(&self) -> Result<OutboxStats, Error> {
        self.inner.stats().await
    }
}
