//! The figures: how much waits, and how much was given up on.

use super::{
    Fixture,
    fixture::{close, drain, take},
    on_source,
};
use crate::{
    EventSource, SourceFactory,
    run::{in_the_end, same},
    store::ok,
};

/// What is not acknowledged counts, whether it is out or not; in the end nothing is left.
pub async fn the_lag_falls_to_zero_when_all_is_acknowledged<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        if !source.factory.capabilities().knows_lag {
            return source.passed_over("nobody knows how much waits");
        }
        let member = source.join().await;
        for key in 0..5 {
            source.append(&format!("k{key}"), 0..2).await;
        }
        lag_becomes(source, &member, 10).await;
        let batch = take(&member).await;
        lag_becomes(source, &member, 10).await;
        ok("acknowledging", member.acknowledge(&batch.partition, batch.last()).await);
        drain(&member, 10 - batch.deliveries.len()).await;
        lag_becomes(source, &member, 0).await;
        close(member).await;
    })
    .await;
}

/// The sum over the topic's partitions, once all of them are known.
async fn lag_becomes<F: SourceFactory>(source: &Fixture<'_, F>, member: &F::Source, promised: u64) {
    in_the_end(&format!("the lag is {promised}"), async || {
        // An error now and then is the broker's right.
        let Ok(stats) = member.stats().await else { return false };
        let partitions = stats.partitions.iter().filter(|of| of.topic == source.topic);
        let lags: Option<Vec<_>> = partitions.map(|partition| partition.lag).collect();
        lags.is_some_and(|lags| !lags.is_empty() && lags.iter().sum::<u64>() == promised)
    })
    .await;
}

/// Where the broker tells, each dead letter is one more.
pub async fn dead_letters_are_counted<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..2).await;
        let member = source.join().await;
        let count = async || {
            let stats = ok("asking for figures", member.stats().await);
            let topics: Vec<_> =
                stats.topics.into_iter().filter(|of| of.topic == source.topic).collect();
            same("figures of the topic", &topics.len(), &1);
            topics[0].dead_letters
        };
        let deliveries = drain(&member, 2).await;
        if count().await.is_some() {
            for (number, delivery) in (1..).zip(&deliveries) {
                ok("giving up", member.dead_letter(delivery, &source.failure()).await);
                in_the_end(&format!("{number} dead letters"), async || {
                    count().await == Some(number)
                })
                .await;
            }
        } else {
            source.passed_over("the broker counts no dead letters");
        }
        close(member).await;
    })
    .await;
}
