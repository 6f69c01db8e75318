//! What it prints at the end.

use serde_json::{Map, Value};

use crate::demo::Demo;

#[test]
fn the_last_line_is_a_summary_that_adds_up() {
    // So many that some users try to have a session too many: those are rolled back.
    let ended = Demo::start(&["--json", "--sessions", "200"]).end();
    assert!(ended.status.success(), "{}", ended.said);

    let line = ended.stdout.last().unwrap();
    let summary: Map<String, Value> = serde_json::from_str(line).unwrap();
    let mut names: Vec<_> = summary.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "committed",
            "dead_lettered",
            "delivered",
            "duplicates",
            "effects",
            "published",
            "rolled_back",
            "violations"
        ]
    );

    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("violations"), 0, "{line}");
    assert_eq!(count("dead_lettered"), 1, "{line}");
    assert_eq!(count("effects"), count("committed") - count("dead_lettered"), "{line}");
    assert!(count("committed") > 200, "{line}");
    assert!(count("published") >= count("committed"), "{line}");
    assert!(count("delivered") > count("committed"), "{line}");
    assert!(count("duplicates") > 0, "{line}");
    assert!(count("rolled_back") > 0, "{line}");
    assert_eq!(ended.left_behind, [""; 0]);
}
