//! What consumers gave up on, in dead-letter topics and queues.

use relaybox::{ConsumerDeadLetter, RedriveQuery, RedriveSummary, RedriveVerdict};
use serde_json::{Value, json};

use super::{confirm::confirm, details::Details, view::LetterView};
use crate::{
    args::{Discard, Filter, List, PlaceFilter, Redrive, Target},
    config::Config,
    error::CliError,
    output,
};

/// The dead letters of a topic or of a queue.
pub(super) enum ConsumerLetters {
    #[cfg(feature = "kafka")]
    Topic(relaybox::kafka::KafkaRedrive),
    #[cfg(feature = "rabbitmq")]
    Queue(relaybox::rabbitmq::RabbitRedrive),
}

/// A letter, what became of it, and where it is, as `--at` takes it.
struct Found {
    letter: ConsumerDeadLetter,
    state: &'static str,
    at: String,
}

impl ConsumerLetters {
    /// None when the outbox's are meant.
    ///
    /// # Errors
    /// [`CliError::Config`] when the broker is not configured, [`CliError::Feature`] when it is not
    /// compiled in.
    pub(super) fn of(config: &Config, target: &Target) -> Result<Option<Self>, CliError> {
        if let Some(topic) = &target.topic {
            #[cfg(feature = "kafka")]
            return Ok(Some(Self::Topic(relaybox::kafka::KafkaRedrive::new(
                config.kafka()?,
                topic.clone(),
            ))));
            #[cfg(not(feature = "kafka"))]
            return Err(CliError::Feature { feature: "kafka", what: "a dead-letter topic" });
        }
        if let Some(queue) = &target.queue {
            #[cfg(feature = "rabbitmq")]
            {
                let queue = relaybox::rabbitmq::RabbitQueue::new(queue.clone())?;
                let config = config.rabbitmq()?;
                return Ok(Some(Self::Queue(relaybox::rabbitmq::RabbitRedrive::new(
                    config, &queue,
                ))));
            }
            #[cfg(not(feature = "rabbitmq"))]
            return Err(CliError::Feature { feature: "rabbitmq", what: "a dead-letter queue" });
        }
        Ok(None)
    }

    pub(super) async fn list(self, args: &List) -> Result<Vec<LetterView>, CliError> {
        let query = query(&args.filter, Some(args.limit))?;
        let found = self.found(&args.filter, &query, args.all).await?;
        Ok(found.iter().map(Found::view).collect())
    }

    pub(super) async fn details(
        self,
        filter: &Filter,
        payload: Option<usize>,
    ) -> Result<Vec<Details>, CliError> {
        let found = self.found(filter, &query(filter, None)?, true).await?;
        let details = |found: &Found| Details::of_consumer(&found.letter, found.view(), payload);
        Ok(found.iter().map(details).collect())
    }

    pub(super) async fn redrive(self, args: &Redrive) -> Result<(), CliError> {
        let mut query = query(&args.filter, args.limit)?;
        query.marks_kept = args.marks_kept;
        query.force = args.force;
        let done = match self.at(&args.filter)? {
            #[cfg(feature = "kafka")]
            Self::Topic(redrive) => {
                let plan = redrive.plan(&query).await?;
                let planned = plan.summary().clone();
                if args.dry_run { planned } else { with_plan(plan.run().await?, planned) }
            }
            #[cfg(feature = "rabbitmq")]
            Self::Queue(redrive) => {
                let plan = redrive.plan(&query).await?;
                if args.dry_run { plan.summary().clone() } else { plan.run().await? }
            }
        };
        if args.json {
            return output::json(&summary(&done, args.dry_run, "redriven"));
        }
        if args.dry_run {
            return output::line(done.to_string());
        }
        output::line(format!("{} put back{}", done.chosen, passed_over(&done)))
    }

    pub(super) async fn discard(self, args: &Discard) -> Result<(), CliError> {
        if args.successors.is_some() {
            return Err(CliError::Config(
                "--successors is for the outbox: nothing is parked behind a consumer's dead letters"
                    .to_owned(),
            ));
        }
        let query = query(&args.filter, args.limit)?;
        let ask = |planned: &RedriveSummary| {
            let question = format!("Discard {} dead letters for good?", planned.chosen);
            if planned.chosen == 0 { Ok(()) } else { confirm(&question, args.yes) }
        };
        let done = match self.at(&args.filter)? {
            #[cfg(feature = "kafka")]
            Self::Topic(redrive) => {
                let plan = redrive.plan_discard(&query).await?;
                let planned = plan.summary().clone();
                if args.dry_run {
                    planned
                } else {
                    ask(&planned)?;
                    with_plan(plan.run().await?, planned)
                }
            }
            #[cfg(feature = "rabbitmq")]
            Self::Queue(redrive) => {
                let plan = redrive.plan_discard(&query).await?;
                if args.dry_run {
                    plan.summary().clone()
                } else {
                    ask(plan.summary())?;
                    plan.run().await?
                }
            }
        };
        if args.json {
            return output::json(&summary(&done, args.dry_run, "discarded"));
        }
        if args.dry_run {
            return output::line(done.of_discard().to_string());
        }
        output::line(format!("{} discarded{}", done.chosen, passed_over(&done)))
    }

    async fn found(
        self,
        filter: &Filter,
        query: &RedriveQuery,
        all: bool,
    ) -> Result<Vec<Found>, CliError> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Topic(redrive) => {
                use relaybox::kafka::LetterState;
                let letters = if !filter.at.is_empty() {
                    let mut letters = Vec::new();
                    for at in &filter.at {
                        let (partition, offset) = topic_place(*at)?;
                        letters.extend(redrive.letter(partition, offset).await?);
                    }
                    // A place is taken as it is; what else is asked for is ours to look for.
                    let now = chrono::Utc::now();
                    letters.retain(|found| {
                        (all || found.state == LetterState::Open)
                            && query.judge(&found.letter, false, now) != RedriveVerdict::NotAsked
                    });
                    letters.truncate(
                        query.limit.map_or(usize::MAX, |limit| {
                            usize::try_from(limit).unwrap_or(usize::MAX)
                        }),
                    );
                    letters
                } else if all {
                    redrive.list(query, None).await?
                } else {
                    redrive.list_in(LetterState::Open, query, None).await?
                };
                let found = letters.into_iter().map(|found| {
                    let delivery = &found.letter.delivery;
                    let at = format!("{}:{}", delivery.partition.number, delivery.offset);
                    Found { letter: found.letter, state: found.state.as_str(), at }
                });
                Ok(found.collect())
            }
            #[cfg(feature = "rabbitmq")]
            Self::Queue(redrive) => {
                let redrive = in_queue(redrive, filter)?;
                // What was put back or discarded is not there any more.
                let found = redrive.list(query).await?.into_iter().map(|letter| {
                    let at = letter.delivery.place.to_string();
                    Found { letter, state: "open", at }
                });
                Ok(found.collect())
            }
        }
    }

    /// The letters at the places that are named only.
    fn at(self, filter: &Filter) -> Result<Self, CliError> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Topic(mut redrive) => {
                for at in &filter.at {
                    let (partition, offset) = topic_place(*at)?;
                    redrive = redrive.at(partition, offset);
                }
                Ok(Self::Topic(redrive))
            }
            #[cfg(feature = "rabbitmq")]
            Self::Queue(redrive) => in_queue(redrive, filter).map(Self::Queue),
        }
    }
}

impl Found {
    fn view(&self) -> LetterView {
        LetterView::of_consumer(&self.letter, self.state, self.at.clone())
    }
}

#[cfg(feature = "rabbitmq")]
fn in_queue(
    mut redrive: relaybox::rabbitmq::RabbitRedrive,
    filter: &Filter,
) -> Result<relaybox::rabbitmq::RabbitRedrive, CliError> {
    for at in &filter.at {
        if at.partition.is_some() {
            return Err(CliError::Config(
                "--at: a place in a queue is a number, as a list shows it".to_owned(),
            ));
        }
        redrive = redrive.at(at.offset);
    }
    Ok(redrive)
}

fn topic_place(at: PlaceFilter) -> Result<(i32, i64), CliError> {
    match at.partition {
        Some(partition) => Ok((partition, at.offset)),
        None => Err(CliError::Config(
            "--at: a place in a topic is a partition and an offset, as a list shows it: 3:1207"
                .to_owned(),
        )),
    }
}

fn query(filter: &Filter, limit: Option<u32>) -> Result<RedriveQuery, CliError> {
    if filter.aggregate.is_some() {
        return Err(CliError::Config(
            "--aggregate is for the outbox; of a topic or a queue, --key is the aggregate's id unless \
             the event names another key"
                .to_owned(),
        ));
    }
    let mut query = RedriveQuery::all();
    query.since = filter.since.map(|since| since.0);
    query.until = filter.until.map(|until| until.0);
    query.event_type.clone_from(&filter.event_type);
    query.error_kind.clone_from(&filter.kind);
    query.error_contains.clone_from(&filter.error);
    query.event_ids.clone_from(&filter.events);
    query.consumer.clone_from(&filter.consumer);
    query.limit = limit.map(u64::from);
    if let Some(key) = &filter.key {
        query = query.key(key.clone());
    }
    Ok(query)
}

/// What a run of a topic's plan did, with what the plan had passed over: a run looks only at what the plan
/// chose.
#[cfg(feature = "kafka")]
fn with_plan(done: RedriveSummary, planned: RedriveSummary) -> RedriveSummary {
    let mut all = done;
    all.redriven_before += planned.redriven_before;
    all.discarded_before += planned.discarded_before;
    all.older_than_marks = planned.older_than_marks;
    all.beyond_limit = planned.beyond_limit;
    all.foreign = planned.foreign;
    all
}

fn passed_over(summary: &RedriveSummary) -> String {
    let others = [
        (summary.beyond_limit, "beyond the limit"),
        (summary.redriven_before, "put back before"),
        (summary.discarded_before, "discarded before"),
        (summary.older_than_marks, "older than the marks"),
    ];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    others.map(|(count, what)| format!("; {count} {what}, not")).collect()
}

fn summary(summary: &RedriveSummary, dry_run: bool, what: &str) -> Value {
    json!({
        "dry_run": dry_run,
        what: summary.chosen,
        "beyond_limit": summary.beyond_limit,
        "redriven_before": summary.redriven_before,
        "discarded_before": summary.discarded_before,
        "older_than_marks": summary.older_than_marks,
        "foreign": summary.foreign,
        "by_event_type": summary.by_event_type,
        "by_error_kind": summary.by_error_kind,
    })
}
