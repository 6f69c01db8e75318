//! A consumer from Kafka or RabbitMQ to Postgres, to be killed by the tests.

mod deposit;
mod planted;

use std::{
    io::{Read, Write},
    str::FromStr,
    time::Duration,
};

use relaybox::{
    CancellationToken, Consumer, ConsumerName, EventSource, ProcessedEventStore, RetryPolicy,
    TopicName,
    kafka::{KafkaConfig, KafkaSource},
    postgres::PgProcessedEvents,
    rabbitmq::{RabbitConfig, RabbitQueue, RabbitSource},
};
use relaybox_tests::{Deposited, Planted};
use sqlx::{Postgres, Transaction, postgres::PgPoolOptions};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    deposit::Deposit,
    planted::{Hasty, Keyless, NoMarks},
};

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            std::env::var("CONSUMER_LOG").unwrap_or_else(|_| "off,relaybox=error".to_owned()),
        )
        .init();
    end_with_the_parent();
    let pool = PgPoolOptions::new().max_connections(parsed("CONNECTIONS")?);
    let pool = pool.connect(&setting("DATABASE_URL")?).await?;
    let inbox = PgProcessedEvents::new(pool);
    if let Ok(url) = setting("RABBITMQ_URL") {
        let queue = RabbitQueue::new(setting("QUEUE")?)?.single_active_consumer();
        return run(
            RabbitSource::new(RabbitConfig::from_url(&url)?, queue.retry_in_place())?,
            inbox,
        )
        .await;
    }
    let source = kafka()?;
    match parsed("PLANTED")? {
        Planted::None => run(source, inbox).await,
        Planted::NoMarks => run(source, NoMarks(inbox)).await,
        Planted::Hasty => run(Hasty(source), inbox).await,
        Planted::Keyless => run(Keyless(source), inbox).await,
    }
}

fn kafka() -> Result<KafkaSource, Failed> {
    let heartbeat = millis("SESSION_MS")?.as_millis() / 4;
    let config = KafkaConfig::new(setting("BROKERS")?)
        .set("session.timeout.ms", setting("SESSION_MS")?)?
        .set("heartbeat.interval.ms", heartbeat.to_string())?
        .set("max.poll.interval.ms", setting("MAX_POLL_MS")?)?;
    let group = ConsumerName::new(setting("GROUP")?)?;
    let topics = vec![TopicName::new(setting("TOPIC")?)?];
    let source = KafkaSource::builder(config, group, topics)
        // As long as the consumer waits for its handlers, and a little more.
        .handover(millis("DRAIN_MS")? + Duration::from_secs(1));
    Ok(source.build()?)
}

async fn run<S, P>(source: S, inbox: P) -> Result<(), Failed>
where
    S: EventSource,
    P: ProcessedEventStore<Tx = Transaction<'static, Postgres>>,
{
    let deposit =
        Deposit::new(setting("NAME")?, parsed("FAILURES")?, millis("REST_MS")?, parsed("POISON")?);
    let retry = RetryPolicy::default()
        .base(Duration::from_millis(5))
        .cap(Duration::from_millis(200))
        .max_attempts(parsed("ATTEMPTS")?);
    let consumer = Consumer::builder("ledger", source, inbox)
        .retry(retry)
        .handler_timeout(millis("HANDLER_MS")?)
        .drain_timeout(millis("DRAIN_MS")?)
        .concurrency(parsed("CONCURRENCY")?)
        .max_batch(parsed("MAX_BATCH")?)
        .on::<Deposited, _>(deposit)
        .build()?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        stop.cancel();
    });
    say("READY");
    Ok(consumer.run(shutdown).await?)
}

/// A test that is killed leaves no process behind.
fn end_with_the_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
}

fn setting(name: &str) -> Result<String, Failed> {
    Ok(std::env::var(format!("CONSUMER_{name}")).map_err(|error| format!("{name}: {error}"))?)
}

fn parsed<T: FromStr>(name: &str) -> Result<T, Failed> {
    let text = setting(name)?;
    Ok(text.parse().map_err(|_| format!("{name} can't be {text}"))?)
}

fn millis(name: &str) -> Result<Duration, Failed> {
    Ok(Duration::from_millis(parsed(name)?))
}

fn say(what: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{what}").and_then(|()| stdout.flush());
}
