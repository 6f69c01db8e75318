//! The default of a field, as a datum.

use serde_json::{Map, Value};

use super::Encoded;
use crate::model::{Kind, Model, RecordType, TypeId};

/// How deep a default may nest: a record's default may take the defaults of its own fields, and so on.
const MAX_DEPTH: usize = 32;
/// How long a default may be, in bytes.
const MAX_DATUM: usize = 64 * 1024;
/// How many values it may hold.
const MAX_VALUES: usize = 16 * 1024;

/// Encodes a default; `None` when it is no value of the type, or larger than any should be.
pub(super) fn encode(model: &Model, of: TypeId, json: &Value) -> Option<Encoded> {
    let mut encoded = Encoded { datum: Vec::new(), values: 0 };
    put(model, of, json, &mut encoded, 0)?;
    Some(encoded)
}

fn put(model: &Model, of: TypeId, json: &Value, to: &mut Encoded, depth: usize) -> Option<()> {
    to.values += 1;
    if depth > MAX_DEPTH || to.values > MAX_VALUES || to.datum.len() > MAX_DATUM {
        return None;
    }
    match (&model.of(of).kind, json) {
        (Kind::Null, Value::Null) => {}
        (Kind::Boolean, Value::Bool(value)) => to.datum.push(u8::from(*value)),
        (Kind::Int, Value::Number(number)) => {
            put_long(i64::from(i32::try_from(number.as_i64()?).ok()?), &mut to.datum);
        }
        (Kind::Long, Value::Number(number)) => put_long(number.as_i64()?, &mut to.datum),
        (Kind::Float, number) => {
            let number = number_of(number)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a float's default has its precision"
            )]
            to.datum.extend((number as f32).to_le_bytes());
        }
        (Kind::Double, number) => to.datum.extend(number_of(number)?.to_le_bytes()),
        (Kind::String, Value::String(text)) => put_bytes(text.as_bytes(), &mut to.datum),
        (Kind::Bytes, Value::String(text)) => put_bytes(&code_points(text)?, &mut to.datum),
        (Kind::Fixed { size, .. }, Value::String(text)) => {
            let bytes = code_points(text)?;
            (bytes.len() == *size).then_some(())?;
            to.datum.extend(bytes);
        }
        (Kind::Enum(of), Value::String(symbol)) => {
            let index = of.symbols.iter().position(|known| known == symbol)?;
            put_long(i64::try_from(index).ok()?, &mut to.datum);
        }
        (Kind::Array(items), Value::Array(list)) => {
            put_count(list.len(), &mut to.datum);
            list.iter().try_for_each(|item| put(model, *items, item, to, depth + 1))?;
            to.datum.push(0);
        }
        (Kind::Map(values), Value::Object(map)) => {
            put_count(map.len(), &mut to.datum);
            for (key, value) in map {
                to.values += 1;
                put_bytes(key.as_bytes(), &mut to.datum);
                put(model, *values, value, to, depth + 1)?;
            }
            to.datum.push(0);
        }
        (Kind::Record(record), Value::Object(map)) => put_record(model, record, map, to, depth)?,
        (Kind::Union(branches), json) => put_branch(model, branches, json, to, depth)?,
        _ => return None,
    }
    Some(())
}

/// Fields that the default leaves out have their own.
fn put_record(
    model: &Model,
    record: &RecordType,
    map: &Map<String, Value>,
    to: &mut Encoded,
    depth: usize,
) -> Option<()> {
    record.fields.iter().try_for_each(|field| {
        let json = map.get(&field.name).or(field.default.as_ref())?;
        put(model, field.of, json, to, depth + 1)
    })
}

/// The first branch that the default is a value of: until Avro 1.12 it had to be the first of all.
fn put_branch(
    model: &Model,
    branches: &[TypeId],
    json: &Value,
    to: &mut Encoded,
    depth: usize,
) -> Option<()> {
    let start = to.datum.len();
    branches.iter().enumerate().find_map(|(index, branch)| {
        to.datum.truncate(start);
        put_long(i64::try_from(index).ok()?, &mut to.datum);
        put(model, *branch, json, to, depth + 1)
    })
}

/// Java writes what JSON has no number for as a string.
fn number_of(json: &Value) -> Option<f64> {
    match json {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" | "INF" => Some(f64::INFINITY),
            "-Infinity" | "-INF" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Bytes stand in JSON as code points 0 to 255.
fn code_points(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|point| u8::try_from(u32::from(point)).ok()).collect()
}

fn put_count(count: usize, to: &mut Vec<u8>) {
    if count > 0 {
        put_length(count, to);
    }
}

fn put_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    put_length(bytes.len(), to);
    to.extend_from_slice(bytes);
}

fn put_length(length: usize, to: &mut Vec<u8>) {
    put_long(i64::try_from(length).expect("no length in memory is longer"), to);
}

/// Puts a number as Avro does: zigzag, then seven bits a byte, the lowest first.
pub(super) fn put_long(value: i64, to: &mut Vec<u8>) {
    let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while rest > 0x7f {
        to.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    to.push(rest.to_le_bytes()[0]);
}
