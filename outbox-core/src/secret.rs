//! A text that is never shown.

use std::fmt;

/// A password or a token: `Debug` shows that it is there, nothing shows what it is unless asked to.
///
/// ```
/// use relaybox_core::Secret;
/// let password = Secret::new("open sesame");
/// assert_eq!(format!("{password:?}"), "***");
/// assert_eq!(password.expose(), "open sesame");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever must send it. Adapters call this.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Blots the secret out of a text that somebody else wrote: a log line, an error.
    pub fn blot(&self, text: &mut String) {
        if !self.0.is_empty() && text.contains(&self.0) {
            *text = text.replace(&self.0, "***");
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
