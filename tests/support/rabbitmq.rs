//! A RabbitMQ node of one's own, to be killed.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// One node with its data and its ports; ended, by its process id, when it is dropped, and by the system
/// when the test's thread ends without that.
#[derive(Debug)]
pub struct RabbitServer {
    folder: TempDir,
    program: PathBuf,
    port: u16,
    names: u16,
    distribution: u16,
    /// The nodes' name server, which would outlive a node that started it.
    epmd: Child,
    process: Option<Child>,
}

impl RabbitServer {
    /// Makes and starts one; none, with a loud line, where RabbitMQ is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            assert!(std::env::var_os("CI").is_none(), "RabbitMQ is not installed");
            eprintln!("SKIPPED: RabbitMQ is not installed; see scripts/setup");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("relaybox-rabbitmq-").tempdir().unwrap();
        let [port, names, distribution] = [(); 3].map(|()| crate::free_port());
        let settings = format!("listeners.tcp.1 = 127.0.0.1:{port}\n");
        std::fs::write(folder.path().join("rabbitmq.conf"), settings).unwrap();
        std::fs::write(folder.path().join("enabled_plugins"), "[].\n").unwrap();
        let mut epmd = ended_with_the_thread("epmd");
        epmd.args(["-port", &names.to_string()]).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        let epmd = epmd.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = None;
        let mut server = Self { folder, program, port, names, distribution, epmd, process };
        server.up();
        Some(server)
    }

    /// Its address, the same after each start.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it, with the data it has, and waits until it answers.
    pub fn up(&mut self) {
        let home = self.folder.path();
        let log_file = home.join("log");
        let log = File::options().create(true).append(true).open(&log_file).unwrap();
        let mut node = ended_with_the_thread(&self.program);
        node.current_dir(home)
            .env_remove("NOTIFY_SOCKET")
            .env("HOME", home)
            // The script becomes the node rather than wait for it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("ERL_EPMD_PORT", self.names.to_string())
            .env("RABBITMQ_NODENAME", "relaybox-tests@localhost")
            .env("RABBITMQ_DIST_PORT", self.distribution.to_string())
            .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", home.join("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", home.join("data"))
            .env("RABBITMQ_LOG_BASE", home.join("logs"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", home.join("node.pid"))
            .args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.process = Some(node.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.answers() {
            let log = || std::fs::read_to_string(&log_file).unwrap_or_default();
            assert!(Instant::now() < deadline, "RabbitMQ does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether it says something to the protocol's header: a frame of type 1.
    fn answers(&self) -> bool {
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut node| {
            node.set_read_timeout(Some(Duration::from_secs(5)))?;
            node.write_all(b"AMQP\0\0\x09\x01")?;
            let mut answer = [0];
            node.read_exact(&mut answer).map(|()| answer == [1])
        });
        asked.unwrap_or(false)
    }
}

impl Drop for RabbitServer {
    fn drop(&mut self) {
        self.kill();
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}

fn ended_with_the_thread(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// The package's own start script, of the newest version: the one on the path insists on the package's
/// user and folders.
fn program() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib/rabbitmq/lib").ok()?.flatten();
    let programs = folders.map(|folder| folder.path().join("sbin/rabbitmq-server"));
    programs.filter(|program| program.is_file()).max()
}
