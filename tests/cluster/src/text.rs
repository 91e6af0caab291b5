//! Messages for the person who runs the program.

use std::io::Write;

/// Writes a message to the standard error of the process. `eprintln!` can't be used, since the test harness captures
/// it.
pub(crate) fn log(message: &str) {
    let _ = writeln!(std::io::stderr(), "local cluster: {message}");
}
