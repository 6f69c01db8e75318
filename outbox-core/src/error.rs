//! One error type for every edge: what kind, what to do about it, during what.

use std::{borrow::Cow, error::Error as StdError, fmt};

/// The result of an operation on a store, a bus or a source.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms a caller can act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The database or broker can't be reached, or broke off in the middle.
    Unavailable,
    /// A deadlock, a serialization failure or a busy database: the same work again may succeed.
    Conflict,
    /// The operation took longer than it may.
    Timeout,
    /// A user name, password or certificate was refused.
    Authentication,
    /// The topic or the cluster refuses: not authorised, unknown, over quota. No record is at fault.
    TopicUnavailable,
    /// The record itself is refused, and would be again.
    Rejected,
    /// The bus refused this record only because an earlier one failed; see
    /// [`EventBus`](crate::EventBus).
    Halted,
    /// A payload or header is larger than allowed.
    TooLarge,
    /// A value can't be turned into bytes.
    Encode,
    /// Bytes can't be turned into a value.
    Decode,
    /// The event type is known, its version is not.
    UnsupportedVersion,
    /// No handler knows this event type.
    UnknownEventType,
    /// A name, limit or setting is not valid.
    Invalid,
    /// The schema in the database doesn't fit this version of the library.
    Schema,
    /// The lease is held by another relay: nothing was changed.
    LeaseLost,
    /// The partition belongs to another consumer now: nothing was changed.
    Revoked,
    /// The process died each time it handled the event.
    Crashed,
    /// None of the above; the source says more.
    Other,
}

/// Whether the same call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It did nothing, and may succeed later.
    Later,
    /// It did nothing, and never will succeed.
    Never,
    /// It may or may not have taken effect: look before repeating anything that is not idempotent.
    OutcomeUnknown,
}

/// An error at an edge of the library.
///
/// It names the operation, and its [`source`](StdError::source) is the driver's own error.
/// Neither contains a payload, a header value, a URL or a secret.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    retry: Retry,
    operation: &'static str,
    detail: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of `kind`, raised by `operation` (an infinitive: `"settle a batch"`).
    ///
    /// ```
    /// use relaybox_core::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::Unavailable, "read the outbox").detail("no route to host");
    /// assert_eq!(error.to_string(), "could not read the outbox: no route to host");
    /// ```
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self { kind, retry: kind.retry(), operation, detail: Cow::Borrowed(""), source: None }
    }

    /// Adds what happened and what to do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Replaces the retry class that follows from the kind.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may be made again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Whether the surroundings failed, not the event: nobody's attempt is charged for it.
    #[must_use]
    pub fn is_infrastructure(&self) -> bool {
        self.kind.is_infrastructure()
    }

    /// Whether only a person can mend it: a run loop ends with it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.kind, ErrorKind::Schema | ErrorKind::Invalid)
    }
}

impl ErrorKind {
    fn retry(self) -> Retry {
        match self {
            Self::Unavailable
            | Self::Conflict
            | Self::Timeout
            | Self::TopicUnavailable
            | Self::Halted
            | Self::Other => Retry::Later,
            Self::Authentication
            | Self::Rejected
            | Self::TooLarge
            | Self::Encode
            | Self::Decode
            | Self::UnsupportedVersion
            | Self::UnknownEventType
            | Self::Invalid
            | Self::Schema
            | Self::LeaseLost
            | Self::Revoked
            | Self::Crashed => Retry::Never,
        }
    }

    fn is_infrastructure(self) -> bool {
        matches!(
            self,
            Self::Unavailable
                | Self::Conflict
                | Self::Timeout
                | Self::Authentication
                | Self::Revoked
        )
    }

    /// The kind in snake case, as the metrics and the logs name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Timeout => "timeout",
            Self::Authentication => "authentication",
            Self::TopicUnavailable => "topic_unavailable",
            Self::Rejected => "rejected",
            Self::Halted => "halted",
            Self::TooLarge => "too_large",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::UnsupportedVersion => "unsupported_version",
            Self::UnknownEventType => "unknown_event_type",
            Self::Invalid => "invalid",
            Self::Schema => "schema",
            Self::LeaseLost => "lease_lost",
            Self::Revoked => "revoked",
            Self::Crashed => "crashed",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: ", self.operation)?;
        if self.detail.is_empty() { self.kind.fmt(f) } else { f.write_str(&self.detail) }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Shows an error with its sources, each after a colon, repeats left out.
///
/// ```
/// use relaybox_core::{Error, ErrorKind, error_chain};
/// let error = Error::new(ErrorKind::Other, "publish").caused_by("broken pipe");
/// assert_eq!(error_chain(&error), "could not publish: other: broken pipe");
/// ```
#[must_use]
pub fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let mut chain = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !chain.contains(&text) {
            chain.push_str(": ");
            chain.push_str(&text);
        }
        next = source.source();
    }
    chain
}

/// How much of an error's text a dead letter keeps, in bytes.
const MAX_REASON: usize = 1000;

/// An error's text as a dead letter keeps it.
pub(crate) fn bounded_reason(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}
