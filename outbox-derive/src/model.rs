//! What the derive input means, checked.

use proc_macro2::Span;
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Field, Fields, Ident, LitInt, LitStr, Member, Path,
    Type,
};

use crate::{
    attributes::{EventAttributes, Place},
    crate_path,
    errors::Errors,
    names,
};

/// A struct or an enum that is a domain event.
pub(crate) struct EventModel {
    pub(crate) crate_path: Path,
    pub(crate) aggregate: LitStr,
    pub(crate) cases: Vec<Case>,
}

/// A struct, or a variant of an enum.
pub(crate) struct Case {
    /// The variant; `None` for a struct.
    pub(crate) variant: Option<Ident>,
    pub(crate) name: LitStr,
    pub(crate) version: u16,
    pub(crate) aggregate_id: MarkedField,
    pub(crate) partition_key: Option<MarkedField>,
}

/// A field with `#[event(aggregate_id)]` or `#[event(partition_key)]`.
pub(crate) struct MarkedField {
    pub(crate) member: Member,
    pub(crate) ty: Type,
}

impl EventModel {
    pub(crate) fn parse(input: &DeriveInput) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let place = match &input.data {
            Data::Enum(_) => Place::Enum,
            Data::Struct(_) => Place::Struct,
            Data::Union(data) => {
                return Err(syn::Error::new(
                    data.union_token.span,
                    "a union can't be a domain event: use a struct or an enum",
                ));
            }
        };
        let attributes = EventAttributes::parse(&input.attrs, place, &mut errors);
        // What is missing is of no interest as long as what is there can't be read.
        errors.into_result()?;

        let mut errors = Errors::default();
        let aggregate = check_aggregate(&attributes, input, &mut errors);
        let cases = match &input.data {
            Data::Enum(data) => parse_variants(data, input, &mut errors),
            Data::Struct(data) => Vec::from_iter(Case::parse(
                &attributes,
                None,
                &input.ident,
                &data.fields,
                &mut errors,
            )),
            Data::Union(_) => Vec::new(),
        };
        errors.into_result()?;
        let crate_path = attributes.crate_path.map_or_else(crate_path::find, Ok)?;
        let aggregate = aggregate.expect("an absent one is an error above");
        Ok(Self { crate_path, aggregate, cases })
    }
}

impl Case {
    /// Gives `None` after adding to `errors`.
    fn parse(
        attributes: &EventAttributes,
        variant: Option<&Ident>,
        ident: &Ident,
        fields: &Fields,
        errors: &mut Errors,
    ) -> Option<Self> {
        let name = check_name(attributes, ident, errors);
        let version = attributes.version.as_ref().map_or(Some(1), |v| check_version(v, errors));
        let (aggregate_id, partition_key) = marked_fields(ident, fields, errors);
        Some(Self {
            variant: variant.cloned(),
            name: name?,
            version: version?,
            aggregate_id: aggregate_id?,
            partition_key,
        })
    }
}

fn parse_variants(data: &DataEnum, input: &DeriveInput, errors: &mut Errors) -> Vec<Case> {
    if data.variants.is_empty() {
        errors.at(input.ident.span(), "an enum without variants is no event");
    }
    let mut cases: Vec<Case> = Vec::new();
    for variant in &data.variants {
        let Some(attributes) = parse_attributes(&variant.attrs, Place::Variant, errors) else {
            continue;
        };
        let ident = &variant.ident;
        let Some(case) = Case::parse(&attributes, Some(ident), ident, &variant.fields, errors)
        else {
            continue;
        };
        let same = |other: &&Case| {
            other.name.value() == case.name.value() && other.version == case.version
        };
        if let Some(Case { variant: Some(first), .. }) = cases.iter().find(same) {
            errors.at(
                case.name.span(),
                format!(
                    "{} version {} is the event of {first} already; consumers could not tell them \
                     apart",
                    case.name.value(),
                    case.version
                ),
            );
        }
        cases.push(case);
    }
    cases
}

/// Gives `None` after adding to `errors`.
fn parse_attributes(
    attributes: &[Attribute],
    place: Place,
    errors: &mut Errors,
) -> Option<EventAttributes> {
    let mut own = Errors::default();
    let parsed = EventAttributes::parse(attributes, place, &mut own);
    own.into_result().map_err(|error| errors.push(error)).ok()?;
    Some(parsed)
}

fn check_aggregate(
    attributes: &EventAttributes,
    input: &DeriveInput,
    errors: &mut Errors,
) -> Option<LitStr> {
    let Some(aggregate) = &attributes.aggregate else {
        errors.at(
            input.ident.span(),
            format!(
                "the kind of aggregate is missing: put #[event(aggregate = \"…\")] on {}",
                input.ident
            ),
        );
        return None;
    };
    if !names::is_aggregate_type(&aggregate.value()) {
        errors.at(
            aggregate.span(),
            format!(
                "an aggregate type is made of a-z, 0-9, '_' and '-', at most {} bytes: \"session\"",
                names::MAX_AGGREGATE_TYPE
            ),
        );
    }
    Some(aggregate.clone())
}

fn check_name(attributes: &EventAttributes, ident: &Ident, errors: &mut Errors) -> Option<LitStr> {
    let Some(name) = &attributes.name else {
        errors.at(
            ident.span(),
            format!("the event's name is missing: put #[event(name = \"…\")] on {ident}"),
        );
        return None;
    };
    if !names::is_event_name(&name.value()) {
        errors.at(
            name.span(),
            format!(
                "an event name is made of words of a-z, 0-9, '_' and '-', joined by dots, at most \
                 {} bytes: \"session.created\"",
                names::MAX_EVENT_NAME
            ),
        );
    }
    Some(name.clone())
}

fn check_version(version: &LitInt, errors: &mut Errors) -> Option<u16> {
    match version.base10_parse::<u16>() {
        Ok(number @ 1..) => Some(number),
        _ => {
            errors.at(version.span(), "a version is a number from 1 to 65535");
            None
        }
    }
}

fn marked_fields(
    ident: &Ident,
    fields: &Fields,
    errors: &mut Errors,
) -> (Option<MarkedField>, Option<MarkedField>) {
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for (member, field) in fields.members().zip(fields) {
        let Some(attributes) = parse_attributes(&field.attrs, Place::Field, errors) else {
            return (None, None);
        };
        ids.extend(attributes.aggregate_id.map(|span| (span, MarkedField::new(&member, field))));
        keys.extend(attributes.partition_key.map(|span| (span, MarkedField::new(&member, field))));
    }
    if ids.is_empty() {
        errors.at(
            ident.span(),
            format!("put #[event(aggregate_id)] on the field of {ident} that says which aggregate"),
        );
    }
    (only(ids, "aggregate_id", errors), only(keys, "partition_key", errors))
}

impl MarkedField {
    fn new(member: &Member, field: &Field) -> Self {
        Self { member: member.clone(), ty: field.ty.clone() }
    }
}

fn only(marked: Vec<(Span, MarkedField)>, key: &str, errors: &mut Errors) -> Option<MarkedField> {
    let mut marked = marked.into_iter();
    let first = marked.next();
    for (span, _) in marked {
        errors.at(span, format!("{key} is on a field before already; only one field can be it"));
    }
    first.map(|(_, field)| field)
}
