//! Consumers as processes, on a real Kafka and a real Postgres, killed, paused and cut off: every event
//! has its effect exactly once, in order.
//!
//! Apart from `tests/guarantees/`, because these load the machine, and some of those watch the clock.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commits;
mod failures;
mod killed;
mod membership;
mod paused;
mod poison;
mod rabbitmq;
mod restarts;
mod timeouts;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use relaybox_tests::{ConsumerOptions, Ledger, Place, Process, Topic, until};

const PARTITIONS: i32 = 12;
/// Below what a server as it comes allows: only those of one's own do.
const SHORT_SESSION: Duration = Duration::from_secs(2);

/// Consumer processes of one group, by their names.
struct Members<'t> {
    database: String,
    topic: &'t Topic,
    options: ConsumerOptions,
    processes: BTreeMap<String, Process>,
    started: u32,
}

impl<'t> Members<'t> {
    fn start(database: &str, topic: &'t Topic, options: ConsumerOptions, members: usize) -> Self {
        let (database, processes) = (database.to_owned(), BTreeMap::new());
        let mut started = Self { database, topic, options, processes, started: 0 };
        while started.processes.len() < members {
            started.add();
        }
        started
    }

    /// Starts one more; gives its name.
    fn add(&mut self) -> String {
        let name = format!("c{}", self.started);
        self.started += 1;
        let options = ConsumerOptions { name: name.clone(), ..self.options.clone() };
        let binary = env!("CARGO_BIN_EXE_consumer-process");
        let mut process =
            Process::consumer(binary, &self.database, Place::Kafka(self.topic), &options);
        process.until("READY");
        self.processes.insert(name.clone(), process);
        name
    }

    fn names(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap()
    }

    fn kill(&mut self, name: &str) {
        let mut process = self.processes.remove(name).unwrap();
        process.signal("KILL");
        assert!(!process.wait());
    }

    /// Lets one leave in an orderly way.
    fn stop(&mut self, name: &str) {
        let mut process = self.processes.remove(name).unwrap();
        process.signal("TERM");
        assert!(process.wait(), "{name} ended well");
    }

    fn stop_all(mut self) {
        for process in self.processes.values() {
            process.signal("TERM");
        }
        for (name, process) in &mut self.processes {
            assert!(process.wait(), "{name} ended well");
        }
    }

    /// Waits until each has had an effect from now on.
    async fn at_work(&self, ledger: &Ledger) {
        let now = ledger.last().await;
        until("all members to be at work", async || {
            let by_process = ledger.by_process(now).await;
            self.processes.keys().all(|name| by_process.contains_key(name))
        })
        .await;
    }

    /// Waits until everything on the topic is acknowledged.
    async fn drained(&self) {
        none_left("to be acknowledged, by partition", async || {
            self.topic.lags(&self.options.group).await
        })
        .await;
    }
}

/// Waits until nothing is left, as long as it gets less.
async fn none_left(what: &str, mut left: impl AsyncFnMut() -> Vec<i64>) {
    let patience = Duration::from_secs(30);
    let (mut least, mut deadline) = (i64::MAX, Instant::now() + patience);
    loop {
        let left = left().await;
        let sum = left.iter().sum();
        if sum <= 0 {
            return;
        }
        if sum < least {
            (least, deadline) = (sum, Instant::now() + patience);
        }
        assert!(Instant::now() < deadline, "{what}: {left:?}, and it gets no less");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Checks that nothing is wrong.
fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{wrong:#?}");
}
