//! What a content type says of an Avro payload.

use relaybox_core::SchemaFingerprint;

/// How a payload says what it was written with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    /// By the id before it.
    Framed,
    /// By the fingerprint in the content type.
    Datum(SchemaFingerprint),
}

const AVRO: &str = "application/avro";
const FINGERPRINT: &str = "; fingerprint=";

impl ContentType {
    /// Reads a content type; `None` when it is not Avro's, or not one of ours.
    pub(super) fn of(text: &str) -> Option<Self> {
        match text.strip_prefix(AVRO)? {
            "" => Some(Self::Framed),
            parameter => parameter.strip_prefix(FINGERPRINT)?.parse().ok().map(Self::Datum),
        }
    }

    /// The content type of a datum.
    pub(super) fn datum(fingerprint: SchemaFingerprint) -> String {
        format!("{AVRO}{FINGERPRINT}{fingerprint}")
    }
}
