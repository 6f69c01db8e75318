//! Where in a schema something stands.

use std::fmt;

use crate::model::{Field, RecordType};

/// A part of a schema, within another.
pub(super) struct Place<'a> {
    pub(super) parent: usize,
    pub(super) part: PlacePart<'a>,
}

/// Which part.
pub(super) enum PlacePart<'a> {
    Top,
    Field { field: &'a str, record: &'a str },
    Items,
    Values,
}

impl<'a> PlacePart<'a> {
    pub(super) fn field(field: &'a Field, record: &'a RecordType) -> Self {
        Self::Field { field: &field.name, record: record.name.full() }
    }

    /// As a path has it.
    pub(super) fn short(&self) -> &'a str {
        match self {
            Self::Top => "",
            Self::Field { field, .. } => field,
            Self::Items => "[]",
            Self::Values => "{}",
        }
    }
}

impl fmt::Display for PlacePart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => f.write_str("it"),
            Self::Field { field, record } => write!(f, "field {field:?} of {record}"),
            Self::Items => f.write_str("its items"),
            Self::Values => f.write_str("its values"),
        }
    }
}
