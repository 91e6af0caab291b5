//! What people are shown.

use std::io::Write;
use std::path::Path;

/// The last lines of a file, or why they can't be had. Reads the whole file: logs of this crate are small.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let start = lines.len().saturating_sub(count);
            lines.get(start..).unwrap_or_default().join("\n")
        }
        Err(cause) => format!("(cannot read {}: {cause})", path.display()),
    }
}

/// Progress goes to the process's own stderr: what `eprintln!` writes is held back by the test harness, and whoever
/// waits for ten minutes wants to know why.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "local cluster: {message}");
}
