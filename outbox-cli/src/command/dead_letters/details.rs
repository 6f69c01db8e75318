//! Everything about one dead letter, for `show`.

use std::fmt::Write;

use relaybox::{ConsumerDeadLetter, DeadLetter, Envelope};
use serde::Serialize;

use super::view::LetterView;
use crate::{error::CliError, output};

/// A dead letter with what is said about it; with its payload and headers only when asked for.
#[derive(Debug, Serialize)]
pub(super) struct Details {
    #[serde(flatten)]
    letter: LetterView,
    /// What else is known, name and value.
    #[serde(flatten, serialize_with = "as_map")]
    about: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
}

/// The beginning of a payload.
#[derive(Debug, Serialize)]
struct Payload {
    /// As it is, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// In hexadecimal digits, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    truncated: bool,
}

impl Details {
    /// One that a relay gave up on, with at most so many bytes of its payload.
    pub(super) fn of_outbox(letter: &DeadLetter, payload: Option<usize>) -> Self {
        let envelope = letter.envelope.as_ref().ok();
        let shown = envelope.zip(payload);
        Self {
            letter: LetterView::of_outbox(letter),
            about: envelope.map(about).unwrap_or_default(),
            headers: shown.map(|(envelope, _)| headers(envelope)),
            payload: shown.map(|(envelope, max)| Payload::new(&envelope.payload, max)),
        }
    }

    /// One that a consumer gave up on.
    pub(super) fn of_consumer(
        letter: &ConsumerDeadLetter,
        view: LetterView,
        payload: Option<usize>,
    ) -> Self {
        let about = vec![
            ("origin", letter.origin.to_string()),
            ("origin_partition", letter.partition.to_string()),
            ("origin_offset", letter.offset.to_string()),
        ];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = letter.delivery.headers().map(|(name, value)| (name.to_owned(), text(value)));
        Self {
            letter: view,
            about,
            headers: payload.map(|_| headers.collect()),
            payload: letter
                .delivery
                .value
                .as_ref()
                .zip(payload)
                .map(|(value, max)| Payload::new(value, max)),
        }
    }

    /// Prints it for a person.
    pub(super) fn print(&self) -> Result<(), CliError> {
        let mut text = String::new();
        let mut add = |name: &str, value: &str| {
            let _ = writeln!(text, "{:<18}{}", name.replace('_', " "), output::printable(value));
        };
        for (name, value) in self.letter.lines() {
            add(name, &value);
        }
        for (name, value) in &self.about {
            add(name, value);
        }
        for (name, value) in self.headers.iter().flatten() {
            add("header", &format!("{name}: {value}"));
        }
        if let Some(Payload { text: payload, hex, truncated }) = &self.payload {
            let cut = if *truncated { " (its beginning; --max-bytes shows more)" } else { "" };
            let kind = if hex.is_some() { "payload (hex)" } else { "payload" };
            add(&format!("{kind}{cut}"), "");
            let payload = payload.as_ref().or(hex.as_ref()).map_or("", String::as_str);
            text.push_str(&output::printable(payload));
            text.push('\n');
        }
        output::line(text)
    }
}

impl Payload {
    fn new(bytes: &[u8], max: usize) -> Self {
        let truncated = bytes.len() > max;
        let shown = &bytes[..bytes.len().min(max)];
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            // Cut in the middle of a character.
            Err(error) if truncated && error.error_len().is_none() => {
                std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let hex = text.is_none().then(|| {
            shown.iter().fold(String::with_capacity(shown.len() * 2), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        });
        Self { text: text.map(str::to_owned), hex, truncated }
    }
}

fn about(envelope: &Envelope) -> Vec<(&'static str, String)> {
    let metadata = &envelope.metadata;
    let known = [
        ("occurred_at", Some(output::time(envelope.occurred_at))),
        ("content_type", Some(envelope.content_type.to_string())),
        ("key", Some(envelope.key().as_str().to_owned())),
        ("source", Some(metadata.source.to_string()).filter(|source| !source.is_empty())),
        ("correlation_id", metadata.correlation_id.as_ref().map(ToString::to_string)),
        ("causation_id", metadata.causation_id.map(|id| id.to_string())),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn headers(envelope: &Envelope) -> Vec<(String, String)> {
    let headers = envelope.metadata.headers.iter();
    headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn as_map<S: serde::Serializer>(
    pairs: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_cut_at_a_character_and_shown_in_hex_when_it_is_no_text() {
        let cut = Payload::new("aä".as_bytes(), 2);
        assert_eq!((cut.text.as_deref(), cut.truncated), (Some("a"), true));
        let whole = Payload::new("aä".as_bytes(), 3);
        assert_eq!((whole.text.as_deref(), whole.truncated), (Some("aä"), false));
        let bytes = Payload::new(&[0, 0xff, 1], 2);
        assert_eq!((bytes.hex.as_deref(), bytes.text, bytes.truncated), (Some("00ff"), None, true));
    }
}
