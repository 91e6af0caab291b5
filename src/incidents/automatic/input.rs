//! What the decision about incidents is made from, as the cluster has it. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::decide::{Details, Incident, OpenedBy, Present};
use super::manifest::{INCIDENTS_MANAGER, OPENED_BY, OPENING_MANAGER, REOPENED_AT, ROLLED_BACK_BY, WORKLOAD_UID};
use crate::incidents::times::times;
use crate::resources::{DoraDeployment, DoraIncident};
use crate::settings::Defaults;
use crate::workloads::Snapshot;
use rollout::{
    MetadataSources, Outcome, ProgressReason, RecordedRevision, RolloutMetadata, WorkloadKey, is_ignored, read_metadata,
};

/// What `record` says that is not kept in memory.
#[must_use]
pub fn details(record: &DoraDeployment, defaults: &Defaults) -> Details {
    let spec = &record.spec;
    Details {
        environment: spec.environment.as_ref().unwrap_or(&defaults.environment).clone(),
        incident: record.status.as_ref().and_then(|status| status.incident.clone()),
        rolled_back_by: spec.rolled_back_by,
    }
}

/// The record of the present revision, among `known`.
#[must_use]
pub fn present_record<'a>(snapshot: &Snapshot, known: &'a [RecordedRevision]) -> Option<&'a RecordedRevision> {
    let revision = snapshot.observation.as_ref()?.row.revision?;
    known.iter().filter(|known| known.revision == revision).max_by_key(|known| known.started)
}

/// How the Deployment of `snapshot` stands; `None` once it is deleted. `record` is that of its present revision, if that is needed, and
/// `reported_loss` what this process remembers without one.
#[must_use]
pub fn present(
    snapshot: &Snapshot,
    known: &[RecordedRevision],
    record: Option<&DoraDeployment>,
    reported_loss: Option<Timestamp>,
    defaults: &Defaults,
) -> Option<Present> {
    let row = &snapshot.observation.as_ref()?.row;
    let layers = || {
        let replica_set = snapshot.revisions.iter().find(|set| row.revision.is_some_and(|it| set.ran(it)))?;
        Some(MetadataSources::new(row, replica_set, &snapshot.namespace_annotations, &snapshot.namespace_labels))
    };
    let said = || read_metadata(&layers()?).environment;
    let environment = record.and_then(|record| record.spec.environment.clone()).or_else(said);
    let is_complete = match present_record(snapshot, known).map(|known| known.outcome) {
        Some(outcome) => !matches!(outcome, Outcome::InProgress | Outcome::Failed),
        // It was there before the controller was.
        None => row.progressing.as_ref().is_some_and(|condition| condition.reason == ProgressReason::Complete),
    };
    let is_under_way = known.iter().any(|known| known.outcome == Outcome::InProgress);
    let noted = record.and_then(|record| record.status.as_ref()?.reported_loss.as_ref()).map(|time| time.0);
    Some(Present {
        availability: row.available,
        is_in_effect: is_complete
            && !is_under_way
            && row.replicas > 0
            && row.revision.is_some()
            && row.observed_generation >= row.generation,
        is_wanted: row.selected && !layers().is_some_and(|layers| is_ignored(&layers)),
        environment: environment.unwrap_or_else(|| defaults.environment.clone()),
        reported_loss: noted.or(reported_loss),
    })
}

/// The group in Port of the Deployment of `snapshot`, as far as its metadata names one.
#[must_use]
pub fn group(snapshot: &Snapshot) -> Option<String> {
    let row = &snapshot.observation.as_ref()?.row;
    let replica_set = snapshot.revisions.iter().find(|set| row.revision.is_some_and(|it| set.ran(it)))?;
    let layers = MetadataSources::new(row, replica_set, &snapshot.namespace_annotations, &snapshot.namespace_labels);
    let RolloutMetadata { group, .. } = read_metadata(&layers);
    group
}

/// The incident that `resource` is, if it concerns the Deployment `deployment` or is one of the controller's own.
#[must_use]
pub fn incident(resource: &DoraIncident, workload: &WorkloadKey, now: Timestamp) -> Option<Incident> {
    let refers = resource
        .spec
        .workload_ref
        .as_ref()
        .is_some_and(|reference| reference.kind == workload.kind && reference.name == *workload.name);
    let opened_by = resource.labels().get(OPENED_BY).and_then(|label| OpenedBy::of(label));
    let times = times(resource, now);
    let annotation = |key: &str| resource.annotations().get(key);
    (refers || opened_by.is_some()).then(|| Incident {
        name: resource.name_any(),
        opened_by,
        uid: annotation(WORKLOAD_UID).cloned(),
        revision: resource.spec.workload_ref.as_ref().and_then(|reference| reference.revision),
        rolled_back_by: annotation(ROLLED_BACK_BY).and_then(|revision| revision.parse().ok()),
        opened: times.opened,
        resolved: times.resolved,
        reopened: annotation(REOPENED_AT).and_then(|time| time.parse().ok()),
        is_taken_over: is_taken_over(resource),
    })
}

/// Whether another than the controller has set `spec.status`.
fn is_taken_over(resource: &DoraIncident) -> bool {
    resource.managed_fields().iter().any(|entry| {
        let is_own = matches!(entry.manager.as_deref(), Some(OPENING_MANAGER | INCIDENTS_MANAGER));
        let has_status =
            || entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:status").is_some());
        entry.subresource.as_deref().is_none_or(str::is_empty) && !is_own && has_status()
    })
}
