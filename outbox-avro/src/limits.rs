//! How much a payload may hold.

/// What a payload may hold, checked over its bytes before anything is built of them.
///
/// Avro's bytes don't say how much memory their values take: an array of a billion nulls is six bytes
/// long, and a few thousand bytes can nest deep enough to overflow a stack. So the codec goes over a
/// payload with the schema, counting, before it is decoded, and after it is encoded: what could not be
/// read is refused in the writer's hands.
///
/// ```
/// use relaybox_avro::AvroLimits;
/// let limits = AvroLimits::default().max_depth(16).max_items(1_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AvroLimits {
    pub(crate) depth: usize,
    pub(crate) items: usize,
    pub(crate) values: usize,
    pub(crate) length: usize,
    pub(crate) decoded: usize,
}

impl AvroLimits {
    /// How deep values may nest: in how many records, arrays and maps. 64.
    ///
    /// The stack bounds it: 64 levels fit into 256 KiB in a build without optimisation (tested), and a
    /// tokio worker has 2 MiB.
    #[must_use]
    pub fn max_depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// How many items one array or map may have. 100,000.
    #[must_use]
    pub fn max_items(mut self, items: usize) -> Self {
        self.items = items;
        self
    }

    /// How many values there may be in all, map keys and nulls included. 1,000,000.
    #[must_use]
    pub fn max_values(mut self, values: usize) -> Self {
        self.values = values;
        self
    }

    /// How long one string, or bytes, may be, in bytes. 8 MiB.
    #[must_use]
    pub fn max_length(mut self, bytes: usize) -> Self {
        self.length = bytes;
        self
    }

    /// How large the decoded value may be: 16 bytes a value, and the bytes of strings, bytes and fixed,
    /// with the reader's defaults. 32 MiB.
    #[must_use]
    pub fn max_decoded(mut self, bytes: usize) -> Self {
        self.decoded = bytes;
        self
    }
}

impl Default for AvroLimits {
    fn default() -> Self {
        Self { depth: 64, items: 100_000, values: 1_000_000, length: 8 << 20, decoded: 32 << 20 }
    }
}
