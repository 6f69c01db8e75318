//! One history: what happens, in which order, until everything heals.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relaybox_core::{DeadLetterQuery, memory::MemoryStore};
use tokio::time::{Instant, sleep};

use super::{
    Simulation,
    bus::Broker,
    checks,
    consumer::{Consumers, Consuming},
    event::kinds,
    relays::{Relays, Running},
    weather::{Chance, Weather},
    writers::{Ledger, Writer},
};
use crate::{DeadLetterStore, OutboxStore};

/// Longer than everything takes once nothing is in the way.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct World {
    seed: u64,
    simulation: Simulation,
    history: Mutex<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, simulation: Simulation) -> Self {
        Self { seed, simulation, history: Mutex::default() }
    }

    pub(super) fn history(&self) -> Vec<String> {
        self.history.lock().expect("no panic while it is held").clone()
    }

    pub(super) async fn run(&self) -> Result<(), String> {
        let started = Instant::now();
        let note = |what: String| {
            let line = format!("{:>6} ms  {what}", started.elapsed().as_millis());
            self.history.lock().expect("no panic while it is held").push(line);
        };
        let chance = Chance::new(self.seed);
        let weather = Weather::new(&chance);
        let (store, broker, ledger) = (MemoryStore::new(), Broker::new(), Ledger::default());
        let given_up = Arc::default();
        let consumers = Consumers {
            inbox: MemoryStore::new(),
            broker: broker.clone(),
            weather: weather.clone(),
            chance: chance.fork(),
        };
        let relays = Relays {
            simulation: self.simulation.clone(),
            store: store.clone(),
            broker: broker.clone(),
            weather: weather.clone(),
            chance: chance.fork(),
            given_up: Arc::clone(&given_up),
        };

        let writers: Vec<_> = (0..1 + chance.below(3))
            .map(|_| Writer {
                store: store.clone(),
                ledger: ledger.clone(),
                chance: chance.fork(),
                aggregates: 1 + chance.below(3),
                transactions: 2 + chance.below(10),
                poison: [0, 60][chance.below(2)],
            })
            .map(|writer| tokio::spawn(writer.run()))
            .collect();
        let mut running: Vec<Option<Running>> =
            (0..1 + chance.below(3)).map(|_| Some(relays.start())).collect();
        let mut consuming = Some(consumers.start());
        let kinds = kinds();

        for _ in 0..10 + chance.below(30) {
            sleep(chance.millis(200)).await;
            let at = chance.below(running.len());
            match chance.below(12) {
                0 => {
                    if let Some(relay) = running[at].take() {
                        note(format!("relay {at} is killed"));
                        relay.kill().await;
                    }
                }
                1 => {
                    if let Some(relay) = running[at].take() {
                        note(format!("relay {at} is stopped"));
                        relay.stop().await;
                    }
                }
                2 => {
                    if let Some(relay) = &running[at] {
                        note(format!("relay {at} is paused"));
                        relay.switch.set(true);
                    }
                }
                3 => {
                    let jump = chance.millis(3_000);
                    note(format!("the clock jumps by {jump:?}"));
                    tokio::time::advance(jump).await;
                }
                4 => {
                    note("dead letters are redriven".to_owned());
                    redrive(&store, &chance).await;
                }
                5 => {
                    let mended = chance.permille(500);
                    note(format!("poison is {}", if mended { "accepted" } else { "refused" }));
                    broker.mend(mended);
                }
                6 => {
                    let kind = &kinds[chance.below(kinds.len())];
                    let down = chance.permille(500);
                    note(format!("the topic of {kind} is {}", if down { "away" } else { "there" }));
                    broker.set_down(kind, down);
                }
                7 => {
                    if let Some(consumer) = consuming.take() {
                        note("the consumer is killed".to_owned());
                        consumer.kill().await;
                    }
                }
                _ => {
                    for relay in &mut running {
                        match relay {
                            Some(relay) => relay.switch.set(false),
                            none => *none = Some(relays.start()),
                        }
                    }
                    if consuming.is_none() {
                        consuming = Some(consumers.start());
                    }
                    note("whatever was killed or paused goes on".to_owned());
                }
            }
        }

        note("everything heals".to_owned());
        weather.calm_down();
        kinds.iter().for_each(|kind| broker.set_down(kind, false));
        for writer in writers {
            writer.await.map_err(|error| format!("a writer panicked: {error}"))?;
        }
        let mends = chance.permille(750);
        broker.mend(mends);
        for relay in &mut running {
            match relay {
                Some(relay) => relay.switch.set(false),
                none => *none = Some(relays.start()),
            }
        }
        let drained = self.drain(&store, mends).await;
        checks::given_up(&ledger, &given_up)?;
        drained?;
        for (at, relay) in running.into_iter().flatten().enumerate() {
            if relay.is_over() {
                return Err(format!("relay {at} ended by itself"));
            }
            relay.stop().await;
        }
        note(format!("the outbox is drained: {} records on the topics", checks::records(&broker)));
        checks::outbox(&store, &broker, &ledger, mends).await?;
        let consumer = consuming.unwrap_or_else(|| consumers.start());
        self.consume(consumer, &consumers, &broker).await?;
        checks::effects(&consumers.inbox, &broker)
    }

    /// Waits until nothing is left to publish: nothing at all, or nothing but poison.
    async fn drain(&self, store: &MemoryStore, mended: bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = store.stats().await.expect("in memory");
            let left = stats.backlog + if mended { stats.dead_letters + stats.parked } else { 0 };
            if left == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "with nothing in the way, a backlog drains\n  promised: within {PATIENCE:?}\n      \
                     seen: {stats:?}"
                ));
            }
            if mended {
                store.redrive(&DeadLetterQuery::all()).await.expect("in memory");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until the consumer has handled or given up on whatever is on the topics.
    async fn consume(
        &self,
        consumer: Consuming,
        consumers: &Consumers,
        broker: &Broker,
    ) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let missing = checks::without_effect(&consumers.inbox, broker);
            if missing == 0 {
                // Repeats may be waiting, to be told as such.
                sleep(Duration::from_secs(1)).await;
                consumer.stop().await;
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "each event on a topic has its effect, or is given up on\n      seen: {missing} \
                     without, after {PATIENCE:?}"
                ));
            }
            sleep(Duration::from_millis(400)).await;
        }
    }
}

async fn redrive(store: &MemoryStore, chance: &Chance) {
    let letters = store.dead_letters(&DeadLetterQuery::all()).await.expect("in memory");
    let query = match letters.get(chance.below(letters.len())) {
        Some(letter) if chance.permille(500) => DeadLetterQuery::event(letter.event_id),
        _ => DeadLetterQuery::all(),
    };
    store.redrive(&query).await.expect("in memory");
}
