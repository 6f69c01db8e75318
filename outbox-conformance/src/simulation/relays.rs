//! The relays, each a process with a client of its own, that come and go.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use relaybox_core::{CancellationToken, EventId, Relay, RetryPolicy, memory::MemoryStore};
use tokio::task::JoinHandle;

use super::{
    AnyBus, AnyStore, Simulation,
    bus::{Broker, Client},
    pause::{Process, Switch},
    store::DistantStore,
    weather::{Chance, Weather},
};
use crate::{EventBus, OutboxStore};

/// What a relay is started with.
pub(super) struct Relays {
    pub(super) simulation: Simulation,
    pub(super) store: MemoryStore,
    pub(super) broker: Broker,
    pub(super) weather: Weather,
    pub(super) chance: Chance,
    pub(super) given_up: Arc<std::sync::Mutex<Vec<EventId>>>,
}

/// One that runs.
pub(super) struct Running {
    pub(super) shutdown: CancellationToken,
    pub(super) switch: Switch,
    client: Client,
    task: JoinHandle<()>,
}

impl Relays {
    pub(super) fn start(&self) -> Running {
        let client = Client::new(self.broker.clone(), self.weather.clone(), self.chance.fork());
        let store: Arc<dyn OutboxStore> = Arc::new(DistantStore {
            inner: self.store.clone(),
            weather: self.weather.clone(),
            chance: self.chance.fork(),
        });
        let bus: Arc<dyn EventBus> = Arc::new(client.clone());
        let given_up = Arc::clone(&self.given_up);
        let millis = Duration::from_millis;
        let relay = Relay::builder(
            AnyStore((self.simulation.wrap_store)(store)),
            AnyBus((self.simulation.wrap_bus)(bus)),
        )
        .lease_ttl(millis(1_000))
        .poll_interval(millis(5), millis(400))
        .batch(1 + self.chance.below(8))
        .max_in_flight(1 + self.chance.below(4))
        .retry(RetryPolicy::default().base(millis(5)).cap(millis(100)))
        .drain_timeout(millis(1_000))
        .seed(self.chance.with(|rng| rng.u64(..)))
        .on_dead_letter(move |notice| {
            given_up.lock().expect("no panic").extend(notice.event_id);
        })
        .build();
        let shutdown = CancellationToken::new();
        let run = relay.run(shutdown.clone());
        let sending = client.clone().send();
        let inner = async move {
            tokio::select! {
                biased;
                ended = run => ended.expect("only a person could mend it"),
                () = sending => unreachable!("it sends for ever"),
            }
        };
        let switch = Switch::default();
        let task = tokio::spawn(Process { switch: switch.clone(), inner: inner.boxed() });
        Running { shutdown, switch, client, task }
    }
}

impl Running {
    /// Kills it: what it had on the wire may arrive.
    pub(super) async fn kill(self) {
        self.task.abort();
        let ended = self.task.await;
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        self.client.die();
    }

    /// Ends it cleanly.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.switch.set(false);
        if let Err(error) = self.task.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}
