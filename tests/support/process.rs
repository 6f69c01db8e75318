//! A relay in a process of its own, to be killed, stopped and looked at.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use crate::{Database, Topic};

/// A running `relay-process`; ended, by its process id, when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// How the relay of a [`Process`] is set up.
#[derive(Debug, Clone, Copy)]
pub struct RelayOptions {
    /// How long its lease lasts.
    pub lease_ttl: Duration,
    /// Whether it says so and hangs when it is about to settle for the first time.
    pub hang_before_settle: bool,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { lease_ttl: Duration::from_secs(1), hang_before_settle: false }
    }
}

impl Process {
    /// Starts a relay; `binary` is `env!("CARGO_BIN_EXE_relay-process")`.
    #[must_use]
    pub fn relay(binary: &str, database: &Database, topic: &Topic, options: RelayOptions) -> Self {
        let mut child = Command::new(Path::new(binary))
            .env("RELAY_DATABASE_URL", database.url())
            .env("RELAY_BROKERS", topic.brokers())
            .env("RELAY_TOPIC", topic.name.as_str())
            .env("RELAY_LEASE_MS", options.lease_ttl.as_millis().to_string())
            .env("RELAY_HANG", if options.hang_before_settle { "1" } else { "0" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Waits for the next line it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
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
