//! A client of the demo's HTTP API.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use ureq::{Agent, http::Request};

/// How long the read model may be behind.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends requests to one server.
pub(crate) struct Client {
    agent: Agent,
    url: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) correlation_id: Option<String>,
    /// Null when there is none.
    pub(crate) body: Value,
}

impl Client {
    pub(crate) fn new(url: String) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            // The environment's proxy is not for loopback.
            .proxy(None)
            .build();
        Self { agent: config.into(), url }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    pub(crate) fn post(&self, path: &str, json: &str) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], Some(json))
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.unwrap();
        let header = |name| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        let (content_type, location, correlation_id) =
            (header("content-type"), header("location"), header("x-correlation-id"));
        let text = response.body_mut().read_to_string().unwrap();
        Answer {
            status: response.status().as_u16(),
            content_type,
            location,
            correlation_id,
            body: if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() },
        }
    }

    /// Creates a session of a new user; gives its path, which ends with its id.
    pub(crate) fn create_session(&self) -> String {
        let created = self.post("/sessions", &new_session("firefox/142.0"));
        assert_eq!(created.status, 201, "{created:?}");
        created.location.unwrap()
    }

    /// Asks for what the read model shows until it is so.
    pub(crate) fn until(&self, path: &str, so: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            if so(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} stays {answer:?}");
            sleep(Duration::from_millis(10));
        }
    }
}

impl Answer {
    /// Checks that it is an error in the form of RFC 9457.
    pub(crate) fn assert_problem(&self, status: u16, what: &str) {
        assert_eq!(self.status, status, "{what}: {self:?}");
        assert_eq!(self.content_type.as_deref(), Some("application/problem+json"), "{what}");
        assert_eq!(self.body["status"], status, "{what}: {self:?}");
        for member in ["type", "title", "detail"] {
            let text = self.body[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{what}: no {member} in {self:?}");
        }
    }
}

/// The body that creates a session of a new user.
pub(crate) fn new_session(device: &str) -> String {
    serde_json::json!({ "user_id": uuid::Uuid::new_v4(), "device": device }).to_string()
}
