//! A scripted member of a replica set: speaks the wire protocol, answers as it is told, and remembers what it
//! was asked.

use std::sync::{Arc, Mutex};

use mongodb::{
    Client, Database,
    bson::{Bson, DateTime, Document, doc},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a server says to a command.
pub(super) enum Answer {
    /// This.
    Says(Document),
    /// What a server says that did it.
    Done,
    /// Nothing: the connection breaks.
    Breaks,
    /// Nothing, for ever.
    Hangs,
}

type Script = Arc<Mutex<dyn FnMut(&str, &Document) -> Answer + Send>>;

pub(super) struct Server {
    log: Arc<Mutex<Vec<Document>>>,
    port: u16,
    accepts: JoinHandle<()>,
}

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

impl Server {
    /// Starts one that answers so. It answers what is about itself by itself.
    pub(super) async fn start(
        script: impl FnMut(&str, &Document) -> Answer + Send + 'static,
    ) -> Self {
        Self::start_as(21, script).await
    }

    /// One that is as old as this, and does what it is told.
    pub(super) async fn of_wire_version(version: i32) -> Self {
        Self::start_as(version, |_, _| Answer::Done).await
    }

    async fn start_as(
        version: i32,
        script: impl FnMut(&str, &Document) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log: Arc<Mutex<Vec<Document>>> = Arc::default();
        let script: Script = Arc::new(Mutex::new(script));
        let for_connections = Arc::clone(&log);
        let accepts = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (Arc::clone(&script), Arc::clone(&for_connections));
                tokio::spawn(async move {
                    // The client closes it, or the script breaks it.
                    let _ = converse(stream, (port, version), &script, &log).await;
                });
            }
        });
        Self { log, port, accepts }
    }

    /// One that does what it is told.
    pub(super) async fn obedient() -> Self {
        Self::start(|_, _| Answer::Done).await
    }

    pub(super) async fn database(&self) -> Database {
        let url = format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port);
        Client::with_uri_str(url).await.unwrap().database("test")
    }

    /// What it was asked so far.
    pub(super) fn commands(&self) -> Vec<Document> {
        self.log.lock().unwrap().clone()
    }

    /// The names of the commands.
    pub(super) fn names(&self) -> Vec<String> {
        self.commands().iter().map(|command| name(command).to_owned()).collect()
    }

    /// Waits until it was asked this often.
    pub(super) async fn asked(&self, command: &str, times: usize) {
        let asked = async {
            while self.names().iter().filter(|name| *name == command).count() < times {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        let limit = std::time::Duration::from_secs(20);
        let in_time = tokio::time::timeout(limit, asked).await;
        assert!(in_time.is_ok(), "it is asked to {command}: {:?}", self.names());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

/// A command's name: its first field.
pub(super) fn name(command: &Document) -> &str {
    command.keys().next().map_or("", String::as_str)
}

/// An error, with labels or without.
pub(super) fn error(code: i32, name: &str, labels: &[&str]) -> Answer {
    let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
    let mut error =
        doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": "so it was scripted" };
    if !labels.is_empty() {
        error.insert("errorLabels", labels);
    }
    Answer::Says(error)
}

/// The error of a write that the command as a whole got through with.
pub(super) fn write_error(code: i32) -> Answer {
    let error = doc! { "index": 0, "code": code, "errmsg": "dup key: { secret: 1 }" };
    Answer::Says(doc! { "ok": 1.0, "n": 0, "writeErrors": [error] })
}

/// All that a query finds.
pub(super) fn found(documents: Vec<Document>) -> Answer {
    Answer::Says(cursor(0, "firstBatch", documents))
}

pub(super) fn cursor(id: i64, batch: &str, documents: Vec<Document>) -> Document {
    let cursor = doc! { "id": id, "ns": "test.any", batch: documents };
    doc! { "ok": 1.0, "cursor": cursor }
}

async fn converse(
    mut stream: TcpStream,
    (port, version): (u16, i32),
    script: &Script,
    log: &Mutex<Vec<Document>>,
) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await?;
        let mut message = vec![0; usize::try_from(i32::from_le_bytes(length)).unwrap() - 4];
        stream.read_exact(&mut message).await?;
        let request = int(&message[0..]);
        let opcode = int(&message[8..]);
        let command = match opcode {
            OP_QUERY => query(&message[12..]),
            _ => msg(&message[12..]),
        };
        let answer = match name(&command) {
            "hello" | "isMaster" | "ismaster" => hello(port, version),
            "ping" | "endSessions" | "killCursors" => doc! { "ok": 1.0 },
            name => {
                log.lock().unwrap().push(command.clone());
                let answer = (*script.lock().unwrap())(name, &command);
                match answer {
                    Answer::Says(answer) => answer,
                    Answer::Done => done(name, &command),
                    Answer::Breaks => return Ok(()),
                    Answer::Hangs => return std::future::pending().await,
                }
            }
        };
        stream.write_all(&reply(opcode, request, &answer)).await?;
    }
}

fn hello(port: u16, version: i32) -> Document {
    let me = format!("127.0.0.1:{port}");
    doc! {
        "ok": 1.0, "helloOk": true, "isWritablePrimary": true, "ismaster": true, "setName": "rs0",
        "hosts": [&me], "primary": &me, "me": me, "setVersion": 1, "localTime": DateTime::now(),
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30, "minWireVersion": 0,
        "maxWireVersion": version,
    }
}

/// What a server says when all went well.
fn done(name: &str, command: &Document) -> Document {
    let count = |list: &str| command.get_array(list).map_or(0, Vec::len);
    let count = |list: &str| i32::try_from(count(list)).unwrap();
    match name {
        "insert" => doc! { "ok": 1.0, "n": count("documents") },
        "update" => doc! { "ok": 1.0, "n": 1, "nModified": 1 },
        "delete" => doc! { "ok": 1.0, "n": count("deletes") },
        "find" | "aggregate" => cursor(0, "firstBatch", vec![]),
        "distinct" => doc! { "ok": 1.0, "values": [] },
        "findAndModify" => doc! { "ok": 1.0, "value": null },
        _ => doc! { "ok": 1.0 },
    }
}

fn int(bytes: &[u8]) -> i32 {
    i32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn document(bytes: &[u8]) -> (Document, usize) {
    let length = usize::try_from(int(bytes)).unwrap();
    (Document::from_reader(&bytes[..length]).unwrap(), length)
}

/// Flags, the collection's name, two numbers, the command.
fn query(body: &[u8]) -> Document {
    let end = body[4..].iter().position(|byte| *byte == 0).unwrap() + 5;
    document(&body[end + 8..]).0
}

/// Flags, then sections: the command (0), or a list that belongs into it (1).
fn msg(body: &[u8]) -> Document {
    let mut rest = &body[4..];
    let mut command = Document::new();
    let mut lists = Vec::new();
    while let [kind, section @ ..] = rest {
        let length = usize::try_from(int(section)).unwrap();
        if *kind == 0 {
            command = document(section).0;
        } else {
            let name_end = 4 + section[4..].iter().position(|byte| *byte == 0).unwrap();
            let name = std::str::from_utf8(&section[4..name_end]).unwrap().to_owned();
            let mut documents = &section[name_end + 1..length];
            let mut list: Vec<Bson> = Vec::new();
            while !documents.is_empty() {
                let (document, length) = document(documents);
                list.push(document.into());
                documents = &documents[length..];
            }
            lists.push((name, list));
        }
        rest = &section[length..];
    }
    command.extend(lists.into_iter().map(|(name, list)| (name, Bson::Array(list))));
    command
}

fn reply(opcode: i32, request: i32, answer: &Document) -> Vec<u8> {
    let mut body = Vec::new();
    if opcode == OP_QUERY {
        // Flags, cursor, first, count.
        body.extend([0; 12]);
        body.extend([0, 0, 0, 0]);
        body.extend(1_i32.to_le_bytes());
    } else {
        // Flags, and one section.
        body.extend([0; 5]);
    }
    body.extend(answer.to_vec().unwrap());
    let opcode = if opcode == OP_QUERY { OP_REPLY } else { OP_MSG };
    let mut message = Vec::new();
    message.extend(i32::try_from(body.len() + 16).unwrap().to_le_bytes());
    message.extend(1_i32.to_le_bytes());
    message.extend(request.to_le_bytes());
    message.extend(opcode.to_le_bytes());
    message.extend(body);
    message
}
