//! An event type's own schema: what its values are written and read with.

use std::{borrow::Cow, sync::Arc};

use apache_avro::{
    Schema, error::Details, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter,
};
use relaybox_core::{Error, ErrorKind, EventType, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::{DECODE, ENCODE, content_type::ContentType};
use crate::{
    EventSchema,
    model::{Kind, Logical, Model},
    plan::{Plan, compile},
};

/// A schema with all that is needed to write and to read with it.
pub(super) struct OwnSchema {
    schema: EventSchema,
    avro: Schema,
    content_type: Cow<'static, str>,
    /// Checks what was written with it.
    plan: Arc<Plan>,
    human_readable: bool,
}

impl OwnSchema {
    /// Prepares a schema.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when apache-avro doesn't take it, or it can't be used as it is.
    pub(super) fn new(schema: EventSchema) -> Result<Self> {
        let avro = Schema::parse_str(schema.text())
            .map_err(|error| Error::new(ErrorKind::Decode, PREPARE).caused_by(error))?;
        let (plan, _) = compile(schema.model(), schema.model())?;
        Ok(Self {
            content_type: Cow::Owned(ContentType::datum(schema.fingerprint())),
            plan: Arc::new(plan),
            human_readable: human_readable(schema.model())?,
            avro,
            schema,
        })
    }

    pub(super) fn schema(&self) -> &EventSchema {
        &self.schema
    }

    pub(super) fn content_type(&self) -> &Cow<'static, str> {
        &self.content_type
    }

    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Writes a value as a datum.
    pub(super) fn write<T: Serialize>(&self, event_type: &EventType, value: &T) -> Result<Vec<u8>> {
        let mut datum = Vec::with_capacity(128);
        GenericDatumWriter::builder(&self.avro)
            .human_readable(self.human_readable)
            .build()
            .and_then(|writer| writer.write_ser(&mut datum, value))
            .map_err(|error| {
                Error::new(ErrorKind::Encode, ENCODE).detail(format!(
                    "a {event_type} doesn't fit its schema: {}",
                    unfit(error.details())
                ))
            })?;
        Ok(datum)
    }

    /// Reads a datum of this schema whose limits were checked.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        event_type: &EventType,
        mut datum: &[u8],
    ) -> Result<T> {
        GenericDatumReader::builder(&self.avro)
            .human_readable(self.human_readable)
            .build()
            .and_then(|reader| reader.read_deser(&mut datum))
            .map_err(|error| {
                Error::new(ErrorKind::Decode, DECODE).detail(format!(
                    "the payload is an Avro {event_type}, but the Rust type doesn't fit the schema: {}",
                    unfit(error.details())
                ))
            })
    }
}

const PREPARE: &str = "prepare an event's Avro schema";

/// Whether types with two forms take their text, by what the schema has for a UUID: apache-avro asks for
/// one answer for the whole value.
fn human_readable(model: &Model) -> Result<bool> {
    let uuid = |of: &&crate::model::Type| of.logical == Some(Logical::Named("uuid"));
    let is_text = |of: &crate::model::Type| matches!(of.kind, Kind::String);
    let as_text = model.types().filter(uuid).any(is_text);
    let as_bytes = model.types().filter(uuid).any(|of| !is_text(of));
    if as_text && as_bytes {
        return Err(Error::new(ErrorKind::Decode, PREPARE).detail(
            "it has UUIDs as strings and as bytes, and a value has one form for all; use one of them",
        ));
    }
    Ok(!as_bytes)
}

/// What doesn't fit, without what the value is: apache-avro's other messages quote it.
fn unfit(details: &Details) -> String {
    match details {
        Details::SerializeRecordFieldWithSchema { field_name, error, .. } => {
            let why = if error.starts_with("Failed to serialize") && error.contains(EXPECTED) {
                error
            } else {
                ELSE
            };
            format!("field {field_name:?}: {why}")
        }
        Details::GetField(name) => format!("the schema has no field {name:?}"),
        Details::MissingDefaultForSkippedField { field_name, .. } => {
            format!("field {field_name:?} is skipped, and has no default in the schema")
        }
        Details::SerializeValueWithSchema { value_type, value, .. }
        | Details::DeserializeSchemaAware { value_type, value, .. }
            if value.starts_with(EXPECTED) =>
        {
            format!("a Rust {value_type}, {value}")
        }
        // These come from serde's derive, and name fields only.
        Details::DeserializeValue(message)
            if ["missing field `", "duplicate field `"]
                .iter()
                .any(|known| message.starts_with(known)) =>
        {
            message.clone()
        }
        _ => ELSE.to_owned(),
    }
}

const EXPECTED: &str = "Expected Schema::";
const ELSE: &str = "its value or its type is not what the schema has";
