//! The kinds of workloads. A kind is one file in this folder and one line in [`KINDS`].
//!
//! A kind says how it is watched, how the pods of a revision are found, and how it explains that it is unavailable. What its controller
//! reports reaches the decision in the optional fields of [`Workload`], such as `progressing`, `available` and `progress_deadline`: a kind
//! leaves out what its controller doesn't report. Everything else is the same for all kinds.

mod deployment;
mod replica_set;

use futures::future::BoxFuture;
use kube::Client;
use rollout::{Revision, Workload, WorkloadKey, WorkloadKind};

use super::pods::PodSelector;
use super::watch::Watch;

/// The kinds whose rollouts this version can record.
pub static KINDS: &[Kind] = &[deployment::KIND];

/// One kind of workload.
pub struct Kind {
    /// Its name in the Kubernetes API.
    pub name: WorkloadKind,
    /// The watches that bring its workloads and their revisions. Kinds can share a watch: Deployments and Argo Rollouts have ReplicaSets,
    /// StatefulSets and DaemonSets have ControllerRevisions.
    pub watches: &'static [Watch],
    /// How the pods of a revision are found.
    pub pods_of_revision: fn(&Workload, &Revision) -> PodSelector,
    /// Reads why the workload with this namespace and name is unavailable, in the words of its controller.
    pub unavailable_message: for<'a> fn(&'a Client, &'a str, &'a str) -> BoxFuture<'a, OptionalMessage>,
}

/// A message, if the workload exists and its controller says anything.
pub type OptionalMessage = Result<Option<String>, kube::Error>;

impl Kind {
    /// The entry of `kind` in [`KINDS`]; `None` if this version can't record rollouts of that kind.
    #[must_use]
    pub fn of(kind: WorkloadKind) -> Option<&'static Self> {
        KINDS.iter().find(|entry| entry.name == kind)
    }
}

/// The kinds whose rollouts this version can record.
#[must_use]
pub fn supported_kinds() -> Vec<WorkloadKind> {
    KINDS.iter().map(|entry| entry.name).collect()
}

/// Reads why a workload is unavailable, in the words of its controller; `None` if it doesn't exist or its controller doesn't say.
///
/// # Errors
/// If the API server can't be reached or refuses the request.
pub async fn unavailable_message(client: &Client, workload: &WorkloadKey) -> OptionalMessage {
    match Kind::of(workload.kind) {
        Some(kind) => (kind.unavailable_message)(client, &workload.namespace, &workload.name).await,
        None => Ok(None),
    }
}
