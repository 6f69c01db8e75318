//! The client on a real registry.

use relaybox_avro::{Compatibility, EventSchema, SchemaRegistry};
use relaybox_core::{ErrorKind, EventId};

use crate::support::{
    DEVICE, ID, REQUIRED, USER, config, nobody, registry, registry_url, schema, v1, v2, within,
};

fn unique_subject() -> String {
    format!("s-{}", EventId::new())
}

#[tokio::test]
async fn registering_twice_gives_one_id_and_it_is_found_by_all_ways() {
    let Some(url) = registry_url() else { return };
    let (registry, subject) = (registry(&url), unique_subject());
    assert_eq!(registry.lookup(&subject, &v1()).await.unwrap(), None);
    assert_eq!(registry.latest(&subject).await.unwrap(), None);
    assert!(registry.versions(&subject).await.unwrap().is_empty());

    let id = registry.register(&subject, &v1()).await.unwrap();
    assert_eq!(registry.register(&subject, &v1()).await.unwrap(), id);
    let found = registry.lookup(&subject, &v1()).await.unwrap().unwrap();
    assert_eq!((found.id, found.version, found.subject.as_str()), (id, 1, subject.as_str()));
    assert_eq!(registry.schema_by_id(id).await.unwrap(), v1().text());
    assert_eq!(registry.lookup(&subject, &v2()).await.unwrap(), None);

    let second = registry.register(&subject, &v2()).await.unwrap();
    assert_ne!(second, id);
    assert_eq!(registry.versions(&subject).await.unwrap(), [1, 2]);
    assert_eq!(registry.latest(&subject).await.unwrap().unwrap().text, v2().text());
    assert_eq!(registry.version(&subject, 1).await.unwrap().unwrap().text, v1().text());
    assert_eq!(registry.version(&subject, 9).await.unwrap(), None);
    assert!(registry.subjects().await.unwrap().contains(&subject));
}

#[tokio::test]
async fn a_schema_keeps_its_id_under_every_subject() {
    let Some(url) = registry_url() else { return };
    let registry = registry(&url);
    let id = registry.register(&unique_subject(), &v1()).await.unwrap();
    assert_eq!(registry.register(&unique_subject(), &v1()).await.unwrap(), id);
}

#[tokio::test]
async fn an_unknown_id_is_permanent_and_a_url_without_its_path_is_not() {
    let Some(url) = registry_url() else { return };
    let unknown = registry(&url).schema_by_id(2_000_000_000).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Decode);
    assert!(unknown.to_string().contains("2000000000"), "{unknown}");
    let root = url.strip_suffix("/apis/ccompat/v7").unwrap();
    let wrong = registry(root).schema_by_id(1).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unavailable);
    assert!(wrong.to_string().contains("base path"), "{wrong}");
}

/// Checks `next` after `first`, and gives the reasons.
async fn reasons(
    registry: &SchemaRegistry,
    first: &EventSchema,
    next: &EventSchema,
) -> Vec<String> {
    let subject = unique_subject();
    registry.register(&subject, first).await.unwrap();
    let verdict = registry.check_compatibility(&subject, next).await.unwrap();
    assert_eq!(verdict.is_compatible, verdict.messages.is_empty(), "{verdict:?}");
    verdict.messages
}

#[tokio::test]
async fn a_nullable_field_with_a_default_passes_and_the_first_schema_always_does() {
    let Some(url) = registry_url() else { return };
    let registry = registry(&url);
    assert_eq!(registry.default_compatibility().await.unwrap(), Compatibility::Backward);
    assert!(reasons(&registry, &v1(), &v2()).await.is_empty());
    let verdict = registry.check_compatibility(&unique_subject(), &v1()).await.unwrap();
    assert!(verdict.is_compatible);
}

#[tokio::test]
async fn a_new_required_field_is_refused_by_name_when_checked_and_when_registered() {
    let Some(url) = registry_url() else { return };
    let (registry, next) = (registry(&url), schema(&[ID, USER, REQUIRED]));
    let messages = reasons(&registry, &v1(), &next).await;
    assert!(messages.iter().any(|message| message.contains("region")), "{messages:?}");
    let subject = unique_subject();
    registry.register(&subject, &v1()).await.unwrap();
    let refused = registry.register(&subject, &next).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TopicUnavailable);
    assert!(refused.to_string().contains("region"), "{refused}");
}

#[tokio::test]
async fn a_removed_required_field_is_refused_by_name_unless_that_is_allowed() {
    let Some(url) = registry_url() else { return };
    let next = schema(&[ID, DEVICE]);
    let messages = reasons(&registry(&url), &v1(), &next).await;
    assert!(messages.iter().any(|message| message.contains("user_id")), "{messages:?}");
    let lenient = SchemaRegistry::new(config(&url).allow_removed_fields()).unwrap();
    assert!(reasons(&lenient, &v1(), &next).await.is_empty());
}

#[tokio::test]
async fn a_subject_has_a_level_of_its_own() {
    let Some(url) = registry_url() else { return };
    let (registry, subject) = (registry(&url), unique_subject());
    assert_eq!(registry.compatibility(&subject).await.unwrap(), Compatibility::Backward);
    registry.register(&subject, &v2()).await.unwrap();
    registry.set_compatibility(&subject, Compatibility::FullTransitive).await.unwrap();
    assert_eq!(registry.compatibility(&subject).await.unwrap(), Compatibility::FullTransitive);
    let next = schema(&[ID, USER, DEVICE, REQUIRED]);
    assert!(!registry.check_compatibility(&subject, &next).await.unwrap().is_compatible);
    registry.set_compatibility(&subject, Compatibility::Forward).await.unwrap();
    let verdict = registry.check_compatibility(&subject, &next).await.unwrap();
    assert!(verdict.is_compatible, "{verdict:?}");
    let unchanged = registry.default_compatibility().await.unwrap();
    assert_eq!(unchanged, Compatibility::Backward);
}

#[tokio::test]
async fn a_subject_may_have_any_characters_of_a_name() {
    let Some(url) = registry_url() else { return };
    let (registry, subject) = (registry(&url), format!("a/b c%2F?ü-{}", EventId::new()));
    registry.register(&subject, &v1()).await.unwrap();
    assert_eq!(registry.latest(&subject).await.unwrap().unwrap().subject, subject);
    for wrong in ["", ".", "..", "a\nb", &"x".repeat(2_000)] {
        let refused = registry.latest(wrong).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_url_that_nobody_answers_is_passed_over() {
    let Some(url) = registry_url() else { return };
    let dead = nobody().await;
    let urls = format!("{dead}, {url}");
    let registry = registry(&urls);
    let id = within(registry.register(&unique_subject(), &v1())).await.unwrap();
    assert_eq!(registry.schema_by_id(id).await.unwrap(), v1().text());
    let alone = within(crate::support::registry(&dead).schema_by_id(id)).await.unwrap_err();
    assert_eq!(alone.kind(), ErrorKind::Unavailable);
}
