//! Memory and stack are bounded: seen from outside, in a process of its own.

use std::process::{Command, Output};

use relaybox_avro::{AvroCodec, AvroLimits, Compatibility, EventSchema, Evolution};

use crate::{
    any::Any,
    events::{decode, happened},
    hostile::corpus,
    random::on_a_small_stack,
};

/// Says to a copy of this process what it is.
const CHILD: &str = "RELAYBOX_AVRO_CHILD";
/// How much address space a child has, in KiB.
const ADDRESS_SPACE: usize = 320 * 1024;

#[test]
fn hostile_payloads_are_refused_within_bounded_memory_and_stack() {
    let child = child("bounded");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(said.contains("every payload was refused"), "{said}");
}

/// Without limits the same payloads end the process: the test above can fail.
#[test]
fn without_limits_the_same_payloads_would_kill_the_process() {
    let child = child("unbounded");
    assert!(!child.status.success());
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("overflowed its stack") || said.contains("memory allocation"), "{said}");
}

/// This process again, with little memory, for the one test below.
fn child(kind: &str) -> Output {
    let script = format!("ulimit -v {ADDRESS_SPACE}; ulimit -c 0; exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "memory::as_a_child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, kind)
        .output()
        .unwrap()
}

#[test]
fn as_a_child() {
    let Ok(kind) = std::env::var(CHILD) else { return };
    let limits = match kind.as_str() {
        "bounded" => AvroLimits::default(),
        _ => {
            let all = usize::MAX;
            AvroLimits::default()
                .max_depth(all)
                .max_items(all)
                .max_values(all)
                .max_length(all)
                .max_decoded(all)
        }
    };
    on_a_small_stack(|| {
        if kind == "bounded" {
            many_writers_of_one_large_default();
        }
        for hostile in corpus() {
            let codec = AvroCodec::builder()
                .limits(limits)
                .schema_text(happened(), hostile.reader)
                .unwrap()
                .writer(EventSchema::parse(&hostile.writer[..]).unwrap())
                .build();
            decode::<Any>(&codec, &hostile.writer, &hostile.datum).expect_err(hostile.name);
        }
    });
    println!("every payload was refused");
}

/// Each of the writer's records lacks the same field of the reader's; its default is kept once.
fn many_writers_of_one_large_default() {
    let record = |fields: &[String]| {
        let text =
            format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, fields.join(","));
        EventSchema::parse(text).unwrap()
    };
    let small = |at| {
        format!(
            r#"{{"name": "f{at}", "type": {{"type": "record", "name": "n{at}.D", "fields": []}}}}"#
        )
    };
    let mut large = vec![format!(
        r#"{{"name": "f0", "type": {{"type": "record", "name": "D", "fields": [
            {{"name": "text", "type": "string", "default": "{}"}}]}}}}"#,
        "x".repeat(60_000)
    )];
    large.extend((1..6_000).map(|at| format!(r#"{{"name": "f{at}", "type": "D"}}"#)));
    let small: Vec<_> = (0..6_000).map(small).collect();
    Evolution::new(Compatibility::Backward).check(&record(&large), &[record(&small)]).unwrap();
}
