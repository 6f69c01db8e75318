//! A run loop in this process.

use std::time::Duration;

use relaybox::{
    CancellationToken, Error, EventBus, OutboxStore, RelayBuilder, RetryPolicy, TopicName,
    memory::MemoryBus,
};
use tokio::task::JoinHandle;

/// A relay or a consumer in this process, until it is stopped.
#[derive(Debug)]
pub struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Starts a run loop.
    pub fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(shutdown.clone()));
        Self { shutdown, task }
    }

    /// Starts a relay.
    pub fn relay<S: OutboxStore, B: EventBus>(builder: RelayBuilder<S, B>) -> Self {
        let relay = builder.build();
        Self::start(|shutdown| relay.run(shutdown))
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it fails; gives why.
    pub async fn failed(self) -> Error {
        self.task.await.unwrap().unwrap_err()
    }

    /// Breaks it off, as a crash would.
    pub async fn abort(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Shuts it down, and waits for its good end.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Retries soon, for tests that make things fail.
#[must_use]
pub fn quick() -> RetryPolicy {
    RetryPolicy::default().base(Duration::from_millis(10)).cap(Duration::from_millis(200))
}

/// All changes of things on a bus in memory, partition by partition, in order.
#[must_use]
pub fn on_bus(bus: &MemoryBus) -> Vec<relaybox::Envelope> {
    let topic = TopicName::new("thing-events.v1").unwrap();
    bus.records(&topic).iter().map(|record| record.envelope().unwrap()).collect()
}
