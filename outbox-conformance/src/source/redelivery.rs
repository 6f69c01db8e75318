//! Delayed redelivery by the broker.
//!
//! Not tested unless the source [has it](relaybox_core::EventSource::redelivery).

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Fixture,
    fixture::{close, content, drain, name, record, take},
    on_source,
};
use crate::{EventSource, SourceFactory, run::same, store::ok};

const DELAY: Duration = Duration::from_millis(700);

/// After the delay, with one more attempt each time, and otherwise as it was.
pub async fn a_delivery_that_is_put_off_comes_again_after_its_delay<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let member = source.join().await;
        let Some(redelivery) = member.redelivery() else {
            source.passed_over("the broker delivers nothing later");
            return close(member).await;
        };
        source.append("a", 0..1).await;
        let mut batch = take(&member).await;
        let first = batch.deliveries[0].clone();
        for attempts in 0..3 {
            let delivery = &batch.deliveries[0];
            same("how often it failed", &delivery.attempts, &attempts);
            same("key, value and headers", &content(delivery), &content(&first));
            let notes = (delivery.place, delivery.fingerprint());
            same("its place, and what it is", &notes, &(first.place, first.fingerprint()));
            let began = Instant::now();
            let later = redelivery.deliver_later(delivery, &source.failure(), DELAY).await;
            ok("putting it off", later);
            ok("acknowledging", member.acknowledge(&batch.partition, batch.last()).await);
            batch = take(&member).await;
            let seen = began.elapsed();
            assert!(seen >= DELAY, "not before its delay of {DELAY:?}\n      seen: {seen:?}");
        }
        close(member).await;
    })
    .await;
}

/// It is the broker that waits: who put it off may be gone, and others are not held up.
pub async fn a_delivery_that_is_put_off_survives_its_member<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let member = source.join().await;
        let Some(redelivery) = member.redelivery() else {
            source.passed_over("the broker delivers nothing later");
            return close(member).await;
        };
        source.append("a", 0..1).await;
        let batch = take(&member).await;
        let delivery = &batch.deliveries[0];
        let delay = 3 * DELAY;
        let later = redelivery.deliver_later(delivery, &source.failure(), delay).await;
        ok("putting it off", later);
        ok("acknowledging", member.acknowledge(&batch.partition, batch.last()).await);
        close(member).await;
        source.write(record("a", "behind it")).await;
        let member = source.join().await;
        let mut seen: Vec<_> = drain(&member, 2)
            .await
            .iter()
            .map(|delivery| (name(delivery), delivery.attempts))
            .collect();
        // Which one is first is a matter of how long it takes to join.
        seen.sort();
        let promised = [("0".to_owned(), 1), ("behind it".to_owned(), 0)];
        same("both come, one with an attempt", &seen[..], &promised);
        close(member).await;
    })
    .await;
}
