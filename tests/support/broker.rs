//! What a user or a client of the real Kafka may do, said in Kafka's own protocol: librdkafka's binding
//! has no call for it.

use relaybox::TopicName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CREATE_ACLS: Request = Request { key: 30, version: 1 };
const DELETE_ACLS: Request = Request { key: 31, version: 1 };
const ALTER_CLIENT_QUOTAS: Request = Request { key: 49, version: 0 };
const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const WRITE: i8 = 4;
const DENY: i8 = 2;

/// A kind of request; all of them answer alike.
#[derive(Clone, Copy)]
struct Request {
    key: i16,
    version: i16,
}

/// Forbids a user to write to a topic.
pub async fn deny_write(brokers: &str, user: &str, topic: &TopicName) {
    ask(brokers, CREATE_ACLS, &acl(user, topic)).await;
}

/// Takes the prohibition back.
pub async fn allow_write(brokers: &str, user: &str, topic: &TopicName) {
    ask(brokers, DELETE_ACLS, &acl(user, topic)).await;
}

/// Lets a client write so many bytes a second to each broker, and no more: its answers are held back.
pub async fn limit_bytes(brokers: &str, client_id: &str, bytes: u32) {
    ask(brokers, ALTER_CLIENT_QUOTAS, &quota(client_id, Some(bytes))).await;
}

/// Takes the limit back.
pub async fn lift_limit(brokers: &str, client_id: &str) {
    ask(brokers, ALTER_CLIENT_QUOTAS, &quota(client_id, None)).await;
}

fn quota(client_id: &str, bytes: Option<u32>) -> Vec<u8> {
    // One entry, of one entity, with one operation.
    let mut body = 1_i32.to_be_bytes().to_vec();
    body.extend(1_i32.to_be_bytes());
    put(&mut body, "client-id");
    put(&mut body, client_id);
    body.extend(1_i32.to_be_bytes());
    put(&mut body, "producer_byte_rate");
    body.extend(f64::from(bytes.unwrap_or_default()).to_be_bytes());
    body.push(u8::from(bytes.is_none()));
    let validate_only = 0;
    body.push(validate_only);
    body
}

/// One rule, or the filter of one: in version 1 of both requests they look alike.
fn acl(user: &str, topic: &TopicName) -> Vec<u8> {
    let mut body = 1_i32.to_be_bytes().to_vec();
    body.extend(TOPIC.to_be_bytes());
    put(&mut body, topic.as_str());
    body.extend(LITERAL.to_be_bytes());
    put(&mut body, &format!("User:{user}"));
    put(&mut body, "*");
    body.extend(WRITE.to_be_bytes());
    body.extend(DENY.to_be_bytes());
    body
}

/// Sends one request, and checks that nothing in the answer is an error.
async fn ask(broker: &str, Request { key, version }: Request, body: &[u8]) {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    put(&mut request, "relaybox-tests");
    request.extend(body);
    let mut broker = TcpStream::connect(broker).await.unwrap();
    broker.write_i32(i32::try_from(request.len()).unwrap()).await.unwrap();
    broker.write_all(&request).await.unwrap();
    let mut answer = vec![0; usize::try_from(broker.read_i32().await.unwrap()).unwrap()];
    broker.read_exact(&mut answer).await.unwrap();
    // Correlation id, throttle time, one result; its error code comes first.
    assert_eq!(answer[8..12], 1_i32.to_be_bytes(), "one result");
    assert_eq!(answer[12..14], [0, 0], "error code");
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend(text.as_bytes());
}
