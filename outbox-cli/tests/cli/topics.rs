//! Topics, planned and made.

use std::path::Path;

use relaybox_tests::server;
use uuid::Uuid;

use crate::support::{Ran, run};

fn topics(folder: &Path, brokers: &str, what: &str, arguments: &[&str]) -> Ran {
    run(folder, &[&["topics", what, "--brokers", brokers], arguments].concat())
}

#[tokio::test]
async fn topics_are_planned_as_a_diff_made_once_and_then_left_alone() {
    let Some(brokers) = server("RELAYBOX_KAFKA_BROKERS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let name = format!("cli-{}", Uuid::new_v4().simple());
    let seed = |partitions: u32, retention: &str| {
        let text = format!(
            "[[topics]]\nname = \"{name}\"\npartitions = {partitions}\nreplication = 1\n\
             settings = {{ \"retention.ms\" = \"{retention}\" }}\n\
             dead_letter_settings = {{ \"retention.ms\" = \"7200000\" }}\n"
        );
        std::fs::write(folder.path().join("topics.toml"), text).unwrap();
    };
    let does = |what: &str, arguments: &[&str]| {
        topics(folder.path(), &brokers, what, &[&["--file", "topics.toml"], arguments].concat())
    };
    seed(3, "3600000");
    let diff = does("plan", &[]).ok();
    assert!(diff.contains(&format!("+ {name}: 3 partitions")), "{diff}");
    assert!(diff.contains(&format!("+ {name}.dlq: 3 partitions")), "{diff}");
    does("plan", &["--check"]).failed(1);
    assert_eq!(does("plan", &["--json"]).json()["changes"], true, "a plan changes nothing");
    assert!(does("apply", &[]).ok().ends_with("done\n"));
    assert!(does("apply", &[]).ok().contains("nothing to be done"));
    assert!(does("plan", &["--check"]).ok().contains("unchanged"));

    seed(3, "1800000");
    let diff = does("plan", &[]).ok();
    assert!(diff.contains(&format!("~ {name}: retention.ms 3600000 -> 1800000")), "{diff}");
    does("apply", &[]).ok();
    does("plan", &["--check"]).ok();

    // Fewer partitions, and a setting that must then stay as well.
    seed(2, "900000");
    let refused = does("plan", &[]);
    assert!(refused.out.contains(&format!("! {name}: ")), "{}", refused.out);
    assert!(!refused.out.contains("nothing to be done"), "{}", refused.out);
    assert!(refused.failed(1).contains("would change nothing"));
    let refused = does("apply", &[]);
    assert!(!refused.out.contains("nothing to be done"), "{}", refused.out);
    assert!(refused.failed(1).contains("nothing was changed"));
    seed(3, "1800000");
    assert!(does("plan", &["--check"]).ok().contains("nothing to be done"), "all or nothing");

    seed(5, "1800000");
    does("apply", &[]).failed(1);
    does("apply", &["--allow-more-partitions"]).ok();
    does("plan", &["--check"]).ok();
}

#[tokio::test]
async fn the_topics_of_aggregate_types_need_no_file() {
    let Some(brokers) = server("RELAYBOX_KAFKA_BROKERS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    let config = format!("[routes]\n{two} = \"routed-{two}\"\n");
    std::fs::write(folder.path().join("relaybox.toml"), config).unwrap();
    let both = format!("{one},{two}");
    let seed = ["--aggregates", &both, "--partitions", "2", "--replication", "1"];
    let diff = topics(folder.path(), &brokers, "apply", &seed).ok();
    for topic in [format!("{one}-events.v1"), format!("routed-{two}")] {
        assert!(diff.contains(&format!("+ {topic}: 2 partitions")), "{diff}");
        assert!(diff.contains(&format!("+ {topic}.dlq: ")), "{diff}");
    }
    assert!(topics(folder.path(), &brokers, "apply", &seed).ok().contains("nothing to be done"));
}

#[test]
fn a_section_that_makes_no_sense_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (text, words) in [
        ("[[topics]]\npartitions = 3\n", "topics[0]: it takes either name or aggregate"),
        ("[[topics]]\nname = \"a\"\n", "missing field `partitions`"),
        ("[[topics]]\nname = \"a\"\npartitions = 1\nretention = 3\n", "topics[0].retention"),
        ("[[topics]]\nname = \"a\"\npartitions = 0\n", "at least one"),
        ("[[subjects]]\nschema = \"nothere.avsc\"\ntopic = \"a\"\n", "nothere.avsc can't be read"),
    ] {
        std::fs::write(folder.path().join("relaybox.toml"), text).unwrap();
        let said = topics(folder.path(), "127.0.0.1:1", "plan", &[]).failed(2);
        assert!(said.contains(words), "{text}: {said}");
    }
}
