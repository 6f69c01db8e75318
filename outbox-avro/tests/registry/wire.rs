//! What goes over the wire, and what a registry may answer.

use std::{path::Path, time::Duration};

use relaybox_avro::{EventSchema, RegistryConfig, SchemaRegistry, Secret, Tls};
use relaybox_core::{ErrorKind, RetryPolicy, error_chain};

use crate::support::{Reply, Stub, config, nobody, registry, servers, v1, within};

/// What the requests say of who asks.
fn logins(stub: &Stub) -> Vec<String> {
    let asked = stub.asked();
    asked
        .iter()
        .flat_map(|request| request.lines())
        .filter_map(|line| line.strip_prefix("authorization: "))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn user_and_password_or_a_token_go_with_each_request_wherever_they_were_given() {
    let stub = Stub::start(|_, _| Reply::schema(v1().text())).await;
    let in_url = format!("http://orders:hunter%202@{}", stub.address());
    let configs = [
        config(&stub.url()).basic_auth("orders", Secret::new("hunter 2")),
        config(&in_url),
        config(&in_url).bearer_token(Secret::new("t0ken")),
    ];
    for config in configs {
        SchemaRegistry::new(config).unwrap().schema_by_id(7).await.unwrap();
    }
    // base64 of "orders:hunter 2"
    let basic = "Basic b3JkZXJzOmh1bnRlciAy";
    assert_eq!(logins(&stub), [basic, basic, "Bearer t0ken"]);
    assert!(stub.asked().iter().all(|request| request.starts_with("GET /schemas/ids/7 HTTP/1.1")));
}

#[tokio::test]
async fn nothing_secret_is_shown_in_debug_or_in_errors() {
    let stub =
        Stub::start(|_, _| Reply::new(401, r#"{"error_code": 40101, "message": "no"}"#)).await;
    let nobody = nobody().await.replace("http://", "http://orders:hunter2@");
    let refusing = format!("http://orders:hunter2@{}", stub.address());
    let mut shown = String::new();
    for url in [&nobody, &refusing] {
        for config in [config(url), config(url).bearer_token(Secret::new("hunter2"))] {
            shown += &format!("{config:?}");
            let registry = SchemaRegistry::new(config).unwrap();
            let error = within(registry.register("s", &v1())).await.unwrap_err();
            shown += &format!("{registry:?} {} {error:?} {error:#?}", error_chain(&error));
        }
    }
    for secret in ["hunter2", "orders", "b3JkZXJz", "://"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn a_refused_login_is_no_matter_of_trying_again() {
    for status in [401, 403] {
        let stub = Stub::start(move |_, _| Reply::new(status, "")).await;
        let error = registry(&stub.url()).schema_by_id(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.is_infrastructure());
        assert_eq!(stub.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_failing_registry_is_asked_again_and_a_working_one_of_several_at_once() {
    for status in [500, 503, 429, 408] {
        let stub = Stub::start(move |nth, _| match nth {
            0 => Reply::new(status, "{}"),
            _ => Reply::schema(v1().text()),
        })
        .await;
        assert_eq!(registry(&stub.url()).schema_by_id(1).await.unwrap(), v1().text());
        assert_eq!(stub.asked().len(), 2, "{status}");
    }
    let failing = Stub::start(|_, _| Reply::new(500, "")).await;
    let working = Stub::start(|_, _| Reply::schema(v1().text())).await;
    let registry = registry(&format!("{},{}", failing.url(), working.url()));
    for _ in 0..3 {
        registry.schema_by_id(1).await.unwrap();
    }
    // The one that answered is asked first from then on.
    assert_eq!((failing.asked().len(), working.asked().len()), (1, 3));
}

#[tokio::test]
async fn it_gives_up_after_as_many_times_as_it_was_told() {
    let stub = Stub::start(|_, _| Reply::new(500, r#"{"message": "out of order"}"#)).await;
    let retry = RetryPolicy::default().base(Duration::from_millis(1)).max_attempts(4);
    let registry = SchemaRegistry::new(config(&stub.url()).retry(retry)).unwrap();
    let error = registry.register("s", &v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("500") && error.to_string().contains("out of order"),
        "{error}"
    );
    assert_eq!(stub.asked().len(), 4);
}

#[tokio::test]
async fn a_slow_registry_is_a_timeout_of_the_request_or_of_the_whole() {
    let (never, answers) = tokio::sync::watch::channel(false);
    let stub = Stub::start(move |_, _| Reply {
        when: Some(answers.clone()),
        ..Reply::schema(v1().text())
    })
    .await;
    let short = Duration::from_millis(200);
    for config in [
        config(&stub.url()).request_timeout(short),
        config(&stub.url()).timeout(short),
        RegistryConfig::new(stub.url()).timeout(short),
    ] {
        let registry = SchemaRegistry::new(config).unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(20), registry.schema_by_id(1));
        let error = asked.await.expect("its own limit comes first").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    drop(never);
}

#[tokio::test]
async fn an_answer_of_any_length_ends_in_a_bounded_error() {
    let stub = Stub::start(|_, _| Reply::schema(&"x".repeat(5_000_000))).await;
    let error = registry(&stub.url()).schema_by_id(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let refusing = Stub::start(|_, _| {
        Reply::new(409, format!(r#"{{"error_code": 409, "message": "{}"}}"#, "no ".repeat(500_000)))
    })
    .await;
    let error = registry(&refusing.url()).register("s", &v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
    assert!(error_chain(&error).len() < 1_000);
}

#[tokio::test]
async fn an_answer_that_is_no_registrys_makes_no_event_a_dead_letter() {
    let html = "<html>welcome to the hotel's network</html>";
    for (status, body) in [(200, html), (404, html), (200, "{}"), (400, ""), (405, ""), (418, "")] {
        let stub = Stub::start(move |_, _| Reply::new(status, body)).await;
        let error = registry(&stub.url()).schema_by_id(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{status} {body}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Stub::start(|_, _| Reply::schema(v1().text())).await;
    let stub = Stub::start(|_, _| Reply {
        headers: "location: http://127.0.0.1:9/\r\n",
        ..Reply::new(307, "")
    })
    .await;
    let error = registry(&stub.url()).schema_by_id(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("redirect"), "{error}");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn an_id_is_unknown_only_when_no_registry_that_answers_knows_it() {
    let unknown = r#"{"error_code": 40403, "message": "Schema not found"}"#;
    let lagging = Stub::start(move |_, _| Reply::new(404, unknown)).await;
    let leading = Stub::start(|_, _| Reply::schema(v1().text())).await;
    let both = registry(&format!("{},{}", lagging.url(), leading.url()));
    assert_eq!(both.schema_by_id(1).await.unwrap(), v1().text());
    let with_dead = registry(&format!("{},{}", lagging.url(), nobody().await));
    assert_eq!(with_dead.schema_by_id(1).await.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn a_schema_of_another_kind_is_no_avro_schema() {
    let body = r#"{"schema": "message M {}", "schemaType": "PROTOBUF"}"#;
    let stub = Stub::start(move |_, _| Reply::new(200, body)).await;
    let error = registry(&stub.url()).schema_by_id(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("PROTOBUF"), "{error}");
}

#[tokio::test]
async fn a_schema_that_refers_to_others_stands_alone_when_it_is_here() {
    let order = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "price", "type": "base.Money"}, {"name": "tax", "type": ["null", "base.Money"]}]}"#;
    let money = r#"{"type": "record", "name": "Money", "namespace": "base", "fields": [
        {"name": "cents", "type": "long"}, {"name": "unit", "type": "Unit"}]}"#;
    let unit = r#"{"type": "enum", "name": "Unit", "namespace": "base", "symbols": ["EUR"]}"#;
    let stub = Stub::start(move |_, request| {
        let (text, references) = match request.split(' ').nth(1).unwrap() {
            "/schemas/ids/1" => {
                (order, r#"[{"name": "base.Money", "subject": "money", "version": 3}]"#)
            }
            "/subjects/money/versions/3" => {
                (money, r#"[{"name": "base.Unit", "subject": "unit", "version": 1}]"#)
            }
            "/subjects/unit/versions/1" => (unit, "[]"),
            // It refers to itself, and to so many that there is no end to it.
            "/schemas/ids/2" => (order, r#"[{"name": "x", "subject": "loop", "version": 1}]"#),
            path => {
                let version: u32 = path.rsplit('/').next().unwrap().parse().unwrap();
                let next =
                    format!(r#"[{{"name": "x", "subject": "loop", "version": {}}}]"#, version + 1);
                let body = serde_json::json!({"schema": unit}).to_string();
                let body = body.replacen('{', &format!(r#"{{"references": {next}, "#), 1);
                return Reply::new(200, body);
            }
        };
        let text = serde_json::Value::from(text);
        Reply::new(200, format!(r#"{{"schema": {text}, "references": {references}}}"#))
    })
    .await;
    let registry = registry(&stub.url());
    let text = registry.schema_by_id(1).await.unwrap();
    let schema = EventSchema::parse(text).unwrap();
    assert_eq!(schema.name(), Some("shop.Order"));
    assert!(schema.text().contains("EUR") && schema.text().contains("cents"));
    let endless = registry.schema_by_id(2).await.unwrap_err();
    assert_eq!(endless.kind(), ErrorKind::Decode);
}

/// As JSON values they would take many times their bytes, and nobody could refuse what they make.
#[tokio::test]
async fn a_schema_that_is_large_with_all_that_it_refers_to_is_refused_before_it_is_read() {
    let stub = Stub::start(move |_, request| {
        let path = request.split(' ').nth(1).unwrap();
        let (bytes, count) = match path {
            "/schemas/ids/1" => (10, 4),
            "/schemas/ids/2" => (10, 8),
            "/schemas/ids/3" => (10, 10_000),
            _ => (100_000, 0),
        };
        let references: Vec<_> = (0..count)
            .map(|at| format!(r#"{{"name": "x", "subject": "s", "version": {at}}}"#))
            .collect();
        let text = format!(
            r#"{{\"type\": \"record\", \"name\": \"R\", \"doc\": \"{}\", \"fields\": []}}"#,
            "x".repeat(bytes)
        );
        let references = references.join(",");
        Reply::new(200, format!(r#"{{"schema": "{text}", "references": [{references}]}}"#))
    })
    .await;
    let registry = registry(&stub.url());
    registry.schema_by_id(1).await.unwrap();
    let before = stub.asked().len();
    let error = registry.schema_by_id(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(stub.asked().len() - before, 7);
    let before = stub.asked().len();
    assert_eq!(registry.schema_by_id(3).await.unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(stub.asked().len() - before, 1);
}

#[tokio::test]
async fn a_certificate_is_verified_with_the_given_authority() {
    let authorities = servers(["RELAYBOX_KAFKA_CA_FILE", "RELAYBOX_KAFKA_OTHER_CA_FILE"]);
    let Some([ca, other]) = authorities else { return };
    let pem = Path::new(&ca).with_file_name("server.pem");
    let stub = Stub::start_tls(&pem, |_, _| Reply::schema(v1().text())).await;
    let url = format!("https://{}", stub.address());
    let with = |ca: &str| SchemaRegistry::new(config(&url).tls(Tls::new().ca_file(ca))).unwrap();
    assert_eq!(with(&ca).schema_by_id(1).await.unwrap(), v1().text());
    for refusing in [with(&other), registry(&url)] {
        let error = refusing.schema_by_id(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error_chain(&error).contains("certificate"), "{}", error_chain(&error));
    }
    // Verified, the name is, too.
    let port = stub.address().rsplit(':').next().unwrap();
    let named = config(&format!("https://ip6-localhost.invalid:{port},https://localhost:{port}"));
    let named = SchemaRegistry::new(named.tls(Tls::new().ca_file(&ca))).unwrap();
    assert_eq!(named.schema_by_id(1).await.unwrap(), v1().text());
    for wrong in ["/nowhere", &format!("{ca}/../../log"), "/dev/null"] {
        let config = config(&url).tls(Tls::new().ca_file(wrong));
        assert_eq!(SchemaRegistry::new(config).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn a_wrong_configuration_is_refused() {
    let with_line_break = RegistryConfig::new("http://r").bearer_token(Secret::new("hunter2\n"));
    let refused = SchemaRegistry::new(with_line_break).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    for urls in ["", " , ", "registry:8081", "ftp://r", "http://"] {
        let refused = SchemaRegistry::new(RegistryConfig::new(urls)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{urls:?}");
    }
    let none = Tls::new().client_certificate("/nowhere/cert.pem", "/nowhere/key.pem");
    let refused = SchemaRegistry::new(RegistryConfig::new("http://r").tls(none)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("/nowhere/key.pem"), "{refused}");
}
