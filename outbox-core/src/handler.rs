//! What a user writes to react to an event.

use std::{error::Error as StdError, fmt};

use async_trait::async_trait;

use crate::{Envelope, Error, EventId};

/// Reacts to an event, in a transaction that also marks it as handled.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use relaybox_core::{
///     DomainEvent, Envelope, EventHandler, HandlerError, PermanentExt, async_trait,
///     memory::MemoryTx,
/// };
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, DomainEvent)]
/// #[event(aggregate = "user", name = "user.registered", version = 1)]
/// struct UserRegistered { #[event(aggregate_id)] user_id: u64, age: String }
///
/// struct Welcome;
///
/// #[async_trait]
/// impl EventHandler<UserRegistered, MemoryTx> for Welcome {
///     async fn handle(
///         &self,
///         tx: &mut MemoryTx,
///         event: &UserRegistered,
///         _envelope: &Envelope,
///     ) -> Result<(), HandlerError> {
///         let age: u8 = event.age.parse().permanent()?; // never will be a number: give up
///         tx.put(format!("age/{}", event.user_id), age.to_string());
///         Ok(())
///     }
/// }
/// # }
/// ```
///
/// # Contract
/// - Everything it does to the database goes through `tx`: that commits with the mark or not at all.
/// - It may be called again for the same event after a failure; what it did then was rolled back.
/// - Anything it does outside `tx` (mail, HTTP) happens at least once: pass
///   [`Envelope::event_id`] on as an idempotency key.
/// - Events it enqueues in `tx` inherit the correlation id and name this event as their cause.
#[async_trait]
pub trait EventHandler<E, Tx>: Send + Sync + 'static {
    /// Handles one event.
    ///
    /// # Errors
    /// `?` on any error asks for a retry; [`PermanentExt::permanent`] gives the event up.
    ///
    /// # Cancel safety
    /// The future is dropped on a timeout or a hard stop; the transaction is rolled back then.
    async fn handle(&self, tx: &mut Tx, event: &E, envelope: &Envelope)
    -> Result<(), HandlerError>;
}

/// Reacts to an event outside any transaction: sends a mail, calls an API.
///
/// # Contract
/// - **At least once.** It runs before its event is marked as handled, so after a crash, a timeout or a
///   lost reply it runs again for an event whose effect is there already. Nothing here can prevent that:
///   pass the [`IdempotencyKey`] on, so that whoever is called can.
/// - A consumer's event type has handlers of this kind or [`EventHandler`]s, never both: give each kind
///   a consumer of its own.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use relaybox_core::{
///     AtLeastOnceHandler, DomainEvent, Envelope, HandlerError, IdempotencyKey, async_trait,
/// };
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, DomainEvent)]
/// #[event(aggregate = "user", name = "user.registered", version = 1)]
/// struct UserRegistered { #[event(aggregate_id)] user_id: u64 }
///
/// struct WelcomeMail;
///
/// #[async_trait]
/// impl AtLeastOnceHandler<UserRegistered> for WelcomeMail {
///     async fn handle(
///         &self, event: &UserRegistered, _: &Envelope, key: IdempotencyKey,
///     ) -> Result<(), HandlerError> {
///         send_mail(event.user_id, &key.to_string()).await?;
///         Ok(())
///     }
/// }
/// # async fn send_mail(_to: u64, _key: &str) -> std::io::Result<()> { Ok(()) }
/// # }
/// ```
#[async_trait]
pub trait AtLeastOnceHandler<E>: Send + Sync + 'static {
    /// Handles one event, perhaps not for the first time.
    ///
    /// # Errors
    /// `?` on any error asks for a retry; [`PermanentExt::permanent`] gives the event up.
    ///
    /// # Cancel safety
    /// The future is dropped on a timeout or a hard stop, wherever it stands.
    async fn handle(
        &self,
        event: &E,
        envelope: &Envelope,
        key: IdempotencyKey,
    ) -> Result<(), HandlerError>;
}

/// Tells one event's effect from every other's; the same each time the event is handled. It is the
/// event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(EventId);

impl IdempotencyKey {
    pub(crate) fn new(event: EventId) -> Self {
        Self(event)
    }

    /// The event's id.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a handler failed, and whether to try again.
///
/// It is made from any error by `?`, and so is no [`std::error::Error`] itself.
pub struct HandlerError {
    source: Box<dyn StdError + Send + Sync>,
    permanent: bool,
}

impl HandlerError {
    /// A failure that would happen again: the event goes to the dead letters at once.
    #[must_use]
    pub fn permanent(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), permanent: true }
    }

    /// A failure that may pass.
    #[must_use]
    pub fn retryable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), permanent: false }
    }

    /// Whether it would happen again.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    pub(crate) fn into_source(self) -> Box<dyn StdError + Send + Sync> {
        self.source
    }

    /// The error itself.
    #[must_use]
    pub fn source(&self) -> &(dyn StdError + 'static) {
        &*self.source
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(source: E) -> Self {
        let source: Box<dyn StdError + Send + Sync> = Box::new(source);
        // Our own errors know: what the outbox refused for its size, it refuses again.
        let permanent = source.downcast_ref::<Error>().is_some_and(|error| {
            error.retry() == crate::Retry::Never && !error.is_infrastructure()
        });
        Self { source, permanent }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("permanent", &self.permanent)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// Says that trying again is of no use.
pub trait PermanentExt<T> {
    /// Turns the error into one that gives the event up.
    ///
    /// # Errors
    /// The error, as permanent.
    fn permanent(self) -> Result<T, HandlerError>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> PermanentExt<T> for Result<T, E> {
    fn permanent(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::permanent)
    }
}
