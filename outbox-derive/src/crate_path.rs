//! Under which path the user's crate sees `DomainEvent`.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::Span;
use syn::{Ident, Path, parse_quote};

/// The path of relaybox or relaybox-core, whichever the crate being compiled depends on.
///
/// Both have the trait at their root. A crate that is one of them is named from outside, because its
/// doctests, examples and tests are.
pub(crate) fn find() -> syn::Result<Path> {
    for (package, own_name) in [("relaybox", "relaybox"), ("relaybox-core", "relaybox_core")] {
        let name = match crate_name(package) {
            Ok(FoundCrate::Itself) => own_name.to_owned(),
            Ok(FoundCrate::Name(name)) => name,
            Err(_) => continue,
        };
        let name = Ident::new(&name, Span::call_site());
        return Ok(parse_quote!(::#name));
    }
    Err(syn::Error::new(
        Span::call_site(),
        "neither relaybox nor relaybox-core is among this crate's dependencies; \
         if another crate re-exports it, name that: #[event(crate = \"other::relaybox\")]",
    ))
}
