//! What a user of the real Kafka may do to a topic, said in Kafka's own protocol: librdkafka's binding
//! has no call for it.

use relaybox::TopicName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const WRITE: i8 = 4;
const DENY: i8 = 2;

/// Forbids a user to write to a topic.
pub async fn deny_write(brokers: &str, user: &str, topic: &TopicName) {
    ask(brokers, CREATE_ACLS, &acl(user, topic)).await;
}

/// Takes the prohibition back.
pub async fn allow_write(brokers: &str, user: &str, topic: &TopicName) {
    ask(brokers, DELETE_ACLS, &acl(user, topic)).await;
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

/// Sends one request, version 1, and checks that nothing in the answer is an error.
async fn ask(broker: &str, key: i16, body: &[u8]) {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(1_i16.to_be_bytes());
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
