//! What the macro generates, seen through the trait.

use std::fmt::Display;

use relaybox_core::{DomainEvent, EventType};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "session", name = "session.created")]
struct Created {
    #[event(aggregate_id)]
    session_id: u64,
    user: String,
}

#[test]
fn a_struct_is_one_event_of_version_one_unless_it_says_otherwise() {
    let event = Created { session_id: 7, user: "ada".into() };
    assert_eq!(Created::EVENT_TYPES, [EventType::from_static("session.created", 1)]);
    assert_eq!(event.event_type(), Created::EVENT_TYPES[0]);
    assert_eq!(event.aggregate_type(), "session");
    assert_eq!(event.aggregate_id(), "7");
    assert_eq!(event.partition_key(), None);
}

#[test]
fn the_payload_is_the_value_alone() {
    let event = Created { session_id: 7, user: "ada".into() };
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(json, r#"{"session_id":7,"user":"ada"}"#);
    assert_eq!(serde_json::from_str::<Created>(&json).unwrap().user, "ada");
}

#[test]
fn a_tuple_struct_is_an_event() {
    #[derive(DomainEvent)]
    #[event(aggregate = "session")]
    #[event(name = "session.revoked", version = 3)]
    struct Revoked(
        #[expect(dead_code, reason = "not the id")] u8,
        #[event(aggregate_id)] &'static str,
    );

    assert_eq!(Revoked(0, "s-1").aggregate_id(), "s-1");
    assert_eq!(Revoked(0, "s-1").event_type().to_string(), "session.revoked.v3");
}

#[test]
fn an_enum_has_an_event_for_each_variant() {
    #[derive(DomainEvent)]
    #[event(aggregate = "cart")]
    enum Cart {
        #[event(name = "cart.opened", version = 1)]
        Opened {
            #[event(aggregate_id)]
            cart: String,
            #[event(partition_key)]
            tenant: u32,
        },
        #[event(name = "cart.emptied", version = 2)]
        Emptied(#[event(aggregate_id)] char),
        // The same name in another version is another event.
        #[event(name = "cart.emptied")]
        EmptiedOld(#[event(aggregate_id, partition_key)] char),
    }

    let opened = Cart::Opened { cart: "c-7".into(), tenant: 4 };
    let types: Vec<_> = Cart::EVENT_TYPES.iter().map(ToString::to_string).collect();
    assert_eq!(types, ["cart.opened.v1", "cart.emptied.v2", "cart.emptied.v1"]);
    for (event, id, key) in [
        (opened, "c-7", Some("4")),
        (Cart::Emptied('x'), "x", None),
        (Cart::EmptiedOld('y'), "y", Some("y")),
    ] {
        assert!(Cart::EVENT_TYPES.contains(&event.event_type()));
        assert_eq!(event.aggregate_type(), "cart");
        assert_eq!(event.aggregate_id(), id);
        assert_eq!(event.partition_key().as_deref(), key);
    }
}

#[test]
fn generics_keep_their_bounds_and_an_id_of_a_parameter_must_be_displayable() {
    #[derive(DomainEvent)]
    #[event(aggregate = "item", name = "item.changed")]
    struct Changed<'a, I, T: Clone, const N: usize>
    where
        T: Default,
    {
        #[event(aggregate_id)]
        id: &'a I,
        #[expect(dead_code, reason = "only its type is of interest")]
        values: [T; N],
    }

    fn id_of(event: &impl DomainEvent) -> String {
        event.aggregate_id()
    }
    fn changed<I: Display>(id: &I) -> String {
        id_of(&Changed { id, values: [0_u8; 2] })
    }
    assert_eq!(changed(&12), "12");
}

/// A module that shadows the names which the macro uses must not disturb it.
mod hygiene {
    #![expect(dead_code, reason = "they are here to be in the way")]

    struct String;
    struct Option;
    struct EventType;
    trait ToString {}

    #[derive(relaybox_core::DomainEvent)]
    #[event(aggregate = "raw", name = "raw.r")]
    pub(super) struct Raw {
        #[event(aggregate_id)]
        pub(super) r#type: u8,
    }
}

#[test]
fn raw_identifiers_and_shadowed_names_are_no_obstacle() {
    assert_eq!(hygiene::Raw { r#type: 1 }.aggregate_id(), "1");
}

/// The trait under another path, as a crate that re-exports it has it.
mod elsewhere {
    pub(crate) mod events {
        pub(crate) use relaybox_core::{DomainEvent, EventType};
    }
}

#[test]
fn the_crate_path_can_be_given() {
    #[derive(elsewhere::events::DomainEvent)]
    #[event(crate = "crate::elsewhere::events", aggregate = "a", name = "a.b")]
    struct Elsewhere(#[event(aggregate_id)] u8);

    assert_eq!(Elsewhere(3).aggregate_id(), "3");
}

#[test]
fn mistakes_are_refused_with_advice() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
