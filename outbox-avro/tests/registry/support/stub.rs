//! A server that says what it is told to, and remembers what it was asked.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

pub(crate) struct Stub {
    address: String,
    asked: Asked,
    task: JoinHandle<()>,
}

type Asked = Arc<Mutex<Vec<String>>>;
type Answers = Arc<dyn Fn(usize, &str) -> Reply + Send + Sync>;

/// What it says to a request.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: &'static str,
    pub(crate) body: String,
    /// Not before this is set.
    pub(crate) when: Option<watch::Receiver<bool>>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: "", body: body.into(), when: None }
    }

    pub(crate) fn schema(text: &str) -> Self {
        Self::new(200, format!(r#"{{"schema": {}}}"#, serde_json::Value::from(text)))
    }
}

impl Stub {
    /// Answers the nth request, from 0, as told, which is in full: head, empty line, body.
    pub(crate) async fn start(
        answers: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(None, Arc::new(answers)).await
    }

    /// The same, encrypted, with certificate and key from a PEM file.
    pub(crate) async fn start_tls(
        pem: &Path,
        answers: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let certificates = CertificateDer::pem_file_iter(pem).unwrap().map(Result::unwrap);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.collect(), PrivateKeyDer::from_pem_file(pem).unwrap())
            .unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(answers)).await
    }

    async fn listen(tls: Option<TlsAcceptor>, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, log, answers) = (tls.clone(), Arc::clone(&log), Arc::clone(&answers));
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, &log, &answers).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, &log, &answers).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Asked,
    answers: &Answers,
) -> Option<()> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while read.len() < head + length {
        stream.read_buf(&mut read).await.ok()?;
    }
    let request = String::from_utf8_lossy(&read).into_owned();
    let nth = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(request.clone());
        log.len() - 1
    };
    let reply = answers(nth, &request);
    if let Some(mut when) = reply.when {
        when.wait_for(|set| *set).await.ok()?;
    }
    let head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}connection: close\r\n\r\n",
        reply.status,
        reply.body.len(),
        reply.headers,
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(reply.body.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}
