//! Free headers, limited in count and size.

use std::{collections::BTreeMap, fmt};

use crate::{Error, ErrorKind, Result};

/// How many free headers an event may carry.
pub const MAX_HEADER_COUNT: usize = 32;
/// How long a header's name may be, in bytes.
pub const MAX_HEADER_NAME: usize = 64;
/// How long a header's value may be, in bytes.
pub const MAX_HEADER_VALUE: usize = 4096;
/// How long all names and values may be together, in bytes.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Names that the library and the brokers' conventions use themselves.
const RESERVED: [&str; 3] = ["content-type", "traceparent", "tracestate"];
const RESERVED_PREFIXES: [&str; 4] = ["ce_", "dlq-", "redrive-", "x-"];

/// Free headers, ordered by name, each name once.
///
/// Names are lower case letters, digits, `-`, `_` and `.`; names that the library sends itself
/// (`ce_…`, `content-type`, `traceparent`, `tracestate`, `dlq-…`, `redrive-…`, `x-…`) are refused.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(BTreeMap<String, String>);

impl Headers {
    /// Adds a header, or replaces the one of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is not allowed, [`ErrorKind::TooLarge`] when a limit
    /// ([`MAX_HEADER_COUNT`], [`MAX_HEADER_NAME`], [`MAX_HEADER_VALUE`], [`MAX_HEADER_BYTES`])
    /// would be passed; the headers are as before then.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<()> {
        let (name, value) = (name.into(), value.into());
        check_name(&name)?;
        let too_large = |what: String| Error::new(ErrorKind::TooLarge, "add a header").detail(what);
        if value.len() > MAX_HEADER_VALUE {
            return Err(too_large(format!(
                "the value of {name} has {} bytes, more than {MAX_HEADER_VALUE}",
                value.len()
            )));
        }
        let replaced = self.0.get(&name).map(|value| name.len() + value.len());
        if self.bytes() - replaced.unwrap_or(0) + name.len() + value.len() > MAX_HEADER_BYTES {
            return Err(too_large(format!(
                "with {name} all headers have more than {MAX_HEADER_BYTES} bytes"
            )));
        }
        if replaced.is_none() && self.len() == MAX_HEADER_COUNT {
            return Err(too_large(format!("{name} is one more than {MAX_HEADER_COUNT} headers")));
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// The value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers as a JSON object, as the stores keep them; `None` when there are none.
    #[must_use]
    pub fn to_json(&self) -> Option<String> {
        let object = || self.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        (!self.is_empty()).then(|| serde_json::Value::Object(object()).to_string())
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no JSON object of texts, and as [`insert`](Self::insert).
    pub fn from_json(json: &str) -> Result<Self> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
            .map_err(|source| {
                Error::new(ErrorKind::Decode, "read stored headers").caused_by(source)
            })?;
        let mut headers = Self::default();
        for (name, value) in object {
            let serde_json::Value::String(value) = value else {
                return Err(Error::new(ErrorKind::Decode, "read stored headers")
                    .detail(format!("{name} is not a text")));
            };
            headers.insert(name, value)?;
        }
        Ok(headers)
    }

    /// Whether a record header of this name is a free one, not one that the library sends itself.
    #[must_use]
    pub fn is_free(name: &str) -> bool {
        is_free(name)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The names only: values are the user's data.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn is_free(name: &str) -> bool {
    !is_reserved(name) && has_free_form(name)
}

fn has_free_form(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_HEADER_NAME
        && name.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        })
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn check_name(name: &str) -> Result<()> {
    if is_free(name) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "name a header").detail(format!(
        "{:?} is {}",
        name.chars().take(80).collect::<String>(),
        if is_reserved(name) {
            "sent by the library itself".to_owned()
        } else {
            format!("not 1 to {MAX_HEADER_NAME} lower-case letters, digits, '-', '_' or '.'")
        }
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_over_a_limit_is_refused_and_changes_nothing() {
        let mut headers = Headers::default();
        for n in 0..MAX_HEADER_COUNT {
            headers.insert(format!("h{n}"), "v").unwrap();
        }
        let before = headers.clone();
        assert_eq!(headers.insert("one-more", "v").unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(
            headers.insert("h0", "v".repeat(MAX_HEADER_VALUE + 1)).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        assert_eq!(headers, before);

        let mut headers = Headers::default();
        for n in 0..3 {
            headers.insert(format!("h{n}"), "v".repeat(MAX_HEADER_VALUE)).unwrap();
        }
        assert_eq!(
            headers.insert("h3", "v".repeat(MAX_HEADER_VALUE)).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        headers.insert("h2", "short").unwrap();
        headers.insert("h3", "v".repeat(MAX_HEADER_VALUE - 64)).unwrap();
    }

    #[test]
    fn names_of_the_library_are_refused() {
        for bad in ["", "Tenant", "a b", "ce_id", "content-type", "traceparent", "dlq-error", "ä"]
        {
            let error = Headers::default().insert(bad, "v").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn headers_survive_json() {
        let mut headers = Headers::default();
        headers.insert("b", "2 \"quoted\"").unwrap();
        headers.insert("a", "ünïcode").unwrap();
        assert_eq!(Headers::from_json(&headers.to_json().unwrap()).unwrap(), headers);
        assert_eq!(Headers::default().to_json(), None);
        assert_eq!(Headers::from_json("[1]").unwrap_err().kind(), ErrorKind::Decode);
        assert_eq!(Headers::from_json("{\"a\":1}").unwrap_err().kind(), ErrorKind::Decode);
    }
}
