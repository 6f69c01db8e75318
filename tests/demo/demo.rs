//! The demo in a process of its own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Once,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long the demo may take over anything. Cargo may first have to wait for another cargo.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running demo; ended, by its process id, when it is dropped.
pub(crate) struct Demo {
    child: Child,
    /// Closed when the process has ended.
    lines: Receiver<Line>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    /// Where it puts its files.
    folder: TempDir,
}

/// A demo that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    /// All that it said, its standard output included.
    pub(crate) said: String,
    /// The names of the files it has not taken away.
    pub(crate) left_behind: Vec<String>,
}

enum Line {
    Out(String),
    Err(String),
}

impl Demo {
    /// Starts it, on the servers inside its process unless the arguments say otherwise.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts it with something in its environment.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        // Else the first test would wait for the compiler, and the others for the first.
        static BUILT: Once = Once::new();
        BUILT.call_once(|| assert!(cargo("build").status().unwrap().success(), "cargo build"));

        let folder = tempfile::tempdir().unwrap();
        // Cargo becomes the demo: the process id is the demo's own.
        let mut child = cargo("run")
            .arg("--")
            .args(arguments)
            .env("TMPDIR", folder.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        forward(child.stdout.take().unwrap(), sender.clone(), Line::Out);
        forward(child.stderr.take().unwrap(), sender, Line::Err);
        Self { child, lines, stdout: Vec::new(), stderr: Vec::new(), folder }
    }

    /// Starts it with `--serve`; gives the URL once it serves.
    pub(crate) fn serve(arguments: &[&str]) -> (Self, String) {
        // A port of the system's choice is free, which one of ours need not be any more.
        let mut demo = Self::start(&[arguments, &["--json", "--serve", "127.0.0.1:0"]].concat());
        let deadline = Instant::now() + PATIENCE;
        while demo.read_line(deadline) {
            let url = demo.stderr.last().and_then(|line| line.strip_prefix("serving "));
            if let Some((url, _)) = url.and_then(|rest| rest.split_once("/sessions")) {
                let url = url.to_owned();
                return (demo, url);
            }
        }
        panic!("it ended before it served:\n{}", demo.said());
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Ended {
        self.end_within(PATIENCE)
    }

    /// Waits for its end so long and no longer.
    pub(crate) fn end_within(mut self, patience: Duration) -> Ended {
        let deadline = Instant::now() + patience;
        while self.read_line(deadline) {}
        let status = self.child.wait().unwrap();
        let entries = self.folder.path().read_dir().unwrap();
        Ended {
            status,
            said: self.said(),
            stdout: std::mem::take(&mut self.stdout),
            left_behind: entries
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect(),
        }
    }

    /// Asks it to end, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success(), "kill -TERM");
    }

    /// Waits for a line; false when there is none any more, because it has ended.
    fn read_line(&mut self, deadline: Instant) -> bool {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Line::Out(line)) => self.stdout.push(line),
            Ok(Line::Err(line)) => self.stderr.push(line),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("it takes too long:\n{}", self.said()),
        }
        true
    }

    fn said(&self) -> String {
        [&self.stderr[..], &self.stdout[..]].concat().join("\n")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args([command, "--quiet", "--locked", "--example", "session_demo"])
        // These are settings of the demo.
        .env_remove("RELAYBOX_DEMO_POSTGRES")
        .env_remove("RELAYBOX_DEMO_BROKERS")
        .env_remove("RELAYBOX_DEMO_REGISTRY")
        .env_remove("RELAYBOX_DEMO_MONGODB")
        .env_remove("RUST_LOG");
    cargo
}

/// Reads lines to the end, so that the pipe never fills.
fn forward(
    pipe: impl Read + Send + 'static,
    lines: Sender<Line>,
    line: impl Fn(String) -> Line + Send + 'static,
) {
    thread::spawn(move || {
        for text in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Nobody listens any more when the test has failed.
            let _ = lines.send(line(text));
        }
    });
}
