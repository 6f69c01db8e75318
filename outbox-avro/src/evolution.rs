//! Whether a new schema can follow the earlier ones.

use std::{fmt, str::FromStr};

use relaybox_core::{Error, ErrorKind, Result};

use crate::{
    EventSchema,
    plan::{Issue, Problem, compile},
};

/// Who must be able to read what: the modes of a schema registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compatibility {
    /// Nothing is checked.
    None,
    /// The new schema reads what the latest wrote: consumers are deployed first.
    #[default]
    Backward,
    /// The new schema reads what every earlier one wrote.
    BackwardTransitive,
    /// The latest schema reads what the new one writes: producers are deployed first.
    Forward,
    /// Every earlier schema reads what the new one writes.
    ForwardTransitive,
    /// Backward and forward.
    Full,
    /// Backward and forward, with every earlier schema.
    FullTransitive,
}

impl Compatibility {
    /// Every mode.
    pub const ALL: &'static [Self] = &[
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// As a registry's API has it: `BACKWARD_TRANSITIVE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether every earlier schema counts, not the latest alone.
    #[must_use]
    pub fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    fn is_backward(self) -> bool {
        matches!(
            self,
            Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive
        )
    }

    fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Takes upper and lower case alike.
impl FromStr for Compatibility {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|mode| mode.as_str().eq_ignore_ascii_case(text)).ok_or_else(
            || {
                Error::new(ErrorKind::Invalid, "read a compatibility mode").detail(
                    "it is none of NONE, BACKWARD, FORWARD and FULL, with or without _TRANSITIVE",
                )
            },
        )
    }
}

/// Checks a new schema against earlier ones.
///
/// It follows the specification's rules of schema resolution, as the registries do, and is stricter
/// where those let pass what breaks somebody:
/// - **A removed required field is refused under `BACKWARD`**, too, unless
///   [`allow_removed_fields`](Self::allow_removed_fields) says otherwise. Avro's backward
///   compatibility asks only whether new consumers can read old events. But a topic has consumers that
///   are deployed whenever their owners like, and an event's version promises all of them that they can
///   read it. Such a change is a new version of the event (`session.created.v2`).
/// - A value that would mean something else is refused: a decimal of another scale, seconds where there
///   were milliseconds. Avro ignores what values mean and would hand on a wrong number.
///
/// ```
/// use relaybox_avro::{Compatibility, EventSchema, Evolution};
///
/// let v1 = EventSchema::parse(
///     r#"{"type": "record", "name": "SessionCreated", "fields": [
///         {"name": "session_id", "type": "string"}, {"name": "user_id", "type": "long"}]}"#,
/// )?;
/// let v2 = EventSchema::parse(
///     r#"{"type": "record", "name": "SessionCreated", "fields": [
///         {"name": "session_id", "type": "string"},
///         {"name": "device", "type": ["null", "string"], "default": null}]}"#,
/// )?;
/// let refused = Evolution::new(Compatibility::Backward).check(&v2, &[v1]).unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "the new schema is not compatible (BACKWARD): field \"user_id\" of SessionCreated was removed: \
///      consumers with the old schema need it, as it has no default there"
/// );
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evolution {
    compatibility: Compatibility,
    removed_fields: bool,
}

impl Evolution {
    /// Checks by this mode.
    #[must_use]
    pub fn new(compatibility: Compatibility) -> Self {
        Self { compatibility, removed_fields: false }
    }

    /// Lets `BACKWARD` pass the removal of a field that consumers with the old schema need, as the
    /// registries do: for a topic whose consumers are all deployed before its producers.
    #[must_use]
    pub fn allow_removed_fields(mut self) -> Self {
        self.removed_fields = true;
        self
    }

    /// The mode.
    #[must_use]
    pub fn compatibility(&self) -> Compatibility {
        self.compatibility
    }

    /// Checks `new` against earlier schemas, the latest last.
    ///
    /// # Errors
    /// [`Incompatible`] with all that is wrong; each names the field.
    pub fn check(&self, new: &EventSchema, earlier: &[EventSchema]) -> Result<(), Incompatible> {
        let mode = self.compatibility;
        let latest = earlier.len().saturating_sub(1);
        let against = if mode.is_transitive() { earlier } else { &earlier[latest..] };
        let mut found: Vec<Incompatibility> = Vec::new();
        for old in against {
            if mode.is_backward() {
                found.extend(issues(old, new).iter().map(Incompatibility::backward));
            }
            if mode.is_forward() {
                found.extend(issues(new, old).iter().map(Incompatibility::forward));
            } else if mode.is_backward() && !self.removed_fields {
                let issues = issues(new, old);
                let removed = issues.iter().filter(|issue| {
                    matches!(
                        issue.problem,
                        Problem::Missing { renamed_to: None, .. } | Problem::TooLarge(_)
                    )
                });
                found.extend(removed.map(Incompatibility::forward));
            }
        }
        let mut told = std::collections::HashSet::new();
        found.retain(|found| told.insert(found.clone()));
        if found.is_empty() { Ok(()) } else { Err(Incompatible { compatibility: mode, found }) }
    }
}

/// One thing that is not compatible.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Incompatibility {
    /// The fields that lead there: `device.tags[]`; empty for the schema itself.
    pub path: String,
    /// What it is, with the field and its record by name.
    pub message: String,
}

impl Incompatibility {
    /// The new schema can't read what the old one wrote.
    fn backward(issue: &Issue) -> Self {
        Self::new(issue, |problem| match problem {
            Problem::Missing { field, record, .. } => format!(
                "field {field:?} of {record} was added without a default: events written with the old \
                 schema don't have it"
            ),
            Problem::Symbols { record, symbols } => format!(
                "the enum {record} lost {}, which events written with the old schema may have, and it \
                 has no default",
                symbols.join(", ")
            ),
            Problem::Branch(described) => format!(
                "{described} is no longer allowed there, and events written with the old schema may \
                 have it"
            ),
            Problem::Renamed { writer, reader } => {
                format!("{writer} was renamed to {reader} without the alias {writer}")
            }
            other => common(other, "old events with the new schema"),
        })
    }

    /// The old schema can't read what the new one writes.
    fn forward(issue: &Issue) -> Self {
        Self::new(issue, |problem| match problem {
            Problem::Missing { field, record, renamed_to: None } => format!(
                "field {field:?} of {record} was removed: consumers with the old schema need it, as it \
                 has no default there"
            ),
            Problem::Missing { field, record, renamed_to: Some(new) } => format!(
                "field {field:?} of {record} was renamed to {new:?}: consumers with the old schema \
                 don't know the new name, and need the field"
            ),
            Problem::Symbols { record, symbols } => format!(
                "the enum {record} got {}, which consumers with the old schema don't know, and it has \
                 no default there",
                symbols.join(", ")
            ),
            Problem::Branch(described) => {
                format!(
                    "{described} is allowed there now, and consumers with the old schema can't read it"
                )
            }
            Problem::Renamed { writer, reader } => format!(
                "{reader} was renamed to {writer}: consumers with the old schema don't know that name"
            ),
            other => common(other, "new events with the old schema"),
        })
    }

    fn new(issue: &Issue, message: impl FnOnce(&Problem) -> String) -> Self {
        let mut text = message(&issue.problem);
        let placed = matches!(
            issue.problem,
            Problem::Symbols { .. } | Problem::Branch(_) | Problem::Renamed { .. }
        );
        if placed && !issue.place.is_empty() {
            text = format!("{}: {text}", issue.place);
        }
        Self { path: issue.path.clone(), message: text }
    }
}

/// What reads the same in both directions.
fn common(problem: &Problem, reading: &str) -> String {
    match problem {
        Problem::Mismatch(why) => format!("{why} (reading {reading})"),
        Problem::Default { field, record } => {
            format!("the default of field {field:?} of {record} is no value of its type")
        }
        Problem::TooLarge(why) => format!("they can't be compared: {why} (reading {reading})"),
        other => format!("{other:?}"),
    }
}

fn issues(writer: &EventSchema, reader: &EventSchema) -> Vec<Issue> {
    match compile(writer.model(), reader.model()) {
        Ok((_, issues)) => issues,
        Err(error) => vec![Issue {
            path: String::new(),
            place: String::new(),
            problem: Problem::TooLarge(error.to_string()),
        }],
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// How many things a message has.
const MAX_SHOWN: usize = 20;

/// A new schema can't follow the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incompatible {
    /// The mode it was checked by.
    pub compatibility: Compatibility,
    /// What is wrong, at least one; of each kind of thing a hundred at most for each earlier schema.
    pub found: Vec<Incompatibility>,
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the new schema is not compatible ({})", self.compatibility)?;
        for (nth, found) in self.found.iter().take(MAX_SHOWN).enumerate() {
            write!(f, "{} {found}", if nth == 0 { ":" } else { ";" })?;
        }
        if self.found.len() > MAX_SHOWN {
            write!(f, "; and more")?;
        }
        Ok(())
    }
}

impl std::error::Error for Incompatible {}
