//! Writing the impl.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{DeriveInput, Generics, WherePredicate, parse_quote, spanned::Spanned};

use crate::model::{Case, EventModel, MarkedField};

/// The `impl DomainEvent` of a checked input.
pub(crate) fn expand(input: &DeriveInput, model: &EventModel) -> TokenStream {
    let EventModel { crate_path, aggregate, cases } = model;
    let ident = &input.ident;
    let generics = bounded(&input.generics, cases);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();

    let types = cases.iter().map(|case| case.event_type(crate_path));
    let type_arms = cases.iter().map(|case| {
        let path = case.path();
        let event_type = case.event_type(crate_path);
        quote!(#path { .. } => const { #event_type },)
    });
    let id_arms = cases.iter().map(|case| {
        let (pattern, text) = (case.pattern(&case.aggregate_id), case.aggregate_id.to_text());
        quote!(#pattern => #text,)
    });
    let key_arms = cases.iter().map(|case| match &case.partition_key {
        Some(field) => {
            let (pattern, text) = (case.pattern(field), field.to_text());
            quote!(#pattern => ::std::option::Option::Some(#text),)
        }
        None => {
            let path = case.path();
            quote!(#path { .. } => ::std::option::Option::None,)
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #crate_path::DomainEvent for #ident #ty_generics #where_clause {
            const EVENT_TYPES: &'static [#crate_path::EventType] = &[#(#types),*];

            fn event_type(&self) -> #crate_path::EventType {
                match self { #(#type_arms)* }
            }

            fn aggregate_type(&self) -> &'static str {
                #aggregate
            }

            fn aggregate_id(&self) -> ::std::string::String {
                match self { #(#id_arms)* }
            }

            fn partition_key(&self) -> ::std::option::Option<::std::string::String> {
                match self { #(#key_arms)* }
            }
        }
    }
}

impl Case {
    fn path(&self) -> TokenStream {
        self.variant.as_ref().map_or_else(|| quote!(Self), |variant| quote!(Self::#variant))
    }

    fn event_type(&self, crate_path: &syn::Path) -> TokenStream {
        let Self { name, version, .. } = self;
        quote!(#crate_path::EventType::from_static(#name, #version))
    }

    fn pattern(&self, field: &MarkedField) -> TokenStream {
        let (path, member, value) = (self.path(), &field.member, field.binding());
        quote!(#path { #member: #value, .. })
    }
}

impl MarkedField {
    /// Carries the field's span, so that "`X` doesn't implement `Display`" points there.
    fn binding(&self) -> Ident {
        Ident::new("value", self.ty.span())
    }

    fn to_text(&self) -> TokenStream {
        let value = self.binding();
        quote_spanned!(self.ty.span()=> ::std::string::ToString::to_string(#value))
    }
}

/// Adds `Field: Display` for marked fields whose type depends on a type parameter.
fn bounded(generics: &Generics, cases: &[Case]) -> Generics {
    let mut bounded = generics.clone();
    let parameters: Vec<_> = generics.type_params().map(|parameter| &parameter.ident).collect();
    let marked =
        cases.iter().flat_map(|case| [Some(&case.aggregate_id), case.partition_key.as_ref()]);
    for MarkedField { ty, .. } in marked.flatten() {
        if mentions(ty.to_token_stream(), &parameters) {
            let display: WherePredicate = parse_quote!(#ty: ::std::fmt::Display);
            bounded.make_where_clause().predicates.push(display);
        }
    }
    bounded
}

fn mentions(tokens: TokenStream, names: &[&Ident]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.contains(&&ident),
        TokenTree::Group(group) => mentions(group.stream(), names),
        _ => false,
    })
}
