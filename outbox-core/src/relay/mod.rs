//! The relay: reads committed events, publishes them, settles.

mod builder;
mod flight;
mod framer;
mod slot;
mod term;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::builder::{OnDeadLetter, RelayBuilder};
use self::{
    builder::Settings,
    term::{Ended, Term},
};
use crate::{
    Acquired, Error, ErrorKind, EventBus, Lease, OutboxStore, Result, Retry, error_chain,
    retry::Backoff, telemetry,
};

/// How often a standby asks for the lease, at most.
const STANDBY_POLL: Duration = Duration::from_millis(100);

/// Publishes what was enqueued, as long as it holds the lease.
///
/// Run as many as you like per outbox: one works, the others stand by and take over when its lease
/// ends. See the crate's documentation for the guarantees.
///
/// ```
/// use relaybox_core::{CancellationToken, Relay, memory::{MemoryBus, MemoryStore}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relaybox_core::Error> {
/// let relay = Relay::builder(MemoryStore::new(), MemoryBus::new()).build();
///
/// let shutdown = CancellationToken::new();
/// let stop = shutdown.clone(); // cancel it on SIGTERM
/// # stop.cancel();
/// relay.run(shutdown).await?;
/// # Ok(()) }
/// ```
pub struct Relay<S, B> {
    shared: Arc<Shared<S, B>>,
}

/// What a term needs of its relay.
struct Shared<S, B> {
    store: S,
    bus: B,
    settings: Settings,
    wake_up: WakeUp,
}

/// Tells a relay in the same process that something was committed.
///
/// Without it the relay finds out by polling; with it, at once.
///
/// ```
/// # use relaybox_core::{Relay, memory::{MemoryBus, MemoryStore}};
/// # let relay = Relay::builder(MemoryStore::new(), MemoryBus::new()).build();
/// let wake_up = relay.wake_up();
/// // tx.commit().await?;
/// wake_up.wake();
/// ```
#[derive(Debug, Clone, Default)]
pub struct WakeUp(Arc<Notify>);

impl WakeUp {
    /// Makes the relay look now.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

impl<S: OutboxStore, B: EventBus> Relay<S, B> {
    /// Starts from the defaults; each setter says which.
    pub fn builder(store: S, bus: B) -> RelayBuilder<S, B> {
        RelayBuilder::new(store, bus)
    }

    /// A handle that makes the relay look at once.
    #[must_use]
    pub fn wake_up(&self) -> WakeUp {
        self.shared.wake_up.clone()
    }

    /// Works or stands by until `shutdown` is cancelled; then stops reading, waits for what is in
    /// flight, settles, and gives the lease up.
    ///
    /// An unreachable database or broker ends nothing: it waits with backoff, tells `on_error`, and
    /// goes on.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] and [`ErrorKind::Invalid`], which only a person can mend.
    ///
    /// # Cancel safety
    /// Dropping the future stops it at once, as a crash would: what was acknowledged and not settled
    /// is published again by the next holder of the lease, once the lease has expired.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let settings = &self.shared.settings;
        let mut backoff = Backoff::new(settings.retry.clone(), settings.rng());
        while let Some((lease, since)) = self.stand_by(&mut backoff, &shutdown).await? {
            info!(relay = %settings.id, epoch = lease.epoch, "relay holds the lease");
            telemetry::lease_held(&settings.name, true);
            let ended =
                Term::begin(Arc::clone(&self.shared), lease.clone(), since).run(&shutdown).await;
            telemetry::lease_held(&settings.name, false);
            match ended {
                Ended::Drained => self.release(&lease).await,
                Ended::LeaseLost => {
                    warn!(relay = %settings.id, epoch = lease.epoch, "relay lost the lease");
                    // What is queued in the client must not be sent on another's watch.
                    self.recover_bus().await;
                }
                Ended::DrainTimeout => {
                    warn!(relay = %settings.id, "shutdown before all was acknowledged; it is published again");
                    self.recover_bus().await;
                    self.release(&lease).await;
                }
                Ended::Failed(error) => {
                    self.recover_bus().await;
                    self.release(&lease).await;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Waits for the lease; `None` after a shutdown. Gives it with the time its request began.
    async fn stand_by(
        &self,
        backoff: &mut Backoff,
        shutdown: &CancellationToken,
    ) -> Result<Option<(Lease, Instant)>> {
        let Shared { store, settings, .. } = &*self.shared;
        while !shutdown.is_cancelled() {
            let since = Instant::now();
            let acquire = store.acquire(&settings.id, settings.lease_ttl);
            let acquired = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                acquired = within(settings.lease_ttl, "acquire the lease", acquire) => acquired,
            };
            let wait = match acquired {
                Ok(Acquired::Held(lease)) => {
                    backoff.succeed();
                    return Ok(Some((lease, since)));
                }
                Ok(Acquired::Elsewhere { expires_in, .. }) => {
                    backoff.succeed();
                    expires_in.clamp(Duration::from_millis(1), STANDBY_POLL)
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    self.wait_after(&error, backoff, shutdown).await;
                    continue;
                }
            };
            let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
        }
        Ok(None)
    }

    async fn wait_after(&self, error: &Error, backoff: &mut Backoff, shutdown: &CancellationToken) {
        let wait = backoff.fail();
        self.shared.report(error, wait);
        let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
    }

    async fn release(&self, lease: &Lease) {
        let Shared { store, settings, .. } = &*self.shared;
        let release = within(settings.drain_timeout, "release the lease", store.release(lease));
        if let Err(error) = release.await {
            // A standby waits for the expiry then, which is what the expiry is for.
            warn!(relay = %settings.id, error = error_chain(&error), "lease not released");
        }
    }

    async fn recover_bus(&self) {
        if let Err(error) = self.shared.bus.recover().await {
            self.shared.report(&error, Duration::ZERO);
        }
    }
}

impl<S, B> Shared<S, B> {
    fn report(&self, error: &Error, retry_in: Duration) {
        warn!(
            relay = %self.settings.id,
            error = error_chain(error),
            retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX),
            "relay failed and will try again"
        );
        self.settings.hooks.error(&self.settings.name, error, Some(retry_in));
    }
}

/// Bounds what waits for the store: a connection that is half open answers nothing, ever.
async fn within<T>(
    limit: Duration,
    operation: &'static str,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, operation)
            .detail(format!("it took longer than {limit:?}"))
            .with_retry(Retry::OutcomeUnknown))
    })
}

impl<S, B> fmt::Debug for Relay<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}
