//! Which schemas may follow which.

use relaybox_avro::{Compatibility, EventSchema, Evolution};

use crate::hostile_schemas::hostile_pair;

use Compatibility::{
    Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive,
};

fn schema(fields: &str) -> EventSchema {
    let text = format!(
        r#"{{"type": "record", "name": "SessionCreated", "namespace": "com.acme", "fields": [{fields}]}}"#
    );
    EventSchema::parse(text).unwrap()
}

fn field(of: &str) -> EventSchema {
    schema(&format!(r#"{{"name": "it", "type": {of}}}"#))
}

/// What is wrong with `new` after `old`.
fn refused(mode: Compatibility, old: &EventSchema, new: &EventSchema) -> Vec<String> {
    match Evolution::new(mode).check(new, std::slice::from_ref(old)) {
        Ok(()) => Vec::new(),
        Err(refused) => refused.found.into_iter().map(|found| found.message).collect(),
    }
}

const ID: &str = r#"{"name": "session_id", "type": "string"}"#;
const USER: &str = r#"{"name": "user_id", "type": "long"}"#;
const DEVICE: &str = r#"{"name": "device", "type": ["null", "string"], "default": null}"#;

fn with(fields: &[&str]) -> EventSchema {
    schema(&fields.join(","))
}

#[test]
fn a_nullable_field_with_a_default_passes_in_every_mode() {
    for &mode in Compatibility::ALL {
        assert_eq!(refused(mode, &with(&[ID]), &with(&[ID, DEVICE])), [""; 0], "{mode}");
    }
}

#[test]
fn a_removed_required_field_is_refused_by_name() {
    let (old, new) = (with(&[ID, USER]), with(&[ID]));
    for mode in [Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive] {
        assert_eq!(
            refused(mode, &old, &new),
            [
                "field \"user_id\" of com.acme.SessionCreated was removed: consumers with the old schema need \
              it, as it has no default there"
            ],
            "{mode}"
        );
    }
    assert_eq!(refused(Compatibility::None, &old, &new), [""; 0]);
}

#[test]
fn a_removed_required_field_passes_where_all_consumers_are_deployed_first() {
    let (old, new) = (with(&[ID, USER]), with(&[ID]));
    let evolution = Evolution::new(Backward).allow_removed_fields();
    evolution.check(&new, std::slice::from_ref(&old)).unwrap();
    Evolution::new(Full).allow_removed_fields().check(&new, &[old]).unwrap_err();
}

#[test]
fn a_removed_field_with_a_default_passes() {
    for &mode in Compatibility::ALL {
        assert_eq!(refused(mode, &with(&[ID, DEVICE]), &with(&[ID])), [""; 0], "{mode}");
    }
}

#[test]
fn a_field_added_without_a_default_is_refused_by_name() {
    let (old, new) = (with(&[ID]), with(&[ID, USER]));
    for mode in [Backward, Full] {
        assert_eq!(
            refused(mode, &old, &new),
            [
                "field \"user_id\" of com.acme.SessionCreated was added without a default: events written \
              with the old schema don't have it"
            ],
            "{mode}"
        );
    }
    assert_eq!(refused(Forward, &old, &new), [""; 0]);
}

#[test]
fn a_renamed_field_with_an_alias_passes_backward_only() {
    let new = schema(
        r#"{"name": "session_id", "type": "string"}, {"name": "user", "type": "long", "aliases": ["user_id"]}"#,
    );
    let old = with(&[ID, USER]);
    assert_eq!(refused(Backward, &old, &new), [""; 0]);
    let messages = refused(Forward, &old, &new);
    assert!(
        messages[0].contains("\"user_id\" of com.acme.SessionCreated was renamed to \"user\""),
        "{messages:?}"
    );
}

#[test]
fn a_changed_type_is_refused_unless_it_can_be_promoted() {
    assert_eq!(refused(Backward, &field(r#""int""#), &field(r#""long""#)), [""; 0]);
    assert_eq!(
        refused(Backward, &field(r#""long""#), &field(r#""int""#)),
        [
            "field \"it\" of com.acme.SessionCreated: a long can't be read as an int (reading old events with the new schema)"
        ]
    );
    assert_eq!(
        refused(Forward, &field(r#""int""#), &field(r#""long""#)),
        [
            "field \"it\" of com.acme.SessionCreated: a long can't be read as an int (reading new events with the old schema)"
        ]
    );
}

#[test]
fn a_field_that_became_nullable_passes_backward_only() {
    let (old, new) = (field(r#""string""#), field(r#"["null", "string"]"#));
    assert_eq!(refused(Backward, &old, &new), [""; 0]);
    assert_eq!(
        refused(Full, &old, &new),
        [
            "field \"it\" of com.acme.SessionCreated: null is allowed there now, and consumers with the old \
          schema can't read it"
        ]
    );
    assert_eq!(
        refused(Backward, &new, &old),
        [
            "field \"it\" of com.acme.SessionCreated: null is no longer allowed there, and events written with \
          the old schema may have it"
        ]
    );
}

#[test]
fn a_new_symbol_passes_backward_only_unless_there_is_a_default() {
    let of = |symbols: &str, rest: &str| {
        field(&format!(r#"{{"type": "enum", "name": "Channel", "symbols": [{symbols}]{rest}}}"#))
    };
    let (old, new) = (of(r#""WEB""#, ""), of(r#""WEB", "API""#, ""));
    assert_eq!(refused(Backward, &old, &new), [""; 0]);
    assert_eq!(
        refused(Forward, &old, &new),
        [
            "field \"it\" of com.acme.SessionCreated: the enum com.acme.Channel got API, which consumers with \
          the old schema don't know, and it has no default there"
        ]
    );
    let messages = refused(Backward, &new, &old);
    assert!(messages[0].contains("the enum com.acme.Channel lost API"), "{messages:?}");
    let (old, new) =
        (of(r#""WEB""#, r#", "default": "WEB""#), of(r#""WEB", "API""#, r#", "default": "WEB""#));
    assert_eq!(refused(Full, &old, &new), [""; 0]);
}

#[test]
fn what_is_wrong_deep_inside_is_found_with_its_path() {
    let of = |inner: &str| {
        field(&format!(
            r#"{{"type": "map", "values": {{"type": "array", "items": {{"type": "record", "name": "Device",
                "fields": [{inner}]}}}}}}"#
        ))
    };
    let (old, new) = (
        of(r#"{"name": "os", "type": "string"}"#),
        of(r#"{"name": "os", "type": ["null", "int"]}"#),
    );
    let error = Evolution::new(Backward).check(&new, &[old]).unwrap_err();
    assert_eq!(error.found[0].path, "it{}[].os");
    assert!(
        error.found[0].message.starts_with("field \"os\" of com.acme.Device: a string"),
        "{error}"
    );
}

#[test]
fn recursive_types_are_compared_once() {
    let of = |value: &str| {
        EventSchema::parse(format!(
            r#"{{"type": "record", "name": "List", "fields": [
                {{"name": "value", "type": "{value}"}}, {{"name": "next", "type": ["null", "List"]}}]}}"#
        ))
        .unwrap()
    };
    assert_eq!(refused(Full, &of("long"), &of("long")), [""; 0]);
    assert_eq!(refused(Full, &of("long"), &of("string")).len(), 2);
}

#[test]
fn a_renamed_type_needs_an_alias() {
    let of = |name: &str, aliases: &str| {
        EventSchema::parse(format!(
            r#"{{"type": "record", "name": "{name}", "aliases": [{aliases}], "fields": []}}"#
        ))
        .unwrap()
    };
    let messages = refused(Backward, &of("Old", ""), &of("New", ""));
    assert_eq!(messages, ["Old was renamed to New without the alias Old"]);
    assert_eq!(refused(Backward, &of("Old", ""), &of("New", r#""Old""#)), [""; 0]);
    // The specification compares names without their namespaces.
    assert_eq!(refused(Backward, &of("a.Same", ""), &of("b.Same", "")), [""; 0]);
}

#[test]
fn fixed_sizes_and_meanings_are_compared() {
    let fixed = |size| field(&format!(r#"{{"type": "fixed", "name": "F", "size": {size}}}"#));
    let messages = refused(Backward, &fixed(2), &fixed(3));
    assert!(messages[0].contains("com.acme.F has 2 bytes"), "{messages:?}");
    let scale = |scale| {
        field(&format!(
            r#"{{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": {scale}}}"#
        ))
    };
    let messages = refused(Backward, &scale(2), &scale(3));
    assert!(messages[0].contains("decimal(9, 2) and read as decimal(9, 3)"), "{messages:?}");
}

#[test]
fn a_transitive_mode_counts_every_earlier_schema() {
    let earlier = [with(&[ID]), with(&[ID, USER])];
    let new = with(&[ID, USER, DEVICE]);
    Evolution::new(Backward).check(&new, &earlier).unwrap();
    let error = Evolution::new(BackwardTransitive).check(&new, &earlier).unwrap_err();
    assert!(error.to_string().contains("\"user_id\""), "{error}");
    Evolution::new(FullTransitive).check(&new, &[]).unwrap();
}

#[test]
fn a_mode_is_read_as_a_registry_writes_it() {
    for &mode in Compatibility::ALL {
        assert_eq!(mode.to_string().parse::<Compatibility>().unwrap(), mode);
    }
    "SIDEWAYS".parse::<Compatibility>().unwrap_err();
}

/// A check that stops at a hundred findings may not stop before the one that counts.
#[test]
fn a_removed_field_is_found_behind_a_hundred_others_that_pass() {
    let of = |count: usize, as_null: &str, nested: &str| {
        let mut fields: Vec<_> =
            (0..count).map(|at| format!(r#"{{"name": "f{at}", "type": {as_null}}}"#)).collect();
        fields.push(format!(
            r#"{{"name": "n", "type": {{"type": "record", "name": "N", "fields": [{nested}]}}}}"#
        ));
        schema(&fields.join(","))
    };
    for count in [0, 101, 1_000] {
        let old =
            of(count, r#""long""#, r#"{"name": "x", "type": "int"}, {"name": "y", "type": "int"}"#);
        let new = of(count, r#"["null", "long"]"#, r#"{"name": "x", "type": "int"}"#);
        let messages = refused(Backward, &old, &new);
        assert_eq!(messages.len(), 1, "{count}: {messages:?}");
        assert!(messages[0].starts_with("field \"y\" of com.acme.N was removed"), "{messages:?}");
        Evolution::new(Backward).allow_removed_fields().check(&new, &[old]).unwrap();
    }
}

/// Where one direction can't be compared, the answer is no.
#[test]
fn what_is_too_large_to_compare_is_not_compatible() {
    let (one, many) = hostile_pair();
    Evolution::new(Forward).check(&many, std::slice::from_ref(&one)).unwrap();
    for (new, old) in [(&many, &one), (&one, &many)] {
        let error = Evolution::new(Backward).check(new, std::slice::from_ref(old)).unwrap_err();
        assert!(error.to_string().contains("it takes more than"), "{error:.400}");
    }
}

#[test]
fn a_message_of_very_many_findings_is_short() {
    let of = |kind: &str| {
        let fields: Vec<_> =
            (0..1_000).map(|at| format!(r#"{{"name": "f{at}", "type": "{kind}"}}"#)).collect();
        schema(&fields.join(","))
    };
    let error = Evolution::new(Backward).check(&of("int"), &[of("string")]).unwrap_err();
    assert!(error.found.len() >= 100, "{}", error.found.len());
    let shown = error.to_string();
    assert!(shown.len() < 10_000 && shown.contains("and more"), "{shown:.400}");
}
