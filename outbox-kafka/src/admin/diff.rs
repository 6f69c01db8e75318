//! What differs between a topic and its spec.

use super::{
    TopicSpec, TopicStep,
    cluster::{Setting, Topic},
};

/// The steps that give a topic its partitions and copies, or say why not.
pub(super) fn shape(spec: &TopicSpec, topic: &Topic) -> Vec<TopicStep> {
    let mut steps = Vec::new();
    let (from, to) = (topic.partitions(), spec.partitions);
    if to < from {
        steps.push(refused(format!(
            "it has {from} partitions, and {to} are asked for: Kafka takes no partition away; move its \
             records to a new topic"
        )));
    } else if to > from && !spec.may_grow {
        steps.push(refused(format!(
            "it has {from} partitions, and {to} are asked for: more of them send keys elsewhere, so that \
             new records may pass old ones; allow it for a topic that is read to its end, or that needs \
             no order"
        )));
    } else if to > from {
        steps.push(TopicStep::AddPartitions { from, to });
    }
    if let Some(count) = topic.other_replication(spec.replication) {
        let wanted = spec.replication;
        steps.push(refused(format!(
            "it has {count} copies, and {wanted} are asked for: moving copies is a reassignment, which \
             kafka-reassign-partitions.sh does"
        )));
    }
    steps
}

/// The steps that give a topic the settings that its spec names.
pub(super) fn settings(spec: &TopicSpec, found: &[Setting]) -> Vec<TopicStep> {
    let step = |(name, to): (&String, &String)| {
        let Some(setting) = found.iter().find(|setting| setting.name == *name) else {
            return Some(refused(format!("the cluster knows no topic setting {name}")));
        };
        let from = setting.value.clone();
        match &from {
            _ if setting.is_secret => Some(refused(format!(
                "the cluster keeps the value of {name} to itself: it can't be compared"
            ))),
            Some(value) if is_same(value, to) => None,
            _ => Some(TopicStep::Set { setting: name.clone(), from, to: to.clone() }),
        }
    };
    spec.settings.iter().filter_map(step).collect()
}

fn refused(reason: String) -> TopicStep {
    TopicStep::Refused { reason }
}

/// Whether two values are one to a broker, which reports `1e3` as `1000.0`, `TRUE` as `true` and
/// `compact, delete` as `compact,delete`. What is a number to us may be a text to it; then it has no
/// other spelling.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim(), other.trim());
    if let (Ok(one), Ok(other)) = (one.parse::<i64>(), other.parse::<i64>()) {
        return one == other;
    }
    if let (Ok(one), Ok(other)) = (one.parse::<f64>(), other.parse::<f64>()) {
        return one == other;
    }
    let truth = |text: &str| ["true", "false"].iter().position(|t| text.eq_ignore_ascii_case(t));
    match (truth(one), truth(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.split(',').map(str::trim).eq(other.split(',').map(str::trim)),
    }
}

#[cfg(test)]
mod tests {
    use relaybox_core::TopicName;

    use super::*;

    fn spec(partitions: i32, replication: i32) -> TopicSpec {
        TopicSpec::new(TopicName::new("t").unwrap(), partitions, replication)
    }

    fn reasons(steps: &[TopicStep]) -> String {
        steps.iter().filter(|step| step.is_refused()).map(ToString::to_string).collect()
    }

    #[test]
    fn only_more_partitions_are_possible_and_only_when_allowed() {
        let topic = Topic::new(vec![0; 6], vec![3; 6]);
        assert!(shape(&spec(6, 3), &topic).is_empty());
        assert!(shape(&spec(6, -1), &topic).is_empty(), "the cluster's own");
        for spec in [spec(12, 3), spec(3, 3), spec(3, 3).allow_more_partitions()] {
            let steps = shape(&spec, &topic);
            assert!(steps.len() == 1 && reasons(&steps).contains("6 partitions"), "{steps:?}");
        }
        let added = shape(&spec(12, 3).allow_more_partitions(), &topic);
        assert_eq!(added, [TopicStep::AddPartitions { from: 6, to: 12 }]);
    }

    #[test]
    fn another_number_of_copies_is_refused() {
        let topic = Topic::new(vec![0; 2], vec![1, 3]);
        assert!(reasons(&shape(&spec(2, 3), &topic)).contains("1 copies"));
    }

    #[test]
    fn a_setting_that_the_cluster_does_not_know_or_hides_is_refused() {
        let found = [
            Setting::new("retention.ms", Some("1"), true),
            Setting { is_secret: true, ..Setting::new("secret.thing", None, true) },
        ];
        let spec =
            spec(1, 1).set("retention.ms", "2").set("secret.thing", "x").set("retention.m", "1");
        let steps = settings(&spec, &found);
        assert!(reasons(&steps).contains("no topic setting retention.m"), "{steps:?}");
        assert!(reasons(&steps).contains("secret.thing"), "{steps:?}");
        let set = TopicStep::Set {
            setting: "retention.ms".to_owned(),
            from: Some("1".to_owned()),
            to: "2".to_owned(),
        };
        assert!(steps.contains(&set), "{steps:?}");
    }

    #[test]
    fn values_are_compared_as_a_broker_reads_them() {
        for (one, other) in [
            ("1000", " 1000 "),
            ("0.5", "0.50"),
            ("true", "TRUE"),
            ("compact,delete", "compact, delete"),
            ("", ""),
        ] {
            assert!(is_same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1000", "1001"),
            ("9223372036854775807", "9223372036854775806"),
            ("true", "false"),
            ("compact", "delete"),
            ("compact,delete", "compact"),
            ("", "0"),
        ] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }
}
