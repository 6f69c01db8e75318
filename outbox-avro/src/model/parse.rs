//! Reading a schema's text.

use std::collections::{HashMap, HashSet};

use relaybox_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::{
    EnumType, Field, Kind, Logical, Model, Name, RecordType, Type, TypeId, name::qualified,
};

/// How long a schema's text may be, in bytes.
pub(crate) const MAX_TEXT: usize = 512 * 1024;
/// How deep definitions may stand within each other. (serde_json itself stops at 128 brackets.)
const MAX_NESTING: usize = 48;
/// How many types a schema may use.
const MAX_TYPES: usize = 20_000;
/// How much of a name goes into a message, in characters.
const MAX_QUOTED: usize = 100;

impl Model {
    /// Parses a schema's text.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no schema, [`ErrorKind::TooLarge`] when it is too large or deep.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(Error::new(ErrorKind::TooLarge, READ)
                .detail(format!("its text has more than {MAX_TEXT} bytes")));
        }
        let json: Value = serde_json::from_str(text).map_err(|error| {
            invalid(format!(
                "its text is not JSON: line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        let mut parser = Parser { types: Vec::new(), names: HashMap::new() };
        let root = parser.any(&json, "", 0)?;
        Ok(Self { types: parser.types, root })
    }
}

const READ: &str = "read an Avro schema";

struct Parser {
    types: Vec<Type>,
    names: HashMap<String, TypeId>,
}

impl Parser {
    fn any(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<TypeId> {
        if depth > MAX_NESTING {
            return Err(too_large(format!("definitions nest more than {MAX_NESTING} deep")));
        }
        match json {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => self.union(branches, namespace, depth),
            Value::Object(definition) => self.definition(definition, namespace, depth),
            _ => Err(invalid("a type is neither a name, a definition nor a union")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<TypeId> {
        if let Some(kind) = primitive(name) {
            return self.put(Type { kind, logical: None });
        }
        self.names
            .get(&qualified(name, namespace))
            .or_else(|| self.names.get(name))
            .copied()
            .ok_or_else(|| {
                invalid(format!("the type {} is not defined before it is used", quoted(name)))
            })
    }

    fn union(&mut self, branches: &[Value], namespace: &str, depth: usize) -> Result<TypeId> {
        let mut ids = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        for branch in branches {
            let id = self.any(branch, namespace, depth + 1)?;
            let kind = &self.types[id].kind;
            if matches!(kind, Kind::Union(_)) {
                return Err(invalid("a union stands directly in a union"));
            }
            if !seen.insert(kind.described()) {
                return Err(invalid(format!("a union has {} twice", quoted(&kind.described()))));
            }
            ids.push(id);
        }
        self.put(Type { kind: Kind::Union(ids), logical: None })
    }

    fn definition(
        &mut self,
        definition: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId> {
        let kind = match definition.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested @ (Value::Object(_) | Value::Array(_))) => {
                return self.any(nested, namespace, depth + 1);
            }
            _ => return Err(invalid("a definition has no \"type\"")),
        };
        match kind {
            "record" | "error" => self.record(definition, namespace, depth),
            "enum" => self.enumeration(definition, namespace),
            "fixed" => self.fixed(definition, namespace),
            "array" => {
                let items = self.part(definition, "items", namespace, depth)?;
                self.put(Type { kind: Kind::Array(items), logical: None })
            }
            "map" => {
                let values = self.part(definition, "values", namespace, depth)?;
                self.put(Type { kind: Kind::Map(values), logical: None })
            }
            name => match primitive(name) {
                Some(kind) => {
                    let logical = logical(definition, &kind);
                    self.put(Type { kind, logical })
                }
                None => self.by_name(name, namespace),
            },
        }
    }

    fn part(
        &mut self,
        definition: &Map<String, Value>,
        key: &str,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId> {
        let json = definition
            .get(key)
            .ok_or_else(|| invalid(format!("an array or a map has no {key:?}")))?;
        self.any(json, namespace, depth + 1)
    }

    fn record(
        &mut self,
        definition: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId> {
        let name = name(definition, namespace)?;
        let inner = name.namespace().to_owned();
        let Some(Value::Array(list)) = definition.get("fields") else {
            return Err(invalid(format!("the record {} has no fields", quoted(name.full()))));
        };
        // Known before its fields are read: they may refer to it.
        let record = RecordType { name, fields: Vec::new() };
        let id = self.name_and_put(Type { kind: Kind::Record(record), logical: None })?;
        let mut fields = Vec::with_capacity(list.len());
        let mut seen = HashSet::new();
        for field in list {
            let Some((name, of)) = field.get("name").and_then(Value::as_str).zip(field.get("type"))
            else {
                return Err(invalid("a field has no name or no type"));
            };
            if name.is_empty() || !seen.insert(name) {
                return Err(invalid(format!("a field is called {}, as another is", quoted(name))));
            }
            fields.push(Field {
                name: name.to_owned(),
                aliases: strings(field.get("aliases")).into_iter().map(str::to_owned).collect(),
                of: self.any(of, &inner, depth + 1)?,
                default: field.get("default").cloned(),
            });
        }
        if let Kind::Record(record) = &mut self.types[id].kind {
            record.fields = fields;
        }
        Ok(id)
    }

    fn enumeration(&mut self, definition: &Map<String, Value>, namespace: &str) -> Result<TypeId> {
        let name = name(definition, namespace)?;
        let symbols: Vec<_> = strings(definition.get("symbols"));
        if symbols.is_empty() || symbols.iter().collect::<HashSet<_>>().len() != symbols.len() {
            return Err(invalid(format!(
                "the enum {} has no symbols, or one of them twice",
                quoted(name.full())
            )));
        }
        let default = definition.get("default").and_then(Value::as_str);
        if default.is_some_and(|default| !symbols.contains(&default)) {
            return Err(invalid(format!(
                "the default of the enum {} is none of its symbols",
                quoted(name.full())
            )));
        }
        let of = EnumType {
            name,
            indexes: symbols.iter().map(|symbol| (*symbol).to_owned()).zip(0..).collect(),
            symbols: symbols.into_iter().map(str::to_owned).collect(),
            default: default.map(str::to_owned),
        };
        self.name_and_put(Type { kind: Kind::Enum(of), logical: None })
    }

    fn fixed(&mut self, definition: &Map<String, Value>, namespace: &str) -> Result<TypeId> {
        let name = name(definition, namespace)?;
        let size = definition.get("size").and_then(Value::as_u64);
        let size = size
            .and_then(|size| i32::try_from(size).ok())
            .and_then(|size| usize::try_from(size).ok());
        let size =
            size.ok_or_else(|| invalid(format!("the fixed {} has no size", quoted(name.full()))))?;
        let kind = Kind::Fixed { name, size };
        let logical = logical(definition, &kind);
        self.name_and_put(Type { kind, logical })
    }

    fn name_and_put(&mut self, of: Type) -> Result<TypeId> {
        let name = of.kind.name().map(|name| name.full().to_owned()).unwrap_or_default();
        if primitive(&name).is_some() || self.names.contains_key(&name) {
            return Err(invalid(format!("the type {} is defined twice", quoted(&name))));
        }
        let id = self.put(of)?;
        self.names.insert(name, id);
        Ok(id)
    }

    fn put(&mut self, of: Type) -> Result<TypeId> {
        if self.types.len() >= MAX_TYPES {
            return Err(too_large(format!("it uses more than {MAX_TYPES} types")));
        }
        self.types.push(of);
        Ok(self.types.len() - 1)
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// What values mean; none where it is unknown or does not fit the type, as the specification has it.
fn logical(definition: &Map<String, Value>, kind: &Kind) -> Option<Logical> {
    let number = |key| definition.get(key).and_then(Value::as_u64);
    match (definition.get("logicalType")?.as_str()?, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed { .. }) => {
            let (precision, scale) = (number("precision")?, number("scale").unwrap_or(0));
            (precision > 0 && scale <= precision).then_some(Logical::Decimal { precision, scale })
        }
        ("big-decimal", Kind::Bytes) => Some(Logical::Named("big-decimal")),
        ("uuid", Kind::String | Kind::Bytes | Kind::Fixed { size: 16, .. }) => {
            Some(Logical::Named("uuid"))
        }
        ("date", Kind::Int) => Some(Logical::Named("date")),
        ("time-millis", Kind::Int) => Some(Logical::Named("time-millis")),
        ("duration", Kind::Fixed { size: 12, .. }) => Some(Logical::Named("duration")),
        (name, Kind::Long) => LONGS.iter().find(|long| **long == name).copied().map(Logical::Named),
        _ => None,
    }
}

const LONGS: [&str; 7] = [
    "time-micros",
    "timestamp-millis",
    "timestamp-micros",
    "timestamp-nanos",
    "local-timestamp-millis",
    "local-timestamp-micros",
    "local-timestamp-nanos",
];

fn name(definition: &Map<String, Value>, namespace: &str) -> Result<Name> {
    let text = |key| definition.get(key).and_then(Value::as_str);
    let name = text("name").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| invalid("a record, enum or fixed has no name"))?;
    Ok(Name::new(name, text("namespace").unwrap_or(namespace), &strings(definition.get("aliases"))))
}

/// The strings of a list; what is none is left out.
fn strings(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

fn quoted(name: &str) -> String {
    name.chars().take(MAX_QUOTED).collect::<String>()
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Decode, READ).detail(detail)
}

fn too_large(detail: String) -> Error {
    Error::new(ErrorKind::TooLarge, READ).detail(detail)
}
