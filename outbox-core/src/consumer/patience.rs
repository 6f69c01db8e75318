//! Waiting before the next try.

use super::{
    Shared,
    lane::{Abandoned, Stop},
};
use crate::{Error, EventSource, ProcessedEventStore, retry::Backoff};

/// A backoff that ends when the consumer stops, or when only a person can help.
pub(super) struct Patience(Backoff);

impl Patience {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self(backoff)
    }

    /// Tells of the failure and waits, unless there will be no next try.
    pub(super) async fn pause<S: EventSource, P: ProcessedEventStore>(
        &mut self,
        shared: &Shared<S, P>,
        error: Error,
        stop: &Stop,
    ) -> Result<(), Abandoned> {
        if error.is_final() {
            return Err(Abandoned::Final(error));
        }
        let wait = self.0.fail();
        shared.report(&error, wait);
        tokio::select! {
            biased;
            () = stop.soft.cancelled() => Err(Abandoned::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Begins anew after a success.
    pub(super) fn succeed(&mut self) {
        self.0.succeed();
    }
}
