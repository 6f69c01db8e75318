//! Reading with another schema: the cases one by one.

use serde::Deserialize;

use crate::{
    any::Any,
    encoding::{bytes, joined, long},
    events::{codec_of, decode, reader_of, shown},
};

fn record(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "Event", "namespace": "a", "fields": [{fields}]}}"#)
}

/// What a reader's field `it` has of a writer's.
fn read(writer: &str, reader: &str, datum: &[u8]) -> Result<Any, String> {
    let field = |of: &str| record(&format!(r#"{{"name": "it", "type": {of}}}"#));
    let (writer, reader) = (field(writer), field(reader));
    decode::<Any>(&reader_of(&reader, &writer), &writer, datum)
        .map(|any| any.field("it").clone())
        .map_err(|error| shown(&error))
}

#[test]
fn numbers_grow() {
    let seven = long(7);
    assert_eq!(read(r#""int""#, r#""long""#, &seven), Ok(Any::Int(7)));
    assert_eq!(read(r#""int""#, r#""float""#, &seven), Ok(Any::Double(7_f64.to_bits())));
    assert_eq!(read(r#""int""#, r#""double""#, &seven), Ok(Any::Double(7_f64.to_bits())));
    assert_eq!(read(r#""long""#, r#""float""#, &seven), Ok(Any::Double(7_f64.to_bits())));
    assert_eq!(read(r#""long""#, r#""double""#, &seven), Ok(Any::Double(7_f64.to_bits())));
    let half = 0.5_f32.to_le_bytes();
    assert_eq!(read(r#""float""#, r#""double""#, &half), Ok(Any::Double(0.5_f64.to_bits())));
    read(r#""long""#, r#""int""#, &seven).unwrap_err();
    read(r#""double""#, r#""float""#, &[0; 8]).unwrap_err();
    read(r#""string""#, r#""long""#, &bytes(b"7")).unwrap_err();
}

#[test]
fn strings_and_bytes_change_into_each_other() {
    assert_eq!(read(r#""string""#, r#""bytes""#, &bytes(b"x")), Ok(Any::Bytes(b"x".to_vec())));
    assert_eq!(read(r#""bytes""#, r#""string""#, &bytes(b"x")), Ok(Any::Text("x".to_owned())));
    read(r#""bytes""#, r#""string""#, &bytes(&[0xff])).unwrap_err();
}

#[test]
fn a_union_is_read_by_what_was_written_in_it() {
    let union = r#"["null", "int", "string"]"#;
    assert_eq!(read(r#""int""#, union, &long(7)), Ok(Any::Int(7)));
    assert_eq!(read(union, r#""long""#, &joined([long(1), long(7)])), Ok(Any::Int(7)));
    let error = read(union, r#""long""#, &joined([long(2), bytes(b"x")])).unwrap_err();
    assert!(error.contains("no place for a string"), "{error}");
    let turned = r#"["string", "int", "null"]"#;
    assert_eq!(read(union, turned, &joined([long(2), bytes(b"x")])), Ok(Any::Text("x".to_owned())));
    assert_eq!(read(union, turned, &long(0)), Ok(Any::Null));
    // The same type before one that it can be promoted to.
    assert_eq!(read(r#""int""#, r#"["double", "int"]"#, &long(7)), Ok(Any::Int(7)));
    assert_eq!(
        read(r#""int""#, r#"["string", "double"]"#, &long(7)),
        Ok(Any::Double(7_f64.to_bits()))
    );
}

#[test]
fn the_branch_of_a_named_type_is_found_by_its_name_or_alias() {
    let named = |name: &str, aliases: &str| {
        format!(
            r#"{{"type": "record", "name": "{name}", "aliases": [{aliases}], "fields": [{{"name": "{}", "type": "int", "default": 1}}]}}"#,
            name.to_lowercase()
        )
    };
    let writer = format!("[{}, {}]", named("Left", ""), named("Right", ""));
    let reader = format!("[{}, {}]", named("Right", ""), named("Links", r#""Left""#));
    let right = read(&writer, &reader, &joined([long(1), long(7)])).unwrap();
    assert_eq!(right.field("right"), &Any::Int(7));
    let left = read(&writer, &reader, &joined([long(0), long(7)])).unwrap();
    assert_eq!(left.field("links"), &Any::Int(1));
}

#[test]
fn an_unknown_symbol_is_the_default_or_an_error() {
    let of = |symbols: &str, rest: &str| {
        format!(r#"{{"type": "enum", "name": "E", "symbols": [{symbols}]{rest}}}"#)
    };
    let writer = of(r#""A", "B", "C""#, "");
    let reader = of(r#""C", "A""#, r#", "default": "A""#);
    assert_eq!(read(&writer, &reader, &long(2)), Ok(Any::Symbol("C".to_owned())));
    assert_eq!(read(&writer, &reader, &long(1)), Ok(Any::Symbol("A".to_owned())));
    let error = read(&writer, &of(r#""C", "A""#, ""), &long(1)).unwrap_err();
    assert!(error.contains("neither this symbol nor a default"), "{error}");
}

#[test]
fn a_fixed_of_another_size_is_refused() {
    let of = |size| format!(r#"{{"type": "fixed", "name": "F", "size": {size}}}"#);
    assert_eq!(read(&of(2), &of(2), &[1, 2]), Ok(Any::Bytes(vec![1, 2])));
    read(&of(2), &of(3), &[1, 2]).unwrap_err();
}

#[test]
fn a_value_that_would_mean_something_else_is_refused() {
    let decimal = |precision, scale| {
        format!(
            r#"{{"type": "bytes", "logicalType": "decimal", "precision": {precision}, "scale": {scale}}}"#
        )
    };
    let cents = bytes(&[1, 0]);
    assert!(read(&decimal(8, 2), &decimal(10, 2), &cents).is_ok());
    assert!(read(&decimal(8, 2), r#""bytes""#, &cents).is_ok());
    let error = read(&decimal(8, 2), &decimal(8, 3), &cents).unwrap_err();
    assert!(error.contains("means something else"), "{error}");
    let time = |unit| format!(r#"{{"type": "long", "logicalType": "timestamp-{unit}"}}"#);
    read(&time("millis"), &time("micros"), &long(7)).unwrap_err();
}

#[test]
fn defaults_of_every_type_are_put_in() {
    let reader = record(
        r#"{"name": "n", "type": "null", "default": null},
        {"name": "b", "type": "boolean", "default": true},
        {"name": "i", "type": "int", "default": -2},
        {"name": "l", "type": "long", "default": 9007199254740993},
        {"name": "f", "type": "float", "default": 0.5},
        {"name": "d", "type": "double", "default": "NaN"},
        {"name": "by", "type": "bytes", "default": "\u00ff\u0000"},
        {"name": "s", "type": "string", "default": "ß"},
        {"name": "fi", "type": {"type": "fixed", "name": "F", "size": 2}, "default": "\u00fe\u0001"},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}, "default": "B"},
        {"name": "a", "type": {"type": "array", "items": "int"}, "default": [1, 2]},
        {"name": "m", "type": {"type": "map", "values": "int"}, "default": {"k": 1}},
        {"name": "u", "type": ["null", "int"], "default": null},
        {"name": "second", "type": ["null", "int"], "default": 5},
        {"name": "r", "type": {"type": "record", "name": "R", "fields": [
            {"name": "x", "type": "int"}, {"name": "y", "type": "int", "default": 4}]}, "default": {"x": 3}}"#,
    );
    let writer = record("");
    let it: Any = decode(&reader_of(&reader, &writer), &writer, &[]).unwrap();
    assert_eq!(it.field("n"), &Any::Null);
    assert_eq!(it.field("b"), &Any::Bool(true));
    assert_eq!(it.field("i"), &Any::Int(-2));
    assert_eq!(it.field("l"), &Any::Int(9_007_199_254_740_993));
    assert_eq!(it.field("f"), &Any::Double(0.5_f64.to_bits()));
    assert_eq!(it.field("d"), &Any::Double(f64::NAN.to_bits()));
    assert_eq!(it.field("by"), &Any::Bytes(vec![0xff, 0]));
    assert_eq!(it.field("s"), &Any::Text("ß".to_owned()));
    assert_eq!(it.field("fi"), &Any::Bytes(vec![0xfe, 1]));
    assert_eq!(it.field("e"), &Any::Symbol("B".to_owned()));
    assert_eq!(it.field("a"), &Any::List(vec![Any::Int(1), Any::Int(2)]));
    assert_eq!(it.field("m").field("k"), &Any::Int(1));
    assert_eq!(it.field("u"), &Any::Null);
    assert_eq!(it.field("second"), &Any::Int(5));
    assert_eq!(it.field("r").field("x"), &Any::Int(3));
    assert_eq!(it.field("r").field("y"), &Any::Int(4));
}

#[test]
fn a_field_without_default_that_was_not_written_is_named() {
    let reader = record(r#"{"name": "user_id", "type": "long"}"#);
    let error = decode::<Any>(&reader_of(&reader, &record("")), &record(""), &[]).unwrap_err();
    assert!(error.to_string().contains("field user_id of a.Event was not written"), "{error}");
}

#[test]
fn an_alias_takes_a_field_only_when_no_field_has_its_name() {
    let writer = record(r#"{"name": "a", "type": "int"}, {"name": "b", "type": "int"}"#);
    let reader = record(
        r#"{"name": "x", "aliases": ["gone", "a"], "type": "int"},
        {"name": "b", "aliases": ["a"], "type": "int"}"#,
    );
    let it: Any =
        decode(&reader_of(&reader, &writer), &writer, &joined([long(1), long(2)])).unwrap();
    assert_eq!(it.field("x"), &Any::Int(1));
    assert_eq!(it.field("b"), &Any::Int(2));
}

#[test]
fn a_linked_list_is_read_with_fields_in_another_order() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Event {
        next: Option<Box<Event>>,
        value: i64,
        note: String,
    }
    let writer = record(
        r#"{"name": "value", "type": "int"}, {"name": "dropped", "type": "string"},
        {"name": "next", "type": ["null", "Event"]}"#,
    );
    let reader = record(
        r#"{"name": "next", "type": ["null", "Event"]}, {"name": "note", "type": "string", "default": "-"},
        {"name": "value", "type": "long"}"#,
    );
    let datum = joined([long(1), bytes(b"x"), long(1), long(2), bytes(b"yy"), long(0)]);
    let it: Event = decode(&reader_of(&reader, &writer), &writer, &datum).unwrap();
    let next = Event { next: None, value: 2, note: "-".into() };
    assert_eq!(it, Event { next: Some(Box::new(next)), value: 1, note: "-".into() });
    // The plan is remembered: again.
    let codec = reader_of(&reader, &writer);
    for _ in 0..2 {
        decode::<Event>(&codec, &writer, &datum).unwrap();
    }
    decode::<Event>(&codec_of(&reader), &reader, &datum).unwrap_err();
}
