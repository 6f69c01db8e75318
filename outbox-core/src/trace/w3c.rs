//! The W3C Trace Context headers, checked.

use crate::{Error, ErrorKind, Result};

/// A `traceparent` with its `tracestate`.
///
/// The form is that of the [W3C recommendation](https://www.w3.org/TR/trace-context/), version 00.
///
/// ```
/// use relaybox_core::TraceContext;
/// let trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)?;
/// assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    parent: String,
    state: Option<String>,
}

const PARENT_LEN: usize = 55;
const MAX_STATE: usize = 512;

impl TraceContext {
    /// Parses the two headers. A `tracestate` that is over 512 bytes or not printable ASCII is
    /// dropped, as the recommendation allows.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the parent is malformed or has a zero id.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self> {
        if !is_parent(traceparent) {
            return Err(Error::new(ErrorKind::Decode, "parse a traceparent")
                .detail("it is not version-traceid-spanid-flags in lower-case hexadecimal"));
        }
        let state = tracestate
            .filter(|state| !state.is_empty() && state.len() <= MAX_STATE)
            .filter(|state| state.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        Ok(Self { parent: traceparent.to_owned(), state: state.map(str::to_owned) })
    }

    /// The `traceparent` header.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.parent
    }

    /// The `tracestate` header.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace's id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.parent[3..35]
    }
}

fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == PARENT_LEN
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
        && &text[..2] != "ff"
        && text[3..35].bytes().any(|b| b != b'0')
        && text[36..52].bytes().any(|b| b != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_parent_is_refused() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(TraceContext::parse(good, Some("vendor=1")).is_ok());
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replacen("00", "ff", 1),
            &good.replace('-', "_"),
            &"ä".repeat(28)[..],
        ] {
            assert!(TraceContext::parse(bad, None).is_err(), "{bad}");
        }
    }
}
