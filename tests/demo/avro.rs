//! Events as Avro, with a schema registry; and Python as the judge of it.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use relaybox_tests::server;
use serde_json::Value;

use crate::demo::Demo;

#[test]
fn python_reads_every_event_that_the_demo_publishes_as_avro() {
    let servers = ["RELAYBOX_KAFKA_BROKERS", "RELAYBOX_REGISTRY_URL", "RELAYBOX_PYTHON"];
    let [Some(brokers), Some(registry), Some(python)] = servers.map(server) else { return };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
    let arguments = ["--json", "--sessions", "200", "--brokers", &brokers, "--registry", &registry];
    let ended = Demo::start(&arguments).end();
    assert!(ended.status.success(), "{}", ended.said);
    let summary: Value = serde_json::from_str(ended.stdout.last().unwrap()).unwrap();
    assert_eq!(summary["violations"], 0);

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/read_sessions.py");
    let read = Command::new(python)
        .args([script, &brokers, &registry, "session-events.v1", &since])
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let found: BTreeMap<String, BTreeMap<String, u64>> =
        serde_json::from_slice(&read.stdout).unwrap();
    // Another demo may run at the same time: each run has a source of its own.
    let committed = summary["committed"].as_u64().unwrap();
    let ours = found.values().find(|types| types.values().sum::<u64>() == committed);
    let types: Vec<_> = ours.unwrap_or_else(|| panic!("{found:?}")).keys().collect();
    assert_eq!(types, ["session.created.v1", "session.refreshed.v1", "session.revoked.v1"]);
}
