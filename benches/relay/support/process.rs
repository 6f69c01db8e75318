//! A relay in a process of its own, and what the kernel says about processes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use tokio::sync::mpsc;

use super::{database::Database, figures::float, topic::Topic};
use crate::child::{Job, Report};

/// A relay from a database to a topic; it ends when this is dropped, or its parent dies.
pub(crate) struct RelayProcess {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
}

impl RelayProcess {
    /// Starts it and waits until it holds the lease.
    pub(crate) async fn start(database: &Database, topic: &Topic, counts_statements: bool) -> Self {
        let (server, name) = database.address();
        let job = Job {
            server: server.to_owned(),
            database: name.to_owned(),
            brokers: topic.brokers().to_owned(),
            topic: topic.name().to_owned(),
            counts_statements,
        };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--child")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut process = Self { child, stdin, lines };
        process.say(&serde_json::to_string(&job).unwrap());
        assert_eq!(process.line().await, "leased");
        process
    }

    /// Waits until it has settled so many events since its start.
    pub(crate) async fn settled(&mut self, events: u64) {
        self.say(&format!("settle {events}"));
        assert_eq!(self.line().await, "settled");
    }

    /// What it has seen. What was acknowledged is told once.
    pub(crate) async fn report(&mut self) -> Report {
        self.say("report");
        serde_json::from_str(&self.line().await).unwrap()
    }

    /// Shuts it down cleanly.
    pub(crate) async fn stop(mut self) {
        self.say("stop");
        assert_eq!(self.line().await, "stopped");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it ever had resident, in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush()).unwrap();
    }

    async fn line(&mut self) -> String {
        self.lines.recv().await.expect("the relay's process ended, see above")
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
