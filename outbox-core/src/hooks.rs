//! Telling a person.

use std::{fmt, sync::Arc, time::Duration};

use crate::{AggregateId, AggregateType, Error, ErrorKind, EventId, EventType};

/// Something failed and will be tried again.
#[derive(Debug)]
#[non_exhaustive]
pub struct ErrorNotice<'a> {
    /// Which relay or consumer.
    pub component: &'a str,
    /// What failed.
    pub error: &'a Error,
    /// When it will be tried again.
    pub retry_in: Option<Duration>,
}

/// An event was given up on.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLetterNotice<'a> {
    /// Which relay or consumer.
    pub component: &'a str,
    /// Which event, as far as it could be read.
    pub event_id: Option<EventId>,
    /// Its type, as far as it could be read.
    pub event_type: Option<&'a EventType>,
    /// Its aggregate, as far as it could be read.
    pub aggregate: Option<(&'a AggregateType, &'a AggregateId)>,
    /// Why, as a kind.
    pub kind: ErrorKind,
    /// Why, in words.
    pub reason: &'a str,
    /// How often it was tried.
    pub attempts: u32,
}

type ErrorHook = Arc<dyn for<'a> Fn(&ErrorNotice<'a>) + Send + Sync>;
type DeadLetterHook = Arc<dyn for<'a> Fn(&DeadLetterNotice<'a>) + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_error: Option<ErrorHook>,
    pub(crate) on_dead_letter: Option<DeadLetterHook>,
}

impl Hooks {
    pub(crate) fn error(&self, component: &str, error: &Error, retry_in: Option<Duration>) {
        if let Some(hook) = &self.on_error {
            hook(&ErrorNotice { component, error, retry_in });
        }
    }

    pub(crate) fn dead_letter(&self, notice: &DeadLetterNotice<'_>) {
        if let Some(hook) = &self.on_dead_letter {
            hook(notice);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_error", &self.on_error.is_some())
            .field("on_dead_letter", &self.on_dead_letter.is_some())
            .finish()
    }
}
