//! Delivering part of the topic twice.

use std::time::Duration;

use relaybox::{CancellationToken, Consumer, Error, EventSource, ProcessedEventStore};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, counters::Counters};
use crate::error::DemoError;

/// Runs a consumer that reads the topic from its beginning as another group, until `repeats` more
/// deliveries were known to the inbox as repeats.
///
/// To Kafka this is a group that starts afresh; to the inbox it is the same consumer. Where it
/// overtakes the first one, the first one's deliveries are the repeats.
pub(crate) async fn deliver_again<S, P>(
    consumer: Consumer<S, P>,
    counters: &Counters,
    repeats: u64,
) -> Result<(), DemoError>
where
    S: EventSource,
    P: ProcessedEventStore,
{
    let enough = counters.duplicates() + repeats;
    let stop = CancellationToken::new();
    let run = tokio::spawn(consumer.run(stop.clone()));
    let mut known = counters.duplicates();
    let mut deadline = Instant::now() + PATIENCE;
    // Too few are a violation, which the checks find.
    while known < enough && Instant::now() < deadline && !run.is_finished() {
        sleep(Duration::from_millis(10)).await;
        if counters.duplicates() > known {
            known = counters.duplicates();
            deadline = Instant::now() + PATIENCE;
        }
    }
    stop.cancel();
    run.await?.map_err(Error::into)
}
