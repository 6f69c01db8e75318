//! A broker that is killed.

use std::{collections::HashSet, time::Duration};

use relaybox_core::{EventSource, RedriveQuery};
use relaybox_rabbitmq::RabbitRedrive;

use crate::support::{
    Broker, OwnServer, assert_complete_and_ordered, batch, drain, failure, name, on_broker_at,
    publish_numbers, relay,
};

/// One, for each start takes seconds; ten with RELAYBOX_LONG=1.
fn kills() -> usize {
    if std::env::var_os("RELAYBOX_LONG").is_some() { 10 } else { 1 }
}

const KEYS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_under_load_loses_and_reorders_nothing() {
    let Some(server) = tokio::task::spawn_blocking(OwnServer::start).await.unwrap() else { return };
    // So many that the load outlasts the kills.
    let events = 2_000 + 2_000 * kills();
    for quorum in [false, true] {
        let url = server.url();
        on_broker_at(url, async |broker: &Broker| {
            let mut queue = broker.queue().bind("#").single_active_consumer();
            if quorum {
                queue = queue.quorum();
            }
            let bus = broker.bus(&broker.declare(&queue).await);
            let source = broker.source(&queue);
            let killing = async {
                for _ in 0..kills() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    tokio::task::block_in_place(|| server.crash_and_restart());
                }
            };
            let mut found = Vec::new();
            let receiving = async {
                let mut known = HashSet::new();
                while known.len() < events {
                    for delivery in drain(&source, 1).await {
                        let key = delivery.key.clone().unwrap().to_vec();
                        known.insert(name(&delivery));
                        found.push((String::from_utf8(key).unwrap(), name(&delivery)));
                    }
                }
            };
            let (recovered, (), ()) = tokio::join!(relay(&bus, KEYS, events), receiving, killing);
            println!("quorum: {quorum}, {recovered} recoveries, {} deliveries", found.len());
            assert_complete_and_ordered(found.into_iter(), KEYS, events);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_time_and_what_was_given_up_on_survive_the_brokers_crash() {
    let Some(server) = tokio::task::spawn_blocking(OwnServer::start).await.unwrap() else { return };
    on_broker_at(server.url(), async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..40).await;
        let source = broker.source(&queue);
        let mut handled = 0;
        while handled < 40 {
            let (partition, deliveries) = batch(&source).await;
            for delivery in &deliveries {
                if handled % 2 == 0 {
                    source.dead_letter(delivery, &failure()).await.unwrap();
                } else {
                    let delay = Duration::from_millis(1600);
                    let redelivery = source.redelivery().unwrap();
                    redelivery.deliver_later(delivery, &failure(), delay).await.unwrap();
                }
                handled += 1;
            }
            source.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
        }
        tokio::task::block_in_place(|| server.crash_and_restart());
        let redrive = RabbitRedrive::new(broker.config(), &queue);
        let plan = redrive.plan(&RedriveQuery::all()).await.unwrap();
        assert_eq!(plan.run().await.unwrap().chosen, 20);
        let mut seen = HashSet::new();
        while seen.len() < 40 {
            seen.extend(drain(&source, 1).await.iter().map(name));
        }
    })
    .await;
}
