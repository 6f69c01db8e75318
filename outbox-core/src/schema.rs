//! Schemas of payloads, kept beside the outbox for the relay.

use std::{fmt, str::FromStr};

use async_trait::async_trait;

use crate::{Error, ErrorKind, Result};

/// Keeps the schemas that payloads were written with, by the fingerprint of their text.
///
/// A service puts its schemas here when it starts, in a transaction of their own; a relay, perhaps a
/// process that knows no event type, finds them here. So no registry is asked inside a user's
/// transaction.
///
/// # Contract
/// - Putting what is there changes nothing and is no error; a schema is never replaced or removed.
/// - What was put is found by every process from then on.
#[async_trait]
pub trait SchemaStore: Send + Sync + 'static {
    /// Puts schemas, all or none.
    ///
    /// # Errors
    /// The store's own.
    async fn put_schemas(&self, schemas: &[StoredSchema]) -> Result<()>;

    /// The schema with this fingerprint, if it is there.
    ///
    /// # Errors
    /// The store's own.
    async fn schema(&self, fingerprint: &SchemaFingerprint) -> Result<Option<StoredSchema>>;

    /// All schemas, by fingerprint.
    ///
    /// # Errors
    /// The store's own.
    async fn schemas(&self) -> Result<Vec<StoredSchema>>;
}

/// A schema as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredSchema {
    /// What payloads know it by.
    pub fingerprint: SchemaFingerprint,
    /// What kind of schema it is: `avro`.
    pub format: String,
    /// Its full text, with defaults and documentation.
    pub text: String,
}

impl StoredSchema {
    /// A schema; whoever makes one has taken the fingerprint of `text`.
    #[must_use]
    pub fn new(
        fingerprint: SchemaFingerprint,
        format: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self { fingerprint, format: format.into(), text: text.into() }
    }
}

/// The SHA-256 of a schema's full text; 64 hexadecimal digits as text.
///
/// Of the full text, not of a canonical form: that drops defaults, and so confuses just the schemas
/// whose evolution matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaFingerprint([u8; 32]);

impl SchemaFingerprint {
    /// From a digest.
    #[must_use]
    pub fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SchemaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SchemaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SchemaFingerprint({self})")
    }
}

/// ```
/// use relaybox_core::SchemaFingerprint;
/// let text = "00ff".repeat(16);
/// assert_eq!(text.parse::<SchemaFingerprint>()?.to_string(), text);
/// assert!("00FF".repeat(16).parse::<SchemaFingerprint>().is_err());
/// assert!("00ff".parse::<SchemaFingerprint>().is_err());
/// # Ok::<(), relaybox_core::Error>(())
/// ```
impl FromStr for SchemaFingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let invalid = || {
            Error::new(ErrorKind::Decode, "read a schema's fingerprint")
                .detail("it is not 64 lower-case hexadecimal digits")
        };
        let digits = text.as_bytes();
        let mut digest = [0; 32];
        if digits.len() != 2 * digest.len() {
            return Err(invalid());
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (digit(pair[0]), digit(pair[1]));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(invalid)?;
        }
        Ok(Self(digest))
    }
}
