//! What can go wrong with a local cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::wait::WaitError;

/// The result of the functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a local cluster. The message of each error contains its cause, so that a failed test shows
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program couldn't be built, or an operation on a file or a process failed.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// Another cluster is using the folder.
    #[error("{} belongs to a running cluster: stop it, or choose another folder", folder.display())]
    FolderInUse {
        /// The requested folder.
        folder: PathBuf,
    },
    /// The folder contains other files than those of a cluster.
    #[error("{} is not empty and is not the folder of a local cluster: choose another folder", folder.display())]
    ForeignFolder {
        /// The requested folder.
        folder: PathBuf,
    },
    /// A process didn't end after SIGTERM.
    #[error("{program} (process {id}) still runs {seconds} s after SIGTERM; its log is {}", log.display())]
    StillRunning {
        /// The name of the process.
        program: String,
        /// Its process id.
        id: u32,
        /// The time that was waited, in seconds.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// A component of the control plane ended unexpectedly.
    #[error("{component} of the cluster ended unexpectedly ({status}); its log {} ends with:\n{output}", log.display())]
    ComponentEnded {
        /// The component of the control plane.
        component: &'static str,
        /// Its exit status.
        status: ExitStatus,
        /// The last lines of its log.
        output: String,
        /// The log.
        log: PathBuf,
    },
    /// No free port was found, or other processes took each port before it was used.
    #[error("found no free ports on 127.0.0.1 between {} and {} after {attempts} attempts", range.start(), range.end())]
    NoFreePorts {
        /// The range of ports that was searched.
        range: std::ops::RangeInclusive<u16>,
        /// The number of ports that were tried.
        attempts: usize,
    },
    /// A key or certificate couldn't be created.
    #[error("cannot create the certificates of the cluster: {0}")]
    Certificates(rcgen::Error),
    /// A kubeconfig can't be used.
    #[error("cannot use the kubeconfig {}: {cause}", path.display())]
    Kubeconfig {
        /// The kubeconfig.
        path: PathBuf,
        /// The cause.
        cause: kube::config::KubeconfigError,
    },
    /// A request to the API server failed.
    #[error("cannot {action}: {cause}")]
    Kubernetes {
        /// The purpose of the request, such as "create a namespace".
        action: String,
        /// The cause.
        cause: Box<kube::Error>,
    },
    /// A command such as `kubectl apply` failed.
    #[error("`{command}` failed ({status}):\n{stderr}")]
    Command {
        /// The command with its arguments.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// Its standard error.
        stderr: String,
    },
    /// A condition wasn't met in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A background task of this crate ended early, which is a bug.
    #[error("a background task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// For `map_err` on the operations of `std::fs`: see [`programs::Error::file`].
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let error = programs::Error::file(action, path);
        move |cause| Self::Programs(error(cause))
    }

    /// For `map_err` on the operations of `std::process`: see [`programs::Error::process`].
    pub(crate) fn process(action: &'static str, program: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let error = programs::Error::process(action, program);
        move |cause| Self::Programs(error(cause))
    }

    /// For `map_err` on requests to the API server: `action` is their purpose.
    pub(crate) fn kubernetes(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |cause| Self::Kubernetes { action, cause: Box::new(cause) }
    }
}
