//! A proxy before Postgres that loses the replies to commits.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    task::JoinHandle,
};

/// `CommandComplete`, as the protocol has it: type, length with itself, tag.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// Passes everything on, but cuts the connection when the server says for the n-th time that it has
/// committed: it has, and its client will not hear of it.
#[derive(Debug)]
pub struct CommitCutter {
    port: u16,
    cuts: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl CommitCutter {
    /// Starts one before the server of this address; every `nth` reply to a commit is lost.
    pub async fn start(url: &str, nth: u32) -> Self {
        let server = address(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicU32::new(0));
        let (commits, counted) = (Arc::new(AtomicU32::new(0)), Arc::clone(&cuts));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (commits, cuts) = (Arc::clone(&commits), Arc::clone(&counted));
                tokio::spawn(async move {
                    let lost = || (commits.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(nth);
                    if pass(client, server, lost).await {
                        cuts.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { port, cuts, task }
    }

    /// The address of the same database through the proxy.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let through = format!("127.0.0.1:{}", self.port);
        format!("{}?sslmode=disable", url.replacen(address(url), &through, 1))
    }

    /// How many replies it has lost.
    #[must_use]
    pub fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for CommitCutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Host and port in an address such as `postgres://user@host:port/database`.
fn address(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split_once('/').map_or(rest, |(address, _)| address)
}

/// Passes on until either side ends or a reply is to be lost; says whether one was.
async fn pass(client: TcpStream, server: TcpStream, lost: impl Fn() -> bool + Sync) -> bool {
    // Small messages in a row would wait for one another's acknowledgement otherwise.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let forward = forward(from_client, to_server);
    let back = async {
        let mut waiting = Vec::new();
        while from_server.read_buf(&mut waiting).await.is_ok_and(|read| read > 0) {
            while let Some(end) = end_of_message(&waiting) {
                if &waiting[..end] == COMMITTED && lost() {
                    return true;
                }
                if to_client.write_all(&waiting[..end]).await.is_err() {
                    return false;
                }
                waiting.drain(..end);
            }
        }
        false
    };
    // Dropping what is left closes both connections.
    tokio::select! {
        () = forward => false,
        lost = back => lost,
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

/// Where the first message ends, if all of it is there.
fn end_of_message(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().unwrap());
    let end = 1 + usize::try_from(length).unwrap();
    (bytes.len() >= end).then_some(end)
}
