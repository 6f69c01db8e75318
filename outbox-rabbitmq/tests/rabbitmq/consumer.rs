//! The whole way: outbox, relay, bus, source, consumer, inbox.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use relaybox_core::{
    CancellationToken, Consumer, DomainEvent, Envelope, EventHandler, HandlerError, Outbox,
    PermanentExt, RedriveQuery, Relay, RetryPolicy, async_trait,
    memory::{MemoryStore, MemoryTx},
};
use relaybox_rabbitmq::{RabbitQueue, RabbitRedrive};
use serde::{Deserialize, Serialize};

use crate::support::{Broker, on_broker, until};

#[derive(Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "account", name = "account.charged")]
struct Charged {
    #[event(aggregate_id)]
    account: String,
    number: u32,
}

/// Appends each event to its account. Each third one fails twice, and number 7 always, until it is mended.
#[derive(Clone, Default)]
struct Append {
    failed: Arc<Mutex<HashMap<u32, u32>>>,
    mended: Arc<Mutex<bool>>,
}

#[async_trait]
impl EventHandler<Charged, MemoryTx> for Append {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Charged,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        let list = tx.get(&event.account).unwrap_or_default();
        tx.put(&event.account, format!("{list}{},", event.number));
        if event.number == 7 && !*self.mended.lock().unwrap() {
            Err("no such account").permanent()?;
        }
        let mut failed = self.failed.lock().unwrap();
        let times = failed.entry(event.number).or_default();
        if event.number.is_multiple_of(3) && *times < 2 {
            *times += 1;
            return Err(HandlerError::retryable("not yet"));
        }
        Ok(())
    }
}

const ACCOUNTS: u32 = 5;
const EVENTS: u32 = 100;

/// What the handlers did, by account.
fn effects(store: &MemoryStore) -> HashMap<u32, Vec<u32>> {
    (0..ACCOUNTS)
        .map(|account| {
            let list = store.get(&format!("a{account}")).unwrap_or_default();
            (account, list.split_terminator(',').map(|n| n.parse().unwrap()).collect())
        })
        .collect()
}

async fn run_the_whole_way(broker: &Broker, queue: RabbitQueue, ordered: bool) {
    let bus = broker.bus(&broker.declare(&queue).await);
    let (service, inbox) = (MemoryStore::new(), MemoryStore::new());
    let (shutdown, handler) = (CancellationToken::new(), Append::default());
    let relay = Relay::builder(service.clone(), bus).build().run(shutdown.clone());
    let retry = RetryPolicy::default()
        .base(Duration::from_millis(20))
        .max_attempts(4)
        .cap(Duration::from_millis(100));
    let consumer = Consumer::builder("ledger", broker.source(&queue), inbox.clone())
        .on::<Charged, _>(handler.clone())
        .retry(retry)
        .build()
        .unwrap()
        .run(shutdown.clone());
    let story = async {
        let outbox = Outbox::new(service.clone());
        for number in 0..EVENTS {
            let mut tx = service.begin();
            let account = format!("a{}", number % ACCOUNTS);
            outbox.enqueue(&mut tx, &Charged { account, number }).await.unwrap();
            tx.commit();
        }
        let handled = || effects(&inbox).values().map(Vec::len).sum::<usize>();
        let all = EVENTS as usize;
        until(async || handled() == all - 1).await;
        let letters = queue.dead_letter_queue();
        until(async || broker.length(letters.as_str()).await == 1).await;
        *handler.mended.lock().unwrap() = true;
        let redrive = RabbitRedrive::new(broker.config(), &queue);
        let plan = redrive.plan(&RedriveQuery::all().event_type("account.charged")).await.unwrap();
        assert_eq!(plan.run().await.unwrap().chosen, 1);
        until(async || handled() == all).await;
        shutdown.cancel();
    };
    let (relayed, consumed, ()) = tokio::join!(relay, consumer, story);
    relayed.unwrap();
    consumed.unwrap();
    for (account, mut numbers) in effects(&inbox) {
        let expected: Vec<_> = (0..EVENTS).filter(|n| n % ACCOUNTS == account).collect();
        if !ordered {
            numbers.sort_unstable();
        } else if let Some(last) = numbers.pop_if(|last| *last == 7) {
            // It was put back, so it came last.
            numbers.insert(1, last);
        }
        assert_eq!(numbers, expected, "account {account}: each once");
    }
    assert_eq!(broker.length(queue.name().as_str()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_waits_at_the_broker_and_every_effect_happens_once() {
    on_broker(async |broker: &Broker| {
        run_the_whole_way(broker, broker.queue().bind("account.#"), false).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_in_place_and_the_order_of_a_key_holds() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("account.#").single_active_consumer().retry_in_place();
        run_the_whole_way(broker, queue.quorum(), true).await;
    })
    .await;
}
