//! The results of the records that were handed over together.

use std::sync::{Arc, Mutex, PoisonError};

use relaybox_core::{Error, ErrorKind, Receipt, Result, Retry};
use tokio::sync::oneshot;

/// Collects one result per record, and sends them all when the last one is there.
#[derive(Debug)]
pub(crate) struct Batch {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Each is a pessimistic guess until it is settled.
    results: Vec<Result<Receipt>>,
    pending: usize,
    done: Option<oneshot::Sender<Vec<Result<Receipt>>>>,
}

/// Where the results of a batch arrive.
#[derive(Debug)]
pub(crate) struct Results {
    results: oneshot::Receiver<Vec<Result<Receipt>>>,
    len: usize,
    operation: &'static str,
}

impl Batch {
    pub(crate) fn new(operation: &'static str, len: usize) -> (Arc<Self>, Results) {
        let (done, results) = oneshot::channel();
        let guesses = (0..len).map(|_| Err(lost(operation))).collect();
        let state = State { results: guesses, pending: len, done: Some(done) };
        (Arc::new(Self { state: Mutex::new(state) }), Results { results, len, operation })
    }

    /// Sets the result of a record; says whether it was the last one. Called once per record.
    pub(crate) fn settle(&self, index: usize, result: Result<Receipt>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // None after `abandon`.
        if let Some(slot) = state.results.get_mut(index) {
            *slot = result;
        }
        state.pending -= 1;
        if state.pending > 0 {
            return false;
        }
        state.send();
        true
    }

    /// Sends what there is: nobody will settle the rest.
    pub(crate) fn abandon(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).send();
    }
}

impl State {
    fn send(&mut self) {
        if let Some(done) = self.done.take() {
            // Dropped: the caller doesn't care. The records went on all the same.
            drop(done.send(std::mem::take(&mut self.results)));
        }
    }
}

impl Results {
    /// Waits for all of them.
    pub(crate) async fn all(self) -> Vec<Result<Receipt>> {
        let Self { results, len, operation } = self;
        results.await.unwrap_or_else(|_| (0..len).map(|_| Err(lost(operation))).collect())
    }
}

fn lost(operation: &'static str) -> Error {
    Error::new(ErrorKind::Halted, operation)
        .detail("the producer was closed before the broker answered")
        .with_retry(Retry::OutcomeUnknown)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_records_when_the_last_is_there() {
        let (batch, results) = Batch::new("publish", 3);
        assert!(!batch.settle(2, Ok(Receipt::unnumbered())));
        assert!(!batch.settle(0, Ok(Receipt::unnumbered())));
        assert!(batch.settle(1, Err(Error::new(ErrorKind::TooLarge, "publish"))));
        let results = results.all().now_or_never().unwrap();
        assert!(results[0].is_ok() && results[2].is_ok());
        assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn an_abandoned_record_has_an_unknown_outcome_never_a_good_one() {
        let (batch, results) = Batch::new("publish", 2);
        batch.settle(0, Ok(Receipt::unnumbered()));
        batch.abandon();
        assert!(batch.settle(1, Ok(Receipt::unnumbered())));
        let results = results.all().now_or_never().unwrap();
        assert!(results[0].is_ok());
        assert_eq!(results[1].as_ref().unwrap_err().retry(), Retry::OutcomeUnknown);
    }
}
