//! Command lines that can't be carried out.

use std::net::TcpListener;

use crate::demo::{Demo, Ended};

fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let ended = Demo::start_with(arguments, environment).end();
    assert!(!ended.status.success(), "{arguments:?}: {}", ended.said);
    assert_eq!(ended.stdout, [""; 0], "errors go to the standard error");
    assert_eq!(ended.left_behind, [""; 0]);
    ended
}

#[test]
fn a_wrong_command_line_is_refused_with_what_is_wrong_with_it() {
    for (arguments, told) in [
        (&["--sessions", "x"][..], "--sessions"),
        (&["--sessions", "-1"], "-1"),
        (&["--sesions", "7"], "--sessions"),
        (&["--json", "--colour"], "--colour"),
        (&["--serve", "8080"], "--serve"),
        (&["everything"], "everything"),
    ] {
        let ended = refused(arguments, &[]);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", ended.said);
        for told in [told, "--help"] {
            assert!(ended.said.contains(told), "{arguments:?}: {}", ended.said);
        }
    }
}

#[test]
fn an_address_in_use_is_told_before_anything_is_done() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let ended = refused(&["--json", "--serve", &address], &[]);
    assert!(ended.said.contains("in use"), "{}", ended.said);
}

#[test]
fn an_unreachable_database_is_an_error_that_tells_no_password() {
    // Nobody listens at port 1.
    let url = "postgres://demo:open%20sesame@127.0.0.1:1/demo";
    for (arguments, environment) in [
        (&["--postgres", url][..], &[][..]),
        (&[], &[("RELAYBOX_DEMO_POSTGRES", url), ("RUST_LOG", "trace")]),
        (&["--sessions", "x"], &[("RELAYBOX_DEMO_POSTGRES", url)]),
    ] {
        let ended = refused(arguments, environment);
        assert!(!ended.said.contains("sesame"), "{}", ended.said);
        let told = if arguments.contains(&"--sessions") { "--sessions" } else { "database" };
        assert!(ended.said.contains(told), "{}", ended.said);
    }
}
