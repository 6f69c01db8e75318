//! What AMQP's and the client's errors mean: classified here, and nowhere else.

use std::io;

use lapin::ErrorKind as Client;
use relaybox_core::{Error, ErrorKind, Retry};

/// Replies of the broker, by their AMQP numbers.
pub(crate) const ACCESS_REFUSED: u16 = 403;
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;

/// Turns an error on a channel or an open connection into ours.
pub(crate) fn convert(operation: &'static str, error: lapin::Error) -> Error {
    let kind = kind(&error);
    let unknown = kind == ErrorKind::Unavailable;
    let error = Error::new(kind, operation).caused_by(error);
    if unknown { error.with_retry(Retry::OutcomeUnknown) } else { error }
}

/// Turns an error of connecting into ours: nothing was done then.
pub(crate) fn convert_connecting(operation: &'static str, error: lapin::Error) -> Error {
    let kind = match (code(&error), error.kind()) {
        // 530 is the virtual host: unknown, or closed to this user.
        (Some(ACCESS_REFUSED | 530), _) => ErrorKind::Authentication,
        (None, Client::IOError(source)) if is_of_tls(source) => ErrorKind::Authentication,
        _ => kind(&error),
    };
    Error::new(kind, operation).caused_by(error)
}

/// The number of the broker's reply, where the error is one.
pub(crate) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        Client::ProtocolError(reply) => Some(reply.get_id()),
        _ => None,
    }
}

/// The broker's reply in words, or the client's.
pub(crate) fn text(error: &lapin::Error) -> String {
    match error.kind() {
        Client::ProtocolError(reply) => reply.get_message().to_string(),
        _ => error.to_string(),
    }
}

fn kind(error: &lapin::Error) -> ErrorKind {
    match error.kind() {
        Client::ProtocolError(reply) => match reply.get_id() {
            311 => ErrorKind::TooLarge,
            PRECONDITION_FAILED if is_too_large(&text(error)) => ErrorKind::TooLarge,
            // No route, refused, not there, in somebody else's exclusive use.
            312 | ACCESS_REFUSED | NOT_FOUND | 405 => ErrorKind::TopicUnavailable,
            402 => ErrorKind::Invalid,
            // Not allowed: the virtual host.
            530 => ErrorKind::Authentication,
            // Forced by an operator, out of resources, internal; 406 is an acknowledgement that took
            // too long, for declarations are looked at by themselves.
            320 | PRECONDITION_FAILED | 506 | 541 => ErrorKind::Unavailable,
            540 => ErrorKind::Invalid,
            _ => ErrorKind::Other,
        },
        Client::IOError(_)
        | Client::RuntimeShutdownError(_)
        | Client::MissingHeartbeatError
        | Client::InvalidChannel(_)
        | Client::InvalidChannelState(..)
        | Client::InvalidConnectionState(_)
        | Client::ChannelsLimitReached => ErrorKind::Unavailable,
        Client::SerialisationError(_) => ErrorKind::Rejected,
        _ => ErrorKind::Other,
    }
}

fn is_too_large(reply: &str) -> bool {
    reply.contains("message size")
}

/// rustls' errors come wrapped as invalid data.
fn is_of_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPHardError, AMQPSoftError};

    use super::*;

    fn soft(code: AMQPSoftError, text: &str) -> lapin::Error {
        Client::ProtocolError(AMQPError::new(code.into(), text.into())).into()
    }

    #[test]
    fn an_error_about_an_exchange_or_a_right_never_blames_the_record() {
        for code in [AMQPSoftError::ACCESSREFUSED, AMQPSoftError::NOTFOUND] {
            let error = convert("publish", soft(code, "refused"));
            assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
        }
        let large = "PRECONDITION_FAILED - message size 9 is larger than configured max size 8";
        let error = convert("publish", soft(AMQPSoftError::PRECONDITIONFAILED, large));
        assert_eq!((error.kind(), error.retry()), (ErrorKind::TooLarge, Retry::Never));
    }

    #[test]
    fn a_login_that_is_refused_is_told_from_a_right_that_is_missing() {
        let refused = || soft(AMQPSoftError::ACCESSREFUSED, "Login was refused");
        assert_eq!(convert_connecting("connect", refused()).kind(), ErrorKind::Authentication);
        assert_eq!(convert("publish", refused()).kind(), ErrorKind::TopicUnavailable);
    }

    #[test]
    fn a_connection_that_breaks_leaves_the_outcome_open() {
        let broken: lapin::Error = io::Error::from(io::ErrorKind::ConnectionReset).into();
        let error = convert("publish", broken);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::OutcomeUnknown));
        let forced = AMQPError::new(AMQPHardError::CONNECTIONFORCED.into(), "by hand".into());
        let error = convert("publish", Client::ProtocolError(forced).into());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
