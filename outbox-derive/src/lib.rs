//! `#[derive(DomainEvent)]`.
//!
//! Use it through `relaybox` or `relaybox-core` with the feature `derive`.

mod attributes;
mod crate_path;
mod errors;
mod expand;
mod model;
mod names;

/// Derives `DomainEvent` for a struct (one event) or an enum (the events of one aggregate).
///
/// # Attributes
///
/// | on | key | |
/// |---|---|---|
/// | the type | `aggregate = "session"` | required: the kind of aggregate, lower case |
/// | a struct, each variant | `name = "session.created"` | required: dotted, lower case |
/// | a struct, each variant | `version = 2` | the schema version, from 1; 1 if absent |
/// | one field, in each variant | `aggregate_id` | required: which aggregate; any `Display` |
/// | one field, in each variant | `partition_key` | decides the partition instead of the id; any `Display` |
/// | the type | `crate = "my::relaybox"` | where `DomainEvent` is, if not in a dependency on relaybox |
///
/// # A struct for each event
///
/// ```
/// use relaybox_core::DomainEvent;
///
/// #[derive(DomainEvent)]
/// #[event(aggregate = "session", name = "session.created", version = 1)]
/// struct SessionCreated {
///     #[event(aggregate_id)]
///     session_id: u64,
///     #[event(partition_key)]
///     tenant: String,
/// }
///
/// let event = SessionCreated { session_id: 7, tenant: "acme".into() };
/// assert_eq!(event.event_type().to_string(), "session.created.v1");
/// assert_eq!(event.aggregate_id(), "7");
/// assert_eq!(event.partition_key().as_deref(), Some("acme"));
/// ```
///
/// # An enum for each aggregate
///
/// Each variant has its own name and version, and its own field with the aggregate's id.
///
/// ```
/// use relaybox_core::DomainEvent;
///
/// #[derive(DomainEvent)]
/// #[event(aggregate = "cart")]
/// enum CartEvent {
///     #[event(name = "cart.opened")]
///     Opened { #[event(aggregate_id)] cart: String },
///     #[event(name = "cart.emptied", version = 2)]
///     Emptied(#[event(aggregate_id)] String),
/// }
///
/// let types: Vec<_> = CartEvent::EVENT_TYPES.iter().map(ToString::to_string).collect();
/// assert_eq!(types, ["cart.opened.v1", "cart.emptied.v2"]);
/// ```
#[proc_macro_derive(DomainEvent, attributes(event))]
pub fn derive_domain_event(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    model::EventModel::parse(&input)
        .map_or_else(|error| error.into_compile_error(), |model| expand::expand(&input, &model))
        .into()
}
