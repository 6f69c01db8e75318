//! The rules for names, as `relaybox-core` has them.
//!
//! A macro can't depend on the crate that re-exports it, so they are here a second time; a test
//! compares the two.

/// `relaybox_core::MAX_EVENT_NAME`.
pub(crate) const MAX_EVENT_NAME: usize = 128;
/// `relaybox_core::AggregateType::MAX_LEN`.
pub(crate) const MAX_AGGREGATE_TYPE: usize = 64;

/// The rule of `relaybox_core::EventType`: words of `a-z`, `0-9`, `_` and `-`, joined by dots.
pub(crate) fn is_event_name(name: &str) -> bool {
    name.len() <= MAX_EVENT_NAME && name.split('.').all(is_word)
}

/// The rule of `relaybox_core::AggregateType`: one such word.
pub(crate) fn is_aggregate_type(name: &str) -> bool {
    name.len() <= MAX_AGGREGATE_TYPE && is_word(name)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use relaybox_core::{AggregateType, EventType};

    #[test]
    fn the_macro_and_the_library_agree_on_names() {
        let long = |len: usize| "x".repeat(len);
        let names = [
            "session",
            "session.created",
            "a.b.c",
            "a_b-c.0",
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.b",
            "a b",
            "ä",
            "a\n",
        ];
        let lengths = [64, 65, 128, 129].map(long);
        for name in names.into_iter().chain(lengths.iter().map(String::as_str)) {
            assert_eq!(is_event_name(name), EventType::new(name, 1).is_ok(), "{name:?}");
            let aggregate_type = AggregateType::new(name.to_owned());
            assert_eq!(is_aggregate_type(name), aggregate_type.is_ok(), "{name:?}");
        }
    }
}
