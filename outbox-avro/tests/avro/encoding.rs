//! Avro's encoding, written again from the specification: what the tests feed the codec with.

/// A number as a zigzag varint.
pub(crate) fn long(value: i64) -> Vec<u8> {
    varint((value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned())
}

/// A number as a varint.
pub(crate) fn varint(mut rest: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while rest >= 128 {
        bytes.push(u8::try_from(rest & 127).unwrap() | 128);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// Bytes, or a string, with its length.
pub(crate) fn bytes(value: &[u8]) -> Vec<u8> {
    joined([long(i64::try_from(value.len()).unwrap()), value.to_vec()])
}

/// A block of so many items, which says its length when `sized`, and no end.
pub(crate) fn block(items: &[Vec<u8>], sized: bool) -> Vec<u8> {
    let count = i64::try_from(items.len()).unwrap();
    let content = items.concat();
    if sized {
        let length = long(i64::try_from(content.len()).unwrap());
        joined([long(-count), length, content])
    } else {
        joined([long(count), content])
    }
}

pub(crate) fn joined(parts: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    parts.into_iter().flatten().collect()
}
