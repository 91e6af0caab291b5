//! Files that belong to no checkout: they live in the user's cache.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// `port-dora-controller` under `XDG_CACHE_HOME`, or under `~/.cache`.
///
/// A relative `XDG_CACHE_HOME` is ignored, as the XDG Base Directory Specification demands.
///
/// # Errors
/// When neither variable is set.
pub fn cache_folder() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("port-dora-controller"))
        .ok_or(Error::NoCacheFolder)
}

/// Creates a folder and those above it. Only its owner may look into it: keys and tokens lie in there.
///
/// # Errors
/// When it can't be created.
pub fn create_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create", path))
}

/// Opens a file to lock it, and creates it if need be.
///
/// # Errors
/// When it can't be opened.
pub fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(Error::file("open", path))
}
