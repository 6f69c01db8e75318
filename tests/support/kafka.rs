//! A Kafka broker of one's own, to be killed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tempfile::TempDir;

const ONE_BROKER: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1500
log.cleaner.dedupe.buffer.size=16777216
log.dirs=data
";

/// One broker with its data and its ports; ended, by its process id, when it is dropped, and by the
/// system when the test's thread ends without that.
#[derive(Debug)]
pub struct KafkaServer {
    folder: TempDir,
    java: PathBuf,
    jars: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl KafkaServer {
    /// Makes and starts one; none, with a loud line, where `scripts/setup` has not been.
    pub async fn start() -> Option<Self> {
        let (Some(java), Some(jars)) = (java(), jars()) else {
            assert!(std::env::var_os("CI").is_none(), "Java or Kafka is not installed");
            eprintln!("SKIPPED: Java or Kafka is not installed; see scripts/setup");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("relaybox-kafka-").tempdir().unwrap();
        let (port, controller) = (crate::free_port(), crate::free_port());
        let properties = format!(
            "{ONE_BROKER}controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
"
        );
        std::fs::write(folder.path().join("server.properties"), properties).unwrap();
        let mut server = Self { folder, java, jars, port, process: None };
        let mut format = server.run("kafka.tools.StorageTool");
        format.args(["format", "-t", "cmVsYXlib3gtdGVzdHMtMQ", "-c", "server.properties"]);
        let formatted = format.output().unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stdout));
        server.up().await;
        Some(server)
    }

    /// Its address.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it, with the data it has, and waits until it answers.
    pub async fn up(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut kafka = self.run("kafka.Kafka");
        kafka.arg("server.properties").stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(kafka.spawn().unwrap());
        let brokers = self.brokers();
        let answers = tokio::task::spawn_blocking(move || answers(&brokers)).await.unwrap();
        let log = || std::fs::read_to_string(self.log_file()).unwrap_or_default();
        assert!(answers, "Kafka does not answer: {}", log());
    }

    fn run(&self, class: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.java);
        command.args(["-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        command.arg("-cp").arg(self.jars.join("*")).arg(class);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the cluster has its broker within a minute.
fn answers(brokers: &str) -> bool {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if client
            .fetch_metadata(None, Duration::from_secs(1))
            .is_ok_and(|metadata| !metadata.brokers().is_empty())
        {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

fn java() -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = home.into_iter().chain(std::env::split_paths(&on_path));
    folders.find_map(|folder| Some(folder.join("java")).filter(|java| java.is_file()))
}

/// Where `scripts/services` keeps Kafka.
fn jars() -> Option<PathBuf> {
    let cache = std::env::var_os("RELAYBOX_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/relaybox")))?;
    let folders = std::fs::read_dir(cache).ok()?.flatten().map(|folder| folder.path());
    let is_kafka = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("kafka-"))
    };
    folders.filter(is_kafka).max()
}
