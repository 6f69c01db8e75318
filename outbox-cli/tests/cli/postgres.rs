//! What a server adds: rights, schemas, and a relay that works.

use relaybox_tests::{Database, server};

use crate::support::run;

#[tokio::test]
async fn tables_are_made_in_a_schema_and_under_other_names() {
    let Some(url) = server("RELAYBOX_POSTGRES_URL") else { return };
    let database = Database::create(&url).await;
    sqlx::query("CREATE SCHEMA billing").execute(&database.pool).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[store]\nurl = \"{}\"\nschema = \"billing\"\n\
         [store.tables]\noutbox_events = \"billing.events_out\"\n",
        database.url()
    );
    std::fs::write(folder.path().join("relaybox.toml"), config).unwrap();
    let missing = run(folder.path(), &["status"]).failed(4);
    assert!(missing.contains("relaybox migrate"), "{missing}");
    run(folder.path(), &["migrate"]).ok();
    assert_eq!(database.number("SELECT count(*) FROM billing.events_out").await, 0);
    assert_eq!(run(folder.path(), &["status", "--json"]).json()["store"]["kind"], "postgres");
    database.drop().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_an_error_and_not_unavailable() {
    let Some(url) = server("RELAYBOX_POSTGRES_URL") else { return };
    let (server, _) = url.rsplit_once('/').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("{server}/relaybox_no_such");
    let said = run(folder.path(), &["status", "--store", &nowhere]).failed(4);
    assert!(said.contains("does not exist"), "{said}");
}
