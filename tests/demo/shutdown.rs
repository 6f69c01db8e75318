//! How it ends when it is told to.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{client::Client, demo::Demo};

#[test]
fn a_termination_signal_ends_it_well_whatever_its_clients_are_at() {
    let (demo, url) = Demo::serve(&["--sessions", "1"]);
    let connect = |sent: &str| {
        let mut client = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        client.write_all(sent.as_bytes()).unwrap();
        client
    };
    let mut idle = connect("GET /health HTTP/1.1\r\nhost: demo\r\n\r\n");
    idle.read_exact(&mut [0; 12]).unwrap();
    let _clients = [
        idle,
        connect(""),
        connect("GET /hea"),
        connect(
            "POST /sessions HTTP/1.1\r\nhost: demo\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
        ),
    ];
    // A server that answers this has accepted those.
    let path = Client::new(url).create_session();
    assert!(path.starts_with("/sessions/"));

    demo.terminate();
    let ended = demo.end_within(Duration::from_secs(60));
    assert_eq!(ended.status.code(), Some(0), "{:?}: {}", ended.status, ended.said);
    assert_eq!(ended.left_behind, [""; 0]);
}
