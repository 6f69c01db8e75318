//! Random schemas, values and bytes.

use proptest::prelude::*;
use relaybox_avro::AvroLimits;
use relaybox_core::{Codec, ErrorKind};
use serde_json::Value;

use crate::{
    any::Any,
    events::{
        SESSION_CREATED, SessionCreated, codec_of, codec_within, decode, happened, reader_of,
    },
    shapes::{Chance, record},
};

/// As much stack as a thread of musl's has by default is 128 KiB, of macOS 512 KiB; tokio's have 2 MiB.
pub(crate) const SMALL_STACK: usize = 256 * 1024;

/// Runs something on a thread with a small stack. A panic there is a panic here.
pub(crate) fn on_a_small_stack(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(SMALL_STACK);
        thread.spawn_scoped(scope, run).unwrap().join().unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_another_encoder_wrote_is_read(seed: u64) {
        let mut chance = Chance::new(seed);
        let shape = record(&mut chance);
        let sample = shape.sample(&mut chance);
        let schema = shape.schema();
        let read: Any = decode(&codec_of(&schema), &schema, &sample.datum).unwrap();
        prop_assert_eq!(read, sample.value, "{}", schema);
    }

    #[test]
    fn what_an_earlier_schema_wrote_is_read_with_a_later_one(seed: u64) {
        let mut chance = Chance::new(seed);
        let writer = record(&mut chance);
        let sample = writer.sample(&mut chance);
        let evolved = writer.evolved(&sample.value, &mut chance);
        let (writer, reader) = (writer.schema(), evolved.shape.schema_with(&evolved.defaults));
        let read: Any = decode(&reader_of(&reader, &writer), &writer, &sample.datum).unwrap();
        prop_assert_eq!(read, evolved.value, "\n{}\n{}", writer, reader);
    }

    #[test]
    fn random_bytes_end_in_a_typed_error_or_a_value(seed: u64, bytes: Vec<u8>) {
        let mut chance = Chance::new(seed);
        let schema = record(&mut chance).schema();
        on_a_small_stack(|| expect_an_end(&schema, &schema, &bytes));
    }

    #[test]
    fn mutated_data_ends_in_a_typed_error_or_a_value(seed: u64, changes in 1_usize..6) {
        let mut chance = Chance::new(seed);
        let shape = record(&mut chance);
        let sample = shape.sample(&mut chance);
        let evolved = shape.evolved(&sample.value, &mut chance);
        let (writer, reader) = (shape.schema(), evolved.shape.schema_with(&evolved.defaults));
        let mut datum = sample.datum;
        for _ in 0..changes {
            mutate(&mut datum, &mut chance);
        }
        on_a_small_stack(|| {
            expect_an_end(&writer, &writer, &datum);
            expect_an_end(&reader, &writer, &datum);
        });
    }

    #[test]
    fn a_schema_that_was_tampered_with_is_refused_or_used(seed: u64) {
        let mut chance = Chance::new(seed);
        let shape = record(&mut chance);
        let sample = shape.sample(&mut chance);
        let mut schema: Value = serde_json::from_str(&shape.schema()).unwrap();
        tamper(&mut schema, &mut chance);
        let text = schema.to_string();
        on_a_small_stack(|| {
            if relaybox_avro::EventSchema::parse(&text[..]).is_ok() {
                expect_an_end(SESSION_CREATED, &text, &sample.datum);
            }
        });
    }

    #[test]
    fn an_event_is_read_as_it_was_written(
        user_id: i64, attempts: i32, trusted: bool, score: f64, ratio: f32, token: Vec<u8>,
        digest: [u8; 4], tags: Vec<String>, created_at: i64,
        attributes in proptest::collection::btree_map(".{0,8}", any::<i64>(), 0..5),
        os in proptest::option::of(".{0,20}"), id in any::<u128>(),
    ) {
        let event = SessionCreated {
            session_id: uuid::Uuid::from_u128(id),
            user_id, attempts, trusted, score, ratio, token, digest, tags, attributes, created_at,
            channel: crate::events::Channel::Web,
            device: os.map(|os| crate::events::Device { os, paired_with: None }),
        };
        let codec = codec_of(SESSION_CREATED);
        let encoded = codec.encode(&happened(), &event).unwrap();
        let read: SessionCreated = decode(&codec, SESSION_CREATED, &encoded.payload).unwrap();
        // NaN is not equal to itself; its bytes are.
        let again = codec.encode(&happened(), &read).unwrap();
        prop_assert_eq!(again.payload, encoded.payload);
    }
}

/// Decodes, and looks at the error if there is one.
fn expect_an_end(reader: &str, writer: &str, datum: &[u8]) {
    let decoded = decode::<Any>(&reader_of(reader, writer), writer, datum);
    if let Err(error) = decoded {
        assert!(matches!(error.kind(), ErrorKind::Decode | ErrorKind::TooLarge), "{error:?}");
    }
    let tight =
        AvroLimits::default().max_values(50).max_items(10).max_decoded(2_000).max_length(100);
    let _ended = decode::<Any>(&codec_within(reader, tight), reader, datum);
}

fn mutate(datum: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(datum.len() + 1);
    match chance.below(5) {
        0 => datum.truncate(at),
        1 => datum.insert(at, 0xff),
        2 => drop(datum.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
        3 if at < datum.len() => datum[at] = chance.bits().to_le_bytes()[0],
        _ if at < datum.len() => drop(datum.remove(at)),
        _ => datum.push(0),
    }
}

/// Puts something else somewhere.
fn tamper(json: &mut Value, chance: &mut Chance) {
    match json {
        Value::Object(map) if !map.is_empty() && !chance.one_in(6) => {
            let at = chance.below(map.len());
            if let Some(value) = map.values_mut().nth(at) {
                tamper(value, chance);
            }
        }
        Value::Array(list) if !list.is_empty() && !chance.one_in(6) => {
            let at = chance.below(list.len());
            tamper(&mut list[at], chance);
        }
        other => {
            let odd =
                ["null", "-1", "\"long\"", "[]", "{}", "\"R\"", "1e99", "[\"null\",\"null\"]"];
            *other = serde_json::from_str(odd[chance.below(odd.len())]).unwrap();
        }
    }
}
