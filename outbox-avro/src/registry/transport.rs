//! Requests to a registry: over all of its URLs, again and again, within limits.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use relaybox_core::{Error, ErrorKind, Result, Retry, RetryPolicy};
use reqwest::{
    Client, Method, Response,
    header::{ACCEPT, CONTENT_TYPE},
    redirect::Policy,
};
use tracing::debug;

use super::{CONFIGURE, RegistryConfig, answer::Answer, endpoint::Endpoint};

/// The media type of the API's first version, which all registries speak.
const V1: &str = "application/vnd.schemaregistry.v1+json";

pub(super) struct Transport {
    http: Client,
    endpoints: Vec<Endpoint>,
    /// The one that answered last is asked first.
    first: AtomicUsize,
    timeout: Duration,
    retry: RetryPolicy,
    max_response: usize,
}

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    pub(super) path: &'a [&'a str],
    pub(super) query: &'static str,
    pub(super) body: Option<String>,
}

impl Transport {
    pub(super) fn new(config: &RegistryConfig) -> Result<Self> {
        let endpoints: Vec<_> = config
            .urls
            .iter()
            .map(|url| Endpoint::parse(url, config.login.as_ref()))
            .collect::<Result<_>>()?;
        if endpoints.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, CONFIGURE).detail("no URL is named"));
        }
        if endpoints.iter().any(|endpoint| endpoint.has_login() && !endpoint.is_encrypted()) {
            tracing::warn!(
                "without TLS the password or token of the schema registry goes over the network as it is"
            );
        }
        let is_encrypted = endpoints.iter().any(Endpoint::is_encrypted);
        let http = Client::builder()
            .tls_backend_preconfigured(config.tls.load(is_encrypted)?)
            .user_agent(concat!("relaybox/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.request_timeout)
            .timeout(config.request_timeout)
            // A redirect could lead anywhere, and turns a POST into a GET.
            .redirect(Policy::none())
            .build()
            .map_err(|source| {
                Error::new(ErrorKind::Invalid, CONFIGURE)
                    .detail("the HTTP client can't be made")
                    .caused_by(source.without_url())
            })?;
        // What no header can carry is better refused now than with each request.
        for endpoint in &endpoints {
            let request = endpoint.log_in(http.get(endpoint.resource(&[], "")?));
            request.build().map_err(|source| {
                Error::new(ErrorKind::Invalid, CONFIGURE)
                    .detail("the user, password or token has a line break or the like in it")
                    .caused_by(source.without_url())
            })?;
        }
        Ok(Self {
            http,
            endpoints,
            first: AtomicUsize::new(0),
            timeout: config.timeout,
            retry: config.retry.clone(),
            max_response: config.max_response,
        })
    }

    /// Asks until one of the URLs answers. What is asked must be safe to ask twice.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Answer> {
        tokio::time::timeout(self.timeout, self.send_until_answered(request))
            .await
            .unwrap_or_else(|_| Err(slow(request.operation, self.timeout)))
    }

    /// Asks each of the URLs for what the first one doesn't know: it may lag behind. Gives the first
    /// answer that knows it, else one of those that don't. A URL that can't be reached doesn't count.
    pub(super) async fn ask_all(&self, request: &Request<'_>) -> Result<Answer> {
        let mut answer = self.send(request).await?;
        let count = self.endpoints.len();
        let first = self.first.load(Ordering::Relaxed);
        for at in (1..count).map(|step| (first + step) % count) {
            if !answer.is_unknown() {
                break;
            }
            if let Ok(other) = self.ask(&self.endpoints[at], request).await {
                answer = other;
            }
        }
        Ok(answer)
    }

    async fn send_until_answered(&self, request: &Request<'_>) -> Result<Answer> {
        let mut failures = 0;
        loop {
            let error = match self.ask_in_turn(request).await {
                Err(error) if error.retry() != Retry::Never => error,
                answer => return answer,
            };
            failures += 1;
            if self.retry.is_exhausted(failures) {
                return Err(error);
            }
            debug!(failures, kind = %error.kind(), "the schema registry failed; asking again");
            tokio::time::sleep(self.retry.delay(failures, fastrand::f64())).await;
        }
    }

    async fn ask_in_turn(&self, request: &Request<'_>) -> Result<Answer> {
        let count = self.endpoints.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for at in (0..count).map(|step| (first + step) % count) {
            match self.ask(&self.endpoints[at], request).await {
                Err(error) if error.retry() != Retry::Never => last = Some(error),
                answer => {
                    self.first.store(at, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, request.operation)))
    }

    /// One request. An answer is one that the registry stands by: yes, no, or unknown.
    async fn ask(&self, endpoint: &Endpoint, request: &Request<'_>) -> Result<Answer> {
        let url = endpoint.resource(request.path, request.query)?;
        let mut builder = self.http.request(request.method.clone(), url).header(ACCEPT, V1);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, V1).body(body.clone());
        }
        let response = endpoint
            .log_in(builder)
            .send()
            .await
            .map_err(|error| unreachable(request.operation, error))?;
        let status = response.status();
        let read = self.read(request.operation, response).await;
        let answer = match read {
            Ok(body) => Answer { status, body },
            Err(error) if status.is_success() => return Err(error),
            // The status says enough.
            Err(_) => Answer { status, body: Vec::new() },
        };
        let stands = status.is_success()
            || answer.is_unknown()
            || answer.is_about_schema()
            || matches!(status.as_u16(), 404 | 405);
        if stands { Ok(answer) } else { Err(answer.refused(request.operation)) }
    }

    async fn read(&self, operation: &'static str, mut response: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| unreachable(operation, error))?
        {
            if body.len() + chunk.len() > self.max_response {
                return Err(Error::new(ErrorKind::TooLarge, operation).detail(format!(
                    "the schema registry's answer has more than {} bytes",
                    self.max_response
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn unreachable(operation: &'static str, error: reqwest::Error) -> Error {
    // Its text would have the URL in it.
    let error = error.without_url();
    if error.is_timeout() {
        return Error::new(ErrorKind::Timeout, operation)
            .detail("the schema registry did not answer in time")
            .caused_by(error);
    }
    Error::new(ErrorKind::Unavailable, operation)
        .detail("the schema registry can't be reached")
        .caused_by(error)
}

fn slow(operation: &'static str, limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, operation)
        .detail(format!("the schema registry did not answer within {limit:?}"))
}
