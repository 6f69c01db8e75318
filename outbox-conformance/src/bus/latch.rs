//! The latch: after a failure nothing is acknowledged until the bus was told to recover.
//!
//! Not tested unless the factory knows a [payload that is refused](crate::BusFactory::refused_payload).

use relaybox_core::ErrorKind;

use super::{Fixture, on_bus};
use crate::{
    BusFactory, EventBus,
    bus::fixture::{NOTHING_REFUSED, UNORDERED, kinds},
    run::same,
};

/// Calls before, with and behind the refused record, all in flight at once: what is acknowledged is
/// what is before it.
pub async fn nothing_behind_a_refused_record_is_acknowledged<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        let Some(refused) = bus.refused("a") else { return bus.passed_over(NOTHING_REFUSED) };
        let mut calls: Vec<_> = (0..3).map(|n| bus.numbers("a", n * 10..(n + 1) * 10)).collect();
        calls[1].insert(5, refused);
        let calls: Vec<_> = calls.into_iter().map(|records| bus.bus.publish(records)).collect();
        let mut results = Vec::new();
        for call in calls {
            results.extend(kinds(&call.await));
        }
        same("one result for each record", &results.len(), &31);
        let first = results.iter().position(Option::is_some).unwrap_or(results.len());
        assert!(first <= 15, "the record at 15 is refused\n      seen: {results:?}");
        let behind = results[first..].iter().filter(|result| result.is_none()).count();
        same("acknowledged behind the first failure", &behind, &0);
        let mut promised: Vec<_> = (0..30).map(|n| n.to_string()).collect();
        promised.insert(15, "refused".to_owned());
        let seen = bus.names("a").await;
        assert!(
            seen.len() >= first
                && seen.iter().zip(&promised).all(|(seen, promised)| seen == promised)
                && seen.len() <= 15,
            "the topic ends before the refused record, in order\n      seen: {seen:?}, \
             {first} acknowledged"
        );
    })
    .await;
}

/// Later calls fail as halted, so that they are not taken for faults of their own.
pub async fn a_failed_bus_is_halted_until_it_recovers<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        let Some(refused) = bus.refused("a") else { return bus.passed_over(NOTHING_REFUSED) };
        let failed = kinds(&bus.publish(vec![refused]).await);
        same("a refused record fails", &failed.iter().flatten().count(), &1);
        for _ in 0..2 {
            let results = kinds(&bus.publish(bus.numbers("a", 0..3)).await);
            let promise = "after a failure, later calls fail as halted";
            same(promise, &results, &vec![Some(ErrorKind::Halted); 3]);
        }
        same("nothing is on the topic", &bus.names("a").await.len(), &0);
        bus.recover().await;
        bus.publish_all(bus.numbers("a", 0..3)).await;
        same("after a recovery they arrive", &bus.names("a").await.len(), &3);
    })
    .await;
}

/// The relay goes on with the first record that was not acknowledged: the order has no hole and no
/// inversion.
pub async fn a_bus_recovers_in_order<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        let Some(refused) = bus.refused("a") else { return bus.passed_over(NOTHING_REFUSED) };
        if !bus.factory.capabilities().keeps_order {
            return bus.passed_over(UNORDERED);
        }
        let records = bus.numbers("a", 0..40);
        let mut next = 0;
        for at in [7, 20, 33] {
            let mut attempt = records[next..].to_vec();
            attempt.insert(at - next, refused.clone());
            let calls: Vec<_> =
                attempt.chunks(6).map(|chunk| bus.bus.publish(chunk.to_vec())).collect();
            let mut acknowledged = 0;
            for call in calls {
                acknowledged += kinds(&call.await).iter().filter(|kind| kind.is_none()).count();
            }
            let last = next + acknowledged;
            assert!(last <= at, "nothing behind {at} is acknowledged\n      seen: {last} are");
            bus.recover().await;
            next += acknowledged;
        }
        bus.publish_all(records[next..].to_vec()).await;
        let promised: Vec<_> = (0..40).map(|n| n.to_string()).collect();
        same("the order on the topic, repeats aside", &bus.names("a").await, &promised);
    })
    .await;
}

/// A recovery with records in flight drops them or leaves them be, as a whole from one on; what is
/// acknowledged is on the topic, and the order holds afterwards.
pub async fn a_recovery_in_full_flight_keeps_the_order<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        if !bus.factory.capabilities().keeps_order {
            return bus.passed_over(UNORDERED);
        }
        let records = bus.numbers("a", 0..200);
        let mut next = 0;
        for _ in 0..4 {
            let calls: Vec<_> =
                records[next..].chunks(20).map(|chunk| bus.bus.publish(chunk.to_vec())).collect();
            bus.recover().await;
            let mut results = Vec::new();
            for call in calls {
                results.extend(kinds(&call.await));
            }
            let first = results.iter().position(Option::is_some).unwrap_or(results.len());
            let behind = results[first..].iter().filter(|result| result.is_none()).count();
            same("acknowledged behind the first failure", &behind, &0);
            next += first;
        }
        bus.publish_all(records[next..].to_vec()).await;
        let promised: Vec<_> = (0..200).map(|n| n.to_string()).collect();
        same("the order on the topic, repeats aside", &bus.names("a").await, &promised);
    })
    .await;
}
