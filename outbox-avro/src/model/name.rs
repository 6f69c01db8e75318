//! Names of types.

use std::fmt;

/// The full name of a type, and what else it was called.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    full: String,
    aliases: Vec<String>,
}

impl Name {
    /// A name as a schema writes it, within a namespace; empty means none.
    pub(crate) fn new(name: &str, namespace: &str, aliases: &[&str]) -> Self {
        let full = qualified(name, namespace);
        let own = namespace_of(&full).to_owned();
        Self { aliases: aliases.iter().map(|alias| qualified(alias, &own)).collect(), full }
    }

    /// With its namespace.
    pub(crate) fn full(&self) -> &str {
        &self.full
    }

    /// Without its namespace.
    pub(crate) fn simple(&self) -> &str {
        self.full.rsplit_once('.').map_or(&self.full, |(_, simple)| simple)
    }

    /// What unqualified names within it belong to.
    pub(crate) fn namespace(&self) -> &str {
        namespace_of(&self.full)
    }

    /// How many names it is, with its aliases.
    pub(crate) fn count(&self) -> usize {
        1 + self.aliases.len()
    }

    /// Whether a reader's type of this name reads what a type called `writer` wrote: the specification
    /// compares unqualified names, and the reader's aliases in full.
    pub(crate) fn reads(&self, writer: &Name) -> bool {
        self.simple() == writer.simple() || self.aliases.contains(&writer.full)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// A name with its namespace.
pub(crate) fn qualified(name: &str, namespace: &str) -> String {
    match name.strip_prefix('.') {
        Some(bare) => bare.to_owned(),
        None if name.contains('.') || namespace.is_empty() => name.to_owned(),
        None => format!("{namespace}.{name}"),
    }
}

fn namespace_of(full: &str) -> &str {
    full.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}
