//! `relaybox schemas check`.

use std::path::{Path, PathBuf};

use relaybox::{
    Result as CoreResult,
    avro::{Compatibility, EventSchema, Evolution, SchemaRegistry},
};
use serde::Serialize;

use crate::{
    args::SchemasCheck,
    command::topics::{Subject, read_schema, subjects},
    config::Config,
    error::CliError,
    output,
};

/// With how many of a subject's versions a schema is compared, where all count.
const MAX_VERSIONS: usize = 100;

/// What came of a schema's check.
#[derive(Debug, Serialize)]
struct Checked {
    subject: String,
    schema: PathBuf,
    compatibility: &'static str,
    /// Nothing is there to compare it with.
    new: bool,
    compatible: bool,
    messages: Vec<String>,
}

pub(super) async fn check(config: &Config, args: &SchemasCheck) -> Result<(), CliError> {
    let subjects = asked(config, args)?;
    if subjects.is_empty() {
        return Err(CliError::Config(
            "no schema is named: give --schema, or [[subjects]] in relaybox.toml or in --file"
                .to_owned(),
        ));
    }
    let mut checked = Vec::with_capacity(subjects.len());
    match &args.against {
        Some(against) => {
            for subject in subjects {
                checked.push(offline(config, subject, against)?);
            }
        }
        None => {
            let registry = config.registry()?;
            for subject in subjects {
                checked.push(online(config, &registry, subject).await?);
            }
        }
    }
    print(&checked, args.json)?;
    let (failed, all) = (checked.iter().filter(|one| !one.compatible).count(), checked.len());
    if failed == 0 {
        return Ok(());
    }
    Err(CliError::Refused(format!("{failed} of {all} schemas: not compatible")))
}

/// The schemas to be checked.
fn asked(config: &Config, args: &SchemasCheck) -> Result<Vec<Subject>, CliError> {
    let level: Option<Compatibility> = args
        .compatibility
        .as_ref()
        .map(|level| level.parse())
        .transpose()
        .map_err(|error| CliError::Config(format!("--compatibility: {error}")))?;
    let Some(file) = &args.schema else {
        let mut subjects = subjects(config, &config.seeds(args.file.as_deref())?)?;
        for subject in &mut subjects {
            subject.compatibility = level.unwrap_or(subject.compatibility);
        }
        return Ok(subjects);
    };
    let schema = read_schema(file)?;
    let name = match (&args.subject, &args.against) {
        (Some(subject), _) => subject.clone(),
        (None, Some(_)) => schema.name().unwrap_or("the schema").to_owned(),
        (None, None) => {
            return Err(CliError::Config(
                "--schema: say also --subject for the registry's, or --against for a file"
                    .to_owned(),
            ));
        }
    };
    let compatibility = level.unwrap_or_default();
    Ok(vec![Subject { name, file: file.clone(), schema, compatibility }])
}

fn offline(config: &Config, subject: Subject, against: &Path) -> Result<Checked, CliError> {
    let old = match (against.is_dir(), subject.file.file_name()) {
        (true, Some(name)) => against.join(name),
        _ => against.to_owned(),
    };
    // In a folder, one that isn't there is of a new event; a file that is named must be there.
    if against.is_dir() && !old.exists() {
        return Ok(Checked::new(subject, true, Vec::new()));
    }
    let reasons = compare(config, &subject, &[read_schema(&old)?]);
    Ok(Checked::new(subject, false, reasons))
}

async fn online(
    config: &Config,
    registry: &SchemaRegistry,
    subject: Subject,
) -> Result<Checked, CliError> {
    if registry.latest(&subject.name).await?.is_none() {
        return Ok(Checked::new(subject, true, Vec::new()));
    }
    if registry.lookup(&subject.name, &subject.schema).await?.is_some() {
        return Ok(Checked::new(subject, false, Vec::new()));
    }
    let level = registry.compatibility(&subject.name).await?;
    let reasons = reasons(config, registry, &subject, level).await?;
    Ok(Checked::new(subject, false, reasons))
}

/// Why a schema can't be its subject's next version; nothing when it can. `level` is what the
/// registry demands of it now.
///
/// # Errors
/// The registry's.
pub(super) async fn reasons(
    config: &Config,
    registry: &SchemaRegistry,
    subject: &Subject,
    level: Compatibility,
) -> CoreResult<Vec<String>> {
    // The registry's own word, where it judges by what we demand.
    if level == subject.compatibility {
        let verdict = registry.check_compatibility(&subject.name, &subject.schema).await?;
        return Ok(if verdict.is_compatible { Vec::new() } else { verdict.messages });
    }
    let mut versions = registry.versions(&subject.name).await?;
    versions.sort_unstable();
    let count = if subject.compatibility.is_transitive() { MAX_VERSIONS } else { 1 };
    let mut earlier = Vec::new();
    for version in versions.split_off(versions.len().saturating_sub(count)) {
        let found = registry.version(&subject.name, version).await?;
        let Some(found) = found else { continue };
        earlier.push(EventSchema::parse(registry.schema_by_id(found.id).await?)?);
    }
    Ok(compare(config, subject, &earlier))
}

fn compare(config: &Config, subject: &Subject, earlier: &[EventSchema]) -> Vec<String> {
    let mut evolution = Evolution::new(subject.compatibility);
    if config.registry.as_ref().is_some_and(|section| section.allow_removed_fields) {
        evolution = evolution.allow_removed_fields();
    }
    match evolution.check(&subject.schema, earlier) {
        Ok(()) => Vec::new(),
        Err(incompatible) => incompatible.found.iter().map(|found| found.message.clone()).collect(),
    }
}

impl Checked {
    fn new(subject: Subject, new: bool, messages: Vec<String>) -> Self {
        Self {
            subject: subject.name,
            schema: subject.file,
            compatibility: subject.compatibility.as_str(),
            new,
            compatible: messages.is_empty(),
            messages,
        }
    }
}

fn print(checked: &[Checked], json: bool) -> Result<(), CliError> {
    if json {
        return output::json(&checked);
    }
    for one in checked {
        let Checked { subject, compatibility, .. } = one;
        let verdict = match (one.compatible, one.new) {
            (true, true) => "new",
            (true, false) => "compatible",
            (false, _) => "NOT compatible",
        };
        output::line(output::printable(&format!("{subject}: {verdict} ({compatibility})")))?;
        for message in &one.messages {
            output::line(output::printable(&format!("  {message}")))?;
        }
    }
    Ok(())
}
