use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a program can't be built. Each message is complete: it contains the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Go isn't installed.
    #[error(
        "`go` is needed to build {programs}, but isn't on the PATH: install Go 1.26 or newer (https://go.dev/doc/install)"
    )]
    MissingGo {
        /// What was to be built.
        programs: String,
    },
    /// Go couldn't build the programs.
    #[error("building {programs} failed ({status}); the whole output is in {}, which ends with:\n{output}", log.display())]
    Build {
        /// What was to be built.
        programs: String,
        /// How Go ended.
        status: ExitStatus,
        /// The last lines of what it said.
        output: String,
        /// Where all of it is.
        log: PathBuf,
    },
    /// The folder for the programs isn't known.
    #[error("there is no folder for the built programs: set HOME, or XDG_CACHE_HOME to an absolute path")]
    NoCacheFolder,
    /// A file or folder couldn't be read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    File {
        /// What was to be done, such as "create".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// A process couldn't be started or waited for.
    #[error("cannot {action} {program}: {cause}")]
    Process {
        /// What was to be done, such as "start".
        action: &'static str,
        /// With which program.
        program: String,
        /// Why it failed.
        cause: io::Error,
    },
}

impl Error {
    /// For `map_err` on the operations of `std::fs`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::File { action, path, cause }
    }

    /// For `map_err` on the operations of `std::process`.
    pub(crate) fn process(action: &'static str, program: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let program = program.into();
        move |cause| Self::Process { action, program, cause }
    }
}
