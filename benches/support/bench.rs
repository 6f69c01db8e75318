//! A benchmark: its rows, one measurement each, and what they are measured with.

use std::{panic::AssertUnwindSafe, process::ExitCode};

use futures::{FutureExt, future::BoxFuture};

use super::{machine, options::Options};

/// A row of the benchmark.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    needs_servers: bool,
    measure: Measure,
}

type Measure = fn(&Bench) -> BoxFuture<'_, ()>;

/// What the rows are measured with.
pub(crate) struct Bench {
    pub(crate) options: Options,
    servers: Option<Servers>,
}

/// The addresses of the real servers.
pub(crate) struct Servers {
    pub(crate) postgres: String,
    pub(crate) kafka: String,
}

impl Row {
    pub(crate) const fn on_servers(name: &'static str, measure: Measure) -> Self {
        Self { name, needs_servers: true, measure }
    }

    pub(crate) const fn embedded(name: &'static str, measure: Measure) -> Self {
        Self { name, needs_servers: false, measure }
    }
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let address = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
        let (postgres, kafka) =
            (address("RELAYBOX_POSTGRES_URL"), address("RELAYBOX_KAFKA_BROKERS"));
        let servers = postgres.zip(kafka).map(|(postgres, kafka)| Servers { postgres, kafka });
        Self { options, servers }
    }

    /// The real servers of a row that needs them.
    pub(crate) fn servers(&self) -> &Servers {
        self.servers.as_ref().expect("rows that need servers are skipped without them")
    }

    /// Does with these rows what the command line says.
    pub(crate) async fn run(&self, rows: &[Row]) -> ExitCode {
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        if self.options.list {
            println!("{}", names.join("\n"));
            return ExitCode::SUCCESS;
        }
        if let Some(unknown) = self.options.unknown(&names) {
            eprintln!("no row is named like {unknown}; there are:\n  {}", names.join("\n  "));
            return ExitCode::from(2);
        }
        tokio::select! {
            code = self.measure(rows) => code,
            // Drops what is being measured, and with it databases, topics and processes.
            _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        }
    }

    /// Measures the selected rows. One that fails doesn't keep the others from being measured.
    async fn measure(&self, rows: &[Row]) -> ExitCode {
        machine::describe(self.servers.as_ref(), self.options.json).await;
        let mut code = ExitCode::SUCCESS;
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        for row in rows.iter().filter(|row| self.options.selects(row.name, &names)) {
            if row.needs_servers && self.servers.is_none() {
                eprintln!(
                    "SKIPPED: {}: RELAYBOX_POSTGRES_URL and RELAYBOX_KAFKA_BROKERS are not set; \
                     see scripts/services",
                    row.name
                );
            } else if AssertUnwindSafe((row.measure)(self)).catch_unwind().await.is_err() {
                eprintln!("FAILED: {}: see above", row.name);
                code = ExitCode::FAILURE;
            }
        }
        code
    }
}
