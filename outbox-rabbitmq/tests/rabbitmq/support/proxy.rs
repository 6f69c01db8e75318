//! A proxy before the broker, to be cut and to be made silent.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Passes everything on, until told otherwise.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<watch::Sender<State>>,
    /// How many bytes of clients are still passed on.
    left: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Connections of an older generation end.
    generation: u32,
    /// Whether what the broker says is kept back.
    silent: bool,
    /// Whether new connections end at once.
    closed: bool,
}

impl Proxy {
    /// Starts one before the broker of this URL.
    pub(crate) async fn start(url: &str) -> Self {
        let server = address(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::channel(State::default()).0);
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let (changes, allowed) = (Arc::clone(&state), Arc::clone(&left));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if changes.borrow().closed {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let allowed = Arc::clone(&allowed);
                tokio::spawn(pass(client, server, changes.subscribe(), allowed));
            }
        });
        Self { port, state, left, task }
    }

    /// The same URL through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replacen(address(url), &format!("127.0.0.1:{}", self.port), 1)
    }

    /// Cuts all connections; new ones are passed on.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Passes so many more bytes of clients on, and then cuts all connections, for good.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.left.store(bytes, SeqCst);
    }

    /// Keeps back what the broker says, or no longer.
    pub(crate) fn silence(&self, silent: bool) {
        self.state.send_modify(|state| state.silent = silent);
    }

    /// Cuts all connections and lets no new one through, or does so again.
    pub(crate) fn close(&self, closed: bool) {
        self.state.send_modify(|state| {
            state.closed = closed;
            state.generation += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn address(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split_once('/').map_or(rest, |(address, _)| address)
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    mut state: watch::Receiver<State>,
    left: Arc<AtomicUsize>,
) {
    let generation = state.borrow().generation;
    let mut ending = state.clone();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut buffer = vec![0; 4 * 1024];
        loop {
            let Ok(read @ 1..) = from_client.read(&mut buffer).await else { return };
            let spend = |left: usize| left.checked_sub(read);
            if left.fetch_update(SeqCst, SeqCst, spend).is_err()
                || to_server.write_all(&buffer[..read]).await.is_err()
            {
                return;
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(read @ 1..) = from_server.read(&mut buffer).await else { return };
            if state.wait_for(|state| !state.silent).await.is_err()
                || to_client.write_all(&buffer[..read]).await.is_err()
            {
                return;
            }
        }
    };
    // Dropping what is left closes both connections.
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = ending.wait_for(|state| state.generation != generation) => {}
    }
}
