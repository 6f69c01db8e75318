//! A schema as types that refer to each other by number.
//!
//! Writers' schemas come from elsewhere. This is all that is made of them: it is bounded, and knows just
//! what reading needs. (apache-avro's parser follows defaults into themselves.)

mod name;
mod parse;

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

pub(crate) use name::Name;
#[cfg(feature = "registry")]
pub(crate) use parse::MAX_TEXT;

/// A parsed schema.
pub(crate) struct Model {
    types: Vec<Type>,
    root: TypeId,
}

/// The place of a type in its model.
pub(crate) type TypeId = usize;

/// A type, with what its values mean where the schema says so.
pub(crate) struct Type {
    pub(crate) kind: Kind,
    pub(crate) logical: Option<Logical>,
}

/// What the bytes of a value are.
pub(crate) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed { name: Name, size: usize },
    Enum(EnumType),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(RecordType),
}

/// An enumeration.
pub(crate) struct EnumType {
    pub(crate) name: Name,
    pub(crate) symbols: Vec<String>,
    /// Where each of them stands.
    pub(crate) indexes: HashMap<String, u32>,
    /// What a reader takes an unknown symbol for.
    pub(crate) default: Option<String>,
}

/// A record.
pub(crate) struct RecordType {
    pub(crate) name: Name,
    pub(crate) fields: Vec<Field>,
}

/// A field of a record.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) of: TypeId,
    pub(crate) default: Option<Value>,
}

/// What a value means; unknown ones are none, as the specification has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Logical {
    Decimal { precision: u64, scale: u64 },
    Named(&'static str),
}

impl Model {
    /// The type with this number.
    pub(crate) fn of(&self, id: TypeId) -> &Type {
        &self.types[id]
    }

    /// The schema's own type.
    pub(crate) fn root(&self) -> TypeId {
        self.root
    }

    /// Every type.
    pub(crate) fn types(&self) -> impl Iterator<Item = &Type> {
        self.types.iter()
    }

    /// The full name of the schema's own type, where it has one.
    pub(crate) fn root_name(&self) -> Option<&Name> {
        self.of(self.root).kind.name()
    }
}

impl Kind {
    /// The name of a named type.
    pub(crate) fn name(&self) -> Option<&Name> {
        match self {
            Self::Fixed { name, .. } => Some(name),
            Self::Enum(of) => Some(&of.name),
            Self::Record(of) => Some(&of.name),
            _ => None,
        }
    }

    /// What it is called in a message: `a long`, `the record com.acme.Device`.
    pub(crate) fn described(&self) -> Cow<'static, str> {
        match self {
            Self::Null => "null".into(),
            Self::Boolean => "a boolean".into(),
            Self::Int => "an int".into(),
            Self::Long => "a long".into(),
            Self::Float => "a float".into(),
            Self::Double => "a double".into(),
            Self::Bytes => "bytes".into(),
            Self::String => "a string".into(),
            Self::Array(_) => "an array".into(),
            Self::Map(_) => "a map".into(),
            Self::Union(_) => "a union".into(),
            Self::Fixed { name, .. } => format!("the fixed {name}").into(),
            Self::Enum(of) => format!("the enum {}", of.name).into(),
            Self::Record(of) => format!("the record {}", of.name).into(),
        }
    }
}

impl EnumType {
    /// The place of a symbol.
    pub(crate) fn index(&self, symbol: &str) -> Option<u32> {
        self.indexes.get(symbol).copied()
    }
}

impl RecordType {
    /// How many names its fields have, with their aliases.
    pub(crate) fn count(&self) -> usize {
        self.fields.iter().map(|field| 1 + field.aliases.len()).sum()
    }
}

impl std::fmt::Display for Logical {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::Named(name) => f.write_str(name),
        }
    }
}
