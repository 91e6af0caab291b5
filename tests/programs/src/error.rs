//! Why a program can't be built, and failed operations on files and processes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The result of the functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a program can't be built. The message of each error contains its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Go is not installed.
    #[error(
        "`go` is needed to build {programs}, but is not on the PATH: install Go 1.26 or newer (https://go.dev/doc/install)"
    )]
    MissingGo {
        /// The programs to build.
        programs: String,
    },
    /// Go couldn't build the programs.
    #[error("building {programs} failed ({status}); the log {} ends with:\n{output}", log.display())]
    Build {
        /// The programs to build.
        programs: String,
        /// The exit status of Go.
        status: ExitStatus,
        /// The last lines of its output.
        output: String,
        /// The file with the whole output.
        log: PathBuf,
    },
    /// No folder for the programs is known.
    #[error("the folder for the built programs is unknown: set HOME, or XDG_CACHE_HOME to an absolute path")]
    NoCacheFolder,
    /// An operation on a file or folder failed.
    #[error("cannot {action} {}: {cause}", path.display())]
    File {
        /// The operation, such as "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// A process couldn't be started, signalled or waited for.
    #[error("cannot {action} {program}: {cause}")]
    Process {
        /// The operation, such as "start".
        action: &'static str,
        /// The program.
        program: String,
        /// The cause.
        cause: io::Error,
    },
}

impl Error {
    /// For `map_err` on the operations of `std::fs`: `action` is a verb such as "create".
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::File { action, path, cause }
    }

    /// For `map_err` on the operations of `std::process`: `action` is a verb such as "start".
    pub fn process(action: &'static str, program: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let program = program.into();
        move |cause| Self::Process { action, program, cause }
    }
}
