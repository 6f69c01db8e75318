//! The macros' lists are complete.

use std::{fs, path::Path};

macro_rules! names {
    ($($module:ident: $($promise:ident),+ $(,)?;)+) => {
        vec![$($(concat!(stringify!($module), "::", stringify!($promise))),+),+]
    };
}

/// Every public function in the files of a concern, as `module::function`.
fn written(concern: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(concern);
    let mut written = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap();
                written.push(format!("{module}::{}", &rest[..end]));
            }
        }
    }
    written.sort();
    written
}

/// And the README counts them.
#[test]
fn every_promise_is_in_the_macros_lists() {
    let readme = include_str!("../../README.md");
    let mut store = relaybox_conformance::for_each_store_promise!([names] {});
    let mut archive = relaybox_conformance::for_each_archive_promise!([names] {});
    let mut bus = relaybox_conformance::for_each_bus_promise!([names] {});
    let mut inbox = relaybox_conformance::for_each_inbox_promise!([names] {});
    let mut source = relaybox_conformance::for_each_source_promise!([names] {});
    for (concern, listed) in [
        ("store", &mut store),
        ("archive", &mut archive),
        ("bus", &mut bus),
        ("inbox", &mut inbox),
        ("source", &mut source),
    ] {
        listed.sort_unstable();
        assert_eq!(written(concern), *listed, "{concern}");
        let row = readme.lines().find(|line| line.contains(&format!("| `src/{concern}/`")));
        let counted = format!("| {} |", listed.len());
        assert!(row.unwrap().ends_with(&counted), "the README has {counted} for {concern}");
    }
}
