//! What a user gets: features that pull in nothing else, packages with nothing else in them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

fn cargo(arguments: &[&str]) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = Command::new(env!("CARGO")).current_dir(root).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all crates that a user of these features compiles.
fn tree(package: &str, features: &str) -> Vec<String> {
    let tree = cargo(&[
        "tree",
        "--offline",
        "--locked",
        "-p",
        package,
        "--features",
        features,
        "-e",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn a_feature_pulls_in_its_own_driver_and_no_other() {
    let drivers = [
        "sqlx-core",
        "sqlx-postgres",
        "sqlx-sqlite",
        "libsqlite3-sys",
        "rdkafka",
        "rdkafka-sys",
        "lapin",
        "mongodb",
        "openssl-sys",
        "rustls",
        "mockall",
    ];
    let expected: &[(&str, &[&str])] = &[
        ("", &[]),
        ("derive", &[]),
        ("postgres", &["sqlx-core", "sqlx-postgres"]),
        ("sqlite", &["libsqlite3-sys", "sqlx-core", "sqlx-sqlite"]),
        ("kafka", &["rdkafka", "rdkafka-sys"]),
        ("rabbitmq", &["lapin"]),
        ("mongodb", &["mongodb", "rustls"]),
        ("avro", &[]),
        ("registry", &["rustls"]),
        ("mock", &["mockall"]),
        ("postgres,tls", &["rustls", "sqlx-core", "sqlx-postgres"]),
        ("kafka,tls", &["openssl-sys", "rdkafka", "rdkafka-sys"]),
        ("rabbitmq,tls", &["lapin", "rustls"]),
    ];
    for (features, wanted) in expected {
        let tree = tree("relaybox", features);
        let mut found: Vec<_> = drivers
            .iter()
            .copied()
            .filter(|driver| tree.iter().any(|name| name == driver))
            .collect();
        found.sort_unstable();
        assert_eq!(&found[..], *wanted, "with the features {features:?}");
    }
}

#[test]
fn the_examples_need_no_openssl() {
    let tree = cargo(&[
        "tree",
        "--offline",
        "--locked",
        "-p",
        "relaybox",
        "-e",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    assert!(tree.lines().any(|line| line.starts_with("rdkafka-sys ")), "with their own features");
    assert!(!tree.lines().any(|line| line.starts_with("openssl-sys ")));
}

#[test]
fn the_core_has_no_driver_in_its_dependency_tree() {
    let tree = tree("relaybox-core", "");
    for driver in ["sqlx", "sqlx-core", "rdkafka", "mongodb", "lapin", "reqwest", "hyper"] {
        assert!(!tree.iter().any(|name| name == driver), "{driver}");
    }
}

#[test]
fn a_package_contains_its_sources_readme_and_licences_only() {
    for package in [
        "relaybox",
        "relaybox-core",
        "relaybox-derive",
        "relaybox-sqlx",
        "relaybox-kafka",
        "relaybox-rabbitmq",
        "relaybox-mongo",
        "relaybox-avro",
        "relaybox-cli",
    ] {
        let list = cargo(&["package", "--offline", "--allow-dirty", "--list", "-p", package]);
        let allowed = [
            "Cargo.toml",
            "Cargo.toml.orig",
            "Cargo.lock",
            "README.md",
            "CHANGELOG.md",
            "LICENSE-MIT",
            "LICENSE-APACHE",
            ".cargo_vcs_info.json",
        ];
        for file in list.lines() {
            assert!(file.starts_with("src/") || allowed.contains(&file), "{package}: {file}");
        }
        for needed in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(list.lines().any(|file| file == needed), "{package} lacks {needed}");
        }
    }
}
