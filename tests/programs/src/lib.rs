//! The programs that run beside the controller in tests, demo and bench: the Kubernetes control plane with KWOK, kubectl
//! and Helm, and Alertmanager. Each is built from its Go module, with the installed Go, and kept in the user's cache.
//!
//! The first build takes about 7 minutes on 2 cores and says how much is left. After that, nothing is built until a
//! go.mod, a go.sum or the flags change.

mod build;
mod error;
mod files;
mod module;
mod program;
mod progress;

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

pub use error::{Error, Result};
pub use files::{cache_folder, create_folder, open_lock};
use module::Module;
pub use program::Program;

/// The built programs of the cluster.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds what a cluster with a simulated node needs, if it is missing: see [`ensure`].
    ///
    /// # Errors
    /// As [`ensure`].
    pub fn ensure() -> Result<Self> {
        ensure(&Program::CLUSTER)?;
        Ok(Self { folder: folder(Program::Etcd)? })
    }

    /// The folder that holds the programs, as for a `PATH`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one of the cluster's programs.
    #[must_use]
    pub fn path(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }
}

/// Builds those of `programs` that are missing. Blocks; several processes at once build once. A build that was
/// interrupted continues with the packages that Go hasn't compiled.
///
/// # Errors
/// When Go isn't installed, a program can't be built, or the cache can't be written.
pub fn ensure(programs: &[Program]) -> Result<()> {
    for module in [Module::Cluster, Module::Alertmanager] {
        let wanted: Vec<Program> = programs.iter().copied().filter(|program| program.module() == module).collect();
        let bin = bin(module)?;
        if missing(&wanted, &bin).is_empty() {
            continue;
        }
        create_folder(&bin)?;
        let base = base(module)?;
        let _lock = wait_for_lock(&base.join("lock"))?;
        // Again: another process may have built them while this one waited.
        let missing = missing(&wanted, &bin);
        if !missing.is_empty() {
            build::build(module, &missing, &base, &bin)?;
        }
    }
    Ok(())
}

/// Builds a program if it is missing, and returns its path.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_one(program: Program) -> Result<PathBuf> {
    ensure(&[program])?;
    Ok(folder(program)?.join(program.name()))
}

/// The folder that a program is in once it is built. Helm is with the programs of the cluster.
///
/// # Errors
/// When there is no cache folder.
pub fn folder(program: Program) -> Result<PathBuf> {
    bin(program.module())
}

/// The version of Kubernetes that the cluster's programs are built from, such as `v1.36.3`.
#[must_use]
pub fn kubernetes_version() -> &'static str {
    Module::Cluster.required_version("k8s.io/kubernetes")
}

fn base(module: Module) -> Result<PathBuf> {
    Ok(cache_folder()?.join("programs").join(format!("{}-{}", module.name(), module.key())))
}

fn bin(module: Module) -> Result<PathBuf> {
    Ok(base(module)?.join("bin"))
}

fn missing(programs: &[Program], bin: &Path) -> Vec<Program> {
    programs.iter().copied().filter(|program| !bin.join(program.name()).is_file()).collect()
}

/// Waits until no other process builds, and says so if that isn't at once.
fn wait_for_lock(path: &Path) -> Result<File> {
    let lock = open_lock(path)?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => say("waiting for another process that builds the same programs"),
        Err(TryLockError::Error(cause)) => return Err(Error::file("lock", path)(cause)),
    }
    lock.lock().map_err(Error::file("lock", path))?;
    Ok(lock)
}

/// Progress goes to the process's own stderr: the test harness holds back what `eprintln!` writes.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "programs: {message}");
}
