//! The default of a field, as a datum.

use relaybox_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::{Encoded, budget::MAX_DEFAULTS};
use crate::model::{Kind, Model, RecordType, TypeId};

/// How deep a default may nest: a record's default may take the defaults of its own fields, and so on.
const MAX_DEPTH: usize = 32;
/// How long a default may be, in bytes.
const MAX_DATUM: usize = 64 * 1024;
/// How many values it may hold.
const MAX_VALUES: usize = 16 * 1024;

/// How many values all defaults of a schema may hold.
const MAX_ALL_VALUES: usize = 1_000_000;
/// How much of a name goes into a message, in characters.
const MAX_QUOTED: usize = 100;

/// Encodes a default; `None` when it is no value of the type, or larger than any should be. Says how many
/// values were gone over for it, too.
pub(super) fn encode(model: &Model, of: TypeId, json: &Value) -> (Option<Encoded>, usize) {
    let mut encoded = Encoded { datum: Vec::new(), values: 0 };
    let put = put(model, of, json, &mut encoded, 0);
    let values = encoded.values;
    (put.map(|()| encoded), values)
}

/// Checks the defaults of a schema's fields: the first reader that needs one would find out otherwise.
///
/// # Errors
/// [`ErrorKind::Decode`] when one is no value of its field's type, [`ErrorKind::TooLarge`] when they are
/// larger in all than any should be.
pub(crate) fn check_defaults(model: &Model) -> Result<()> {
    const CHECK: &str = "check the defaults of an Avro schema";
    let (mut bytes, mut values) = (0, 0);
    let records = model.types().filter_map(|of| match &of.kind {
        Kind::Record(record) => Some(record),
        _ => None,
    });
    for (record, field) in
        records.flat_map(|record| record.fields.iter().map(move |field| (record, field)))
    {
        let Some(json) = &field.default else { continue };
        let (encoded, gone_over) = encode(model, field.of, json);
        let Some(encoded) = encoded else {
            let quoted = |name: &str| name.chars().take(MAX_QUOTED).collect::<String>();
            return Err(Error::new(ErrorKind::Decode, CHECK).detail(format!(
                "the default of field {:?} of {} is no value of its type, or is too large or deep",
                quoted(&field.name),
                quoted(record.name.full())
            )));
        };
        bytes += encoded.datum.len();
        values += gone_over;
        if bytes > MAX_DEFAULTS || values > MAX_ALL_VALUES {
            return Err(Error::new(ErrorKind::TooLarge, CHECK).detail(format!(
                "its defaults have more than {MAX_DEFAULTS} bytes or {MAX_ALL_VALUES} values in all"
            )));
        }
    }
    Ok(())
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
            // A code point has two bytes at most.
            (text.len() <= size.saturating_mul(2)).then_some(())?;
            let bytes = code_points(text)?;
            (bytes.len() == *size).then_some(())?;
            to.datum.extend(bytes);
        }
        (Kind::Enum(of), Value::String(symbol)) => {
            put_long(i64::from(of.index(symbol)?), &mut to.datum);
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
