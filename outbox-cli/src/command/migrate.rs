//! `relaybox migrate`.

use crate::{
    args::Migrate,
    config::Config,
    error::CliError,
    output,
    store::{self, Open, Store},
};

pub(super) async fn run(config: &Config, args: &Migrate) -> Result<(), CliError> {
    if args.print {
        return output::line(store::script(config.store.as_ref())?.trim_end());
    }
    let store = Store::open(config.store.as_ref(), Open::Create).await?;
    store.migrator.run().await?;
    output::line(format!("the {} outbox is up to date", store.kind.as_str()))
}
