//! What a consumer does beside handling events: figures, and removing old marks.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Shared;
use crate::{
    EventSource, ProcessedEventStore, Retention, SourceStats, TopicName, TopicStats, error_chain,
    telemetry,
};

/// How often it asks for figures, and how long it waits for them.
const INTERVAL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(10);

impl<S: EventSource, P: ProcessedEventStore> Shared<S, P> {
    /// Records the source's figures, and warns when marks are kept for less than records are.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut held = HashSet::new();
        let mut warned = HashSet::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.source.stats()).await {
                Ok(Ok(stats)) => {
                    self.record(&stats, &mut held);
                    self.compare_retention(&stats, &mut warned);
                }
                Ok(Err(error)) => {
                    debug!(error = error_chain(&error), "the source gives no figures")
                }
                Err(_) => debug!("the source gives no figures in time"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Removes old marks until `shutdown`.
    pub(super) async fn purge(self: Arc<Self>, age: Duration, shutdown: CancellationToken) {
        let name = &self.settings.name;
        let purge = |age, limit| self.inbox.purge(name, age, limit);
        if let Err(error) = Retention::new(age).run(purge, shutdown).await {
            warn!(consumer = %name, error = error_chain(&error), "old marks are not removed any more");
        }
    }

    fn record(&self, stats: &SourceStats, held: &mut HashSet<(TopicName, i32)>) {
        let name = self.settings.name.as_str();
        let mut gone = std::mem::take(held);
        for partition in &stats.partitions {
            let place = (partition.topic.clone(), partition.number);
            gone.remove(&place);
            held.insert(place);
            if let Some(lag) = partition.lag {
                telemetry::lag(name, &partition.topic, partition.number, lag);
            }
        }
        // Another member reports them now.
        for (topic, number) in gone {
            telemetry::lag(name, &topic, number, 0);
        }
        for topic in &stats.topics {
            if let Some(count) = topic.dead_letters {
                telemetry::dead_letter_records(name, &topic.topic, count);
            }
        }
    }

    fn compare_retention(&self, stats: &SourceStats, warned: &mut HashSet<TopicName>) {
        let Some(kept) = self.settings.keep_marks else { return };
        for topic in kept_longer(stats, kept) {
            if warned.insert(topic.topic.clone()) {
                warn!(
                    consumer = %self.settings.name,
                    topic = %topic.topic,
                    marks_kept_s = kept.as_secs(),
                    records_kept_s = topic.retention.map(|kept| kept.as_secs()),
                    "marks are kept for less than records: one that is read again later is handled again"
                );
            }
        }
    }
}

/// The topics whose records are kept for longer than marks are.
fn kept_longer(stats: &SourceStats, marks: Duration) -> impl Iterator<Item = &TopicStats> {
    stats.topics.iter().filter(move |topic| topic.retention.is_some_and(|records| records > marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_are_kept_for_less_than_records_are_found() {
        let topic = |name: &str, retention| {
            let mut topic = TopicStats::new(TopicName::new(name.to_owned()).unwrap());
            topic.retention = retention;
            topic
        };
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let topics = vec![
            topic("longer", Some(hours(25))),
            topic("as-long", Some(hours(24))),
            topic("unknown", None),
        ];
        let stats = SourceStats::new(Vec::new(), topics);
        let found: Vec<_> =
            kept_longer(&stats, hours(24)).map(|topic| topic.topic.as_str()).collect();
        assert_eq!(found, ["longer"]);
    }
}
