//! The task that keeps a source subscribed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use lapin::{
    Connection, Consumer,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use relaybox_core::{Error, ErrorKind, Result, error_chain};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::state::State;
use crate::{
    RabbitConfig, RabbitQueue,
    connection::{self, answered, channel, connect},
    error,
};

pub(super) const RECEIVE: &str = "receive from RabbitMQ";
/// How long the first and the longest wait between two attempts are.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What a source and its task share.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) news: Notify,
    pub(super) closing: CancellationToken,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), news: Notify::new(), closing: CancellationToken::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.news.notify_waiters();
    }
}

pub(super) struct Subscription {
    pub(super) config: RabbitConfig,
    pub(super) queue: RabbitQueue,
    pub(super) prefetch: u16,
    pub(super) shared: Arc<Shared>,
}

impl Subscription {
    /// Subscribes, again and again, until the source is closed; then unsubscribes.
    ///
    /// # Errors
    /// The broker's, when it doesn't say goodbye.
    pub(super) async fn run(self) -> Result<()> {
        let closing = self.shared.closing.clone();
        let mut failures = 0;
        loop {
            let opened = tokio::select! {
                biased;
                () = closing.cancelled() => return Ok(()),
                opened = self.open() => opened,
            };
            let error = match opened {
                Ok((connection, consumer)) => {
                    failures = 0;
                    let ended = tokio::select! {
                        biased;
                        () = closing.cancelled() => None,
                        ended = self.consume(consumer) => Some(ended),
                    };
                    self.shared.change(State::end);
                    let Some(ended) = ended else {
                        // With its channel go the messages that are not acknowledged: back to the
                        // queue, each to its place.
                        return connection::close(RECEIVE, &connection).await;
                    };
                    ended
                }
                Err(error) => {
                    warn!(
                        queue = %self.queue.name(),
                        error = error_chain(&error),
                        "no subscription; trying again"
                    );
                    error
                }
            };
            self.shared.change(|state| state.fail(error));
            failures += 1;
            tokio::select! {
                biased;
                () = closing.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause(failures)) => {}
            }
        }
    }

    async fn open(&self) -> Result<(Arc<Connection>, Consumer)> {
        let connection = Arc::new(connect(RECEIVE, &self.config, "source").await?);
        let channel = channel(RECEIVE, &connection).await?;
        let limit = channel.basic_qos(self.prefetch, BasicQosOptions::default());
        answered(RECEIVE, limit).await?;
        let consuming = channel.basic_consume(
            self.queue.name().as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = answered(RECEIVE, consuming).await?;
        self.shared.change(|state| state.begin(Arc::clone(&connection), channel));
        debug!(queue = %self.queue.name(), "subscribed");
        Ok((connection, consumer))
    }

    /// Takes in what is delivered, until the subscription ends; gives why.
    async fn consume(&self, mut consumer: Consumer) -> Error {
        loop {
            match consumer.next().await {
                Some(Ok(delivery)) => self.shared.change(|state| state.take_in(delivery)),
                Some(Err(error)) => {
                    let error = error::convert(RECEIVE, error);
                    warn!(
                        queue = %self.queue.name(),
                        error = error_chain(&error),
                        "the subscription is lost; subscribing again"
                    );
                    return error;
                }
                None => {
                    return Error::new(ErrorKind::TopicUnavailable, RECEIVE)
                        .detail("the broker ended the subscription: was the queue deleted?");
                }
            }
        }
    }
}

/// Doubles each time, with up to half of it left to chance.
fn pause(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    let full = first.saturating_mul(1 << (failures - 1).min(10)).min(longest);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}
