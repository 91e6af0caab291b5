//! Alertmanager, for the tests of its webhook. It has a go.mod of its own: its dependencies would change those of the cluster.

use std::fs;
use std::path::PathBuf;

use crate::binaries::{build, key_of, wait_for_lock};
use crate::cache::{cache_folder, create_folder};
use crate::error::{Error, Result};
use crate::text::say;

const GO_MOD: &str = include_str!("../../alertmanager/go.mod");
const GO_SUM: &str = include_str!("../../alertmanager/go.sum");
const NAME: &str = "alertmanager";
const PACKAGE: &str = "github.com/prometheus/alertmanager/cmd/alertmanager";
const LINKER_FLAGS: &str = "-s -w";

/// The path of Alertmanager, which is built the first time (about 2 minutes on 2 cores). Blocks.
///
/// # Errors
/// When Go isn't installed, it can't be built, or the cache can't be written.
pub fn ensure_alertmanager() -> Result<PathBuf> {
    let base = cache_folder()?.join(NAME).join(key_of(&[GO_MOD, GO_SUM, LINKER_FLAGS]));
    let path = base.join(NAME);
    if path.is_file() {
        return Ok(path);
    }
    let work = base.join("work");
    create_folder(&work)?;
    let _lock = wait_for_lock(&base.join("lock"))?;
    // Again: another process may have built it while this one waited.
    if path.is_file() {
        return Ok(path);
    }
    for (name, contents) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
        let file = work.join(name);
        fs::write(&file, contents).map_err(Error::file("write", &file))?;
    }
    say("building Alertmanager (about 2 minutes the first time)");
    build(NAME, PACKAGE, LINKER_FLAGS, &work, &base.join("build.log"))?;
    let built = work.join(NAME);
    fs::rename(&built, &path).map_err(Error::file("move", &built))?;
    Ok(path)
}
