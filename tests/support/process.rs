//! A relay or a consumer in a process of its own, to be killed, stopped and looked at.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{Database, Topic};

/// A running `relay-process` or `consumer-process`; ended, by its process id, when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Ends with this process, however that ends.
    _stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// How the relay of a [`Process`] is set up.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// The name that its id and its connections to the database begin with.
    pub name: String,
    /// How long its lease lasts.
    pub lease_ttl: Duration,
    /// How long each settlement is on its way to the database, whatever becomes of the relay.
    pub settle_delay: Duration,
    /// Whether it says so and hangs when it is about to settle for the first time.
    pub hang_before_settle: bool,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            name: "relay".to_owned(),
            lease_ttl: Duration::from_secs(1),
            settle_delay: Duration::ZERO,
            hang_before_settle: false,
        }
    }
}

impl Process {
    /// Starts a relay; `binary` is `env!("CARGO_BIN_EXE_relay-process")`.
    #[must_use]
    pub fn relay(binary: &str, database: &Database, topic: &Topic, options: RelayOptions) -> Self {
        let mut relay = Command::new(Path::new(binary));
        relay
            .env("RELAY_NAME", &options.name)
            .env(
                "RELAY_DATABASE_URL",
                format!("{}?application_name={}", database.url(), options.name),
            )
            .env("RELAY_BROKERS", topic.brokers())
            .env("RELAY_TOPIC", topic.name.as_str())
            .env("RELAY_LEASE_MS", options.lease_ttl.as_millis().to_string())
            .env("RELAY_SETTLE_DELAY_MS", options.settle_delay.as_millis().to_string())
            .env("RELAY_HANG", if options.hang_before_settle { "1" } else { "0" });
        Self::start(&mut relay)
    }

    /// Starts any.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Waiting for it must not close this.
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, _stdin: stdin, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits until it says this: `READY` for the signals; a relay `STANDING BY`, `WORKING`, `SETTLING`
    /// (and hanging), `RELEASED`; a consumer `POISON` (and doing what it was told to do).
    pub fn until(&mut self, what: &str) {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without saying {what}");
            if line == what {
                return;
            }
        }
    }

    /// Sends it a signal: `KILL`, `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, signal: &str) {
        let kill = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success(), "kill -{signal}");
    }

    /// Waits for its end; says whether it ended well.
    pub fn wait(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The most memory it ever had resident, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
