//! The reason of a failed rollout, for `spec.failure` of its record.

use jiff::SignedDuration;
use kube::Client;
use rollout::{Change, Deadline, Outcome, PodState, Policy, Revision, Workload, failure};
use tracing::debug;

use crate::workloads::{Snapshot, pods_of_revision};

/// Why the rollout failed; `None` if `change` does not record a failure.
///
/// The pods are listed once, for a rollout of the present revision only: those of an earlier revision are gone, and the
/// condition `ReplicaFailure` is not about them.
pub(super) async fn failure_reason(
    client: &Client,
    snapshot: &Snapshot,
    policy: &Policy,
    change: &Change<'_>,
) -> Option<String> {
    if change.record.outcome != Outcome::Failed {
        return None;
    }
    let workload = snapshot.workload()?;
    let deadline = match workload.progress_deadline {
        Some(seconds) => Deadline::Own(SignedDuration::from_secs(seconds.into())),
        None => Deadline::Timeout(policy.fail_after),
    };
    let is_present = workload.revision == Some(change.record.revision);
    let Some(revision) = change.revision.filter(|_| is_present) else {
        return Some(failure(None, deadline, None));
    };
    let pods = list_pods(client, workload, revision).await;
    Some(failure(workload.conditions.replica_failure.as_deref(), deadline, pods.as_deref()))
}

async fn list_pods(client: &Client, workload: &Workload, revision: &Revision) -> Option<Vec<PodState>> {
    pods_of_revision(client, workload, revision)
        .await
        .inspect_err(|error| {
            debug!(
                namespace = %workload.namespace,
                kind = %workload.kind,
                workload = %workload.name,
                error = error as &dyn std::error::Error,
                "failed to list the pods of a failed rollout; recording a reason without them",
            );
        })
        .ok()
        .flatten()
}
