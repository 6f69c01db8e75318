//! Schemas that refer to others: made into texts that stand alone.

use std::collections::{HashMap, HashSet, VecDeque};

use relaybox_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::Value;

use super::SchemaRegistry;
use crate::model::MAX_TEXT;

/// How many other schemas one may refer to, all in all.
const MAX_REFERENCES: usize = 64;
/// How deep types may stand in each other.
const MAX_DEPTH: usize = 64;

const OPERATION: &str = "fetch what a schema refers to";

/// A schema under another subject, to which one refers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct Reference {
    pub(super) subject: String,
    pub(super) version: u32,
}

/// Puts what a schema refers to into its text, each type where it is first named.
///
/// # Errors
/// [`ErrorKind::TooLarge`] when the texts have more bytes in all than one schema may: as JSON values they
/// take many times that.
pub(super) async fn put_into(
    registry: &SchemaRegistry,
    text: String,
    references: Vec<Reference>,
) -> Result<String> {
    if references.is_empty() {
        return Ok(text);
    }
    let mut bytes = count(0, &text, &references)?;
    let mut waiting = VecDeque::from(references);
    let mut seen = HashSet::new();
    let mut definitions = HashMap::new();
    while let Some(reference) = waiting.pop_front() {
        if !seen.insert(reference.clone()) {
            continue;
        }
        if seen.len() > MAX_REFERENCES {
            return Err(invalid("it refers to too many others"));
        }
        let (text, more) = registry.referred(&reference, OPERATION).await?.ok_or_else(|| {
            invalid("it refers to a version of a subject that the registry doesn't know")
        })?;
        bytes = count(bytes, &text, &more)?;
        waiting.extend(more);
        let definition = parse(&text)?;
        if let Some(name) = name_of(&definition, "") {
            definitions.insert(name, definition);
        }
    }
    let mut schema = parse(&text)?;
    define(&mut schema, "", &mut definitions, 0)?;
    Ok(schema.to_string())
}

/// Replaces the first mention of each name by its definition, in the order in which a parser reads.
fn define(
    value: &mut Value,
    namespace: &str,
    definitions: &mut HashMap<String, Value>,
    depth: usize,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(invalid("its types stand too deep in each other"));
    }
    match value {
        Value::String(name) => {
            let full = full_name(name, namespace);
            if let Some((name, mut definition)) = definitions.remove_entry(&full) {
                // It keeps its name, wherever it stands now.
                let (namespace, _) = name.rsplit_once('.').unwrap_or_default();
                definition["namespace"] = Value::from(namespace);
                define(&mut definition, namespace, definitions, depth + 1)?;
                *value = definition;
            }
        }
        Value::Array(branches) => {
            for branch in branches {
                define(branch, namespace, definitions, depth + 1)?;
            }
        }
        Value::Object(_) => {
            let own = name_of(value, namespace);
            let own = own.as_deref().map(|name| name.rsplit_once('.').unwrap_or_default().0);
            let inside = own.unwrap_or(namespace).to_owned();
            for part in ["type", "items", "values"] {
                if let Some(part) = value.get_mut(part) {
                    define(part, &inside, definitions, depth + 1)?;
                }
            }
            for field in value.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten()
            {
                if let Some(part) = field.get_mut("type") {
                    define(part, &inside, definitions, depth + 1)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The bytes of all texts so far, with one more.
fn count(bytes: usize, text: &str, references: &[Reference]) -> Result<usize> {
    if references.len() > MAX_REFERENCES {
        return Err(invalid("it refers to too many others"));
    }
    let bytes = bytes + text.len();
    if bytes > MAX_TEXT {
        return Err(Error::new(ErrorKind::TooLarge, OPERATION)
            .detail(format!("it has more than {MAX_TEXT} bytes with all that it refers to")));
    }
    Ok(bytes)
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| invalid("it is not JSON"))
}

fn name_of(value: &Value, namespace: &str) -> Option<String> {
    let name = value["name"].as_str()?;
    Some(full_name(name, value["namespace"].as_str().unwrap_or(namespace)))
}

fn full_name(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::Decode, OPERATION).detail(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_another_schema_is_put_where_it_is_first_named() {
        let mut schema = parse(
            r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
                {"name": "a", "type": {"type": "array", "items": "base.Money"}},
                {"name": "b", "type": ["null", "base.Money"]}, {"name": "c", "type": "Unit"}]}"#,
        )
        .unwrap();
        let money = r#"{"type": "record", "name": "base.Money", "fields": [
            {"name": "unit", "type": "shop.Unit"}]}"#;
        let unit = r#"{"type": "enum", "name": "Unit", "namespace": "shop", "symbols": ["EUR"]}"#;
        let mut definitions = HashMap::new();
        for text in [money, unit] {
            let definition = parse(text).unwrap();
            definitions.insert(name_of(&definition, "").unwrap(), definition);
        }
        define(&mut schema, "", &mut definitions, 0).unwrap();
        assert!(definitions.is_empty());
        let defined = &schema["fields"][0]["type"]["items"];
        assert_eq!(defined["namespace"], "base");
        assert_eq!(defined["fields"][0]["type"]["symbols"][0], "EUR");
        assert_eq!(schema["fields"][1]["type"][1], "base.Money");
        assert_eq!(schema["fields"][2]["type"], "Unit");
        apache_avro::Schema::parse(&schema).unwrap();
    }
}
