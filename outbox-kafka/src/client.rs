//! What all of our librdkafka clients have in common: their logs, their refusals, their threads.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, client::Client, config::RDKafkaLogLevel, consumer::ConsumerContext,
    error::KafkaError, metadata::Metadata, types::RDKafkaErrorCode as Code,
};
use relaybox_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::{KafkaConfig, Secret, error};

/// How long to wait before metadata are asked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// Watches a client: forwards its log to `tracing`, and remembers why the brokers refuse it.
///
/// librdkafka says only here that a password or a certificate is wrong; its calls just time out.
#[derive(Debug, Clone)]
pub(crate) struct Monitor {
    secrets: Arc<[Secret]>,
    refusal: Arc<Mutex<Option<(Code, String)>>>,
}

impl Monitor {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        Self { secrets: config.secrets().into(), refusal: Arc::default() }
    }

    /// Why the brokers refused this client last, unless they have accepted it since.
    pub(crate) fn refusal(&self, operation: &'static str) -> Option<Error> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().map(|(code, reason)| {
            Error::new(error::kind(*code), operation).detail(reason.clone()).caused_by(*code)
        })
    }

    /// Says that the brokers accept this client.
    pub(crate) fn accepted(&self) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes note of an error of the client as a whole; gives the reason if it is a refusal.
    pub(crate) fn note(&self, error: &KafkaError, reason: &str) -> Option<String> {
        let reason = self.readable(reason);
        let Some(code) = error.rdkafka_error_code() else {
            tracing::warn!(target: "librdkafka", "{reason}");
            return None;
        };
        if error::kind(code) != ErrorKind::Authentication || broke_off(&reason) {
            tracing::warn!(target: "librdkafka", ?code, "{reason}");
            return None;
        }
        // Not logged here: librdkafka's own log has it.
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        *refusal = Some((code, reason.clone()));
        Some(reason)
    }

    /// A reason as it may be shown: without the broker's address and without secrets.
    pub(crate) fn readable(&self, reason: &str) -> String {
        self.blot(without_address(reason))
    }

    fn blot(&self, text: &str) -> String {
        let mut text = text.to_owned();
        self.secrets.iter().for_each(|secret| secret.blot(&mut text));
        text
    }

    pub(crate) fn forward(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let line = self.blot(line);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
        }
    }
}

impl ConsumerContext for Monitor {}

impl ClientContext for Monitor {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.forward(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

/// Runs what blocks on a thread of its own, whatever the async runtime is.
///
/// # Cancel safety
/// Dropping the future abandons the result; the work goes on.
pub(crate) async fn off_thread<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, result) = oneshot::channel();
    thread::Builder::new()
        .name("relaybox-kafka".to_owned())
        .spawn(move || drop(done.send(work())))
        .map_err(|source| Error::new(ErrorKind::Other, operation).caused_by(source))?;
    result.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Other, operation).detail("its thread ended early"))
    })
}

/// A client that is closed on a thread of its own: closing waits for the broker or for a thread of the
/// client's, and its last owner may end on an async thread.
pub(crate) struct Closing<C: Send + Sync + 'static>(Option<Arc<C>>);

impl<C: Send + Sync + 'static> Closing<C> {
    pub(crate) fn new(client: C) -> Self {
        Self(Some(Arc::new(client)))
    }

    pub(crate) fn get(&self) -> &C {
        self.0.as_ref().expect("it is taken only when dropped")
    }

    /// The same client, for another thread.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.as_ref().map(Arc::clone))
    }
}

impl<C: Send + Sync + 'static> Drop for Closing<C> {
    fn drop(&mut self) {
        // If there is no thread to spare, it waits here.
        if let Some(client) = self.0.take().and_then(Arc::into_inner) {
            drop(thread::Builder::new().spawn(move || drop(client)));
        }
    }
}

/// The cluster's brokers and topics. Blocks until `deadline` at most.
pub(crate) fn metadata<C: ClientContext>(
    operation: &'static str,
    client: &Client<C>,
    monitor: &Monitor,
    deadline: Instant,
) -> Result<Metadata> {
    // Short at first: a refusal is known long before the deadline, but the call doesn't tell.
    let mut patience = Duration::from_millis(250);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match client.fetch_metadata(None, patience.min(left)) {
            Ok(metadata) => {
                monitor.accepted();
                return Ok(metadata);
            }
            Err(error) => error,
        };
        if let Some(refusal) = monitor.refusal(operation) {
            return Err(refusal);
        }
        if left.is_zero() {
            return Err(error::convert(operation, error));
        }
        patience = patience.saturating_mul(2).min(left);
        // It fails at once when all connections were refused: librdkafka retries them by itself.
        thread::sleep(PAUSE.min(left));
    }
}

/// librdkafka puts `protocol://host:port/id: ` before a broker's errors.
fn without_address(reason: &str) -> &str {
    match reason.split_once(": ") {
        Some((address, rest)) if address.contains("://") => rest,
        _ => reason,
    }
}

/// A connection that ends in the middle of a handshake is an outage, not a refusal.
fn broke_off(reason: &str) -> bool {
    ["Disconnected", "Connection reset", "Broken pipe"].iter().any(|sign| reason.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sasl;

    fn monitor() -> Monitor {
        let sasl = Sasl::plain("user", Secret::new("hunter2"));
        Monitor::new(&KafkaConfig::new("localhost:1").sasl(sasl))
    }

    #[test]
    fn a_refusal_is_remembered_with_its_reason_and_without_address_or_secret() {
        let monitor = monitor();
        let error = KafkaError::Global(Code::Authentication);
        monitor.note(&error, "sasl_ssl://10.0.0.1:9093/bootstrap: Invalid password hunter2");
        let refusal = monitor.refusal("check").unwrap();
        assert_eq!(refusal.kind(), ErrorKind::Authentication);
        assert_eq!(refusal.to_string(), "could not check: Invalid password ***");
        monitor.accepted();
        assert!(monitor.refusal("check").is_none());
    }

    #[test]
    fn an_outage_is_no_refusal() {
        let monitor = monitor();
        monitor.note(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        monitor.note(
            &KafkaError::Global(Code::SSL),
            "ssl://b:1/1: SSL handshake failed: Disconnected",
        );
        assert!(monitor.refusal("check").is_none());
    }
}
