//! Reading a TOML file, and saying what is wrong with it without quoting it.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::CliError;

/// A configuration is text that a person wrote.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Reads a file.
///
/// # Errors
/// [`CliError::Config`], with the key and the line, and never with a value: it may be a secret.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    let shown = path.display();
    let unreadable = |error| CliError::Config(format!("{shown} can't be read: {error}"));
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(CliError::Config(format!("{shown} is larger than {MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text).map_err(|mistake| CliError::Config(format!("{shown}: {mistake}")))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let at_line = |error: &toml::de::Error| match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            format!("line {}: ", before.matches('\n').count() + 1)
        }
        None => String::new(),
    };
    let toml = toml::Deserializer::parse(text)
        .map_err(|error| format!("{}{}", at_line(&error), error.message()))?;
    serde_path_to_error::deserialize(toml).map_err(|error| {
        let path = error.path().to_string();
        let message = without_value(error.inner().message());
        let line = at_line(error.inner());
        // The top has no path.
        if path == "." { format!("{line}{message}") } else { format!("{line}{path}: {message}") }
    })
}

/// serde's messages quote the value they stumble over: `invalid type: string "hunter2", expected …`.
fn without_value(message: &str) -> String {
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) =
            message.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        {
            let found = found.split([' ', '`', '"']).next().unwrap_or_default();
            return format!("{kind}{found}, expected {expected}");
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn mistake(text: &str) -> String {
        parse::<Config>(text).unwrap_err()
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_key() {
        let unknown = mistake("[store]\nurl = \"sqlite:a\"\narchve = true\n");
        assert!(unknown.starts_with("line 3: store.archve: unknown field `archve`"), "{unknown}");
        assert!(unknown.contains("`archive`"), "{unknown}");
        let wrong = mistake("[relay]\nbatch = \"many\"\n");
        assert!(wrong.starts_with("line 2: relay.batch: invalid type: string"), "{wrong}");
        let span = mistake("[relay]\nlease_ttl = \"10\"\n");
        assert!(span.contains("relay.lease_ttl") && span.contains("500ms, 90s"), "{span}");
        let topic =
            mistake("[[topics]]\nname = \"a\"\npartitions = 1\n[[topics]]\nname = \"b c\"\n");
        assert!(topic.contains("topics[1].name"), "{topic}");
        assert!(mistake("[store\n").starts_with("line 1: "));
    }

    #[test]
    fn a_mistake_is_told_without_its_value() {
        for text in [
            "[kafka]\nsasl = \"hunter2\"\n",
            "[kafka.sasl]\npassword = { value = \"hunter2\" }\nuser = 1\n",
            "[kafka.sasl]\npasswrod = \"hunter2\"\n",
            "[store]\nurl = [\"hunter2\"]\n",
            "[store]\nurl = \"hunter2\n",
            "[relay]\nbatch = \"hunter2, expected 1\"\n",
        ] {
            let mistake = mistake(text);
            assert!(!mistake.contains("hunter2"), "{mistake}");
        }
        let number = mistake("[kafka.sasl]\npassword = 48151623\n");
        assert!(number.contains("kafka.sasl.password") && !number.contains("48151623"), "{number}");
    }
}
