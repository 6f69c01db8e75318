//! Schemas, checked and registered.

use std::{path::Path, process::Stdio};

use relaybox::avro::{Compatibility, RegistryConfig, SchemaRegistry};
use relaybox_tests::server;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{command, ran, run};

const FIRST: &str = r#"{"type": "record", "name": "Created", "fields": [
    {"name": "id", "type": "string"}, {"name": "user_id", "type": "long"}]}"#;
/// A nullable field with a default more.
const NEXT: &str = r#"{"type": "record", "name": "Created", "fields": [
    {"name": "id", "type": "string"}, {"name": "user_id", "type": "long"},
    {"name": "device", "type": ["null", "string"], "default": null}]}"#;
/// A required field less.
const LESS: &str = r#"{"type": "record", "name": "Created", "fields": [
    {"name": "id", "type": "string"}]}"#;
/// A required field more.
const MORE: &str = r#"{"type": "record", "name": "Created", "fields": [
    {"name": "id", "type": "string"}, {"name": "user_id", "type": "long"},
    {"name": "tenant", "type": "string"}]}"#;

fn write(folder: &TempDir, file: &str, text: &str) {
    let file = folder.path().join(file);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

fn check_against(folder: &Path, more: &[&str]) -> crate::support::Ran {
    run(
        folder,
        &[&["schemas", "check", "--schema", "new.avsc", "--against", "old.avsc"], more].concat(),
    )
}

#[test]
fn an_incompatible_change_fails_a_build_offline_and_the_field_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "old.avsc", FIRST);
    write(&folder, "new.avsc", NEXT);
    assert!(check_against(folder.path(), &[]).ok().contains("compatible (BACKWARD)"));
    for (text, field) in [(LESS, "user_id"), (MORE, "tenant")] {
        write(&folder, "new.avsc", text);
        let checked = check_against(folder.path(), &[]);
        assert!(checked.out.contains(&format!("{field:?}")), "{}", checked.out);
        checked.failed(1);
        let json = check_against(folder.path(), &["--json"]);
        let verdict: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(verdict[0]["compatible"], false);
        assert!(verdict[0]["messages"][0].as_str().unwrap().contains(field));
    }
    check_against(folder.path(), &["--compatibility", "NONE"]).ok();
    let wrong = check_against(folder.path(), &["--compatibility", "SIDEWAYS"]).failed(2);
    assert!(wrong.contains("BACKWARD"), "{wrong}");
    write(&folder, "new.avsc", "{\"type\": \"recrod\"}");
    check_against(folder.path(), &[]).failed(1);
}

#[test]
fn the_configurations_schemas_are_checked_against_a_folder_of_released_ones() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "schemas/created.avsc", NEXT);
    write(&folder, "schemas/new.avsc", &NEXT.replace("Created", "New"));
    write(&folder, "released/created.avsc", FIRST);
    let config = "[[subjects]]\naggregate = \"session\"\nschema = \"schemas/created.avsc\"\n\
                  [[subjects]]\ntopic = \"session-events.v1\"\nschema = \"schemas/new.avsc\"\n";
    write(&folder, "relaybox.toml", config);
    let check = || run(folder.path(), &["schemas", "check", "--against", "released"]);
    let checked = check().ok();
    assert!(checked.contains("session-events.v1-Created: compatible"), "{checked}");
    assert!(checked.contains("session-events.v1-New: new"), "{checked}");
    write(&folder, "schemas/created.avsc", LESS);
    let failed = check();
    assert!(failed.out.contains("\"user_id\""), "{}", failed.out);
    assert!(failed.failed(1).contains("1 of 2"));
    // Whether or not anybody reads the output.
    let mut command = command(folder.path());
    command.args(["schemas", "check", "--against", "released"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    ran(&child.wait_with_output().unwrap()).failed(1);
}

#[tokio::test]
async fn subjects_are_registered_by_apply_and_an_incompatible_schema_is_refused() {
    let Some(url) = server("RELAYBOX_REGISTRY_URL") else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = format!("cli-{}", Uuid::new_v4().simple());
    let subject = format!("{topic}-Created");
    let config = format!(
        "[registry]\nurls = [\"{url}\"]\n\
         [[subjects]]\ntopic = \"{topic}\"\nschema = \"created.avsc\"\ncompatibility = \"FULL\"\n"
    );
    write(&folder, "relaybox.toml", &config);
    write(&folder, "created.avsc", FIRST);
    let registry = SchemaRegistry::new(RegistryConfig::new(&url)).unwrap();
    let does = |arguments: &[&str]| run(folder.path(), arguments);

    assert!(does(&["schemas", "check"]).ok().contains("new"));
    assert!(does(&["topics", "plan"]).ok().contains(&format!("+ subject {subject}")));
    assert_eq!(registry.latest(&subject).await.unwrap(), None, "a plan registers nothing");
    does(&["topics", "apply"]).ok();
    assert_eq!(registry.versions(&subject).await.unwrap(), [1]);
    assert_eq!(registry.compatibility(&subject).await.unwrap(), Compatibility::Full);
    assert!(does(&["topics", "apply"]).ok().contains("nothing to be done"));

    write(&folder, "created.avsc", NEXT);
    does(&["schemas", "check"]).ok();
    assert!(does(&["topics", "plan"]).ok().contains("follows version 1"));
    does(&["topics", "apply"]).ok();
    assert_eq!(registry.versions(&subject).await.unwrap(), [1, 2]);

    write(&folder, "relaybox.toml", &config.replace("FULL", "BACKWARD"));
    let diff = does(&["topics", "plan"]).ok();
    assert!(diff.contains("compatibility FULL -> BACKWARD"), "{diff}");
    for (text, field) in [(LESS, "user_id"), (MORE, "tenant")] {
        write(&folder, "created.avsc", text);
        // By what is demanded now and by what is to be demanded.
        {
            let checked = does(&["schemas", "check"]);
            assert!(checked.out.contains(field), "{}", checked.out);
            checked.failed(1);
            let refused = does(&["topics", "apply"]);
            assert!(refused.out.contains("! subject") && refused.out.contains(field));
            refused.failed(1);
            let schema = ["schemas", "check", "--schema", "created.avsc", "--subject", &subject];
            assert!(does(&schema).out.contains(field));
        }
        assert_eq!(registry.versions(&subject).await.unwrap(), [1, 2]);
        assert_eq!(registry.compatibility(&subject).await.unwrap(), Compatibility::Full);
    }
    let down = ["schemas", "check", "--registry", "http://u:hunter2@127.0.0.1:1"];
    does(&down).failed(3);
}
