//! Payloads made to hurt.

use relaybox_avro::AvroLimits;
use relaybox_core::{Codec, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::{
    any::Any,
    encoding::{bytes, joined, long, varint},
    events::{codec_of, codec_within, decode, happened, reader_of, shown},
    random::on_a_small_stack,
};

/// A payload with the schema it claims, and the one it is read with.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) writer: String,
    pub(crate) reader: String,
    pub(crate) datum: Vec<u8>,
    pub(crate) ends_in: ErrorKind,
}

/// All of them.
pub(crate) fn corpus() -> Vec<Hostile> {
    use ErrorKind::{Decode, TooLarge};
    let huge = 1_i64 << 40;
    let mut corpus = vec![
        of("nodes in nodes, 20 kB", LIST, [2].repeat(20_000), TooLarge),
        of("arrays in arrays, 20 kB", TREE, [2].repeat(20_000), TooLarge),
        of("maps in maps, 20 kB", MAPS, [2, 0].repeat(10_000), TooLarge),
        of("a record that holds itself", SELF, Vec::new(), TooLarge),
        of("a trillion nulls", &array(r#""null""#), joined([long(huge), vec![0]]), TooLarge),
        of("the most nulls", &array(r#""null""#), joined([long(i64::MAX), vec![0]]), TooLarge),
        of(
            "fewer than the fewest nulls",
            &array(r#""null""#),
            joined([long(i64::MIN), vec![0, 0]]),
            TooLarge,
        ),
        of(
            "minus a billion nulls",
            &array(r#""null""#),
            joined([long(-1_000_000_000), vec![0, 0]]),
            TooLarge,
        ),
        of("nulls in many blocks", &array(r#""null""#), long(90_000).repeat(100), TooLarge),
        of("empty records", &array(EMPTY), joined([long(huge), vec![0]]), TooLarge),
        of(
            "fixed of no bytes",
            &array(r#"{"type": "fixed", "name": "F", "size": 0}"#),
            joined([long(huge), vec![0]]),
            TooLarge,
        ),
        of("arrays of nulls in an array", &array(&array(r#""null""#)), nested_nulls(), TooLarge),
        of("longs that are not there", &array(r#""long""#), long(99_999), Decode),
        of("a string of a terabyte", r#""string""#, long(huge), TooLarge),
        of("a string of negative length", r#""string""#, long(-1), Decode),
        of("a string that ends early", r#""string""#, joined([long(5), vec![b'a'; 4]]), Decode),
        of("a string that is not UTF-8", r#""string""#, bytes(&[0xc3, 0x28]), Decode),
        of(
            "a key that is not UTF-8",
            r#"{"type": "map", "values": "null"}"#,
            joined([long(1), bytes(&[0xff]), vec![0]]),
            Decode,
        ),
        of("bytes of a terabyte", r#""bytes""#, long(huge), TooLarge),
        of(
            "a fixed of a gigabyte",
            r#"{"type": "fixed", "name": "F", "size": 1000000000}"#,
            vec![0; 9],
            Decode,
        ),
        of("a number without end", r#""long""#, vec![0xff; 20], Decode),
        of("a number of eleven bytes", r#""long""#, joined([vec![0x80; 10], vec![0]]), Decode),
        of("a number of 65 bits", r#""long""#, joined([vec![0xff; 9], vec![2]]), Decode),
        of("an int of 33 bits", r#""int""#, long(1 << 32), Decode),
        of("a number that ends early", r#""long""#, vec![0x80], Decode),
        of("no branch", r#"["null", "int"]"#, long(2), Decode),
        of("a negative branch", r#"["null", "int"]"#, long(-1), Decode),
        of("the last branch of all", r#"["null", "int"]"#, varint(u64::MAX), Decode),
        of("no symbol", ENUM, long(2), Decode),
        of("a negative symbol", ENUM, long(-1), Decode),
        of("a boolean of two", r#""boolean""#, vec![2], Decode),
        of("no boolean", r#""boolean""#, Vec::new(), Decode),
        of("half a float", r#""float""#, vec![0; 2], Decode),
        of("half a double", r#""double""#, vec![0; 7], Decode),
        of("bytes behind", r#""null""#, vec![0], Decode),
        of(
            "a block that is longer than it says",
            &array(r#""long""#),
            joined([long(-1), long(1), long(999), vec![0]]),
            Decode,
        ),
        of(
            "a block of negative length",
            &array(r#""long""#),
            joined([long(-1), long(-9), long(1), vec![0]]),
            Decode,
        ),
        of("an array without end", &array(r#""long""#), joined([long(1), long(1)]), Decode),
        of(
            "a string as long as allowed, and again",
            &array(r#""string""#),
            long_strings(),
            TooLarge,
        ),
    ];
    corpus.push(Hostile {
        name: "a default a hundred thousand times",
        writer: array(EMPTY),
        reader: array(&format!(
            r#"{{"type": "record", "name": "E", "fields": [
                {{"name": "d", "type": "string", "default": "{}"}}]}}"#,
            "x".repeat(10_000)
        )),
        datum: joined([long(100_000), vec![0]]),
        ends_in: TooLarge,
    });
    corpus.push(Hostile {
        name: "a billion values in no bytes",
        // apache-avro's parser takes 30 KiB of stack a level, and only reads our own schemas.
        writer: doubling(30),
        reader: r#"{"type": "record", "name": "D29", "fields": []}"#.to_owned(),
        datum: Vec::new(),
        ends_in: TooLarge,
    });
    corpus.push(Hostile {
        name: "a field that the reader skips, 20 kB deep",
        writer: LIST.replace(r#""name": "List""#, r#""name": "List", "aliases": ["x"]"#),
        reader: r#"{"type": "record", "name": "List", "fields": []}"#.to_owned(),
        datum: [2].repeat(20_000),
        ends_in: TooLarge,
    });
    corpus
}

const LIST: &str =
    r#"{"type": "record", "name": "List", "fields": [{"name": "next", "type": ["null", "List"]}]}"#;
const TREE: &str = r#"{"type": "record", "name": "Tree", "fields": [
    {"name": "children", "type": {"type": "array", "items": "Tree"}}]}"#;
const MAPS: &str = r#"{"type": "record", "name": "Maps", "fields": [
    {"name": "children", "type": {"type": "map", "values": "Maps"}}]}"#;
const SELF: &str =
    r#"{"type": "record", "name": "Self", "fields": [{"name": "me", "type": "Self"}]}"#;
const EMPTY: &str = r#"{"type": "record", "name": "E", "fields": []}"#;
const ENUM: &str = r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#;

fn of(name: &'static str, schema: &str, datum: Vec<u8>, ends_in: ErrorKind) -> Hostile {
    // In a record, as events are.
    let schema = if schema.contains("\"record\", \"name\": \"List\"")
        || schema.contains("Tree")
        || schema.contains("Maps")
        || schema.contains("Self")
    {
        schema.to_owned()
    } else {
        format!(
            r#"{{"type": "record", "name": "Event", "fields": [{{"name": "it", "type": {schema}}}]}}"#
        )
    };
    Hostile { name, writer: schema.clone(), reader: schema, datum, ends_in }
}

fn array(items: &str) -> String {
    format!(r#"{{"type": "array", "items": {items}}}"#)
}

/// A record of two records of two records …
fn doubling(levels: usize) -> String {
    (0..levels).fold(r#""null""#.to_owned(), |inner, level| {
        format!(
            r#"{{"type": "record", "name": "D{level}", "fields": [
                {{"name": "a", "type": {inner}}}, {{"name": "b", "type": {}}}]}}"#,
            if level == 0 { r#""null""#.to_owned() } else { format!("\"D{}\"", level - 1) }
        )
    })
}

fn nested_nulls() -> Vec<u8> {
    let inner = joined([long(99_999), vec![0]]);
    joined([long(50_000), inner.repeat(50_000), vec![0]])
}

fn long_strings() -> Vec<u8> {
    let text = bytes(&vec![b'a'; 8 << 20]);
    joined([long(5), text.repeat(5), vec![0]])
}

#[test]
fn a_hostile_payload_ends_in_a_typed_error() {
    on_a_small_stack(|| {
        for hostile in corpus() {
            let codec = reader_of(&hostile.reader, &hostile.writer);
            let error = decode::<Any>(&codec, &hostile.writer, &hostile.datum).unwrap_err();
            assert_eq!(error.kind(), hostile.ends_in, "{}: {}", hostile.name, shown(&error));
        }
    });
}

#[test]
fn what_nests_as_deep_as_allowed_is_decoded_on_a_small_stack() {
    #[derive(Debug, Serialize, Deserialize)]
    struct List {
        next: Option<Box<List>>,
    }
    on_a_small_stack(|| {
        let depth = |levels: usize| joined([[2].repeat(levels - 1), vec![0]]);
        let codec = codec_of(LIST);
        let list: List = decode(&codec, LIST, &depth(64)).unwrap();
        let levels = std::iter::successors(Some(&list), |list| list.next.as_deref()).count();
        assert_eq!(levels, 64);
        assert_eq!(
            decode::<List>(&codec, LIST, &depth(66)).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        // Any is the worst case: it tries every type on the way.
        decode::<Any>(&codec, LIST, &depth(64)).unwrap();
        decode::<Any>(&codec_of(TREE), TREE, &joined([[2].repeat(31), vec![0; 32]])).unwrap();
        drop(list);
    });
}

#[test]
fn each_limit_lets_pass_what_is_as_large_as_it() {
    let longs = array(r#""long""#);
    let schema = format!(
        r#"{{"type": "record", "name": "Event", "fields": [{{"name": "it", "type": {longs}}}]}}"#
    );
    let three = joined([long(3), long(1), long(2), long(3), vec![0]]);
    let passes = |limits| {
        decode::<Any>(&codec_within(&schema, limits), &schema, &three)
            .map(drop)
            .map_err(|error| error.kind())
    };
    let limits = AvroLimits::default();
    assert_eq!(passes(limits.max_items(3)), Ok(()));
    assert_eq!(passes(limits.max_items(2)), Err(ErrorKind::TooLarge));
    // The record, the array, and three longs.
    assert_eq!(passes(limits.max_values(5)), Ok(()));
    assert_eq!(passes(limits.max_values(4)), Err(ErrorKind::TooLarge));
    assert_eq!(passes(limits.max_decoded(5 * 16)), Ok(()));
    assert_eq!(passes(limits.max_decoded(5 * 16 - 1)), Err(ErrorKind::TooLarge));
    assert_eq!(passes(limits.max_depth(2)), Ok(()));
    assert_eq!(passes(limits.max_depth(1)), Err(ErrorKind::TooLarge));
}

#[test]
fn what_could_not_be_read_is_refused_when_it_is_written() {
    #[derive(Serialize)]
    struct Event {
        it: Vec<i64>,
    }
    let schema = format!(
        r#"{{"type": "record", "name": "Event", "fields": [{{"name": "it", "type": {}}}]}}"#,
        array(r#""long""#)
    );
    let codec = codec_within(&schema, AvroLimits::default().max_items(3));
    codec.encode(&happened(), &Event { it: vec![1; 3] }).unwrap();
    let error = codec.encode(&happened(), &Event { it: vec![1; 4] }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn an_error_has_nothing_of_the_payload() {
    const SECRET: &str = "hunter2-hunter2";
    #[derive(Debug, Deserialize)]
    struct Event {
        #[serde(rename = "it")]
        _it: char,
    }
    #[derive(Debug, Deserialize)]
    #[serde(rename = "Event")]
    struct Stranger {
        #[serde(rename = "it")]
        _it: uuid::Uuid,
    }
    let schema =
        r#"{"type": "record", "name": "Event", "fields": [{"name": "it", "type": "string"}]}"#;
    let codec = codec_of(schema);
    let datum = bytes(SECRET.as_bytes());
    let errors = [
        decode::<Event>(&codec, schema, &datum).unwrap_err(),
        decode::<Stranger>(&codec, schema, &datum).unwrap_err(),
        decode::<Any>(&codec, schema, &datum[..9]).unwrap_err(),
    ];
    for error in errors {
        let shown = shown(&error);
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("test.happened.v1"), "{shown}");
    }
}

#[test]
fn values_of_logical_types_end_in_a_value_or_a_typed_error() {
    #[derive(Debug, Deserialize)]
    #[serde(rename = "Event")]
    struct Of<T> {
        #[serde(rename = "it")]
        _it: T,
    }
    fn tried<T: serde::de::DeserializeOwned>(of: &str) {
        let schema = format!(
            r#"{{"type": "record", "name": "Event", "fields": [{{"name": "it", "type": {of}}}]}}"#
        );
        let codec = codec_of(&schema);
        let odd: [&[u8]; 8] = [
            &[],
            &[0],
            &[2, 0],
            &[0xff; 16],
            &[0; 12],
            &[0x80; 40],
            b"67e55044-10b1-426f-9247-bb680e5fe0c",
            &[6, 2, 2, 2],
        ];
        for datum in odd {
            for datum in [datum.to_vec(), bytes(datum), bytes(&bytes(datum))] {
                let _ended = decode::<Of<T>>(&codec, &schema, &datum);
                let _ended = decode::<Any>(&codec, &schema, &datum);
            }
        }
    }
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#;
    tried::<apache_avro::Decimal>(decimal);
    tried::<apache_avro::BigDecimal>(r#"{"type": "bytes", "logicalType": "big-decimal"}"#);
    tried::<apache_avro::Duration>(
        r#"{"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}"#,
    );
    tried::<uuid::Uuid>(r#"{"type": "string", "logicalType": "uuid"}"#);
    tried::<uuid::Uuid>(r#"{"type": "bytes", "logicalType": "uuid"}"#);
    tried::<uuid::Uuid>(r#"{"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}"#);
    tried::<i32>(r#"{"type": "int", "logicalType": "date"}"#);
    tried::<i64>(r#"{"type": "long", "logicalType": "timestamp-nanos"}"#);
}
