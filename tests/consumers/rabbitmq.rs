//! The whole chain over RabbitMQ, whose server is killed.

use std::time::Duration;

use relaybox::{
    CancellationToken, Relay, TopicName,
    rabbitmq::{RabbitBus, RabbitConfig, RabbitQueue, RabbitTopology},
};
use relaybox_tests::{
    ConsumerOptions, Database, Deposits, Ledger, Place, Process, RabbitServer, Running, quick,
    server, share, until,
};

use crate::{assert_none, none_left};

const ACCOUNTS: usize = 200;
/// In one transaction, so often: 500 events a second.
const CHUNK: usize = 25;
const EVERY: Duration = Duration::from_millis(50);
/// How many effects there are to be between two kills.
const WORK: i64 = 1_000;

/// Enqueues deposits until it is stopped.
async fn enqueue_until(stop: CancellationToken, database: &Database) -> Deposits {
    let outbox = database.outbox();
    let mut deposits = Deposits::new(ACCOUNTS);
    let mut clock = tokio::time::interval(EVERY);
    while !stop.is_cancelled() {
        clock.tick().await;
        let events: Vec<_> = (0..CHUNK).map(|_| deposits.make()).collect();
        let mut tx = database.pool.begin().await.unwrap();
        outbox.enqueue_all(&mut tx, &events).await.unwrap();
        tx.commit().await.unwrap();
    }
    deposits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rabbitmq_loses_nothing_and_every_effect_happens_once_in_order() {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(mut rabbitmq) = RabbitServer::start() else { return };
    let database = Database::create(&postgres).await;
    let ledger = Ledger::create(&database).await;
    let (url, exchange) = (rabbitmq.url(), TopicName::new("ledger").unwrap());
    let config = RabbitConfig::from_url(&url).unwrap();
    let queue = RabbitQueue::new("deposits").unwrap().bind("account.#");
    let queue = queue.single_active_consumer().retry_in_place();
    let topology = RabbitTopology::new().exchange(exchange.clone()).queue(queue);
    topology.declare(&config).await.unwrap();

    let bus = RabbitBus::builder(config).exchange(exchange).build().unwrap();
    let relay = Relay::builder(database.store(), bus).lease_ttl(Duration::from_secs(2));
    let relay = Running::relay(relay.retry(quick()));
    let place = Place::RabbitMq { url: &url, queue: "deposits" };
    let mut consumers: Vec<_> = ["c0", "c1"]
        .into_iter()
        .map(|name| {
            let options = ConsumerOptions { name: name.to_owned(), ..ConsumerOptions::default() };
            let binary = env!("CARGO_BIN_EXE_consumer-process");
            let mut process = Process::consumer(binary, &database.url(), place, &options);
            process.until("READY");
            process
        })
        .collect();

    let stop = CancellationToken::new();
    let kills = async {
        for _ in 0..share(10) {
            let enough = ledger.effects().await + WORK;
            until("effects between the kills", async || ledger.effects().await >= enough).await;
            tokio::task::block_in_place(|| {
                rabbitmq.kill();
                rabbitmq.up();
            });
        }
        let enough = ledger.effects().await + WORK;
        until("effects after the last", async || ledger.effects().await >= enough).await;
        stop.cancel();
    };
    let (deposits, ()) = tokio::join!(enqueue_until(stop.clone(), &database), kills);
    none_left("waiting", async || {
        vec![database.backlog().await, deposits.total() - ledger.effects().await]
    })
    .await;
    relay.stop().await;
    for process in &mut consumers {
        process.signal("TERM");
        assert!(process.wait(), "it ended well");
    }
    println!("{} events, by {:?}", deposits.total(), ledger.by_process(0).await);
    assert_none(ledger.audit(&deposits).await);
    database.drop().await;
}
