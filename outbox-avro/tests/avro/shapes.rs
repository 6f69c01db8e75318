//! Random schemas, values of them, and schemas that they can evolve to; all from a seed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    any::Any,
    encoding::{block, bytes, joined, long},
};

/// A type without its names.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(Named, usize),
    Enum(Named, Vec<String>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    /// Null, and something else; either first.
    Nullable(Box<Shape>, bool),
    Record(Named, Vec<(String, Shape)>),
}

/// The number in the name of a type.
pub(crate) type Named = u64;

/// A value with its encoding.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) datum: Vec<u8>,
    pub(crate) value: Any,
}

/// A source of chance that a seed decides.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// SplitMix64.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn long(&mut self) -> i64 {
        let bits = self.bits().cast_signed();
        bits >> self.below(64)
    }

    fn raw(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.bits().to_le_bytes()[0]).collect()
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'Z', '0', 'ß', '☃', '\0', '"', '𝄞'];
        (0..self.below(6)).map(|_| letters[self.below(letters.len())]).collect()
    }
}

/// A record with random fields.
pub(crate) fn record(chance: &mut Chance) -> Shape {
    let fields = 1 + chance.below(5);
    record_of(chance, fields, 3)
}

fn record_of(chance: &mut Chance, fields: usize, depth: usize) -> Shape {
    let fields = (0..fields).map(|at| (format!("f{at}"), shape(chance, depth)));
    let fields = fields.collect::<Vec<_>>();
    Shape::Record(chance.bits() >> 16, fields)
}

fn shape(chance: &mut Chance, depth: usize) -> Shape {
    let name = chance.bits() >> 16;
    match chance.below(if depth == 0 { 10 } else { 15 }) {
        0 => Shape::Null,
        1 => Shape::Boolean,
        2 => Shape::Int,
        3 => Shape::Long,
        4 => Shape::Float,
        5 => Shape::Double,
        6 => Shape::Bytes,
        7 => Shape::String,
        8 => Shape::Fixed(name, chance.below(20)),
        9 => Shape::Enum(name, (0..=chance.below(4)).map(|at| format!("S{at}")).collect()),
        10 => Shape::Array(Box::new(shape(chance, depth - 1))),
        11 => Shape::Map(Box::new(shape(chance, depth - 1))),
        12 | 13 => match shape(chance, depth - 1) {
            of @ (Shape::Null | Shape::Nullable(..)) => of,
            of => Shape::Nullable(Box::new(of), chance.one_in(2)),
        },
        _ => {
            let fields = chance.below(4);
            record_of(chance, fields, depth - 1)
        }
    }
}

impl Shape {
    /// The schema's text. A field without a default has none.
    pub(crate) fn schema(&self) -> String {
        self.json(&BTreeMap::new(), "").to_string()
    }

    /// The same with defaults of fields, by path.
    pub(crate) fn schema_with(&self, defaults: &BTreeMap<String, Value>) -> String {
        self.json(defaults, "").to_string()
    }

    fn json(&self, defaults: &BTreeMap<String, Value>, path: &str) -> Value {
        match self {
            Self::Null => json!("null"),
            Self::Boolean => json!("boolean"),
            Self::Int => json!("int"),
            Self::Long => json!("long"),
            Self::Float => json!("float"),
            Self::Double => json!("double"),
            Self::Bytes => json!("bytes"),
            Self::String => json!("string"),
            Self::Fixed(name, size) => {
                json!({"type": "fixed", "name": format!("F{name}"), "size": size})
            }
            Self::Enum(name, symbols) => {
                json!({"type": "enum", "name": format!("E{name}"), "symbols": symbols})
            }
            Self::Array(items) => json!({"type": "array", "items": items.json(defaults, path)}),
            Self::Map(values) => json!({"type": "map", "values": values.json(defaults, path)}),
            Self::Nullable(of, true) => json!(["null", of.json(defaults, path)]),
            Self::Nullable(of, false) => json!([of.json(defaults, path), "null"]),
            Self::Record(name, fields) => {
                let fields = fields.iter().map(|(field, of)| {
                    let path = format!("{path}/R{name}.{field}");
                    let mut json = json!({"name": field, "type": of.json(defaults, &path)});
                    if let Some(default) = defaults.get(&path) {
                        json["default"] = default.clone();
                    }
                    json
                });
                let fields = fields.collect::<Vec<_>>();
                json!({"type": "record", "name": format!("R{name}"), "namespace": "n", "fields": fields})
            }
        }
    }

    /// A random value.
    pub(crate) fn sample(&self, chance: &mut Chance) -> Sample {
        let (datum, value) = match self {
            Self::Null => (Vec::new(), Any::Null),
            Self::Boolean => {
                let value = chance.one_in(2);
                (vec![u8::from(value)], Any::Bool(value))
            }
            Self::Int => {
                let value = chance.long() >> 32;
                (long(value), Any::Int(value))
            }
            Self::Long => {
                let value = chance.long();
                (long(value), Any::Int(value))
            }
            Self::Float => {
                #[expect(clippy::cast_precision_loss, reason = "any float will do")]
                let value = chance.long() as f32 / 7.0;
                (value.to_le_bytes().to_vec(), Any::Double(f64::from(value).to_bits()))
            }
            Self::Double => {
                #[expect(clippy::cast_precision_loss, reason = "any double will do")]
                let value = chance.long() as f64 / 7.0;
                (value.to_le_bytes().to_vec(), Any::Double(value.to_bits()))
            }
            Self::Bytes => {
                let length = chance.below(9);
                let value = chance.raw(length);
                (bytes(&value), Any::Bytes(value))
            }
            Self::String => {
                let value = chance.text();
                (bytes(value.as_bytes()), Any::Text(value))
            }
            Self::Fixed(_, size) => {
                let value = chance.raw(*size);
                (value.clone(), Any::Bytes(value))
            }
            Self::Enum(_, symbols) => {
                let symbol = chance.below(symbols.len());
                (long(i64::try_from(symbol).unwrap()), Any::Symbol(symbols[symbol].clone()))
            }
            Self::Array(items) => {
                let items: Vec<_> = (0..chance.below(5)).map(|_| items.sample(chance)).collect();
                let datum = blocks(chance, items.iter().map(|item| item.datum.clone()));
                (datum, Any::List(items.into_iter().map(|item| item.value).collect()))
            }
            Self::Map(values) => {
                let mut map = BTreeMap::new();
                for at in 0..chance.below(4) {
                    map.insert(format!("{at}{}", chance.text()), values.sample(chance));
                }
                let entries = map
                    .iter()
                    .map(|(key, value)| joined([bytes(key.as_bytes()), value.datum.clone()]));
                let datum = blocks(chance, entries);
                (datum, Any::Map(map.into_iter().map(|(key, value)| (key, value.value)).collect()))
            }
            Self::Nullable(of, null_first) => {
                let is_null = chance.one_in(3);
                let branch = i64::from(is_null != *null_first);
                let sample = if is_null { Self::Null } else { (**of).clone() }.sample(chance);
                (joined([long(branch), sample.datum]), sample.value)
            }
            Self::Record(_, fields) => {
                let mut datum = Vec::new();
                let mut map = BTreeMap::new();
                for (name, of) in fields {
                    let field = of.sample(chance);
                    datum.extend(field.datum);
                    map.insert(name.clone(), field.value);
                }
                (datum, Any::Map(map))
            }
        };
        Sample { datum, value }
    }

    /// A schema that reads this one, with the defaults it needs and what it reads instead of `value`.
    pub(crate) fn evolved(&self, value: &Any, chance: &mut Chance) -> Evolved {
        let mut defaults = BTreeMap::new();
        let mut change = Evolving { chance, defaults: &mut defaults };
        let shape = change.shape(self, "");
        let value = read_as(self, &shape, value);
        Evolved { shape, defaults, value }
    }
}

/// What [`Shape::evolved`] gives.
pub(crate) struct Evolved {
    pub(crate) shape: Shape,
    pub(crate) defaults: BTreeMap<String, Value>,
    pub(crate) value: Any,
}

struct Evolving<'a> {
    chance: &'a mut Chance,
    defaults: &'a mut BTreeMap<String, Value>,
}

impl Evolving<'_> {
    fn shape(&mut self, of: &Shape, path: &str) -> Shape {
        let wrap = !matches!(of, Shape::Null | Shape::Nullable(..)) && self.chance.one_in(6);
        let inner = match of {
            Shape::Int if self.chance.one_in(3) => {
                [Shape::Long, Shape::Double][self.chance.below(2)].clone()
            }
            Shape::Long if self.chance.one_in(3) => Shape::Double,
            Shape::Float if self.chance.one_in(3) => Shape::Double,
            Shape::String if self.chance.one_in(5) => Shape::Bytes,
            Shape::Enum(name, symbols) if self.chance.one_in(2) => {
                let mut symbols = symbols.clone();
                symbols.insert(self.chance.below(symbols.len() + 1), "NEW".to_owned());
                Shape::Enum(*name, symbols)
            }
            Shape::Array(items) => Shape::Array(Box::new(self.shape(items, path))),
            Shape::Map(values) => Shape::Map(Box::new(self.shape(values, path))),
            Shape::Nullable(inner, first) => {
                let inner = self.shape(inner, path);
                if matches!(inner, Shape::Nullable(..)) {
                    inner
                } else {
                    Shape::Nullable(Box::new(inner), *first != self.chance.one_in(3))
                }
            }
            Shape::Record(name, fields) => self.record(*name, fields, path),
            same => same.clone(),
        };
        if wrap { Shape::Nullable(Box::new(inner), self.chance.one_in(2)) } else { inner }
    }

    fn record(&mut self, name: Named, fields: &[(String, Shape)], path: &str) -> Shape {
        let mut evolved = Vec::new();
        for (field, of) in fields {
            if !self.chance.one_in(5) {
                let path = format!("{path}/R{name}.{field}");
                evolved.push((field.clone(), self.shape(of, &path)));
            }
        }
        for at in 0..self.chance.below(3) {
            let field = format!("added{at}");
            self.defaults.insert(format!("{path}/R{name}.{field}"), json!([{"k": -1}, {}]));
            let map = Shape::Map(Box::new(Shape::Nullable(Box::new(Shape::Int), true)));
            let at = self.chance.below(evolved.len() + 1);
            evolved.insert(at, (field, Shape::Array(Box::new(map))));
        }
        if evolved.len() > 1 && self.chance.one_in(2) {
            let (a, b) = (self.chance.below(evolved.len()), self.chance.below(evolved.len()));
            evolved.swap(a, b);
        }
        Shape::Record(name, evolved)
    }
}

/// What a reader has of a value, said once more without bytes.
fn read_as(writer: &Shape, reader: &Shape, value: &Any) -> Any {
    match (writer, reader, value) {
        (_, _, Any::Null) => Any::Null,
        (Shape::Nullable(writer, _), reader, value) => read_as(writer, reader, value),
        (writer, Shape::Nullable(reader, _), value) => read_as(writer, reader, value),
        #[expect(clippy::cast_precision_loss, reason = "as Avro does")]
        (_, Shape::Double, Any::Int(value)) => Any::Double((*value as f64).to_bits()),
        (_, Shape::Bytes, Any::Text(text)) => Any::Bytes(text.clone().into_bytes()),
        (Shape::Array(writer), Shape::Array(reader), Any::List(items)) => {
            Any::List(items.iter().map(|item| read_as(writer, reader, item)).collect())
        }
        (Shape::Map(writer), Shape::Map(reader), Any::Map(map)) => {
            let read =
                |(key, value): (&String, &Any)| (key.clone(), read_as(writer, reader, value));
            Any::Map(map.iter().map(read).collect())
        }
        (Shape::Record(_, writer), Shape::Record(_, reader), Any::Map(map)) => {
            let read = |(name, of): &(String, Shape)| {
                let written = writer.iter().find(|(other, _)| other == name);
                let value = match written {
                    Some((_, writer)) => read_as(writer, of, &map[name]),
                    None => Any::List(vec![
                        Any::Map(BTreeMap::from([("k".to_owned(), Any::Int(-1))])),
                        Any::Map(BTreeMap::new()),
                    ]),
                };
                (name.clone(), value)
            };
            Any::Map(reader.iter().map(read).collect())
        }
        _ => value.clone(),
    }
}

/// Items in one block or several, with their length or without.
fn blocks(chance: &mut Chance, items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<_> = items.collect();
    let mut datum = Vec::new();
    let mut rest = &items[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(1 + chance.below(rest.len()));
        datum.extend(block(now, chance.one_in(2)));
        rest = later;
    }
    datum.push(0);
    datum
}
