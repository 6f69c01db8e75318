//! The machine, the versions and the durability settings that figures belong to.

use std::fmt::Write as _;

use sqlx::{Connection, PgConnection};

use super::bench::Servers;

/// Says them; on stderr when stdout is for figures only.
pub(crate) async fn describe(servers: Option<&Servers>, as_json: bool) {
    let mut text = host();
    writeln!(text, "librdkafka {}", rdkafka::util::get_rdkafka_version().1).unwrap();
    if let Some(servers) = servers {
        writeln!(text, "{}", postgres(&servers.postgres).await).unwrap();
    }
    if as_json { eprint!("{text}") } else { print!("{text}") }
}

fn host() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let field = |text: String, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let (model, memory) =
        (field(read("/proc/cpuinfo"), "model name"), field(read("/proc/meminfo"), "MemTotal"));
    let build = if cfg!(debug_assertions) { ", a debug build: not for figures" } else { "" };
    format!(
        "{}: {cores} cores ({model}), {memory}, Linux {}{build}\n",
        chrono::Utc::now().format("%F %H:%M UTC"),
        kernel.trim()
    )
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

async fn postgres(server: &str) -> String {
    let settings = "SELECT 'PostgreSQL ' || string_agg(name || ' ' || setting, ', ' \
         ORDER BY name <> 'server_version', name) FROM pg_settings \
         WHERE name IN ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', \
         'wal_level', 'data_checksums', 'checkpoint_timeout', 'max_wal_size', 'shared_buffers')";
    let mut connection = PgConnection::connect(server).await.unwrap();
    sqlx::query_scalar(settings).fetch_one(&mut connection).await.unwrap()
}
