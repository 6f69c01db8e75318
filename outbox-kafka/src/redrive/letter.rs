//! Letters, and what became of them.

use std::fmt;

use chrono::{DateTime, Utc};
use relaybox_core::ConsumerDeadLetter;

/// A letter in a dead-letter topic.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KafkaDeadLetter {
    /// The letter. Its `delivery` says where in the dead-letter topic it is.
    pub letter: ConsumerDeadLetter,
    /// What became of it.
    pub state: LetterState,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterState {
    /// Nothing yet: it waits for a person.
    Open,
    /// It was put back.
    Redriven,
    /// It was discarded: it is not put back unless forced.
    Discarded,
}

/// How many letters a dead-letter topic has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LetterCounts {
    /// Those that wait for a person.
    pub open: u64,
    /// Those that were put back.
    pub redriven: u64,
    /// Those that were discarded.
    pub discarded: u64,
    /// Records that are no dead letters of the topic.
    pub foreign: u64,
    /// When the first of the open ones was given up on.
    pub oldest_open: Option<DateTime<Utc>>,
}

impl KafkaDeadLetter {
    pub(super) fn new(letter: ConsumerDeadLetter, state: LetterState) -> Self {
        Self { letter, state }
    }
}

impl LetterState {
    /// The state in lower case, as tools write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

impl LetterCounts {
    pub(super) fn count(&mut self, letter: &ConsumerDeadLetter, state: LetterState) {
        match state {
            LetterState::Open => {
                self.open += 1;
                let at = letter.failed_at;
                self.oldest_open = Some(self.oldest_open.map_or(at, |oldest| oldest.min(at)));
            }
            LetterState::Redriven => self.redriven += 1,
            LetterState::Discarded => self.discarded += 1,
        }
    }
}

impl fmt::Display for LetterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for LetterCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, redriven, discarded, foreign, oldest_open } = self;
        write!(f, "{open} open, {redriven} redriven, {discarded} discarded")?;
        if *foreign > 0 {
            write!(f, ", {foreign} of another origin")?;
        }
        if let Some(oldest) = oldest_open {
            let oldest = oldest.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            write!(f, ", the oldest open one of {oldest}")?;
        }
        Ok(())
    }
}
