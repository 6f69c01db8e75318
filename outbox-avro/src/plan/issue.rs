//! What keeps a reader from reading what a writer wrote.

/// Something of the writer's that the reader can't read.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    /// The fields that lead there from the top, for a machine: `device.tags[]`.
    pub(crate) path: String,
    /// The field it is about, for a person: `field "tags" of com.acme.Device, its items`.
    pub(crate) place: String,
    pub(crate) problem: Problem,
}

/// What it is.
#[derive(Debug, Clone)]
pub(crate) enum Problem {
    /// The writer's record hasn't a field that the reader needs.
    Missing {
        field: String,
        record: String,
        /// A field of the writer's has it as an alias: it was renamed.
        renamed_to: Option<String>,
    },
    /// The types don't match: why.
    Mismatch(String),
    /// The types are called differently: the writer's and the reader's name.
    Renamed { writer: String, reader: String },
    /// Symbols of the writer's enum that the reader's hasn't, nor a default.
    Symbols { record: String, symbols: Vec<String> },
    /// A branch of the writer's union.
    Branch(String),
    /// The default of the reader's field is no value of its type.
    Default { field: String, record: String },
    /// To compare them takes too much: why.
    TooLarge(String),
}

impl Problem {
    /// How many classes there are.
    pub(crate) const CLASSES: usize = 8;

    /// Which one it is of. A mode of compatibility passes or refuses a class as a whole, so that one of
    /// each is enough to decide.
    pub(crate) fn class(&self) -> usize {
        match self {
            Self::Missing { renamed_to: None, .. } => 0,
            Self::Missing { .. } => 1,
            Self::Mismatch(_) => 2,
            Self::Renamed { .. } => 3,
            Self::Symbols { .. } => 4,
            Self::Branch(_) => 5,
            Self::Default { .. } => 6,
            Self::TooLarge(_) => 7,
        }
    }
}
