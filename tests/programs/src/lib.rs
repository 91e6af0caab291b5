//! The programs that run beside the controller in tests, demo and bench: the Kubernetes control plane with KWOK,
//! kubectl and Helm, and Alertmanager. The installed Go builds each of them from its Go module, into the cache of the
//! user.
//!
//! The first build takes about 7 minutes on 2 cores, and reports its progress. The programs are built again only when a
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
pub use files::{cache_folder, create_folder, last_lines, open_lock};
use module::Module;
pub use program::Program;

/// The built programs of a cluster.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds the missing programs of a cluster with a simulated node: see [`ensure`].
    ///
    /// # Errors
    /// As [`ensure`].
    pub fn ensure() -> Result<Self> {
        ensure(&Program::CLUSTER)?;
        Ok(Self { folder: folder(Program::Etcd)? })
    }

    /// The folder with the programs, to be put on the `PATH`.
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

/// Builds the missing ones of `programs`. Blocks. If several processes call this at once, only one of them builds.
/// After an interruption, a build continues with the packages that Go has not compiled yet.
///
/// # Errors
/// When Go is not installed, a program can't be built, or the cache can't be written.
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
        // Checked again: another process may have built them while this one waited for the lock.
        let missing = missing(&wanted, &bin);
        if !missing.is_empty() {
            build::build(module, &missing, &base, &bin)?;
        }
    }
    Ok(())
}

/// Builds a program unless it is there, and returns its path.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_one(program: Program) -> Result<PathBuf> {
    ensure(&[program])?;
    Ok(folder(program)?.join(program.name()))
}

/// The folder that a program is built into. Helm is built with the programs of the cluster.
///
/// # Errors
/// When the cache folder is unknown.
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

/// Waits until no other process builds, and logs a message if it has to wait.
fn wait_for_lock(path: &Path) -> Result<File> {
    let lock = open_lock(path)?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => log("waiting for another process that builds the same programs"),
        Err(TryLockError::Error(cause)) => return Err(Error::file("lock", path)(cause)),
    }
    lock.lock().map_err(Error::file("lock", path))?;
    Ok(lock)
}

/// Writes a message to the standard error of the process. `eprintln!` can't be used, since the test harness captures
/// it.
fn log(message: &str) {
    let _ = writeln!(std::io::stderr(), "programs: {message}");
}
