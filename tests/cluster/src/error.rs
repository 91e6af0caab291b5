use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::wait::WaitError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a local cluster. Each message is complete: it contains the cause, so that the
/// plain `Display` of a failed test says all there is to know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster's programs can't be built, or a file of the cache can't be used.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// Another cluster runs from the folder.
    #[error("{} belongs to a cluster that is running: stop it, or choose another folder", folder.display())]
    FolderInUse {
        /// The folder that was asked for.
        folder: PathBuf,
    },
    /// The folder holds something that isn't a cluster.
    #[error("{} isn't empty and wasn't made by local-cluster: choose another folder", folder.display())]
    ForeignFolder {
        /// The folder that was asked for.
        folder: PathBuf,
    },
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
    /// A program couldn't be started, waited for or signalled.
    #[error("cannot {action} {program}: {cause}")]
    Process {
        /// What was to be done, such as "start".
        action: &'static str,
        /// With which program.
        program: String,
        /// Why it failed.
        cause: io::Error,
    },
    /// A process was told to end and didn't.
    #[error("{program} (process {id}) still runs {seconds} s after SIGTERM; its log is {}", log.display())]
    StillRunning {
        /// The name of the process.
        program: String,
        /// Its process id.
        id: u32,
        /// How long was waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// A part of the control plane ended although nobody told it to.
    #[error("the cluster's {component} ended by itself ({status}); its log is {}, which ends with:\n{output}", log.display())]
    ComponentEnded {
        /// The part of the control plane.
        component: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        output: String,
        /// Where all of it is.
        log: PathBuf,
    },
    /// No free port was found, or others took each one before it was used.
    #[error("found no free ports on 127.0.0.1 between {} and {} after {attempts} attempts", range.start(), range.end())]
    NoFreePorts {
        /// Where was looked.
        range: std::ops::RangeInclusive<u16>,
        /// How often.
        attempts: usize,
    },
    /// A key or certificate couldn't be made.
    #[error("cannot make the cluster's certificates: {0}")]
    Certificates(rcgen::Error),
    /// The kubeconfig of this cluster can't be used.
    #[error("cannot use the kubeconfig {}: {cause}", path.display())]
    Kubeconfig {
        /// The kubeconfig.
        path: PathBuf,
        /// Why not.
        cause: kube::config::KubeconfigError,
    },
    /// The API server refused a request, or couldn't be asked.
    #[error("cannot {action}: {cause}")]
    Kubernetes {
        /// What was to be done.
        action: String,
        /// Why it failed.
        cause: Box<kube::Error>,
    },
    /// A command such as `kubectl apply` failed.
    #[error("`{command}` failed ({status}):\n{stderr}")]
    Command {
        /// The command with its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on its standard error.
        stderr: String,
    },
    /// Something didn't happen in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A background task of this crate failed, which is a bug in it.
    #[error("a background task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
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

    /// For `map_err` on requests to the API server.
    pub(crate) fn kubernetes(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |cause| Self::Kubernetes { action, cause: Box::new(cause) }
    }
}
