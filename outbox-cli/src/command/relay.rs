//! `relaybox relay run`: a relay of its own, which knows no event type.

use std::{sync::Arc, time::Duration};

use relaybox::{
    CancellationToken, EventBus, Label, OnDeadLetter, OutboxStore, Relay, RelayBuilder,
};

use crate::{
    args::RelayRun,
    config::{BusKind, Config, ParkOrSkip, RelaySection},
    error::CliError,
    store::{Open, SharedStore, Store},
};

/// How often `--drain` looks whether anything is left.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(config: &Config, args: &RelayRun) -> Result<(), CliError> {
    let store = Store::open(config.store.as_ref(), Open::Later).await?;
    match bus_kind(config, args)? {
        #[cfg(feature = "kafka")]
        BusKind::Kafka => {
            let bus = relaybox::kafka::KafkaBus::new(config.kafka()?)?;
            publish(config, args, store, bus).await
        }
        #[cfg(not(feature = "kafka"))]
        BusKind::Kafka => Err(CliError::Feature { feature: "kafka", what: "a relay to Kafka" }),
        #[cfg(feature = "rabbitmq")]
        BusKind::Rabbitmq => {
            let mut bus = relaybox::rabbitmq::RabbitBus::builder(config.rabbitmq()?);
            let section = config.rabbitmq.as_ref();
            if let Some(exchange) = section.and_then(|section| section.exchange.clone()) {
                bus = bus.exchange(exchange);
            }
            publish(config, args, store, bus.build()?).await
        }
        #[cfg(not(feature = "rabbitmq"))]
        BusKind::Rabbitmq => {
            Err(CliError::Feature { feature: "rabbitmq", what: "a relay to RabbitMQ" })
        }
    }
}

/// Which broker: the one that is named, or the only one that is configured.
fn bus_kind(config: &Config, args: &RelayRun) -> Result<BusKind, CliError> {
    let named = args.bus.or(config.relay.bus);
    let kafka = config.kafka.as_ref().is_some_and(|kafka| kafka.brokers.is_some());
    let rabbitmq = config.rabbitmq.as_ref().is_some_and(|rabbitmq| rabbitmq.url.is_some());
    match (named, kafka, rabbitmq) {
        (Some(kind), ..) => Ok(kind),
        (None, true, false) => Ok(BusKind::Kafka),
        (None, false, true) => Ok(BusKind::Rabbitmq),
        (None, true, true) => Err(CliError::Config(
            "relay.bus: both Kafka and RabbitMQ are configured: say which with --bus or relay.bus"
                .to_owned(),
        )),
        (None, false, false) => Err(CliError::Config(
            "no broker is configured: give --brokers or --rabbitmq, or [kafka] or [rabbitmq] in \
             relaybox.toml"
                .to_owned(),
        )),
    }
}

/// Publishes until a signal comes; with `--drain`, until nothing is left.
async fn publish(
    config: &Config,
    args: &RelayRun,
    store: Store,
    bus: impl EventBus,
) -> Result<(), CliError> {
    let outbox: Arc<dyn OutboxStore> = Arc::clone(&store.outbox) as _;
    let relay = Relay::builder(SharedStore(Arc::clone(&outbox)), bus)
        .name(&name(args, &config.relay)?)
        .topics(config.topic_map());
    let relay = framed(configured(relay, &config.relay), config, &store)?.build();
    let shutdown = on_signal();
    tracing::info!(store = store.kind.as_str(), "relay starts");
    let drained = async {
        if args.drain {
            drained(&*outbox, &shutdown).await;
        }
    };
    let working = async {
        let ended = relay.run(shutdown.clone()).await;
        // It may have ended by itself, with an error.
        shutdown.cancel();
        ended
    };
    let (ended, ()) = tokio::join!(working, drained);
    ended?;
    tracing::info!("relay stopped");
    Ok(())
}

/// Cancels the token when nothing waits in the outbox, and no dead letter is on its way.
async fn drained(outbox: &dyn OutboxStore, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        match outbox.stats().await {
            Ok(stats) if stats.backlog == 0 && stats.redriving == 0 => shutdown.cancel(),
            // The relay says what it is.
            Ok(_) | Err(_) => {
                let _ = tokio::time::timeout(LOOK_EVERY, shutdown.cancelled()).await;
            }
        }
    }
}

fn configured<B: EventBus>(
    mut relay: RelayBuilder<SharedStore, B>,
    section: &RelaySection,
) -> RelayBuilder<SharedStore, B> {
    // The library's defaults, where one of the two is named.
    let poll = (section.poll_min, section.poll_max);
    if poll != (None, None) {
        let (min, max) = (Duration::from_micros(500), Duration::from_millis(100));
        relay = relay.poll_interval(poll.0.unwrap_or(min), poll.1.unwrap_or(max));
    }
    if let Some(ttl) = section.lease_ttl {
        relay = relay.lease_ttl(ttl);
    }
    if let Some(events) = section.batch {
        relay = relay.batch(events);
    }
    if let Some(bytes) = section.batch_bytes {
        relay = relay.batch_bytes(bytes);
    }
    if let Some(batches) = section.max_in_flight {
        relay = relay.max_in_flight(batches);
    }
    if let Some(timeout) = section.drain_timeout {
        relay = relay.drain_timeout(timeout);
    }
    if let Some(successors) = section.on_dead_letter {
        relay = relay.dead_letters(match successors {
            ParkOrSkip::Park => OnDeadLetter::Park,
            ParkOrSkip::Skip => OnDeadLetter::Skip,
        });
    }
    relay
}

/// Puts the registry's ids before Avro payloads, where a registry is configured.
fn framed<B: EventBus>(
    relay: RelayBuilder<SharedStore, B>,
    config: &Config,
    store: &Store,
) -> Result<RelayBuilder<SharedStore, B>, CliError> {
    if config.registry.is_none() {
        return Ok(relay);
    }
    #[cfg(feature = "registry")]
    return Ok(relay.framing(config.framing(store)?));
    #[cfg(not(feature = "registry"))]
    Err(CliError::Feature { feature: "registry", what: "Avro with a schema registry" })
}

/// What the relay is called: by the option, by the file, or as the host is.
fn name(args: &RelayRun, section: &RelaySection) -> Result<Label, CliError> {
    let named = args.name.clone().or_else(|| section.name.clone());
    let name = named.or_else(host).unwrap_or_else(|| "relay".to_owned());
    Label::new(name).map_err(|error| CliError::Config(format!("relay.name: {error}")))
}

/// A pod's name, a container's, or the machine's.
fn host() -> Option<String> {
    let variable = std::env::var("HOSTNAME").ok();
    let host = variable.or_else(|| std::fs::read_to_string("/etc/hostname").ok())?;
    Some(host.trim().to_owned()).filter(|host| !host.is_empty())
}

/// A token that the first SIGINT or SIGTERM cancels. A second one ends the process at once.
fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        signal().await;
        tracing::info!("stops; a second signal ends it at once");
        cancel.cancel();
        signal().await;
        std::process::exit(130);
    });
    token
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn signal() {
    drop(tokio::signal::ctrl_c().await);
}
