//! A text of the configuration that may be secret.

use std::{fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::error::CliError;

/// A secret in a file: what a key or a password may have.
const MAX_BYTES: u64 = 64 * 1024;

/// A text, or where it is: `env:NAME` in the environment, `file:PATH` in a file of its own.
///
/// It is looked up when it is used, so that a command needs only what it uses.
#[derive(Clone, Default)]
pub(crate) struct Text {
    /// The option that gave it, of those that the command line has; it is taken as it is.
    option: Option<&'static str>,
    text: String,
}

impl Text {
    /// A text from the command line or the environment.
    pub(crate) fn given(option: &'static str, text: &str) -> Self {
        Self { option: Some(option), text: text.to_owned() }
    }

    /// The text itself; `key` is its place in the configuration, `folder` what a file's path is relative
    /// to.
    ///
    /// # Errors
    /// [`CliError::Config`] when it is not where it should be, or empty.
    pub(crate) fn resolve(&self, key: &str, folder: &Path) -> Result<String, CliError> {
        let wrong = |what: String| CliError::Config(format!("{key}: {what}"));
        let text = match (self.option, self.text.split_once(':')) {
            (None, Some(("env", name))) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => {
                    wrong(format!("the environment variable {name} is not set"))
                }
                std::env::VarError::NotUnicode(_) => {
                    wrong(format!("the environment variable {name} is not UTF-8"))
                }
            })?,
            (None, Some(("file", path))) => secret_file(&folder.join(path))
                .map_err(|error| wrong(format!("the file {path} can't be read: {error}")))?,
            _ => self.text.clone(),
        };
        if text.is_empty() {
            return Err(CliError::Config(format!("{} is empty", self.option.unwrap_or(key))));
        }
        Ok(text)
    }
}

fn secret_file(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {MAX_BYTES} bytes")));
    }
    // Editors and `echo` end it with a line feed, which is no part of it.
    Ok(std::fs::read_to_string(path)?.trim_end_matches(['\r', '\n']).to_owned())
}

/// Never the text.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Says what is wrong without saying what is there: a password of digits only is a number to TOML.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

const EXPECTED: &str = "a text in quotes is expected";

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text { option: None, text: text.to_owned() })
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Text, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Text, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Text, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Text, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
        Err(A::Error::custom(EXPECTED))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
        Err(A::Error::custom(EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_from_where_it_says() {
        let here = Path::new("");
        let text = |text: &str| Text { option: None, text: text.to_owned() };
        assert_eq!(text("sqlite:a.db").resolve("store.url", here).unwrap(), "sqlite:a.db");
        assert!(!text("env:PATH").resolve("store.url", here).unwrap().is_empty());
        let missing =
            text("env:RELAYBOX_NO_SUCH").resolve("store.url", here).unwrap_err().to_string();
        assert_eq!(missing, "store.url: the environment variable RELAYBOX_NO_SUCH is not set");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let secret = text(&format!("file:{}", file.path().display()));
        assert_eq!(secret.resolve("store.url", here).unwrap(), "hunter2");
        let (folder, name) = (file.path().parent().unwrap(), file.path().file_name().unwrap());
        let relative = text(&format!("file:{}", name.to_str().unwrap()));
        assert_eq!(relative.resolve("store.url", folder).unwrap(), "hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert!(text("file:/no/such").resolve("store.url", here).is_err());
        assert!(text("").resolve("store.url", here).is_err());
        assert_eq!(Text::given("--store", "env:PATH").resolve("x", here).unwrap(), "env:PATH");
    }
}
