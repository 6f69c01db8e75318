//! A broker of one's own, to be killed.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// A broker that a copy of `scripts/services` starts, with data and ports of its own; ended, with its
/// data, when it is dropped.
pub(crate) struct OwnServer {
    folder: PathBuf,
}

impl OwnServer {
    /// Starts one, when the shared one could be.
    pub(crate) fn start() -> Option<Self> {
        super::server("RELAYBOX_RABBITMQ_URL")?;
        let folder =
            env::temp_dir().join(format!("relaybox-rabbitmq-{}", relaybox_core::EventId::new()));
        std::fs::create_dir(&folder).unwrap();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        let copied = Command::new("cp").arg("-R").arg(scripts).arg(&folder).status().unwrap();
        assert!(copied.success());
        let server = Self { folder };
        server.run(&["up", "rabbitmq"]);
        Some(server)
    }

    /// Its URL, the same after each restart.
    pub(crate) fn url(&self) -> String {
        let exports = self.run(&["up", "rabbitmq"]);
        let line =
            exports.lines().find_map(|line| line.strip_prefix("export RELAYBOX_RABBITMQ_URL="));
        line.unwrap().trim_matches('\'').to_owned()
    }

    /// Kills it with SIGKILL and starts it again.
    pub(crate) fn crash_and_restart(&self) {
        self.run(&["restart", "--immediate", "rabbitmq"]);
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut script = Command::new(self.folder.join("scripts/services"));
        let output = script.args(arguments).output().unwrap();
        let notes = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{notes}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let mut script = Command::new(self.folder.join("scripts/services"));
        let _ = script.args(["down", "--wipe", "rabbitmq"]).output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
