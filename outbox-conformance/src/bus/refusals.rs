//! Refusals: whose fault it is.
//!
//! Not tested unless the factory knows a [payload that is refused](crate::BusFactory::refused_payload).

use relaybox_core::Retry;

use super::{Fixture, on_bus};
use crate::{
    BusFactory,
    bus::fixture::{NOTHING_REFUSED, is_refusal, kinds},
    run::same,
};

/// A record that is refused when it is alone is at fault itself, and would be again.
pub async fn a_refused_record_is_refused_alone<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        let Some(refused) = bus.refused("a") else { return bus.passed_over(NOTHING_REFUSED) };
        for _ in 0..2 {
            let results = bus.publish(vec![refused.clone()]).await;
            same("one result", &results.len(), &1);
            let kind = kinds(&results)[0];
            assert!(
                is_refusal(kind),
                "a record that is refused alone is rejected or too large\n      seen: {kind:?}"
            );
            let retry = results[0].as_ref().err().map(relaybox_core::Error::retry);
            same("it would be again", &retry, &Some(Retry::Never));
            bus.recover().await;
        }
        same("it is not on the topic", &bus.names("a").await.len(), &0);
    })
    .await;
}

/// Whatever was refused beside a record that is at fault is accepted without it.
pub async fn neighbours_of_a_refused_record_are_accepted_alone<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        let Some(refused) = bus.refused("a") else { return bus.passed_over(NOTHING_REFUSED) };
        let neighbours = bus.numbers("a", 0..6);
        let mut records = neighbours.clone();
        records.insert(2, refused.clone());
        bus.publish(records.clone()).await;
        bus.recover().await;
        // One by one, as a relay looks for the culprit.
        let mut results = Vec::new();
        for record in records {
            results.push(kinds(&bus.publish(vec![record]).await)[0]);
            if results.last() != Some(&None) {
                bus.recover().await;
            }
        }
        let at_fault: Vec<_> =
            results.iter().enumerate().filter(|(_, kind)| is_refusal(**kind)).collect();
        same("one is at fault, and which", &at_fault[..], &[(2, &results[2])]);
        let others = results.iter().filter(|kind| kind.is_none()).count();
        same("the others are accepted", &others, &neighbours.len());
        let promised: Vec<_> = (0..6).map(|n| n.to_string()).collect();
        let mut seen = bus.names("a").await;
        seen.sort();
        same("and are on the topic", &seen, &promised);
    })
    .await;
}
