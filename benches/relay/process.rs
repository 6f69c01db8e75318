//! A relay in a process of its own, and what the kernel says about processes.

use std::process::Command;

use crate::{
    child::{Job, Report, Watch},
    support::{database::Database, figures::float, process::Process, topic::Topic},
};

/// A relay from a database to a topic; it ends when this is dropped, or its parent dies.
pub(crate) struct RelayProcess(Process);

impl RelayProcess {
    /// Starts it and waits until it holds the lease.
    pub(crate) async fn start(database: &Database, topic: &Topic, watch: Watch) -> Self {
        let (server, name) = database.address();
        let job = Job {
            server: server.to_owned(),
            database: name.to_owned(),
            brokers: topic.brokers().to_owned(),
            topic: topic.name().to_string(),
            watch,
        };
        let mut process = Process::start(&job);
        assert_eq!(process.line().await, "leased");
        Self(process)
    }

    /// Waits until it has settled so many events since its start.
    pub(crate) async fn settled(&mut self, events: u64) {
        self.0.say(&format!("settle {events}"));
        assert_eq!(self.0.line().await, "settled");
    }

    /// What it has seen. What was acknowledged is told once.
    pub(crate) async fn report(&mut self) -> Report {
        self.0.say("report");
        serde_json::from_str(&self.0.line().await).unwrap()
    }

    /// Shuts it down cleanly.
    pub(crate) async fn stop(mut self) {
        self.0.say("stop");
        assert_eq!(self.0.line().await, "stopped");
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The most memory it ever had resident, in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        self.0.peak_memory()
    }
}

/// The processor time that a process of this machine has had, in seconds; none of another machine's.
pub(crate) fn cpu_seconds(id: u32, command: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The command is in parentheses and may contain anything; the state is field 3, utime 14.
    let (before, after) = stat.rsplit_once(')')?;
    before.contains(command).then_some(())?;
    let mut fields = after.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(float(ticks()? + ticks()?) / ticks_per_second())
}

fn ticks_per_second() -> f64 {
    let asked = Command::new("getconf").arg("CLK_TCK").output().unwrap();
    String::from_utf8(asked.stdout).unwrap().trim().parse().unwrap()
}
