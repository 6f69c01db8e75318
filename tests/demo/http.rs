//! The HTTP API.

use serde_json::json;
use uuid::Uuid;

use crate::{
    client::{Client, new_session},
    demo::Demo,
};

#[test]
fn a_session_is_shown_as_the_handlers_have_seen_it_from_its_creation_to_its_end() {
    let (_demo, url) = Demo::serve(&["--sessions", "1"]);
    let client = Client::new(url);
    let health = client.get("/health");
    assert_eq!((health.status, &health.body["status"]), (200, &json!("ok")));

    let user = Uuid::new_v4();
    let body = json!({ "user_id": user, "device": "firefox/142.0" }).to_string();
    let created = client.post("/sessions", &body);
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.body["user_id"], json!(user));
    assert_eq!(created.body["version"], 1);
    let id = created.body["id"].as_str().unwrap();
    let path = format!("/sessions/{id}");
    assert_eq!(created.location.as_deref(), Some(&path[..]));

    // Only a handler knows the browser.
    let shown = client.until(&path, |shown| shown.status == 200);
    assert_eq!(
        shown.body,
        json!({
            "id": id, "user_id": user, "browser": "firefox", "refreshes": 0, "revoked": false,
            "version": 1, "expires_at": created.body["expires_at"],
        })
    );

    let refreshed = client.post(&format!("{path}/refresh"), "");
    assert_eq!((refreshed.status, &refreshed.body["version"]), (200, &json!(2)));
    let shown = client.until(&path, |shown| shown.body["version"] == 2);
    assert_eq!((&shown.body["refreshes"], &shown.body["revoked"]), (&json!(1), &json!(false)));
    assert_eq!(shown.body["expires_at"], refreshed.body["expires_at"]);

    assert_eq!(client.delete(&path).status, 204);
    let shown = client.until(&path, |shown| shown.body["version"] == 3);
    assert_eq!((&shown.body["refreshes"], &shown.body["revoked"]), (&json!(1), &json!(true)));

    client.post(&format!("{path}/refresh"), "").assert_problem(409, "a refresh after the end");
    client.delete(&path).assert_problem(409, "a second end");
    client.until("/health", |health| health.body["backlog"] == 0);
}

#[test]
fn a_wrong_request_changes_nothing_and_is_answered_with_a_problem() {
    let (_demo, url) = Demo::serve(&["--sessions", "1"]);
    let client = Client::new(url);

    let session =
        |user: &str, device: &str| json!({ "user_id": user, "device": device }).to_string();
    let user = Uuid::new_v4().to_string();
    for (what, status, body) in [
        ("malformed JSON", 400, "{\"user_id\":".to_owned()),
        ("no body", 400, String::new()),
        ("no object", 422, "7".to_owned()),
        ("no user", 422, json!({ "device": "firefox/142.0" }).to_string()),
        ("no device", 422, json!({ "user_id": user }).to_string()),
        ("a malformed user", 422, session("me", "firefox/142.0")),
        ("an empty device", 422, session(&user, "")),
        ("a blank device", 422, session(&user, "   ")),
        ("a control character", 422, session(&user, "firefox/\n142.0")),
        ("a long device", 422, session(&user, &format!("firefox/{}", "1".repeat(100)))),
        ("an unknown field", 422, json!({ "user_id": user, "device": "a/1", "n": 1 }).to_string()),
    ] {
        client.post("/sessions", &body).assert_problem(status, what);
    }
    let body = new_session("firefox/142.0");
    client.send("POST", "/sessions", &[], Some(&body)).assert_problem(415, "no content type");
    client.send("PUT", "/sessions", &[], Some(&body)).assert_problem(405, "another method");
    client.get("/nothing").assert_problem(404, "another path");

    for (id, status) in [("7", 400), ("%FF", 400), (&user[..], 404)] {
        client.get(&format!("/sessions/{id}")).assert_problem(status, id);
        client.post(&format!("/sessions/{id}/refresh"), "").assert_problem(status, id);
        client.delete(&format!("/sessions/{id}")).assert_problem(status, id);
    }

    // None of the refused has taken one of the user's five places.
    for place in 1..=5 {
        let created = client.post("/sessions", &session(&user, "firefox/142.0"));
        assert_eq!(created.status, 201, "place {place}: {created:?}");
    }
    client.post("/sessions", &session(&user, "firefox/142.0")).assert_problem(409, "a sixth");
}

#[test]
fn a_correlation_id_is_taken_over_or_made_or_refused() {
    let (_demo, url) = Demo::serve(&["--sessions", "1"]);
    let client = Client::new(url);
    let health =
        |headers: &[(&str, &str)]| client.send("GET", "/health", headers, None).correlation_id;

    assert_eq!(health(&[("x-correlation-id", "order 66")]).as_deref(), Some("order 66"));
    let made = [health(&[]).unwrap(), health(&[]).unwrap()];
    assert_ne!(made[0], made[1]);

    let problem = client.send("GET", "/sessions/7", &[("x-correlation-id", "order 66")], None);
    assert_eq!(problem.correlation_id.as_deref(), Some("order 66"));
    for refused in ["", &"x".repeat(256)] {
        client
            .send("POST", "/sessions", &[("x-correlation-id", refused)], Some("{}"))
            .assert_problem(400, "a correlation id");
    }
}
