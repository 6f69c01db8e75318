//! What a registry answers, and what its refusals mean.

use relaybox_core::{Error, ErrorKind, Result};
use reqwest::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};

/// The registry knows no such subject, version, schema. A 404 without one of these is somebody else's:
/// a proxy's, say, or of a URL with a wrong path.
const UNKNOWN: std::ops::RangeInclusive<i64> = 40401..=40499;
/// How much of a registry's text is passed on, in bytes.
const MAX_TEXT: usize = 600;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// The body of a refusal, as Confluent's registry defines it.
#[derive(Deserialize, Default)]
struct Refusal {
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    message: String,
}

impl Answer {
    /// The body of an answer that says yes.
    pub(super) fn read<T: DeserializeOwned>(&self, operation: &'static str) -> Result<T> {
        if !self.status.is_success() {
            return Err(self.refused(operation));
        }
        // serde's message may quote what it stumbled over; say where, not what.
        serde_json::from_slice(&self.body).map_err(|source| {
            Error::new(ErrorKind::Unavailable, operation).detail(format!(
                "the answer is not a schema registry's ({:?} error at line {} column {}): does the \
                 URL name one, with its base path?",
                source.classify(),
                source.line(),
                source.column()
            ))
        })
    }

    /// Whether the registry itself says that there is no such thing.
    pub(super) fn is_unknown(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && UNKNOWN.contains(&self.refusal().error_code)
    }

    /// Whether the schema is incompatible or not valid.
    pub(super) fn is_about_schema(&self) -> bool {
        matches!(self.status, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY)
    }

    /// The error that says no, by status.
    pub(super) fn refused(&self, operation: &'static str) -> Error {
        let (kind, hint) = match self.status {
            StatusCode::UNAUTHORIZED => (ErrorKind::Authentication, ": user, password or token"),
            StatusCode::FORBIDDEN => (ErrorKind::Authentication, ": not allowed"),
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => (ErrorKind::Timeout, ""),
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                (ErrorKind::TopicUnavailable, "")
            }
            StatusCode::NOT_FOUND if !self.is_unknown() => {
                (ErrorKind::Unavailable, ": does the URL name a registry, with its base path?")
            }
            status if status.is_redirection() => (
                ErrorKind::Unavailable,
                ": redirects are not followed, name the registry's own URL",
            ),
            // Neither may make a dead letter of an event: nothing says that it is at fault.
            _ => (ErrorKind::Unavailable, ""),
        };
        let message = self.message();
        let colon = if message.is_empty() { "" } else { ": " };
        Error::new(kind, operation)
            .detail(format!("the schema registry answered {}{hint}{colon}{message}", self.status))
    }

    /// The registry's own words, bounded.
    pub(super) fn message(&self) -> String {
        bounded(&self.refusal().message)
    }

    fn refusal(&self) -> Refusal {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A text from elsewhere, fit for an error and a log: on one line, and not long.
pub(super) fn bounded(text: &str) -> String {
    let mut line: String =
        text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(MAX_TEXT));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn only_the_registrys_own_404_says_that_something_is_unknown() {
        assert!(answer(404, r#"{"error_code":40403,"message":"no"}"#).is_unknown());
        assert!(!answer(404, "<html>not found</html>").is_unknown());
        assert!(!answer(404, r#"{"error_code":404,"message":"no such path"}"#).is_unknown());
        assert_eq!(answer(404, "").refused("ask").kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_status_has_a_kind() {
        for (status, kind) in [
            (401, ErrorKind::Authentication),
            (403, ErrorKind::Authentication),
            (408, ErrorKind::Timeout),
            (409, ErrorKind::TopicUnavailable),
            (422, ErrorKind::TopicUnavailable),
            (429, ErrorKind::Unavailable),
            (301, ErrorKind::Unavailable),
            (400, ErrorKind::Unavailable),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
        ] {
            assert_eq!(answer(status, "").refused("ask").kind(), kind, "{status}");
        }
    }

    #[test]
    fn a_message_is_one_line_and_short() {
        let long = format!("a\nb\u{7}{}", "ü".repeat(10_000));
        let shown = bounded(&long);
        assert!(shown.len() <= MAX_TEXT && shown.starts_with("a b "), "{shown}");
    }
}
