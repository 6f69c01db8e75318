//! The first records of a producer, while the leader of their partition is not ready.
//!
//! Of a producer that it doesn't know, a broker takes whatever comes first: the second request, when it
//! has refused the first one for the moment (KAFKA-15591). The mock cluster checks no sequence numbers, so
//! it does the same.

use std::time::Duration;

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use relaybox_core::{ErrorKind, EventBus, Receipt, Record, Result, Retry, TopicName};
use relaybox_kafka::{KafkaBus, KafkaConfig};

use crate::support::{Cluster, Raw, record, unique_topic, within};

/// A leader that is not ready for the first request, and is for the next, on its way by then.
struct Unready {
    mock: MockCluster<'static, DefaultProducerContext>,
    topic: TopicName,
    bus: KafkaBus,
}

#[expect(clippy::future_not_send, reason = "the mock cluster stays on its thread")]
impl Unready {
    /// With a producer that is connected and knows where the leader is.
    async fn new() -> Self {
        let mock = MockCluster::new(1).unwrap();
        let (topic, other) = (unique_topic(), unique_topic());
        mock.create_topic(topic.as_str(), 1, 1).unwrap();
        mock.create_topic(other.as_str(), 1, 1).unwrap();
        mock.broker_round_trip_time(1, Duration::from_millis(100)).unwrap();
        let config = KafkaConfig::new(mock.bootstrap_servers()).linger(Duration::ZERO);
        let bus = KafkaBus::new(config).unwrap();
        within(bus.publish(vec![record(&other, "k", "0")])).await.remove(0).unwrap();
        bus.check(Duration::from_secs(10)).await.unwrap();
        Self { mock, topic, bus }
    }

    fn refuse_one(&self) {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        self.mock.request_errors(RDKafkaApiKey::Produce, &[refusal]);
    }

    fn record(&self, key: &str, number: u32) -> Record {
        record(&self.topic, key, number.to_string())
    }

    async fn read(&self) -> Vec<Raw> {
        Cluster::Broker(self.mock.bootstrap_servers()).read(&self.topic).await
    }
}

/// Hands records over one by one, each in a request of its own if it can be.
async fn publish_apart(bus: &KafkaBus, records: Vec<Record>) -> Vec<Result<Receipt>> {
    let mut flights = Vec::new();
    for record in records {
        flights.push(bus.publish(vec![record]));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut results = Vec::new();
    for flight in flights {
        results.append(&mut within(flight).await);
    }
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_first_record_is_refused_for_the_moment_stays_in_order() {
    let unready = Unready::new().await;
    unready.refuse_one();
    let records = (0..10).map(|n| unready.record("k", n)).collect();
    let results = publish_apart(&unready.bus, records).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let numbers: Vec<_> = unready.read().await.iter().map(Raw::number).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_broker_never_took_is_not_acknowledged() {
    for _ in 0..10 {
        let unready = Unready::new().await;
        unready.refuse_one();
        let records = (0..3).map(|n| unready.record(&format!("k{n}"), n)).collect();
        let results = publish_apart(&unready.bus, records).await;
        let there: Vec<_> = unready.read().await.iter().map(Raw::number).collect();
        for (number, result) in (0..).zip(&results) {
            assert!(result.is_err() || there.contains(&number), "{results:?}, but {there:?}");
        }
        // The second one may have been on its way too late: then the first one was sent again.
        let Err(refused) = &results[0] else { continue };
        // The client says that it was delivered, because the second one was.
        let how = (refused.kind(), refused.retry());
        assert_eq!(how, (ErrorKind::Unavailable, Retry::OutcomeUnknown));
        assert!(results[1..].iter().all(|result| result.is_err()), "behind it: {results:?}");
        assert!(!there.contains(&0), "{there:?}");

        unready.bus.recover().await.unwrap();
        let again = vec![unready.record("k0", 0)];
        assert!(unready.bus.publish(again).await[0].is_ok());
        return;
    }
    panic!("the second record was never on its way when the first one was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_first_record_ends_with_it() {
    let unready = Unready::new().await;
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    unready.mock.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let records = (0..3).map(|n| unready.record("k", n)).collect();
    let results = publish_apart(&unready.bus, records).await;
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::TooLarge, ErrorKind::Halted, ErrorKind::Halted]);
    assert_eq!(unready.read().await, []);

    // Nor does it outlive its producer.
    unready.bus.recover().await.unwrap();
    unready.mock.broker_down(1).unwrap();
    let flights: Vec<_> =
        (0..3).map(|n| unready.bus.publish(vec![unready.record("k", n)])).collect();
    within(unready.bus.recover()).await.unwrap();
    for flight in flights {
        assert!(within(flight).await[0].is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_once_the_partition_has_answered() {
    let unready = Unready::new().await;
    assert!(unready.bus.publish(vec![unready.record("k", 0)]).await[0].is_ok());
    let mut offsets = Vec::new();
    for round in 0..20 {
        // Somebody else asks for the number of partitions meanwhile.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let since = std::time::Instant::now();
        let pairs = (0..8).flat_map(|key| [(key, 1), (key, 2)]);
        let record = |(key, n)| unready.record(&format!("k{round}-{key}"), n);
        let results = unready.bus.publish(pairs.map(record).collect()).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        println!("{:?} for a round trip of 100 ms", since.elapsed());
        offsets = results.iter().map(|r| r.as_ref().unwrap().offset.unwrap()).collect();
        if offsets.is_sorted() {
            return;
        }
    }
    panic!("not as they were handed over: {offsets:?}");
}

/// The leader of a new topic may not know of it when the first records arrive.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_records_of_a_new_topic_are_complete_and_in_order_on_a_broker() {
    let Some(cluster) = Cluster::broker() else { return };
    let config = cluster.config().linger(Duration::ZERO);
    for _ in 0..20 {
        let bus = KafkaBus::new(config.clone()).unwrap();
        let topic = cluster.topic(3).await;
        let mut flights = Vec::new();
        for n in 0..60 {
            let key = format!("k{}", n % 4);
            flights.push(bus.publish(vec![record(&topic, &key, n.to_string())]));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut acknowledged = Vec::new();
        for (n, flight) in (0_u32..).zip(flights) {
            if within(flight).await[0].is_ok() {
                acknowledged.push(n);
            }
        }
        let records = cluster.read(&topic).await;
        for key in 0..4 {
            let name = format!("k{key}").into_bytes();
            let of_key = records.iter().filter(|record| record.key.as_ref() == Some(&name));
            let numbers: Vec<_> = of_key.map(Raw::number).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
        let mut numbers: Vec<_> = records.iter().map(Raw::number).collect();
        numbers.sort_unstable();
        assert!(acknowledged.iter().all(|n| numbers.binary_search(n).is_ok()), "{numbers:?}");
    }
}
