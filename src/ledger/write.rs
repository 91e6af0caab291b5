//! A change of the records as a request to the API server. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use crate::cluster::Snapshot;
use crate::mapping::{Facts, Layers, facts};
use crate::resources::{DeploymentReference, DoraDeployment, DoraDeploymentSpec, FIELD_MANAGER};
use crate::rollout::{Change, DeploymentRow, ReplicaSetRow};
use crate::settings::Defaults;

/// Longest name of an object in Kubernetes.
const NAME_CHARACTERS: usize = 253;

/// Name of the record of a revision. The UID tells a Deployment from its namesakes before and after.
#[must_use]
pub fn record_name(deployment: &str, revision: i64, uid: &str) -> String {
    let uid: String = uid.chars().take(8).collect();
    let ending = format!("-{revision}-{uid}");
    let kept: String = deployment.chars().take(NAME_CHARACTERS - ending.len()).collect();
    // A name must not have a dot before a dash.
    format!("{}{ending}", kept.trim_end_matches(['.', '-']))
}

/// The record of a revision that has begun.
#[must_use]
pub fn begun(
    deployment: &DeploymentRow,
    replica_set: &ReplicaSetRow,
    revision: i64,
    spec: DoraDeploymentSpec,
) -> DoraDeployment {
    let spec = DoraDeploymentSpec {
        deployment: Some(DeploymentReference {
            name: deployment.name.to_string(),
            uid: deployment.uid.to_string(),
            revision,
            replica_set: replica_set.name.to_string(),
            replica_set_uid: replica_set.uid.to_string(),
        }),
        ..spec
    };
    let mut record = DoraDeployment::new(&record_name(&deployment.name, revision, &deployment.uid), spec);
    record.metadata = ObjectMeta {
        namespace: Some(deployment.namespace.to_string()),
        labels: Some([("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned())].into()),
        ..record.metadata
    };
    record
}

/// What the metadata of a rollout says, as the spec of its record.
#[must_use]
pub fn described(
    snapshot: &Snapshot,
    deployment: &DeploymentRow,
    replica_set: &ReplicaSetRow,
    defaults: &Defaults,
    change: &Change<'_>,
) -> DoraDeploymentSpec {
    let layers = Layers::new(deployment, replica_set, &snapshot.namespace_annotations, &snapshot.namespace_labels);
    let Facts { environment, group, service, deployment_type, commit_time, commit_sha, repository, warnings } =
        facts(&layers);
    let (outcome, started_at, finished_at) = match change {
        Change::Begin { outcome, started, finished, .. } => (*outcome, Some(Time(*started)), finished.map(Time)),
        Change::End { outcome, finished, .. } | Change::Close { outcome, finished, .. } => {
            (*outcome, None, Some(Time(*finished)))
        }
    };
    DoraDeploymentSpec {
        title: None,
        identifier: None,
        deployment: None,
        outcome,
        started_at,
        finished_at,
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
    }
}

/// The patch that ends a record: how, when, and its metadata as it is by now. `null` takes away what is no longer said.
#[must_use]
pub fn ended(spec: &DoraDeploymentSpec) -> Value {
    json!({ "spec": {
        "outcome": spec.outcome,
        "finishedAt": spec.finished_at,
        "environment": spec.environment,
        "group": spec.group,
        "service": spec.service,
        "deploymentType": spec.deployment_type,
        "commitTime": spec.commit_time,
        "commitSha": spec.commit_sha,
        "repository": spec.repository,
        "warnings": if spec.warnings.is_empty() { Value::Null } else { json!(spec.warnings) },
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_after_deployment_revision_and_uid() {
        assert_eq!(record_name("web", 7, "0123456789ab"), "web-7-01234567");
    }

    #[test]
    fn a_long_name_is_cut_to_what_kubernetes_takes() {
        let name = record_name(&format!("{}.b", "a".repeat(240)), 1234, "0123456789ab");
        assert_eq!(name, format!("{}-1234-01234567", "a".repeat(239)));
        let name = record_name(&format!("{}.{}", "a".repeat(238), "b".repeat(14)), 1234, "0123456789ab");
        assert_eq!(name, format!("{}-1234-01234567", "a".repeat(238)), "no dot before a dash");
    }
}
