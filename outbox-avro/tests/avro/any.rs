//! Whatever a schema describes.

use std::{collections::BTreeMap, fmt};

use serde::de::{
    Deserialize, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// A decoded value of any schema; of a union, its branch's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Any {
    Null,
    Bool(bool),
    Int(i64),
    /// Its bits: NaN is equal to itself then.
    Double(u64),
    Bytes(Vec<u8>),
    Text(String),
    Symbol(String),
    List(Vec<Any>),
    Map(BTreeMap<String, Any>),
}

impl Any {
    pub(crate) fn field(&self, name: &str) -> &Any {
        let Self::Map(fields) = self else { panic!("{self:?} is no record") };
        &fields[name]
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Any, E> {
        Ok(Any::Null)
    }

    fn visit_none<E>(self) -> Result<Any, E> {
        Ok(Any::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        Any::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Any, E> {
        Ok(Any::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Any, E> {
        Ok(Any::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Any, E> {
        Ok(Any::Double(value.to_bits()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Any, E> {
        Ok(Any::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Any, E> {
        Ok(Any::Bytes(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Any, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Any::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Any, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<Word, Any>()? {
            map.insert(key.0, value);
        }
        Ok(Any::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, symbol: A) -> Result<Any, A::Error> {
        let (symbol, rest) = symbol.variant::<Word>()?;
        rest.unit_variant()?;
        Ok(Any::Symbol(symbol.0))
    }
}

/// A key, a field's name or a symbol.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_identifier(Anything)? {
            Any::Text(word) => Ok(Self(word)),
            _ => Err(serde::de::Error::custom("a word is text")),
        }
    }
}
