//! The process that started this one: what it says, and what it is told.

use std::{
    io::{BufRead, Write},
    thread,
};

use tokio::sync::mpsc;

/// What the parent says, line by line. When it is gone, so is this process.
pub(crate) fn commands() -> mpsc::UnboundedReceiver<String> {
    let (sender, commands) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        std::process::exit(1);
    });
    commands
}

/// Tells the parent.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout();
    // An error says that the parent is gone, which the other thread notices.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
