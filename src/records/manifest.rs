//! A change of the records as a request to the API server. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::labels;
use crate::resources::{DoraDeployment, DoraDeploymentSpec, RevisionReference, WorkloadReference};
use crate::settings::Defaults;
use crate::workloads::Snapshot;
use rollout::{
    Change, Metadata, MetadataSources, RecordedRevision, Revision, RolloutMetadata, UnixSeconds, Workload,
    WorkloadKind, read_metadata,
};

/// Longest name of an object in Kubernetes.
const NAME_CHARACTERS: usize = 253;

/// Name of the record of a revision. The UID tells a Deployment from its namesakes before and after; that of the ReplicaSet is
/// only needed for a number that comes again.
#[must_use]
pub fn record_name(kind: WorkloadKind, name: &str, uid: &str, record: &RecordedRevision) -> String {
    let uid: String = uid.chars().take(8).collect();
    let mut ending = format!("-{}-{uid}", record.revision);
    if record.repeated {
        ending = format!("{ending}-{:08x}", record.replica_set.uid);
    }
    let kept: String = kind.qualified(name).chars().take(NAME_CHARACTERS - ending.len()).collect();
    // A name must not have a dot before a dash.
    format!("{}{ending}", kept.trim_end_matches(['.', '-']))
}

/// Identifier of the entity of a revision in Port. The first 8 characters of the UID tell a workload from others of its name before and
/// after it, and the kind tells it from workloads of another kind with the same name.
#[must_use]
pub fn entity_identifier(
    cluster: &str,
    namespace: &str,
    kind: WorkloadKind,
    name: &str,
    revision: i64,
    uid: &str,
) -> String {
    let uid: String = uid.chars().take(8).collect();
    let name = match kind {
        WorkloadKind::Deployment => name.to_owned(),
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => format!("{kind}/{name}"),
    };
    format!("{cluster}:{namespace}:{name}:{revision}:{uid}")
}

/// The record of a revision that has begun. `failure` says why it failed, if it has.
#[must_use]
pub fn start_manifest(
    cluster: &str,
    snapshot: &Snapshot,
    deployment: &Workload,
    defaults: &Defaults,
    change: &Change<'_>,
    failure: Option<String>,
) -> Option<DoraDeployment> {
    let Change { record, replica_set, is_described, started, finished, unseen, rolled_back_by, action: _ } = change;
    let replica_set = (*replica_set)?;
    let Workload { namespace, kind, name, uid, .. } = deployment;
    let identifier = record.repeated.then(|| {
        format!(
            "{}:{:08x}",
            entity_identifier(cluster, namespace, *kind, name, record.revision, uid),
            record.replica_set.uid
        )
    });
    let RolloutMetadata { environment, group, service, deployment_type, commit_time, commit_sha, repository, warnings } =
        facts_of(snapshot, deployment, replica_set, *is_described);
    let is_present = deployment.revision == Some(record.revision);
    let spec = DoraDeploymentSpec {
        title: None,
        identifier,
        workload: Some(WorkloadReference {
            api_version: kind.api_version().to_owned(),
            kind: *kind,
            name: name.to_string(),
            uid: uid.to_string(),
        }),
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
        paused_at: record.paused_at.map(|at| Time(at.time())),
        paused_seconds: paused_seconds(record),
        replicas: is_present.then_some(deployment.replicas),
        failure,
        rolled_back_by: *rolled_back_by,
        unseen_revisions: *unseen,
        environment: Some(environment.unwrap_or_else(|| defaults.environment.clone())),
        group: Some(group.unwrap_or_else(|| defaults.group.clone())),
        service,
        deployment_type: Some(deployment_type.unwrap_or_else(|| defaults.deployment_type.clone())),
        commit_time: commit_time.map(Time),
        commit_sha,
        repository,
        relations: BTreeMap::new(),
        properties: BTreeMap::new(),
        warnings,
    };
    let labels = labels::of(&spec);
    let mut resource = DoraDeployment::new(&record_name(*kind, name, uid, record), spec);
    resource.metadata =
        ObjectMeta { namespace: Some(namespace.to_string()), labels: Some(labels), ..resource.metadata };
    Some(resource)
}

/// The patch that ends a record: how, when, and, for the present revision, its metadata as it is by now. `null` takes away what is no
/// longer said.
#[must_use]
pub fn finish_manifest(snapshot: &Snapshot, defaults: &Defaults, change: &Change<'_>, failure: Option<&str>) -> Value {
    let Change { record, replica_set, is_described, finished, .. } = change;
    let mut spec = json!({
        "outcome": record.outcome,
        "finishedAt": finished.map(|finished| Time(finished.at)),
        "finishedAtAccuracy": finished.map(|finished| finished.accuracy),
        "durationSeconds": record.duration_seconds(),
        "pausedAt": record.paused_at.map(|at| Time(at.time())),
        "pausedSeconds": paused_seconds(record),
    });
    let mut labels = json!({ labels::OUTCOME: record.outcome.as_str() });
    if let Some(failure) = failure {
        spec["failure"] = json!(failure);
    }
    if let (Some(replica_set), Some(deployment)) = (replica_set, snapshot.workload()) {
        spec["revision"] = json!({ "name": &*replica_set.name, "uid": &*replica_set.uid });
        if deployment.revision == Some(record.revision) {
            spec["replicas"] = json!(deployment.replicas);
        }
        if *is_described {
            let RolloutMetadata {
                environment,
                group,
                service,
                deployment_type,
                commit_time,
                commit_sha,
                repository,
                warnings,
            } = facts_of(snapshot, deployment, replica_set, true);
            let environment = environment.as_ref().unwrap_or(&defaults.environment);
            let group = group.as_ref().unwrap_or(&defaults.group);
            labels[labels::ENVIRONMENT] = json!(labels::value(environment));
            labels[labels::GROUP] = json!(labels::value(group));
            spec["environment"] = json!(environment);
            spec["group"] = json!(group);
            spec["deploymentType"] = json!(deployment_type.as_ref().unwrap_or(&defaults.deployment_type));
            spec["service"] = json!(service);
            spec["commitTime"] = json!(commit_time.map(Time));
            spec["commitSha"] = json!(commit_sha);
            spec["repository"] = json!(repository);
            spec["warnings"] = if warnings.is_empty() { Value::Null } else { json!(warnings) };
        }
    }
    json!({ "metadata": { "labels": labels }, "spec": spec })
}

/// The patch that says since when a rollout is paused, and for how long it was.
#[must_use]
pub fn paused(record: &RecordedRevision) -> Value {
    let at = record.paused_at.map(UnixSeconds::time).map(Time);
    json!({ "spec": { "pausedAt": at, "pausedSeconds": paused_seconds(record) } })
}

/// The patch that says which revision took this one back.
#[must_use]
pub fn rolled_back(change: &Change<'_>) -> Value {
    let outcome = change.record.outcome;
    json!({
        "metadata": { "labels": { labels::OUTCOME: outcome.as_str() } },
        "spec": { "outcome": outcome, "rolledBackBy": change.rolled_back_by },
    })
}

fn paused_seconds(record: &RecordedRevision) -> Option<i64> {
    (record.paused_seconds > 0).then(|| record.paused_seconds.into())
}

/// What the metadata of a revision says. A ReplicaSet that was re-used has the annotations of its last revision, which say nothing of
/// the ones before.
fn facts_of(snapshot: &Snapshot, deployment: &Workload, replica_set: &Revision, is_described: bool) -> RolloutMetadata {
    let none = Metadata::default();
    let mut layers =
        MetadataSources::new(deployment, replica_set, &snapshot.namespace_annotations, &snapshot.namespace_labels);
    if !is_described {
        layers = layers.without_snapshot(&none);
    }
    read_metadata(&layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::{Outcome, RevisionId};

    fn record(revision: i64, repeated: bool) -> RecordedRevision {
        RecordedRevision {
            revision,
            replica_set: RevisionId::new("00abcdef-0000", "web-5f"),
            repeated,
            outcome: Outcome::InProgress,
            change: None,
            started: None,
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        }
    }

    #[test]
    fn a_record_is_named_after_deployment_revision_and_uid() {
        assert_eq!(record_name(WorkloadKind::Deployment, "web", "0123456789ab", &record(7, false)), "web-7-01234567");
        assert_eq!(
            record_name(WorkloadKind::Deployment, "web", "0123456789ab", &record(7, true)),
            "web-7-01234567-00abcdef"
        );
    }

    #[test]
    fn kinds_with_the_same_name_share_no_record() {
        let name = |kind| record_name(kind, "web", "0123456789ab", &record(7, false));
        assert_eq!(name(WorkloadKind::Deployment), "web-7-01234567");
        assert_eq!(name(WorkloadKind::StatefulSet), "statefulset-web-7-01234567");
    }

    #[test]
    fn a_long_name_is_cut_to_what_kubernetes_takes() {
        let record = record(1234, false);
        let name = record_name(WorkloadKind::Deployment, &format!("{}.b", "a".repeat(240)), "0123456789ab", &record);
        assert_eq!(name, format!("{}-1234-01234567", "a".repeat(239)));
        let name = record_name(
            WorkloadKind::Deployment,
            &format!("{}.{}", "a".repeat(238), "b".repeat(14)),
            "0123456789ab",
            &record,
        );
        assert_eq!(name, format!("{}-1234-01234567", "a".repeat(238)), "no dot before a dash");
    }
}
