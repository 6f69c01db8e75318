//! What the file and the command line may say, and what is said about mistakes.

use std::path::Path;

use crate::support::{SECRET, command, ran, run};

fn with(folder: &Path, config: &str, arguments: &[&str]) -> crate::support::Ran {
    std::fs::write(folder.join("relaybox.toml"), config).unwrap();
    run(folder, arguments)
}

#[test]
fn a_mistake_in_the_file_is_told_with_line_key_and_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let said = |config: &str| with(folder.path(), config, &["status"]).failed(2);
    let unknown = said(&format!("[kafka.sasl]\nmechanism = \"PLAIN\"\npasswrod = \"{SECRET}\"\n"));
    assert!(
        unknown.contains("relaybox.toml: line 3: kafka.sasl.passwrod: unknown field"),
        "{unknown}"
    );
    assert!(unknown.contains("`password`"), "{unknown}");
    let wrong = said(&format!("[relay]\nbatch = \"{SECRET}\"\n"));
    assert!(wrong.contains("relay.batch: invalid type: string"), "{wrong}");
    let table = said(
        "[store]\nurl = \"sqlite:a\"\n[store.tables]\n\
                      migrations = \"a;b\"\n",
    );
    assert!(table.contains("store.tables.migrations"), "{table}");
    let syntax = said(&format!("[store]\nurl = \"{SECRET}\n"));
    assert!(syntax.contains("line 2"), "{syntax}");
    let name = said("[routes]\nsession = \"a b\"\n");
    assert!(name.contains("routes.session"), "{name}");
}

#[test]
fn a_secret_from_the_environment_or_a_file_is_used_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("postgres://u:{SECRET}@127.0.0.1:1/app");
    std::fs::write(folder.path().join("url"), format!("{url}\n")).unwrap();
    let config = |text: &str| std::fs::write(folder.path().join("relaybox.toml"), text).unwrap();
    let refused = |name: &str, value: &str| {
        let mut command = command(folder.path());
        let ran =
            ran(&command.env(name, value).env("RUST_LOG", "trace").arg("status").output().unwrap());
        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains("can't be reached"), "{}", ran.err);
    };
    config("[store]\nurl = \"env:DATABASE\"\n");
    refused("DATABASE", &url);
    let missing = run(folder.path(), &["status"]).failed(2);
    assert!(
        missing.contains("store.url: the environment variable DATABASE is not set"),
        "{missing}"
    );
    config("[store]\nurl = \"file:url\"\n");
    refused("X", "x");
    // From the folder of the configuration, wherever the command runs.
    let elsewhere = tempfile::tempdir().unwrap();
    let named = folder.path().join("relaybox.toml");
    let there = run(elsewhere.path(), &["status", "--config", named.to_str().unwrap()]).failed(3);
    assert!(there.contains("can't be reached"), "{there}");
    // What is empty in the environment is not given.
    refused("RELAYBOX_STORE_URL", "");
    refused("RELAYBOX_CONFIG", "");
    config("");
    refused("RELAYBOX_STORE_URL", &url);
    // A help text names the variable and not what is in it.
    let mut command = command(folder.path());
    ran(&command.env("RELAYBOX_STORE_URL", &url).args(["status", "--help"]).output().unwrap()).ok();
    for wrong in [format!("mysql://u:{SECRET}@h/d"), format!("postgres://u:{SECRET}@[/d")] {
        run(folder.path(), &["status", "--store", &wrong]).failed(2);
    }
    let rabbit = format!("http://u:{SECRET}@h");
    let queue = ["dead-letters", "list", "--queue", "q", "--rabbitmq", &rabbit];
    run(folder.path(), &queue).failed(2);
}

#[test]
fn what_is_missing_is_named_with_where_to_give_it() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["status"][..], "--store or RELAYBOX_STORE_URL, or [store]"),
        (&["status", "--watch", "--max-age", "1s"], "cannot be used with"),
        (&["topics", "plan"], "[[topics]]"),
        (&["topics", "plan", "--aggregates", "session"], "--brokers or RELAYBOX_KAFKA_BROKERS"),
        (&["schemas", "check"], "[[subjects]]"),
        (&["dead-letters", "list", "--queue", "q"], "--rabbitmq or RELAYBOX_RABBITMQ_URL"),
        (&["relay", "run", "--store", "sqlite::memory:"], "no broker is configured"),
        (&["status", "--config", "nothere.toml"], "nothere.toml can't be read"),
        (&["purge", "archive", "--older-than", "1w"], "500ms, 90s"),
        (&["dead-letters", "list", "--event", "7"], "event"),
    ] {
        let said = run(folder.path(), arguments).failed(2);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_status_of_nothing_and_a_log_of_nonsense_are_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let topics = "[[topics]]\nname = \"a\"\npartitions = 1\n";
    let said = with(folder.path(), topics, &["status"]).failed(2);
    assert!(said.contains("nothing to look at"), "{said}");
    let mut command = command(folder.path());
    command.env("RUST_LOG", "relaybox=loud").args(["migrate", "--print", "--store", "sqlite:"]);
    let said = ran(&command.output().unwrap()).failed(2);
    assert!(said.contains("RUST_LOG"), "{said}");
}

#[test]
fn the_example_configuration_is_one() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("relaybox.example.toml");
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.arg("--config").arg(example).args(["migrate", "--print"]);
    command.env("DATABASE_URL", "postgres://localhost/app");
    let script = ran(&command.output().unwrap()).ok();
    assert!(script.contains("CREATE TABLE"), "{script}");
}
