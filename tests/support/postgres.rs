//! A Postgres server of one's own, to be crashed, copied and promoted.

use std::{
    fs::File,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// A server with a data folder and a port of its own; ended, by its process id, when it is dropped, and
/// by the system when the test's thread ends without that.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    programs: PathBuf,
    settings: Vec<String>,
    port: u16,
    process: Option<Child>,
}

impl PostgresServer {
    /// Makes and starts one with these settings; none, with a loud line, where Postgres is not
    /// installed.
    pub async fn start(settings: &[&str]) -> Option<Self> {
        let server = Self::make(settings)?;
        let mut initdb = server.program("initdb");
        initdb.args(["-U", "relaybox", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]);
        run(initdb.arg("--no-sync").arg("-D").arg(server.data()));
        Some(server.started().await)
    }

    /// A streaming standby of this server.
    pub async fn standby(&self) -> Self {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let standby = Self::make(&settings).unwrap();
        let mut backup = standby.program("pg_basebackup");
        backup.args(["-R", "-X", "stream", "--no-sync", "--checkpoint=fast", "-d", &self.url()]);
        run(backup.arg("-D").arg(standby.data()));
        standby.started().await
    }

    /// Its address, with the database that every server has.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://relaybox@127.0.0.1:{}/postgres", self.port)
    }

    /// The address of a database of this name on it.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://relaybox@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        run(self.program("pg_ctl").arg("promote").arg("-w").arg("-D").arg(self.data()));
    }

    /// Stops it as a crash would (`pg_ctl stop -m immediate`).
    pub fn crash(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let mut stop = self.program("pg_ctl");
        run(stop.args(["stop", "-m", "immediate", "-w", "-D"]).arg(self.data()));
        process.wait().unwrap();
    }

    /// Crashes it and starts it again.
    pub async fn restart_immediately(&mut self) {
        self.crash();
        self.launch();
        assert!(self.answers().await, "{}", self.log());
    }

    fn make(settings: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is not installed");
            eprintln!("SKIPPED: PostgreSQL's programs are not installed; see scripts/setup");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("relaybox-postgres-").tempdir().unwrap();
        if is_root() {
            chown(folder.path(), Some(id_of_postgres("-u")), Some(id_of_postgres("-g"))).unwrap();
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let settings = settings.iter().copied().map(str::to_owned).collect();
        Some(Self { folder, programs, settings, port: 0, process: None })
    }

    /// Another process may take the port between the look and the start: tried again, then.
    async fn started(mut self) -> Self {
        for _ in 0..5 {
            self.port = crate::free_port();
            self.launch();
            if self.answers().await {
                return self;
            }
        }
        panic!("Postgres did not start: {}", self.log());
    }

    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        let fixed = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=on",
            "max_prepared_transactions=10",
            "max_connections=100",
        ];
        for setting in fixed.into_iter().chain(self.settings.iter().map(String::as_str)) {
            postgres.args(["-c", setting]);
        }
        postgres.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(postgres.spawn().unwrap());
    }

    /// Waits until it answers; `false` when it has ended instead.
    async fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while PgConnection::connect(&self.url()).await.is_err() {
            if self.process.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "Postgres does not answer: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// A program of the server's; as the user `postgres` for root, because the server refuses root.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        command.args(["--pdeathsig", "QUIT"]).arg(self.programs.join(name));
        // The folder of the tests may be closed to that user.
        command.current_dir(self.folder.path());
        without_settings(&mut command);
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
            let _ = process.wait();
        }
    }
}

/// Copies a database, as `pg_dump | psql` does; `false`, with a loud line, where those are not
/// installed.
#[must_use]
pub fn dump_and_restore(from: &str, to: &str) -> bool {
    let Some(programs) = programs() else {
        assert!(std::env::var_os("CI").is_none(), "PostgreSQL is not installed");
        eprintln!("SKIPPED: PostgreSQL's programs are not installed; see scripts/setup");
        return false;
    };
    let mut dump = Command::new(programs.join("pg_dump"));
    let mut restore = Command::new(programs.join("psql"));
    for command in [&mut dump, &mut restore] {
        without_settings(command);
    }
    let mut dump = dump.args(["-d", from]).stdout(Stdio::piped()).spawn().unwrap();
    restore.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-d", to]);
    run(restore.stdin(dump.stdout.take().unwrap()));
    assert!(dump.wait().unwrap().success(), "pg_dump");
    true
}

/// The folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_by_key(|folder| major_version(folder));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    folders.splice(0..0, std::env::split_paths(&on_path));
    folders.into_iter().rfind(|folder| folder.join("postgres").is_file())
}

fn major_version(folder: &Path) -> u32 {
    let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Such as `PGHOST` and `PGOPTIONS`, which would lead the programs astray.
fn without_settings(command: &mut Command) {
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
    {
        command.env_remove(name);
    }
}

fn run(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", command.get_program());
}

fn id_of_postgres(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
