//! Subjects and schemas in the registry.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
};

use relaybox::{
    ErrorKind,
    avro::{Compatibility, EventSchema, SchemaRegistry},
};
use serde_json::{Value, json};

use crate::{
    command::schemas,
    config::{Config, Seeds, SubjectSection},
    error::CliError,
};

/// A schema that there should be under a subject.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) schema: EventSchema,
    pub(crate) compatibility: Compatibility,
}

/// The subjects of a configuration, with their files read.
///
/// # Errors
/// [`CliError::Config`] when one is named twice or not at all, [`CliError::Refused`] when a file is
/// no schema.
pub(crate) fn subjects(config: &Config, seeds: &Seeds) -> Result<Vec<Subject>, CliError> {
    let mut names = BTreeSet::new();
    let mut subjects = Vec::new();
    for (number, section) in seeds.subjects.iter().enumerate() {
        let subject = of_section(config, seeds, section).map_err(|error| match error {
            CliError::Config(what) => CliError::Config(format!("subjects[{number}]: {what}")),
            other => other,
        })?;
        if !names.insert(subject.name.clone()) {
            return Err(CliError::Config(format!(
                "subjects[{number}]: {} is named twice",
                subject.name
            )));
        }
        subjects.push(subject);
    }
    Ok(subjects)
}

fn of_section(
    config: &Config,
    seeds: &Seeds,
    section: &SubjectSection,
) -> Result<Subject, CliError> {
    let file = seeds.folder.join(&section.schema);
    let schema = read_schema(&file)?;
    let compatibility = match &section.compatibility {
        Some(level) => {
            level.parse().map_err(|error| CliError::Config(format!("compatibility: {error}")))?
        }
        None => Compatibility::default(),
    };
    let name = match (&section.name, &section.topic, &section.aggregate) {
        (Some(name), None, None) => name.clone(),
        (None, Some(topic), None) => config.subjects().subject(topic, &schema)?,
        (None, None, Some(aggregate)) => {
            config.subjects().subject(&config.topic_map().topic(aggregate), &schema)?
        }
        _ => {
            return Err(CliError::Config("it takes one of name, topic and aggregate".to_owned()));
        }
    };
    Ok(Subject { name, file, schema, compatibility })
}

/// Reads an .avsc file.
///
/// # Errors
/// [`CliError::Config`] when it can't be read, [`CliError::Refused`] when it is no schema.
pub(crate) fn read_schema(file: &Path) -> Result<EventSchema, CliError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CliError::Config(format!("the schema {} can't be read: {error}", file.display()))
    })?;
    EventSchema::parse(text).map_err(|error| {
        CliError::Refused(format!("{}: {}", file.display(), relaybox::error_chain(&error)))
    })
}

/// What would be done about subjects; nothing where none are named.
#[derive(Default)]
pub(super) struct SubjectsPlan {
    planned: Vec<Planned>,
}

/// A subject with what would be done about it.
#[derive(Debug)]
struct Planned {
    subject: Subject,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    /// A subject that is new.
    Create,
    /// The subject's next version.
    Register { from: u32 },
    /// What is demanded of the next one.
    Compatibility { from: Compatibility },
    /// It is not compatible.
    Refused { reasons: Vec<String> },
}

impl SubjectsPlan {
    pub(super) async fn make(config: &Config, seeds: &Seeds) -> Result<Self, CliError> {
        let subjects = subjects(config, seeds)?;
        if subjects.is_empty() {
            return Ok(Self::default());
        }
        let registry = config.registry()?;
        let mut planned = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let steps = steps(config, &registry, &subject).await?;
            planned.push(Planned { subject, steps });
        }
        Ok(Self { planned })
    }

    /// Registers them, and says after each what is done.
    pub(super) async fn apply(
        &self,
        config: &Config,
        mut said: impl FnMut(&str) -> Result<(), CliError> + Send,
    ) -> Result<(), CliError> {
        if !self.has_changes() {
            return Ok(());
        }
        let registry = config.registry()?;
        for Planned { subject, steps } in &self.planned {
            let Subject { name, schema, compatibility, .. } = subject;
            for step in steps {
                match step {
                    // Some registries set it for subjects only that are there.
                    Step::Create => {
                        registry.register(name, schema).await?;
                        registry.set_compatibility(name, *compatibility).await?;
                    }
                    Step::Compatibility { .. } => {
                        registry.set_compatibility(name, *compatibility).await?;
                    }
                    Step::Register { .. } => {
                        registry.register(name, schema).await?;
                    }
                    Step::Refused { .. } => {}
                }
            }
            if !steps.is_empty() {
                said(&format!("the subject {name} is as it should be"))?;
            }
        }
        Ok(())
    }

    pub(super) fn has_changes(&self) -> bool {
        self.steps().any(|step| !matches!(step, Step::Refused { .. }))
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Refused { .. }))
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.planned.iter().flat_map(|planned| &planned.steps)
    }

    pub(super) fn diff(&self) -> String {
        let mut diff = String::new();
        for Planned { subject, steps } in &self.planned {
            let (name, file) = (&subject.name, subject.file.display());
            let to = subject.compatibility;
            if steps.is_empty() {
                let _ = writeln!(diff, "  subject {name}: unchanged");
            }
            for step in steps {
                let _ = match step {
                    Step::Create => {
                        writeln!(diff, "+ subject {name}: {file}, compatibility {to}")
                    }
                    Step::Register { from } => {
                        writeln!(diff, "~ subject {name}: {file} follows version {from}")
                    }
                    Step::Compatibility { from } => {
                        writeln!(diff, "~ subject {name}: compatibility {from} -> {to}")
                    }
                    Step::Refused { reasons } => reasons.iter().try_for_each(|reason| {
                        writeln!(diff, "! subject {name}: {file}: {reason}")
                    }),
                };
            }
        }
        diff.truncate(diff.trim_end().len());
        diff
    }

    pub(super) fn json(&self) -> Value {
        let step = |subject: &Subject, step: &Step| match step {
            Step::Create => json!({
                "action": "create",
                "compatibility": subject.compatibility.as_str(),
            }),
            Step::Register { from } => json!({ "action": "register", "from_version": from }),
            Step::Compatibility { from } => json!({
                "action": "set_compatibility",
                "from": from.as_str(),
                "to": subject.compatibility.as_str(),
            }),
            Step::Refused { reasons } => json!({ "action": "refused", "reasons": reasons }),
        };
        let planned = |Planned { subject, steps }: &Planned| {
            let steps: Vec<_> = steps.iter().map(|found| step(subject, found)).collect();
            json!({ "name": subject.name, "schema": subject.file, "steps": steps })
        };
        self.planned.iter().map(planned).collect()
    }
}

async fn steps(
    config: &Config,
    registry: &SchemaRegistry,
    subject: &Subject,
) -> Result<Vec<Step>, CliError> {
    let Some(latest) = registry.latest(&subject.name).await? else {
        return Ok(vec![Step::Create]);
    };
    let mut steps = Vec::new();
    let level = registry.compatibility(&subject.name).await?;
    if level != subject.compatibility {
        steps.push(Step::Compatibility { from: level });
    }
    if registry.lookup(&subject.name, &subject.schema).await?.is_some() {
        return Ok(steps);
    }
    let reasons = match schemas::reasons(config, registry, subject, level).await {
        Ok(reasons) => reasons,
        // To the registry it is no schema.
        Err(error) if error.kind() == ErrorKind::TopicUnavailable => vec![error.to_string()],
        Err(error) => return Err(error.into()),
    };
    steps.push(match reasons.is_empty() {
        true => Step::Register { from: latest.version },
        false => Step::Refused { reasons },
    });
    Ok(steps)
}
