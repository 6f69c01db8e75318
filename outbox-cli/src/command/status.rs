//! `relaybox status`.

use std::{io::IsTerminal, time::Duration};

use chrono::{DateTime, Utc};
use relaybox::{Error, ErrorKind, OutboxStats, Result as CoreResult, error_chain};
use serde::Serialize;

use crate::{
    args::Status,
    config::Config,
    error::CliError,
    output,
    store::{Open, Store},
};

/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// How it stands with everything that is configured.
#[derive(Debug, Default, Serialize)]
struct StatusView {
    /// Absent where none is configured, null where it doesn't answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Option<StoreView>>,
    dead_letter_topics: Vec<TopicView>,
    dead_letter_queues: Vec<QueueView>,
    /// What could not be asked.
    #[serde(skip)]
    failed: Vec<Error>,
}

#[derive(Debug, Serialize)]
struct StoreView {
    kind: &'static str,
    backlog: u64,
    oldest_age_seconds: Option<f64>,
    dead_letters: u64,
    parked: u64,
    /// Dead letters on their way.
    redriving: u64,
    /// The relay that works.
    relay: Option<String>,
    lease_until: Option<DateTime<Utc>>,
}

/// What consumers of a topic gave up on; all none when there is no dead-letter topic, or no answer:
/// it is unknown then.
#[derive(Debug, Serialize)]
struct TopicView {
    topic: String,
    open: Option<u64>,
    redriven: Option<u64>,
    discarded: Option<u64>,
    oldest_open: Option<DateTime<Utc>>,
}

/// What the consumer of a queue gave up on.
#[derive(Debug, Serialize)]
struct QueueView {
    queue: String,
    messages: Option<u64>,
}

pub(super) async fn run(config: &Config, args: &Status) -> Result<(), CliError> {
    let mut store = None;
    let mut view = look(config, &mut store).await?;
    let Some(seconds) = args.watch else {
        view.print(args.json)?;
        return view.judge(args);
    };
    loop {
        if !args.json && std::io::stdout().is_terminal() {
            output::line(CLEAR)?;
        }
        view.print(args.json)?;
        if output::is_closed() {
            return Ok(());
        }
        for error in &view.failed {
            eprintln!("relaybox: {}", output::printable(&error_chain(error)));
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        }
        view = look(config, &mut store).await?;
    }
}

/// Asks all that is configured. `store` is opened where it isn't yet.
async fn look(config: &Config, store: &mut Option<Store>) -> Result<StatusView, CliError> {
    let (topics, queues) = (config.known_topics(), config.known_queues());
    let asks_kafka = config.kafka.is_some() && !topics.is_empty();
    if config.store.is_none() && !asks_kafka && queues.is_empty() {
        return Err(CliError::Config(
            "there is nothing to look at: give --store or RELAYBOX_STORE_URL, or [store] in \
             relaybox.toml; or --brokers or [kafka], with [[topics]] or [routes]; or rabbitmq.queues"
                .to_owned(),
        ));
    }
    let mut view = StatusView::default();
    if config.store.is_some() {
        let stats = stats(config, store).await;
        let stats = match stats {
            // What is not there must not hide the rest.
            Err(CliError::Library(error)) => Err(error),
            stats => Ok(stats?),
        };
        view.store = Some(view.asked(stats));
    }
    #[cfg(feature = "kafka")]
    if config.kafka.is_some() {
        for topic in topics {
            let letters = relaybox::kafka::KafkaRedrive::new(config.kafka()?, topic.clone());
            let counts = view.asked(letters.counts().await);
            view.dead_letter_topics.push(TopicView {
                topic: topic.to_string(),
                open: counts.as_ref().map(|counts| counts.open),
                redriven: counts.as_ref().map(|counts| counts.redriven),
                discarded: counts.as_ref().map(|counts| counts.discarded),
                oldest_open: counts.and_then(|counts| counts.oldest_open),
            });
        }
    }
    #[cfg(feature = "rabbitmq")]
    for queue in queues {
        use relaybox::rabbitmq::{RabbitQueue, RabbitRedrive};
        let letters = RabbitRedrive::new(config.rabbitmq()?, &RabbitQueue::new(queue.clone())?);
        let messages = view.asked(letters.count().await);
        view.dead_letter_queues.push(QueueView { queue, messages });
    }
    Ok(view)
}

/// How it stands with the outbox, whose database is opened first where that didn't go well before.
async fn stats(config: &Config, store: &mut Option<Store>) -> Result<StoreView, CliError> {
    if store.is_none() {
        *store = Some(Store::open(config.store.as_ref(), Open::Now).await?);
    }
    let store = store.as_ref().ok_or_else(crate::config::no_store)?;
    Ok(StoreView::new(store.kind.as_str(), store.outbox.stats().await?))
}

impl StatusView {
    /// What was answered; what failed is kept for the end, so that the rest is shown.
    fn asked<T>(&mut self, answer: CoreResult<T>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            // There is no such topic or queue: nobody gave up on anything there, or its name is wrong.
            Err(error) if error.kind() == ErrorKind::TopicUnavailable => None,
            Err(error) => {
                self.failed.push(error);
                None
            }
        }
    }

    fn print(&self, json: bool) -> Result<(), CliError> {
        if json {
            return output::json(self);
        }
        if let Some(Some(store)) = &self.store {
            output::table(
                [
                    "store",
                    "#backlog",
                    "#oldest",
                    "#dead letters",
                    "#parked",
                    "#redriving",
                    "relay",
                    "lease until",
                ],
                [store.row()],
            )?;
        }
        let number =
            |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        if !self.dead_letter_topics.is_empty() {
            let row = |topic: &TopicView| {
                let counts = [topic.open, topic.redriven, topic.discarded].map(number);
                let [open, redriven, discarded] = counts;
                let oldest = topic.oldest_open.map(output::time).unwrap_or_default();
                [topic.topic.clone(), open, redriven, discarded, oldest]
            };
            output::table(
                ["dead letters of topic", "#open", "#redriven", "#discarded", "oldest open"],
                self.dead_letter_topics.iter().map(row),
            )?;
        }
        if !self.dead_letter_queues.is_empty() {
            output::table(
                ["dead letters of queue", "#messages"],
                self.dead_letter_queues
                    .iter()
                    .map(|queue| [queue.queue.clone(), number(queue.messages)]),
            )?;
        }
        Ok(())
    }

    /// Fails with what could not be asked, or with what is worse than it may be.
    fn judge(self, args: &Status) -> Result<(), CliError> {
        if !self.failed.is_empty() {
            return Err(CliError::Several(self.failed));
        }
        let mut worse = Vec::new();
        if let Some(limit) = args.max_age
            && let Some(age) =
                self.store.as_ref().and_then(|store| store.as_ref()?.oldest_age_seconds)
            && age > limit.as_secs_f64()
        {
            worse.push(format!("the oldest event has been waiting for {}", span(age)));
        }
        if let Some(limit) = args.max_dead_letters {
            let outbox = self.store.iter().flatten();
            let outbox = outbox.map(|store| ("the outbox", Some(store.dead_letters)));
            let topics = self.dead_letter_topics.iter();
            let topics = topics.map(|view| (view.topic.as_str(), view.open));
            let queues = self.dead_letter_queues.iter();
            let queues = queues.map(|view| (view.queue.as_str(), view.messages));
            for (place, count) in outbox.chain(topics).chain(queues) {
                match count {
                    Some(count) if count > limit => {
                        worse.push(format!("{place} has {count} dead letters"));
                    }
                    Some(_) => {}
                    None => worse.push(format!(
                        "how many dead letters {place} has is unknown: there is no {place}.dlq"
                    )),
                }
            }
        }
        if worse.is_empty() { Ok(()) } else { Err(CliError::Refused(worse.join("; "))) }
    }
}

impl StoreView {
    fn new(kind: &'static str, stats: OutboxStats) -> Self {
        let (relay, until) = stats.holder.unzip();
        Self {
            kind,
            backlog: stats.backlog,
            oldest_age_seconds: stats.oldest_age.map(|age| age.as_secs_f64()),
            dead_letters: stats.dead_letters,
            parked: stats.parked,
            redriving: stats.redriving,
            relay: relay.map(|relay| relay.to_string()),
            lease_until: until,
        }
    }

    fn row(&self) -> [String; 8] {
        [
            self.kind.to_owned(),
            self.backlog.to_string(),
            self.oldest_age_seconds.map_or_else(|| "-".to_owned(), span),
            self.dead_letters.to_string(),
            self.parked.to_string(),
            self.redriving.to_string(),
            self.relay.clone().unwrap_or_else(|| "nobody".to_owned()),
            self.lease_until.map_or_else(|| "-".to_owned(), output::time),
        ]
    }
}

/// Seconds as a person reads them.
fn span(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.1} s"),
        ..3_600.0 => format!("{:.1} min", seconds / 60.0),
        ..86_400.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}
