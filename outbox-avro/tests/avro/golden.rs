//! Bytes that Python wrote: fastavro 1.13.1 and avro 1.12.2, which agree.

use std::collections::BTreeMap;

use relaybox_avro::AvroCodec;
use relaybox_core::{Codec, DomainEvent};
use serde::{Deserialize, Serialize};

use crate::any::Any;
use crate::events::{
    Channel, SESSION_CREATED, SessionCreated, codec_of, decode, happened, reader_of, unhex,
};

const SAMPLE: &str = "4836376535353034342d313062312d343236662d393234372d6262363830653566653063388180808080\
                      808020d804019a9999999999b93f000020c00600ff7fdeadbeef0202164772c3b6c39f6520e29883020000\
                      060261046262000002026e80808080808080808001008080f2e8c1a38906";

const BARE: &str = "4836376535353034342d313062312d343236662d393234372d6262363830653566653063380001009a99\
                    99999999b93f000020c000deadbeef040000008080f2e8c1a38906";

/// `SAMPLE` with the user 12345.
const SAMPLE_12345: &str = "4836376535353034342d313062312d343236662d393234372d626236383065356665306338f2c001d804019a99\
     99999999b93f000020c00600ff7fdeadbeef0202164772c3b6c39f6520e298830200000602610462620000\
     02026e80808080808080808001008080f2e8c1a38906";

fn codec() -> AvroCodec {
    AvroCodec::builder().schema_of::<SessionCreated>(SESSION_CREATED).unwrap().build()
}

fn bare() -> SessionCreated {
    SessionCreated {
        device: None,
        tags: Vec::new(),
        attributes: BTreeMap::new(),
        user_id: 0,
        attempts: -1,
        trusted: false,
        token: Vec::new(),
        channel: Channel::Api,
        ..SessionCreated::sample()
    }
}

#[test]
fn an_event_has_the_bytes_that_python_writes() {
    for (event, golden) in [(SessionCreated::sample(), SAMPLE), (bare(), BARE)] {
        let encoded = codec().encode(&event.event_type(), &event).unwrap();
        assert_eq!(encoded.payload, unhex(golden));
    }
}

#[test]
fn what_python_wrote_is_read() {
    for (event, golden) in [(SessionCreated::sample(), SAMPLE), (bare(), BARE)] {
        let codec = AvroCodec::builder().schema_text(happened(), SESSION_CREATED).unwrap().build();
        let read: SessionCreated = decode(&codec, SESSION_CREATED, &unhex(golden)).unwrap();
        assert_eq!(read, event);
    }
}

#[test]
fn what_python_wrote_is_read_with_another_schema_as_python_reads_it() {
    const READER: &str = r#"{"type": "record", "name": "SessionCreated", "namespace": "com.acme", "fields": [
        {"name": "trusted", "type": "boolean"},
        {"name": "user", "type": "double", "aliases": ["user_id"]},
        {"name": "attempts", "type": ["null", "long"]},
        {"name": "country", "type": ["null", "string"], "default": null},
        {"name": "labels", "type": {"type": "array", "items": "bytes"}, "aliases": ["tags"]},
        {"name": "extra", "type": {"type": "map", "values": "int"}, "default": {"k": 7}},
        {"name": "channel", "type": {"type": "enum", "name": "Channel", "symbols": ["UNKNOWN", "API"],
            "default": "UNKNOWN"}},
        {"name": "ratio", "type": "double"}]}"#;
    let codec = reader_of(READER, SESSION_CREATED);
    let read: Any = decode(&codec, SESSION_CREATED, &unhex(SAMPLE_12345)).unwrap();
    let resolved: Any = decode(&codec_of(READER), READER, &unhex(RESOLVED)).unwrap();
    assert_eq!(read, resolved);
    assert_eq!(read.field("user"), &Any::Double(12345.0_f64.to_bits()));
}

/// What fastavro wrote of what it had read.
const RESOLVED: &str = "0100000000801cc84002d80400060261046262000002026b0e000000000000000004c0";

#[test]
fn a_decimal_and_a_date_have_the_bytes_that_python_writes() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Paid {
        #[serde(with = "apache_avro::serde::bytes")]
        amount: Vec<u8>,
        day: i32,
    }
    const PAID: &str = r#"{"type": "record", "name": "Paid", "fields": [
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}}]}"#;
    let codec = codec_of(PAID);
    let paid = Paid { amount: (-123_456_i32).to_be_bytes()[1..].to_vec(), day: 19_782 };
    let encoded = codec.encode(&happened(), &paid).unwrap();
    assert_eq!(encoded.payload, unhex("06fe1dc08cb502"));
    assert_eq!(decode::<Paid>(&codec, PAID, &encoded.payload).unwrap(), paid);
}
