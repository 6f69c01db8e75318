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
}
