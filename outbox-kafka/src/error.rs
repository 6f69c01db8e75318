//! What librdkafka's errors mean: classified here, and nowhere else.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};
use relaybox_core::{Error, ErrorKind, Retry};

/// Turns an error of the client into ours.
pub(crate) fn convert(operation: &'static str, error: KafkaError) -> Error {
    match error {
        // The value may be a secret; the key and librdkafka's description of it are not.
        KafkaError::ClientConfig(_, _, key, _) => Error::new(ErrorKind::Invalid, operation)
            .detail(format!("librdkafka doesn't accept the value of {key}, or doesn't know it")),
        KafkaError::ClientCreation(reason) | KafkaError::AdminOpCreation(reason) => {
            Error::new(ErrorKind::Invalid, operation).detail(reason)
        }
        KafkaError::AdminOp(code) => from_code(operation, code),
        KafkaError::Nul(_) => {
            Error::new(ErrorKind::Invalid, operation).detail("a name or setting has a zero byte")
        }
        error => match error.rdkafka_error_code() {
            Some(code) => from_code(operation, code),
            None => Error::new(ErrorKind::Other, operation).caused_by(error),
        },
    }
}

/// Makes an error of a code, which becomes its source.
pub(crate) fn from_code(operation: &'static str, code: Code) -> Error {
    let error = Error::new(kind(code), operation).caused_by(code);
    if outcome_is_unknown(code) { error.with_retry(Retry::OutcomeUnknown) } else { error }
}

/// What a code means to a caller.
pub(crate) fn kind(code: Code) -> ErrorKind {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => ErrorKind::TooLarge,

        Code::InvalidRecord | Code::InvalidTimestamp | Code::InvalidMessageSize => {
            ErrorKind::Rejected
        }

        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::PolicyViolation
        | Code::ThrottlingQuotaExceeded => ErrorKind::TopicUnavailable,

        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SecurityDisabled => ErrorKind::Authentication,

        Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::GaplessGuarantee => {
            ErrorKind::Halted
        }

        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::BrokerDestroy
        | Code::DestroyBroker
        | Code::RebootstrapRequired
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::QueueFull
        | Code::Retry
        | Code::WaitingForCoordinator
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NetworkException
        | Code::NotController
        | Code::NotCoordinator
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::KafkaStorageError
        // The producer and the broker disagree on what was sent: a new producer starts afresh.
        | Code::Inconsistent
        | Code::Fenced
        | Code::ProducerFenced
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId => ErrorKind::Unavailable,

        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::RebalanceInProgress
        | Code::AssignmentLost
        | Code::PollExceeded
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch => ErrorKind::Revoked,

        Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::UnsupportedFeature
        | Code::UnsupportedVersion => ErrorKind::Invalid,

        _ => ErrorKind::Other,
    }
}

/// Whether the broker may have done what was asked nevertheless.
fn outcome_is_unknown(code: Code) -> bool {
    matches!(
        code,
        // A purged record may be a retry of one that the broker has.
        Code::PurgeQueue
            | Code::PurgeInflight
            | Code::BrokerTransportFailure
            | Code::NetworkException
            | Code::RequestTimedOut
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::NotEnoughReplicasAfterAppend
            | Code::Inconsistent
            | Code::Fenced
            | Code::ProducerFenced
            | Code::OutOfOrderSequenceNumber
            | Code::DuplicateSequenceNumber
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
    )
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn an_error_about_a_topic_or_the_cluster_never_blames_the_record() {
        for code in [
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::UnknownTopic,
            Code::UnknownTopicOrPartition,
            Code::PolicyViolation,
            Code::ThrottlingQuotaExceeded,
        ] {
            assert_eq!(kind(code), ErrorKind::TopicUnavailable, "{code:?}");
        }
        assert_eq!(kind(Code::MessageSizeTooLarge), ErrorKind::TooLarge);
        assert_eq!(kind(Code::InvalidRecord), ErrorKind::Rejected);
    }

    #[test]
    fn a_purged_record_may_be_on_the_topic() {
        let error = from_code("publish", Code::PurgeInflight);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Halted, Retry::OutcomeUnknown));
    }

    #[test]
    fn a_refused_setting_is_named_without_its_value() {
        let error = KafkaError::ClientConfig(
            RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Invalid value \"hunter2\"".into(),
            "linger.ms".into(),
            "hunter2".into(),
        );
        let error = convert("make a client", error);
        let text = format!("{error} {error:?}");
        assert!(text.contains("linger.ms") && !text.contains("hunter2"), "{text}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
