//! The order of calls, records and results.

use super::{Fixture, on_bus};
use crate::{
    BusFactory, EventBus,
    bus::fixture::{NOTHING_REFUSED, UNORDERED, kinds},
    run::{in_the_end, same},
};

/// One result for each record, at the same index.
pub async fn results_are_in_the_order_of_the_records<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        same("no record, no result", &bus.publish(Vec::new()).await.len(), &0);
        for count in [1, 2, 50] {
            let results = bus.publish(bus.numbers("a", 0..count)).await;
            same("one result for each record", &kinds(&results), &vec![None; count]);
        }
        // Which one fails is told by its index: a refused one, then an accepted one.
        let Some(refused) = bus.refused("a") else { return bus.passed_over(NOTHING_REFUSED) };
        let mut records = bus.numbers("a", 100..105);
        records.insert(3, refused);
        let results = kinds(&bus.publish(records).await);
        same("one result for each record", &results.len(), &6);
        let failed = results.iter().position(Option::is_some);
        assert!(
            failed.is_some_and(|at| at <= 3) && results[3..].iter().all(Option::is_some),
            "the record at 3 fails, and what is behind it\n      seen: {results:?}"
        );
        let on_topic = bus.names("a").await;
        let acknowledged = results.iter().zip([100, 101, 102, 0, 103, 104]);
        for (result, name) in acknowledged {
            if result.is_none() {
                let known = on_topic.contains(&name.to_string());
                same(&format!("{name} is acknowledged, so it is on the topic"), &known, &true);
            }
        }
    })
    .await;
}

/// Several calls in flight, none of whose futures was polled when the next was made; the futures are
/// then awaited in any order.
pub async fn calls_in_flight_together_keep_the_order_of_the_calls<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        if !bus.factory.capabilities().keeps_order {
            return bus.passed_over(UNORDERED);
        }
        let mut calls: Vec<_> = (0..20_usize)
            .map(|call| {
                let numbers = call * 15..(call + 1) * 15;
                let records = numbers.map(|n| bus.record(&format!("k{}", n % 3), &n.to_string()));
                bus.bus.publish(records.collect())
            })
            .collect();
        // The last call's future first: only handing over decides.
        calls.reverse();
        for results in futures::future::join_all(calls).await {
            same("nothing is in the way", &kinds(&results), &vec![None; 15]);
        }
        for key in 0..3 {
            let promised: Vec<_> =
                (0..300).filter(|n| n % 3 == key).map(|n| n.to_string()).collect();
            let seen = bus.names(&format!("k{key}")).await;
            same("the order on the topic is that of the calls", &seen, &promised);
        }
    })
    .await;
}

/// Records are handed over before `publish` returns: nobody needs to wait for the future.
pub async fn a_dropped_future_stops_no_record<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        drop(bus.bus.publish(bus.numbers("a", 0..3)));
        bus.publish_all(bus.numbers("a", 3..5)).await;
        in_the_end("records whose future was dropped arrive", async || {
            bus.names("a").await.len() == 5
        })
        .await;
        if bus.factory.capabilities().keeps_order {
            let promised: Vec<_> = (0..5).map(|n| n.to_string()).collect();
            same("in the order of the calls", &bus.names("a").await, &promised);
        }
    })
    .await;
}
