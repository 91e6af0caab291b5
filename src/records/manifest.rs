//! What the recorder sends to the API server for a change: a new record, or a patch of one. Pure.
//!
//! Patches are JSON merge patches (RFC 7396): a field that is `null` in the patch is removed from the record, and a
//! field that is not in the patch stays.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use rollout::{
    Accuracy, Change, MetadataSources, Outcome, RecordedRevision, Revision, RolloutMetadata, UnixSeconds, Workload,
    read_metadata,
};
use serde::Serialize;

use super::labels;
use super::names::{entity_identifier, record_name};
use crate::resources::{DoraDeployment, DoraDeploymentSpec, RevisionReference, WorkloadReference};
use crate::settings::Defaults;
use crate::workloads::Snapshot;

/// A JSON merge patch of a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<PatchMetadata>,
    spec: SpecPatch,
}

/// The part of the patch for the metadata of the record.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct PatchMetadata {
    labels: BTreeMap<String, String>,
}

/// The part of the patch for the spec of the record.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum SpecPatch {
    Finish(Box<FinishPatch>),
    Pause(PausePatch),
    Rollback(RollbackPatch),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FinishPatch {
    outcome: Outcome,
    finished_at: Option<Time>,
    finished_at_accuracy: Option<Accuracy>,
    duration_seconds: Option<i64>,
    #[serde(flatten)]
    pause: PausePatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<RevisionPatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<i32>,
    #[serde(flatten)]
    metadata: Option<MetadataFields>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PausePatch {
    paused_at: Option<Time>,
    paused_seconds: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RollbackPatch {
    outcome: Outcome,
    rolled_back_by: Option<i64>,
}

/// The ReplicaSet of a revision. It becomes another one if somebody deletes the first by hand.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct RevisionPatch {
    name: String,
    uid: String,
}

/// The fields of a record that come from the annotations and labels of the rollout.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct MetadataFields {
    environment: String,
    group: String,
    service: Option<String>,
    deployment_type: String,
    commit_time: Option<Time>,
    commit_sha: Option<String>,
    repository: Option<String>,
    /// `None` instead of an empty list, which removes the field.
    warnings: Option<Vec<String>>,
}

impl MetadataFields {
    /// Reads the metadata of a revision, and completes it with `defaults`.
    ///
    /// The ReplicaSet keeps the annotations of its Deployment. A ReplicaSet that was used again has those of its latest
    /// revision, so they are ignored for its earlier revisions (`is_described` is false).
    fn read(
        snapshot: &Snapshot,
        workload: &Workload,
        replica_set: &Revision,
        is_described: bool,
        defaults: &Defaults,
    ) -> Self {
        let (annotations, labels) = (&snapshot.namespace_annotations, &snapshot.namespace_labels);
        let mut sources = MetadataSources::new(workload, replica_set, annotations, labels);
        if !is_described {
            sources = sources.without_workload_annotations();
        }
        let RolloutMetadata {
            environment,
            group,
            service,
            deployment_type,
            commit_time,
            commit_sha,
            repository,
            warnings,
        } = read_metadata(&sources);
        Self {
            environment: environment.unwrap_or_else(|| defaults.environment.clone()),
            group: group.unwrap_or_else(|| defaults.group.clone()),
            service,
            deployment_type: deployment_type.unwrap_or_else(|| defaults.deployment_type.clone()),
            commit_time: commit_time.map(Time),
            commit_sha,
            repository,
            warnings: (!warnings.is_empty()).then_some(warnings),
        }
    }
}

/// The record of a rollout that has started, and may have ended already. `failure` is the reason of a failed rollout.
///
/// `None` if the workload or the ReplicaSet of the revision is unknown.
#[must_use]
pub fn start_manifest(
    cluster: &str,
    snapshot: &Snapshot,
    defaults: &Defaults,
    change: &Change<'_>,
    failure: Option<String>,
) -> Option<DoraDeployment> {
    let Change { record, revision: replica_set, is_described, started, finished, unseen, rolled_back_by, action: _ } =
        change;
    let (workload, replica_set) = (snapshot.workload()?, (*replica_set)?);
    let metadata = MetadataFields::read(snapshot, workload, replica_set, *is_described, defaults);
    let PausePatch { paused_at, paused_seconds } = pause_patch(record);
    let spec = DoraDeploymentSpec {
        title: None,
        identifier: record.repeated.then(|| repeated_identifier(cluster, workload, record)),
        workload: Some(workload_reference(workload)),
        revision: Some(RevisionReference {
            number: record.revision,
            name: replica_set.name.to_string(),
            uid: replica_set.uid.to_string(),
        }),
        outcome: record.outcome,
        change: record.change,
        started_at: started.map(|started| Time(started.at)),
        started_at_accuracy: started.map(|started| started.accuracy),
        finished_at: finished.map(|finished| Time(finished.at)),
        finished_at_accuracy: finished.map(|finished| finished.accuracy),
        duration_seconds: record.duration_seconds(),
        paused_at,
        paused_seconds,
        replicas: replicas(workload, record),
        failure,
        rolled_back_by: *rolled_back_by,
        unseen_revisions: *unseen,
        environment: Some(metadata.environment),
        group: Some(metadata.group),
        service: metadata.service,
        deployment_type: Some(metadata.deployment_type),
        commit_time: metadata.commit_time,
        commit_sha: metadata.commit_sha,
        repository: metadata.repository,
        relations: BTreeMap::new(),
        properties: BTreeMap::new(),
        warnings: metadata.warnings.unwrap_or_default(),
    };
    let labels = labels::of(&spec);
    let mut resource = DoraDeployment::new(&record_name(workload.kind, &workload.name, &workload.uid, record), spec);
    resource.metadata =
        ObjectMeta { namespace: Some(workload.namespace.to_string()), labels: Some(labels), ..resource.metadata };
    Some(resource)
}

/// The patch for a rollout that has ended: outcome, times and, if the ReplicaSet still describes the revision, its
/// present metadata. `failure` is the reason of a failed rollout.
#[must_use]
pub fn finish_manifest(
    snapshot: &Snapshot,
    defaults: &Defaults,
    change: &Change<'_>,
    failure: Option<String>,
) -> RecordPatch {
    let Change { record, revision: replica_set, is_described, finished, .. } = change;
    let present = snapshot.workload().zip(*replica_set);
    let metadata = present
        .filter(|_| *is_described)
        .map(|(workload, replica_set)| MetadataFields::read(snapshot, workload, replica_set, *is_described, defaults));
    let labels = labels::collect([
        (labels::OUTCOME, Some(record.outcome.as_str())),
        (labels::ENVIRONMENT, metadata.as_ref().map(|metadata| metadata.environment.as_str())),
        (labels::GROUP, metadata.as_ref().map(|metadata| metadata.group.as_str())),
    ]);
    let spec = FinishPatch {
        outcome: record.outcome,
        finished_at: finished.map(|finished| Time(finished.at)),
        finished_at_accuracy: finished.map(|finished| finished.accuracy),
        duration_seconds: record.duration_seconds(),
        pause: pause_patch(record),
        failure,
        revision: present.map(|(_, replica_set)| RevisionPatch {
            name: replica_set.name.to_string(),
            uid: replica_set.uid.to_string(),
        }),
        replicas: present.and_then(|(workload, _)| replicas(workload, record)),
        metadata,
    };
    RecordPatch { metadata: Some(PatchMetadata { labels }), spec: SpecPatch::Finish(Box::new(spec)) }
}

/// The patch for a rollout that was paused or resumed: since when it is paused, and for how long it was paused before.
#[must_use]
pub fn pause_manifest(record: &RecordedRevision) -> RecordPatch {
    RecordPatch { metadata: None, spec: SpecPatch::Pause(pause_patch(record)) }
}

/// The patch for a revision that a later revision rolled back.
#[must_use]
pub fn rollback_manifest(change: &Change<'_>) -> RecordPatch {
    let outcome = change.record.outcome;
    let labels = labels::collect([(labels::OUTCOME, Some(outcome.as_str()))]);
    let spec = RollbackPatch { outcome, rolled_back_by: change.rolled_back_by };
    RecordPatch { metadata: Some(PatchMetadata { labels }), spec: SpecPatch::Rollback(spec) }
}

fn pause_patch(record: &RecordedRevision) -> PausePatch {
    PausePatch {
        paused_at: record.paused_at.map(UnixSeconds::time).map(Time),
        paused_seconds: (record.paused_seconds > 0).then(|| record.paused_seconds.into()),
    }
}

/// `spec.replicas` of the workload, if the record is that of its present revision.
fn replicas(workload: &Workload, record: &RecordedRevision) -> Option<i32> {
    (workload.revision == Some(record.revision)).then_some(workload.counts.desired)
}

fn workload_reference(workload: &Workload) -> WorkloadReference {
    WorkloadReference {
        api_version: workload.kind.api_version().to_owned(),
        kind: workload.kind,
        name: workload.name.to_string(),
        uid: workload.uid.to_string(),
    }
}

/// Identifier of the entity of a revision whose number another revision of the workload had before.
fn repeated_identifier(cluster: &str, workload: &Workload, record: &RecordedRevision) -> String {
    let Workload { namespace, kind, name, uid, .. } = workload;
    let identifier = entity_identifier(cluster, namespace, *kind, name, record.revision, uid);
    format!("{identifier}:{:08x}", record.id.uid)
}

#[cfg(test)]
mod tests {
    use rollout::{Action, ChangeKind, Observation, Source, TimeWithAccuracy, UnixSeconds, test_support};

    use super::*;
    use crate::records::store::tests::revision;

    /// The Deployment `web` at revision 2. Its namespace has these annotations.
    fn snapshot(annotations: &[(&str, &str)]) -> Snapshot {
        let workload = test_support::deployment(2);
        let mut snapshot = Snapshot::default();
        snapshot.observation = Some(Observation::new(workload, Source::Watch, test_support::time(0)));
        snapshot.namespace_annotations = annotations.iter().copied().collect();
        snapshot
    }

    /// A change of the record of revision 2, which started at second 10 and ended at second 70 if it has ended.
    fn change(action: Action, outcome: Outcome, replica_set: &Revision) -> Change<'_> {
        let time = |second| TimeWithAccuracy::exact(test_support::time(second));
        let (started, finished) = (time(10), (outcome != Outcome::InProgress).then(|| time(70)));
        Change {
            action,
            record: RecordedRevision {
                change: Some(ChangeKind::Release),
                started: UnixSeconds::of(started.at),
                finished: finished.and_then(|finished| UnixSeconds::of(finished.at)),
                ..revision(2, outcome)
            },
            revision: Some(replica_set),
            is_described: true,
            started: Some(started),
            finished,
            unseen: None,
            rolled_back_by: None,
        }
    }

    fn start(snapshot: &Snapshot, outcome: Outcome) -> DoraDeployment {
        let replica_set = test_support::replica_set("web-2", 2, 10);
        let change = change(Action::Start, outcome, &replica_set);
        start_manifest("test", snapshot, &Defaults::default(), &change, None).unwrap()
    }

    fn finish(snapshot: &Snapshot, outcome: Outcome) -> RecordPatch {
        let replica_set = test_support::replica_set("web-2", 2, 10);
        finish_manifest(snapshot, &Defaults::default(), &change(Action::Finish, outcome, &replica_set), None)
    }

    /// The record after the API server has applied `patch`.
    fn patched(record: &DoraDeployment, patch: &RecordPatch) -> DoraDeployment {
        let mut json = serde_json::to_value(record).unwrap();
        json_patch::merge(&mut json, &serde_json::to_value(patch).unwrap());
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_patch_keeps_labels_in_step_with_the_spec() {
        let staging = snapshot(&[("environment", "staging area"), ("group", "checkout")]);
        let undescribed = {
            let replica_set = test_support::replica_set("web-2", 2, 10);
            let change = Change { is_described: false, ..change(Action::Finish, Outcome::Recovered, &replica_set) };
            finish_manifest(&snapshot(&[]), &Defaults::default(), &change, None)
        };
        let rollback = {
            let replica_set = test_support::replica_set("web-2", 2, 10);
            let change =
                Change { rolled_back_by: Some(3), ..change(Action::RollBack, Outcome::RolledBack, &replica_set) };
            rollback_manifest(&change)
        };
        let paused_at = UnixSeconds::of(test_support::time(20));
        let pause = pause_manifest(&RecordedRevision { paused_at, ..revision(2, Outcome::InProgress) });
        let mut record = start(&staging, Outcome::InProgress);
        for (patch, environment, outcome) in [
            (pause, "staging-area", "InProgress"),
            (finish(&snapshot(&[]), Outcome::Failed), "production", "Failed"),
            (finish(&staging, Outcome::Failed), "staging-area", "Failed"),
            (undescribed, "staging-area", "Recovered"),
            (rollback, "staging-area", "RolledBack"),
        ] {
            record = patched(&record, &patch);
            let labels = record.metadata.labels.clone().unwrap();
            assert_eq!(labels, labels::of(&record.spec), "{patch:?}");
            let label = |key: &str| labels.get(key).map(String::as_str);
            assert_eq!((label(labels::ENVIRONMENT), label(labels::OUTCOME)), (Some(environment), Some(outcome)));
        }
    }

    #[test]
    fn finished_record_equals_one_that_starts_finished() {
        let before = snapshot(&[("service", "web"), ("commit-time", "yesterday"), ("repository", "shop/web")]);
        let after = snapshot(&[("environment", "staging"), ("commit-sha", "0123abc")]);
        let started = start(&before, Outcome::InProgress);
        assert!(started.spec.service.is_some() && !started.spec.warnings.is_empty());
        let finished = patched(&started, &finish(&after, Outcome::Succeeded));
        assert_eq!(finished, start(&after, Outcome::Succeeded));
    }

    #[test]
    fn resumed_rollout_has_no_pause_time() {
        let paused_at = UnixSeconds::of(test_support::time(20));
        let paused = RecordedRevision { paused_at, ..revision(2, Outcome::InProgress) };
        let record = patched(&start(&snapshot(&[]), Outcome::InProgress), &pause_manifest(&paused));
        assert!(record.spec.paused_at.is_some());
        let resumed = RecordedRevision { paused_at: None, paused_seconds: 30, ..paused };
        let record = patched(&record, &pause_manifest(&resumed));
        assert_eq!((record.spec.paused_at, record.spec.paused_seconds), (None, Some(30)));
    }
}
