//! Files outside the checkout, in the cache of the user.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// `port-dora-controller` under `XDG_CACHE_HOME`, or under `~/.cache`.
///
/// A relative `XDG_CACHE_HOME` is ignored, as the XDG Base Directory Specification requires.
///
/// # Errors
/// When neither XDG_CACHE_HOME nor HOME is an absolute path.
pub fn cache_folder() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("port-dora-controller"))
        .ok_or(Error::NoCacheFolder)
}

/// Creates a folder and its parents. Only the owner may read it, since it may hold keys and tokens.
///
/// # Errors
/// When the folder can't be created.
pub fn create_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create", path))
}

/// Opens a lock file, and creates it if it is missing.
///
/// # Errors
/// When the file can't be opened.
pub fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(Error::file("open", path))
}

/// The last `count` lines of a file, or a note why it can't be read. Reads the whole file, so it is meant for logs of
/// tests.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(cause) => format!("(cannot read {}: {cause})", path.display()),
    }
}
