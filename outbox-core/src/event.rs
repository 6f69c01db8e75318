//! A domain event: a fact about one aggregate, typed.

use std::fmt;

use smol_str::SmolStr;

use crate::{Error, ErrorKind, Result};

/// A fact about an aggregate, in the past tense.
///
/// Derive it (feature `derive`) for one struct per event, or for one enum per aggregate. The payload
/// is what `serde` makes of the value; the event's name and version travel beside it, so a payload
/// needs no tag of its own.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use relaybox_core::DomainEvent;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize, DomainEvent)]
/// #[event(aggregate = "session", name = "session.created", version = 1)]
/// struct SessionCreated {
///     #[event(aggregate_id)]
///     session_id: uuid::Uuid,
///     user_id: u64,
/// }
///
/// #[derive(Debug, Serialize, Deserialize, DomainEvent)]
/// #[event(aggregate = "cart")]
/// enum CartEvent {
///     #[event(name = "cart.opened", version = 1)]
///     Opened { #[event(aggregate_id)] cart: String },
///     #[event(name = "cart.emptied", version = 2)]
///     Emptied(#[event(aggregate_id)] String),
/// }
///
/// let event = CartEvent::Emptied("c-7".into());
/// assert_eq!(event.event_type().to_string(), "cart.emptied.v2");
/// assert_eq!(event.aggregate_id(), "c-7");
/// assert_eq!(CartEvent::EVENT_TYPES.len(), 2);
/// # }
/// ```
///
/// # Contract
/// - [`event_type`](Self::event_type) is one of [`EVENT_TYPES`](Self::EVENT_TYPES).
/// - [`aggregate_type`](Self::aggregate_type) and [`aggregate_id`](Self::aggregate_id) never change
///   for a value, and the id is not empty: order is kept per (type, id).
/// - A change to the payload that an old reader can't read gets a new version.
pub trait DomainEvent {
    /// Every event type that a value of this type can have.
    const EVENT_TYPES: &'static [EventType];

    /// This value's event type.
    fn event_type(&self) -> EventType;

    /// The kind of aggregate this happened to: `session`.
    fn aggregate_type(&self) -> &'static str;

    /// Which aggregate it happened to.
    fn aggregate_id(&self) -> String;

    /// What decides the partition; `None` means the aggregate id.
    ///
    /// Order is kept per aggregate only where all its events have the same key.
    fn partition_key(&self) -> Option<String>;
}

/// An event's name and schema version: `session.created` and 1, written `session.created.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType {
    name: SmolStr,
    version: u16,
}

/// How long an event's name may be, in bytes.
pub const MAX_EVENT_NAME: usize = 128;

impl EventType {
    /// Parses a name: dotted, of lower-case letters, digits, `_` and `-`, and a version from 1.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the name or the version is not of that form.
    ///
    /// ```
    /// use relaybox_core::EventType;
    /// assert_eq!(EventType::new("session.created", 1).unwrap().to_string(), "session.created.v1");
    /// assert!(EventType::new("Session Created", 1).is_err());
    /// assert!(EventType::new("session.created", 0).is_err());
    /// ```
    pub fn new(name: impl AsRef<str>, version: u16) -> Result<Self> {
        let name = name.as_ref();
        if !is_event_name(name) || version == 0 {
            return Err(Error::new(ErrorKind::Invalid, "name an event type").detail(format!(
                "{name:?} version {version} is not a dotted lower-case name of at most \
                 {MAX_EVENT_NAME} bytes with a version from 1"
            )));
        }
        Ok(Self { name: SmolStr::new(name), version })
    }

    /// The same for a constant, checked at compile time. The derive macro calls it.
    ///
    /// ```
    /// use relaybox_core::EventType;
    /// const CREATED: EventType = EventType::from_static("session.created", 1);
    /// assert_eq!(CREATED.name(), "session.created");
    /// ```
    ///
    /// # Panics
    /// When the name or the version is not valid: at compile time, in a constant.
    #[must_use]
    pub const fn from_static(name: &'static str, version: u16) -> Self {
        assert!(
            is_event_name(name) && version > 0,
            "an event name is dotted lower case, its version is at least 1"
        );
        Self { name: SmolStr::new_static(name), version }
    }

    /// Parses `session.created.v1`, as `ce_type` carries it.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the text has no version or no valid name.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Decode, "parse an event type")
                .detail("it is not of the form name.vN (session.created.v1)")
        };
        let (name, version) = text.rsplit_once(".v").ok_or_else(invalid)?;
        let version = version.parse().map_err(|_| invalid())?;
        Self::new(name, version).map_err(|_| invalid())
    }

    /// The name without the version: `session.created`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema version, from 1.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v{}", self.name, self.version)
    }
}

const fn is_event_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_EVENT_NAME {
        return false;
    }
    let mut at = 0;
    let mut after_dot = true;
    while at < bytes.len() {
        match bytes[at] {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => after_dot = false,
            b'.' if !after_dot => after_dot = true,
            _ => return false,
        }
        at += 1;
    }
    !after_dot
}
