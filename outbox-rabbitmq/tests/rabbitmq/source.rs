//! What the source gives, acknowledges, and gets over.

use std::{num::NonZeroU16, time::Duration};

use relaybox_core::{ErrorKind, EventSource, Received};
use relaybox_rabbitmq::{RabbitQueue, RabbitSource, RabbitTopology};

use crate::support::{
    Broker, Proxy, assert_complete_and_ordered, batch, config, drain, name, names, numbers,
    on_broker, publish_numbers, record, relay, until, within,
};
use relaybox_core::EventBus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_comes_again_in_order() {
    on_broker(async |broker: &Broker| {
        for queue in [broker.queue().bind("#"), broker.queue().bind("#").quorum()] {
            let bus = broker.bus(&broker.declare(&queue).await);
            publish_numbers(&bus, "a", 0..10).await;
            let source = broker.source(&queue);
            let (partition, deliveries) = loop {
                let (partition, deliveries) = batch(&source).await;
                if deliveries.len() > 3 {
                    break (partition, deliveries);
                }
                source.release(&partition).await.unwrap();
            };
            source.acknowledge(&partition, deliveries[2].offset).await.unwrap();
            source.close().await.unwrap();
            assert_eq!(
                source.receive().await.unwrap_err().kind(),
                ErrorKind::Invalid,
                "it is closed"
            );
            let late = source.acknowledge(&partition, deliveries[3].offset).await;
            assert_eq!(late.unwrap_err().kind(), ErrorKind::Revoked);

            let source = broker.source(&queue);
            let again = drain(&source, 7).await;
            assert_eq!(names(&again), numbers(3..10));
            assert_eq!(again[0].place, deliveries[3].place);
            source.close().await.unwrap();
            assert_eq!(broker.length(queue.name().as_str()).await, 0);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_released_comes_before_what_is_behind_it() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..5).await;
        let source =
            RabbitSource::builder(broker.config(), queue.clone()).max_batch(2).build().unwrap();
        let (partition, first) = batch(&source).await;
        source.release(&partition).await.unwrap();
        source.release(&partition).await.unwrap();
        publish_numbers(&bus, "a", 5..8).await;
        assert_eq!(names(&drain(&source, 8).await), numbers(0..8));
        assert_eq!(name(&first[0]), "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_batch_is_out_at_a_time_and_no_more_is_held_than_the_prefetch() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..100).await;
        let source = RabbitSource::builder(broker.config(), queue.clone())
            .prefetch(NonZeroU16::new(10).unwrap())
            .build()
            .unwrap();
        let (partition, deliveries) = batch(&source).await;
        until(async || broker.length(queue.name().as_str()).await == 90).await;
        let next = tokio::time::timeout(Duration::from_millis(300), source.receive()).await;
        assert!(next.is_err(), "a batch is out");
        assert_eq!(broker.length(queue.name().as_str()).await, 90);
        let stats = source.stats().await.unwrap();
        assert_eq!(stats.partitions[0].lag, Some(100), "ready and held");
        let last = deliveries.last().unwrap().offset;
        source.acknowledge(&partition, last).await.unwrap();
        let rest = drain(&source, 100 - deliveries.len()).await;
        assert_eq!(name(rest.last().unwrap()), "99");
        until(async || source.stats().await.unwrap().partitions[0].lag == Some(0)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_revokes_and_the_next_one_resumes() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..5).await;
        let proxy = Proxy::start(&broker.url).await;
        let through = config(&proxy.url(&broker.url));
        let source = RabbitSource::new(through, queue.clone()).unwrap();
        let (partition, deliveries) = batch(&source).await;
        proxy.cut();
        let revoked = within(source.receive()).await.unwrap();
        assert!(matches!(revoked, Received::Revoked(gone) if gone == partition));
        let late = source.acknowledge(&partition, deliveries[0].offset).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Revoked);
        // What is out is waited for, so that nobody works on it twice at once.
        let waiting = tokio::time::timeout(Duration::from_secs(1), async {
            while !matches!(source.receive().await, Ok(Received::Batch { .. })) {}
        });
        assert!(waiting.await.is_err(), "the old batch is not released");
        source.release(&partition).await.unwrap();
        let (again, repeated) = batch(&source).await;
        assert!(again.generation > partition.generation);
        assert_eq!(name(&repeated[0]), "0");
        assert_eq!(repeated[0].place, deliveries[0].place);
        source.release(&again).await.unwrap();
        assert_eq!(names(&drain(&source, 5).await), numbers(0..5));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_cut_at_both_ends_loses_and_reorders_nothing() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("#").single_active_consumer();
        let exchange = broker.declare(&queue).await;
        let proxy = Proxy::start(&broker.url).await;
        let through = config(&proxy.url(&broker.url));
        let bus = relaybox_rabbitmq::RabbitBus::builder(through.clone())
            .exchange(exchange)
            .build()
            .unwrap();
        let source = RabbitSource::new(through, queue).unwrap();
        let mut cuts = 0;
        let cutting = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                proxy.cut();
                cuts += 1;
            }
        };
        let mut found = Vec::new();
        let receiving = async {
            let mut known = std::collections::HashSet::new();
            while known.len() < 5_000 {
                for delivery in drain(&source, 1).await {
                    let key = String::from_utf8(delivery.key.clone().unwrap().to_vec()).unwrap();
                    known.insert(name(&delivery));
                    found.push((key, name(&delivery)));
                }
            }
        };
        tokio::join!(relay(&bus, 7, 5_000), receiving, cutting);
        assert_eq!(cuts, 6);
        assert_complete_and_ordered(found.into_iter(), 7, 5_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_active_consumer_hands_over_in_order() {
    on_broker(async |broker: &Broker| {
        for quorum in [false, true] {
            let mut queue = broker.queue().bind("#").single_active_consumer();
            if quorum {
                queue = queue.quorum();
            }
            let bus = broker.bus(&broker.declare(&queue).await);
            publish_numbers(&bus, "a", 0..200).await;
            let member =
                || RabbitSource::builder(broker.config(), queue.clone()).max_batch(10).build();
            let mut members = std::collections::VecDeque::from([member().unwrap()]);
            let mut seen = drain(&members[0], 1).await;
            // One works, one waits; the one that works goes with a batch out.
            for round in 0..5 {
                members.push_back(member().unwrap());
                seen.extend(drain(&members[0], 10).await);
                let idle = tokio::time::timeout(Duration::from_millis(200), members[1].receive());
                assert!(idle.await.is_err(), "the second one waits");
                let (_, _out) = batch(&members[0]).await;
                let gone = members.pop_front().unwrap();
                if round % 2 == 0 {
                    gone.close().await.unwrap();
                }
            }
            let left = 200 - seen.len();
            seen.extend(drain(&members[0], left).await);
            assert_eq!(names(&seen), numbers(0..200), "quorum: {quorum}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_deleted_is_told_and_taken_up_when_it_is_back() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..1).await;
        let source = broker.source(&queue);
        drain(&source, 1).await;
        let (_connection, channel) = broker.channel().await;
        let name: lapin::types::ShortString = queue.name().as_str().into();
        channel.queue_delete(name, Default::default()).await.unwrap();
        let error = within(async {
            loop {
                match source.receive().await {
                    Ok(Received::Revoked(partition)) => source.release(&partition).await.unwrap(),
                    Ok(Received::Batch { .. }) => panic!("nothing is there"),
                    Err(error) => break error,
                }
            }
        })
        .await;
        assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
        let exchange = broker.declare(&queue).await;
        let bus = broker.bus(&exchange);
        publish_numbers(&bus, "a", 1..3).await;
        assert_eq!(names(&drain(&source, 2).await), numbers(1..3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_are_the_brokers() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("#").message_ttl(Duration::from_secs(3600));
        let bus = broker.bus(&broker.declare(&queue).await);
        publish_numbers(&bus, "a", 0..3).await;
        let source = broker.source(&queue);
        let (_, deliveries) = batch(&source).await;
        source.dead_letter(&deliveries[0], &crate::support::failure()).await.unwrap();
        until(async || source.stats().await.unwrap().partitions[0].lag == Some(3)).await;
        let stats = source.stats().await.unwrap();
        assert_eq!(stats.topics[0].dead_letters, Some(1));
        assert_eq!(stats.topics[0].retention, Some(Duration::from_secs(3600)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_queue_gets_all_that_is_bound_to_it() {
    on_broker(async |broker: &Broker| {
        let exchange = broker.name();
        let (one, two) = (broker.queue().bind("session.#"), broker.queue().bind("#"));
        let topology = RabbitTopology::new().exchange(exchange.clone());
        let queues: [&RabbitQueue; 2] = [&one, &two];
        queues
            .iter()
            .fold(topology, |topology, queue| topology.queue((*queue).clone()))
            .declare(&broker.config())
            .await
            .unwrap();
        let bus = broker.bus(&exchange);
        let records = vec![record("a", "0"), crate::support::record_of("invoice", "i", "1")];
        for result in bus.publish(records).await {
            result.unwrap();
        }
        assert_eq!(names(&drain(&broker.source(&one), 1).await), ["0"]);
        assert_eq!(names(&drain(&broker.source(&two), 2).await), ["0", "1"]);
    })
    .await;
}
