//! Parsing `#[event(…)]`.

use proc_macro2::Span;
use syn::{
    Attribute, LitInt, LitStr, Path, Token, ext::IdentExt, meta::ParseNestedMeta, spanned::Spanned,
};

use crate::errors::Errors;

/// What all `#[event(…)]` attributes of one item say together.
#[derive(Default)]
pub(crate) struct EventAttributes {
    pub(crate) aggregate: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) crate_path: Option<Path>,
    pub(crate) aggregate_id: Option<Span>,
    pub(crate) partition_key: Option<Span>,
}

/// What an attribute is on, which decides the keys it may have.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Struct,
    Enum,
    Variant,
    Field,
}

impl EventAttributes {
    /// Parses the attributes of an item; other macros' are passed over.
    pub(crate) fn parse(attributes: &[Attribute], place: Place, errors: &mut Errors) -> Self {
        let mut parsed = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            let result = attribute.parse_nested_meta(|meta| parsed.take(&meta, place));
            if let Err(error) = result {
                errors.push(error);
            }
        }
        parsed
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>, place: Place) -> syn::Result<()> {
        let key = meta.path.get_ident().map(|key| key.unraw().to_string()).unwrap_or_default();
        if !place.keys().contains(&key.as_str()) {
            return Err(meta.error(place.refuse(&key)));
        }
        let repeated = match key.as_str() {
            "aggregate" => self.aggregate.replace(meta.value()?.parse()?).is_some(),
            "name" => self.name.replace(meta.value()?.parse()?).is_some(),
            "version" => self.version.replace(meta.value()?.parse()?).is_some(),
            "crate" => {
                let path: LitStr = meta.value()?.parse()?;
                self.crate_path.replace(path.parse_with(Path::parse_mod_style)?).is_some()
            }
            flag => {
                if meta.input.peek(Token![=]) {
                    return Err(meta.error(format!("{flag} takes no value: #[event({flag})]")));
                }
                let slot = match flag {
                    "aggregate_id" => &mut self.aggregate_id,
                    _ => &mut self.partition_key,
                };
                slot.replace(meta.path.span()).is_some()
            }
        };
        if repeated { Err(meta.error(format!("{key} is given twice"))) } else { Ok(()) }
    }
}

impl Place {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Struct => &["aggregate", "name", "version", "crate"],
            Self::Enum => &["aggregate", "crate"],
            Self::Variant => &["name", "version"],
            Self::Field => &["aggregate_id", "partition_key"],
        }
    }

    fn refuse(self, key: &str) -> String {
        let advice = match (self, key) {
            (Self::Enum, "name" | "version") => "; put it on each variant",
            (Self::Variant, "aggregate") => "; put it on the enum",
            (Self::Struct | Self::Enum | Self::Variant, "aggregate_id" | "partition_key") => {
                "; put it on the field"
            }
            _ => "",
        };
        let on = match self {
            Self::Struct => "a struct",
            Self::Enum => "an enum",
            Self::Variant => "a variant",
            Self::Field => "a field",
        };
        format!(
            "unknown key in #[event(…)] on {on}{advice} (known here: {})",
            self.keys().join(", ")
        )
    }
}
