//! Dead letters that go back.

use std::time::Duration;

use lapin::{BasicProperties, types::AMQPValue};
use relaybox_core::{ErrorKind, EventBus, EventSource, RedriveQuery, Result};
use relaybox_rabbitmq::{RabbitQueue, RabbitRedrive};

use crate::support::{
    Broker, Proxy, batch, config, drain, failure, name, names, numbers, on_broker, publish_numbers,
    record_of, until,
};

/// Gives up on all that is in a queue.
async fn give_up(broker: &Broker, queue: &RabbitQueue, count: usize) {
    let source = broker.source(queue);
    let mut given_up = 0;
    while given_up < count {
        let (partition, deliveries) = batch(&source).await;
        for delivery in &deliveries {
            source.dead_letter(delivery, &failure()).await.unwrap();
        }
        given_up += deliveries.len();
        source.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
    }
    source.close().await.unwrap();
}

/// Fills the dead-letter queue: more than one subscription of a scan may hold; every third for another
/// reason.
async fn put_letters(broker: &Broker, queue: &RabbitQueue, count: u32) {
    let letters = queue.dead_letter_queue();
    let bus = broker.bus(&broker.declare(queue).await);
    publish_numbers(&bus, "a", 0..1).await;
    give_up(broker, queue, 1).await;
    let letter = broker.take_all(letters.as_str()).await.remove(0).properties;
    let many = (0..count).map(|n| {
        let mut headers = letter.headers().clone().unwrap();
        let kind = if n % 3 == 0 { "rejected" } else { "timeout" };
        headers.insert("dlq-error-kind".into(), AMQPValue::LongString(kind.into()));
        (letter.clone().with_headers(headers), n.to_string())
    });
    broker.put_all(letters.as_str(), many).await;
}

fn redrive(broker: &Broker, queue: &RabbitQueue) -> RabbitRedrive {
    RabbitRedrive::new(broker.config(), queue)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_goes_back_to_its_queue_and_to_no_other() {
    on_broker(async |broker: &Broker| {
        for mut queue in [broker.queue().bind("#"), broker.queue().bind("#").quorum()] {
            queue = queue.retry_in_place();
            let exchange = broker.declare(&queue).await;
            let other = broker.queue().bind("#");
            let topology = relaybox_rabbitmq::RabbitTopology::new().exchange(exchange.clone());
            topology.queue(other.clone()).declare(&broker.config()).await.unwrap();
            publish_numbers(&broker.bus(&exchange), "a", 0..3).await;
            let source = broker.source(&queue);
            let (partition, before) = batch(&source).await;
            source.release(&partition).await.unwrap();
            source.close().await.unwrap();
            give_up(broker, &queue, 3).await;
            assert_eq!(broker.length(other.name().as_str()).await, 3);

            let plan = redrive(broker, &queue);
            let plan = plan.plan(&RedriveQuery::all()).await.unwrap();
            assert_eq!(plan.summary().chosen, 3);
            assert_eq!(broker.length(queue.dead_letter_queue().as_str()).await, 3);
            assert_eq!(plan.run().await.unwrap().chosen, 3);
            assert_eq!(broker.length(queue.dead_letter_queue().as_str()).await, 0);
            assert_eq!(broker.length(other.name().as_str()).await, 3, "no other queue gets it");

            let back = drain(&broker.source(&queue), 3).await;
            assert_eq!(names(&back), ["0", "1", "2"]);
            let (first, again) = (&before[0], &back[0]);
            assert_eq!((&again.key, again.attempts), (&first.key, 0));
            let added = &again.headers[first.headers.len()..];
            assert_eq!(again.headers[..first.headers.len()], first.headers);
            assert_eq!(added[0], ("redrive-consumer".into(), "notifications".into()));
            assert_eq!((added[1].0.as_str(), added.len()), ("redrive-id", 2));
            assert_ne!(again.place, first.place, "it is not what was given up on");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_chosen_stays_where_it_is() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        let letters = queue.dead_letter_queue();
        publish_numbers(&bus, "a", 0..4).await;
        bus.publish(vec![record_of("invoice", "i-1", "4")]).await.remove(0).unwrap();
        publish_numbers(&bus, "b", 5..8).await;
        give_up(broker, &queue, 8).await;
        broker.put(letters.as_str(), BasicProperties::default(), b"a stranger's").await;

        let redrive = redrive(broker, &queue);
        let query = RedriveQuery::all().event_type("session.changed").limit(5);
        let plan = redrive.plan(&query).await.unwrap();
        let summary = plan.summary().clone();
        assert_eq!((summary.chosen, summary.beyond_limit, summary.foreign), (5, 2, 1));
        assert_eq!(summary.by_event_type.get("session.changed.v1"), Some(&5));
        assert_eq!(plan.run().await.unwrap(), summary);
        assert_eq!(names(&drain(&broker.source(&queue), 5).await), ["0", "1", "2", "3", "5"]);

        let listed = redrive.list(&RedriveQuery::all()).await.unwrap();
        let seen: Vec<_> = listed.iter().map(|letter| name(&letter.delivery)).collect();
        assert_eq!(seen, ["4", "6", "7"], "in their order");
        assert_eq!(listed[0].error_kind, "timeout");
        let some = redrive.list(&RedriveQuery::all().limit(2)).await.unwrap();
        assert_eq!(some.len(), 2);

        let by_key = RedriveQuery::all().key("i-1");
        assert_eq!(redrive.plan(&by_key).await.unwrap().run().await.unwrap().chosen, 1);
        let left: Vec<_> =
            broker.take_all(letters.as_str()).await.iter().map(|raw| raw.name()).collect();
        assert_eq!(left, ["6", "7", "a stranger's"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_letters_that_stay_keep_their_order() {
    on_broker(async |broker: &Broker| {
        for queue in [broker.queue().bind("#"), broker.queue().bind("#").quorum()] {
            let letters = queue.dead_letter_queue();
            put_letters(broker, &queue, 3_600).await;
            let redrive = redrive(broker, &queue);
            let listed = redrive.list(&RedriveQuery::all().limit(10_000)).await.unwrap();
            let seen: Vec<_> = listed.iter().map(|letter| name(&letter.delivery)).collect();
            assert_eq!(seen, numbers(0..3_600));
            let plan = redrive.plan(&RedriveQuery::all().error_kind("rejected")).await.unwrap();
            assert_eq!(plan.summary().chosen, 1_200);
            assert_eq!(plan.run().await.unwrap().chosen, 1_200);
            let left = broker.take_all(letters.as_str()).await;
            // An acknowledgement that the broker lost would leave one that went back.
            let stays = |name: &String| !name.parse::<u32>().unwrap().is_multiple_of(3);
            let left: Vec<_> = left.iter().map(|raw| raw.name()).filter(stays).collect();
            let of = |rest: fn(&u32) -> bool| -> Vec<_> {
                (0..3_600).filter(rest).map(|n| n.to_string()).collect()
            };
            assert_eq!(left, of(|n| n % 3 != 0));
            let back = names(&drain(&broker.source(&queue), 1_200).await);
            assert_eq!(back, of(|n| n % 3 == 0));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discard_takes_off_the_chosen_letters_and_leaves_the_others_in_their_order() {
    on_broker(async |broker: &Broker| {
        for queue in [broker.queue().bind("#"), broker.queue().bind("#").quorum()] {
            let letters = queue.dead_letter_queue();
            let bus = broker.bus(&broker.declare(&queue).await);
            publish_numbers(&bus, "a", 0..3).await;
            bus.publish(vec![record_of("invoice", "i-1", "3")]).await.remove(0).unwrap();
            publish_numbers(&bus, "a", 4..6).await;
            give_up(broker, &queue, 6).await;
            broker.put(letters.as_str(), BasicProperties::default(), b"a stranger's").await;

            let redrive = redrive(broker, &queue);
            // However old they are.
            let query = RedriveQuery::all().event_type("session.changed").limit(4);
            let plan = redrive.plan_discard(&query.marks_kept(Duration::ZERO)).await.unwrap();
            let summary = plan.summary().clone();
            assert_eq!((summary.chosen, summary.beyond_limit, summary.foreign), (4, 1, 1));
            let shown = plan.to_string();
            assert!(shown.contains("4 to discard") && shown.contains(queue.name().as_str()));
            assert_eq!(redrive.count().await.unwrap(), 7, "a plan takes nothing off");
            assert_eq!(plan.run().await.unwrap(), summary);

            assert_eq!(broker.length(queue.name().as_str()).await, 0, "nothing goes back");
            let left: Vec<_> =
                broker.take_all(letters.as_str()).await.iter().map(|raw| raw.name()).collect();
            assert_eq!(left, ["3", "5", "a stranger's"]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_can_be_shown_and_chosen_by_its_place() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..3).await;
        give_up(broker, &queue, 3).await;
        let redrive = redrive(broker, &queue);
        let listed = redrive.list(&RedriveQuery::all()).await.unwrap();
        let places: Vec<_> = listed.iter().map(|letter| letter.delivery.place).collect();
        let shown = redrive.letter(places[1]).await.unwrap().unwrap();
        assert_eq!((name(&shown.delivery).as_str(), shown.event_id), ("1", listed[1].event_id));
        assert!(redrive.letter(1).await.unwrap().is_none());

        let all = RedriveQuery::all();
        let one = redrive.clone().at(places[1]);
        assert_eq!(one.plan_discard(&all).await.unwrap().run().await.unwrap().chosen, 1);
        assert!(redrive.letter(places[1]).await.unwrap().is_none(), "it is gone");
        let one = redrive.clone().at(places[2]);
        assert_eq!(one.plan(&all).await.unwrap().run().await.unwrap().chosen, 1);
        assert_eq!(names(&drain(&broker.source(&queue), 1).await), ["2"]);
        assert_eq!(redrive.count().await.unwrap(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discard_of_many_letters_forgets_none_and_takes_no_other() {
    on_broker(async |broker: &Broker| {
        for queue in [broker.queue().bind("#"), broker.queue().bind("#").quorum()] {
            let letters = queue.dead_letter_queue();
            put_letters(broker, &queue, 3_600).await;
            let redrive = redrive(broker, &queue);
            let query = RedriveQuery::all().error_kind("rejected");
            let plan = redrive.plan_discard(&query).await.unwrap();
            assert_eq!(plan.run().await.unwrap().chosen, 1_200);
            let left = broker.take_all(letters.as_str()).await;
            let left: Vec<_> = left.iter().map(|raw| raw.name()).collect();
            let expected: Vec<_> =
                (0..3_600).filter(|n| n % 3 != 0).map(|n| n.to_string()).collect();
            assert_eq!(left, expected);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discard_that_breaks_off_loses_no_letter_that_stays() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("#").quorum();
        let letters = queue.dead_letter_queue();
        put_letters(broker, &queue, 3_600).await;
        let proxy = Proxy::start(&broker.url).await;
        let through = RabbitRedrive::new(config(&proxy.url(&broker.url)), &queue);
        let query = RedriveQuery::all().error_kind("rejected");
        let plan = through.plan_discard(&query).await.unwrap();
        // In the middle of it: 1,200 are acknowledged, in more than 20 bytes each.
        proxy.cut_after(12_000);
        assert!(plan.run().await.is_err(), "it was done before the line was cut");
        let stays: Vec<_> = (0..3_600).filter(|n| n % 3 != 0).map(|n| n.to_string()).collect();
        until(async || broker.length(letters.as_str()).await as usize >= stays.len()).await;
        let redrive = redrive(broker, &queue);
        until(async || {
            let plan = redrive.plan_discard(&query).await.unwrap();
            plan.run().await.unwrap().chosen == 0
        })
        .await;
        let mut left: Vec<_> =
            broker.take_all(letters.as_str()).await.iter().map(|raw| raw.name()).collect();
        left.sort_by_key(|name| name.parse::<u32>().unwrap());
        assert_eq!(left, stays);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_marks_is_refused_without_force() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..2).await;
        give_up(broker, &queue, 2).await;
        let redrive = redrive(broker, &queue);
        let query = RedriveQuery::all().marks_kept(Duration::ZERO);
        let done = redrive.plan(&query).await.unwrap().run().await.unwrap();
        assert_eq!((done.chosen, done.older_than_marks), (0, 2));
        let done = redrive.plan(&query.force()).await.unwrap().run().await.unwrap();
        assert_eq!(done.chosen, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_at_once_put_each_letter_back_once() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..300).await;
        give_up(broker, &queue, 300).await;
        let redrive = redrive(broker, &queue);
        let run = async || -> Result<u64> {
            Ok(redrive.plan(&RedriveQuery::all()).await?.run().await?.chosen)
        };
        let (one, two) = tokio::join!(run(), run());
        let mut put_back = one.unwrap() + two.unwrap();
        // A plan under way hides letters from a run; the next one finds them.
        put_back += run().await.unwrap();
        assert_eq!(put_back, 300);
        let mut seen = names(&drain(&broker.source(&queue), 300).await);
        seen.sort_by_key(|name| name.parse::<u32>().unwrap());
        assert_eq!(seen, numbers(0..300));
        assert_eq!(broker.length(queue.dead_letter_queue().as_str()).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_without_a_dead_letter_queue_says_so() {
    on_broker(async |broker: &Broker| {
        let redrive = redrive(broker, &broker.queue());
        let error = redrive.plan(&RedriveQuery::all()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
        assert!(error.to_string().contains(".dlq"), "{error}");
    })
    .await;
}
