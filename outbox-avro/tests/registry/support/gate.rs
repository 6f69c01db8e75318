//! A way to a registry that can be shut.

use std::sync::Arc;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Passes everything on while it is open. When it shuts, connections end and new ones are refused an
/// answer.
pub(crate) struct Gate {
    url: String,
    open: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Gate {
    /// An open one before the server of this URL.
    pub(crate) async fn before(url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let server = rest.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url.replacen(&server, &listener.local_addr().unwrap().to_string(), 1);
        let open = Arc::new(watch::channel(true).0);
        let state = Arc::clone(&open);
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut state = state.subscribe();
                let server = server.clone();
                tokio::spawn(async move {
                    let pass = async {
                        if let Ok(mut server) = TcpStream::connect(server).await {
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                        }
                    };
                    tokio::select! {
                        biased;
                        _ = state.wait_for(|open| !open) => {}
                        () = pass => {}
                    }
                });
            }
        });
        Self { url, open, task }
    }

    /// The same URL through the gate.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn shut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}
