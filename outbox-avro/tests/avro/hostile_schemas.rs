//! Schemas made to hurt: a writer's comes from elsewhere.

use relaybox_avro::{Compatibility, EventSchema, Evolution};
use relaybox_core::ErrorKind;

use crate::{
    any::Any,
    encoding::joined,
    events::{SESSION_CREATED, decode, reader_of, shown},
    random::on_a_small_stack,
};

#[test]
fn a_hostile_schema_is_refused() {
    let refused = [
        ("no JSON", "{".to_owned()),
        ("a number", "1".to_owned()),
        ("brackets in brackets", "[".repeat(100_000)),
        ("arrays in arrays", nested(r#"{"type": "array", "items": "#, 60)),
        ("types in types", nested(r#"{"type": "#, 60)),
        ("too much text", format!(r#"{{"type": "string", "doc": "{}"}}"#, "x".repeat(600_000))),
        ("too many types", many_fields(40_000)),
        ("an unknown type", r#"{"type": "array", "items": "X"}"#.to_owned()),
        ("a union in a union", r#"["null", ["int"]]"#.to_owned()),
        ("a branch twice", r#"["int", "int"]"#.to_owned()),
        ("a name twice", r#"["null", {"type": "fixed", "name": "F", "size": 1}, {"type": "enum", "name": "F", "symbols": ["A"]}]"#.to_owned()),
        ("a primitive's name", r#"{"type": "record", "name": "string", "fields": []}"#.to_owned()),
        ("a field twice", r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#.to_owned()),
        ("no fields", r#"{"type": "record", "name": "R"}"#.to_owned()),
        ("no symbols", r#"{"type": "enum", "name": "E", "symbols": []}"#.to_owned()),
        ("a symbol twice", r#"{"type": "enum", "name": "E", "symbols": ["A", "A"]}"#.to_owned()),
        ("a fixed of negative size", r#"{"type": "fixed", "name": "F", "size": -1}"#.to_owned()),
        ("a fixed of every byte there is", r#"{"type": "fixed", "name": "F", "size": 18446744073709551615}"#.to_owned()),
    ];
    on_a_small_stack(|| {
        for (name, text) in refused {
            let error = EventSchema::parse(text).expect_err(name);
            assert!(matches!(error.kind(), ErrorKind::Decode | ErrorKind::TooLarge), "{name}");
            assert!(shown(&error).len() < 1_000, "{name}: {}", shown(&error));
        }
    });
}

#[test]
fn a_default_that_never_ends_is_refused() {
    let text = r#"{"type": "record", "name": "R", "fields": [
        {"name": "a", "type": ["null", "int"], "default": null},
        {"name": "me", "type": {"type": "record", "name": "Me", "fields": [
            {"name": "again", "type": "Me", "default": {}}]}, "default": {}}]}"#;
    on_a_small_stack(|| {
        let error = EventSchema::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(shown(&error).contains("\"me\" of R"), "{}", shown(&error));
    });
}

#[test]
fn a_default_that_is_not_of_its_type_is_refused_by_name() {
    for (of, default) in [
        (r#""int""#, r#""x""#),
        (r#""int""#, "3000000000"),
        (r#""string""#, "null"),
        (r#"["null", "int"]"#, r#""null""#),
        (r#"{"type": "array", "items": "int"}"#, r#"["x"]"#),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, r#""B""#),
        (r#"{"type": "fixed", "name": "F", "size": 2}"#, r#""abc""#),
    ] {
        let text = format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "it", "type": {of}, "default": {default}}}]}}"#
        );
        let error = EventSchema::parse(text).expect_err(of);
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(shown(&error).contains("field \"it\" of R"), "{}", shown(&error));
    }
}

#[test]
fn defaults_that_are_large_in_all_are_refused() {
    let text = |count: usize| {
        let fields: Vec<_> = (0..count)
            .map(|at| format!(r#"{{"name": "f{at}", "type": "Big", "default": {{}}}}"#))
            .collect();
        format!(
            r#"{{"type": "record", "name": "R", "fields": [
                {{"name": "big", "type": {{"type": "record", "name": "Big", "fields": [
                    {{"name": "text", "type": "string", "default": "{}"}}]}}}}, {}]}}"#,
            "x".repeat(60_000),
            fields.join(",")
        )
    };
    EventSchema::parse(text(10)).unwrap();
    let error = EventSchema::parse(text(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(shown(&error).contains("defaults"), "{}", shown(&error));
}

/// One large enum that meets many small ones: what is compared is their product.
pub(crate) fn hostile_pair() -> (EventSchema, EventSchema) {
    let symbols: Vec<_> = (0..10_000).map(|at| format!(r#""S{at}""#)).collect();
    let one = |rest: &str| {
        let fields: Vec<_> =
            (1..1_000).map(|at| format!(r#"{{"name": "f{at}", "type": "E"}}"#)).collect();
        format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "f0", "type":
                {{"type": "enum", "name": "E", "symbols": [{}]{rest}}}}}, {}]}}"#,
            symbols.join(","),
            fields.join(",")
        )
    };
    let many: Vec<_> = (0..1_000)
        .map(|at| {
            format!(
                r#"{{"name": "f{at}", "type":
                    {{"type": "enum", "name": "n{at}.E", "symbols": ["S0"], "default": "S0"}}}}"#
            )
        })
        .collect();
    let many = format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, many.join(","));
    (EventSchema::parse(one("")).unwrap(), EventSchema::parse(many).unwrap())
}

#[test]
fn types_that_meet_in_too_many_pairs_end_in_a_typed_error() {
    let (one, many) = hostile_pair();
    let datum = vec![0; 1_000];
    let codec = reader_of(many.text(), one.text());
    let error = decode::<Any>(&codec, one.text(), &datum).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{}", shown(&error));
    // The same schema on both sides has few pairs, however large it is.
    for same in [&one, &many] {
        Evolution::new(Compatibility::Full).check(same, std::slice::from_ref(same)).unwrap();
    }
}

/// Each type refers to the one before: the text is flat, what it means is deep. The definitions stand
/// where the reader never looks, so that the deepest is met first.
#[test]
fn types_that_form_a_long_chain_end_in_a_typed_error() {
    let mut definitions = vec![
        r#"{"name": "f0", "type": {"type": "record", "name": "n0.List", "fields": []}}"#.to_owned(),
    ];
    for at in 1..3_000 {
        definitions.push(format!(
            r#"{{"name": "f{at}", "type": {{"type": "record", "name": "n{at}.List", "fields": [
                {{"name": "next", "type": ["null", "n{}.List"]}}]}}}}"#,
            at - 1
        ));
    }
    let writer = format!(
        r#"{{"type": "record", "name": "List", "fields": [
            {{"name": "unseen", "type": ["null",
                {{"type": "record", "name": "Unseen", "fields": [{}]}}]}},
            {{"name": "next", "type": ["null", "n2999.List"]}}]}}"#,
        definitions.join(",")
    );
    let unseen = r#"{"name": "unseen", "type": "null"}"#;
    let taken = format!(
        r#"{{"type": "record", "name": "List", "fields": [{unseen},
            {{"name": "next", "type": ["null", {{"type": "record", "name": "r.List", "fields": [
                {{"name": "next", "type": ["null", "r.List"]}}]}}]}}]}}"#
    );
    let skipped = format!(r#"{{"type": "record", "name": "List", "fields": [{unseen}]}}"#);
    on_a_small_stack(|| {
        let datum = joined([vec![0], [2].repeat(3_000)]);
        for reader in [taken, skipped] {
            let codec = reader_of(&reader, &writer);
            let error = decode::<Any>(&codec, &writer, &datum).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{}", shown(&error));
        }
    });
}

#[test]
fn a_schema_that_was_met_in_the_wild_is_read() {
    for text in [
        r#""string""#,
        r#"{"type": "string", "avro.java.string": "String"}"#,
        r#"{"type": {"type": "string", "avro.java.string": "String"}}"#,
        r#"{"type": "record", "name": "a.b.R", "fields": [{"name": "r", "type": ["null", "R"]}, {"name": "q", "type": ["null", "a.b.R"]}]}"#,
        r#"{"type": "error", "name": "R", "namespace": "", "fields": []}"#,
        r#"{"type": "long", "logicalType": "something-new"}"#,
        r#"{"type": "int", "logicalType": "timestamp-millis"}"#,
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 9}"#,
        SESSION_CREATED,
    ] {
        EventSchema::parse(text).expect(text);
    }
}

fn nested(opening: &str, levels: usize) -> String {
    format!("{}\"null\"{}", opening.repeat(levels), "}".repeat(levels))
}

fn many_fields(count: usize) -> String {
    let fields: Vec<_> =
        (0..count).map(|at| format!(r#"{{"name":"{at}","type":"int"}}"#)).collect();
    format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, fields.join(","))
}
