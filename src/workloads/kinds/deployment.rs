//! Deployments. Their revisions are ReplicaSets.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use kube::{Api, Client, Resource};
use rollout::{
    Availability, Conditions, PodCounts, ProgressReason, Progressing, Revision, UnixSeconds, Workload, WorkloadKind,
};
use serde::Deserialize;

use super::replica_set::{REPLICA_SETS, revision_number};
use super::{Kind, OptionalMessage};
use crate::resources::{is_restored, own_entries, slim_metadata, supported_time};
use crate::workloads::Selection;
use crate::workloads::pods::PodSelector;
use crate::workloads::watch::{Watch, watch_workloads};

/// Deployments.
pub const KIND: Kind = Kind {
    name: WorkloadKind::Deployment,
    watches: &[
        Watch {
            resource: "Deployments",
            run: |context, synced| watch_workloads(context, synced, WorkloadKind::Deployment, SlimDeployment::workload),
        },
        REPLICA_SETS,
    ],
    pods_of_revision,
    unavailable_message: |client, namespace, name| Box::pin(unavailable_message(client, namespace, name)),
};

/// The label by which the Deployment controller tells the pods of its ReplicaSets apart.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The value of `progressDeadlineSeconds` that means no deadline (`HasProgressDeadline` in `deployment_util.go`).
const NO_DEADLINE: i32 = i32::MAX;

/// A Deployment with only the fields that the controller reads.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Deployment)]
struct SlimDeployment {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: DeploymentSpec,
    #[serde(default)]
    status: DeploymentStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeploymentSpec {
    replicas: Option<i32>,
    paused: bool,
    progress_deadline_seconds: Option<i32>,
    strategy: DeploymentStrategy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct DeploymentStrategy {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeploymentStatus {
    observed_generation: i64,
    replicas: i32,
    updated_replicas: i32,
    available_replicas: i32,
    conditions: Vec<DeploymentCondition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    #[serde(default, deserialize_with = "supported_time")]
    last_update_time: Option<Time>,
    #[serde(default, deserialize_with = "supported_time")]
    last_transition_time: Option<Time>,
}

impl SlimDeployment {
    /// What the index keeps of this Deployment; `None` without a name, namespace or UID, which the API server always sets.
    fn workload(&self, selection: &Selection) -> Option<Workload> {
        let Self { metadata, spec, status } = self;
        let namespace = metadata.namespace.as_deref()?;
        let no_labels = BTreeMap::new();
        Some(Workload {
            kind: WorkloadKind::Deployment,
            uid: metadata.uid.as_deref()?.into(),
            namespace: namespace.into(),
            name: metadata.name.as_deref()?.into(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation,
            revision: revision_number(metadata.annotations.as_ref()),
            counts: PodCounts {
                // The API server defaults it to 1.
                desired: spec.replicas.unwrap_or(1),
                total: status.replicas,
                updated: status.updated_replicas,
                available: status.available_replicas,
            },
            conditions: status.conditions(),
            paused: spec.paused,
            recreates: spec.strategy.kind == "Recreate",
            // The API server defaults it to 600.
            progress_deadline: Some(spec.progress_deadline_seconds.unwrap_or(600))
                .filter(|seconds| *seconds != NO_DEADLINE),
            labels: own_entries(metadata.labels.as_ref()),
            selected: selection.matches(namespace, metadata.labels.as_ref().unwrap_or(&no_labels)),
            is_restored: is_restored(metadata.labels.as_ref()),
        })
    }
}

impl DeploymentStatus {
    fn conditions(&self) -> Conditions {
        Conditions {
            progressing: self.condition("Progressing").map(progressing),
            available: self.condition("Available").and_then(availability),
            replica_failure: self
                .condition("ReplicaFailure")
                .filter(|condition| condition.status == "True" && condition.reason.as_deref() == Some("FailedCreate"))
                .and_then(|condition| condition.message.as_deref().map(Into::into)),
        }
    }

    fn condition(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

fn availability(condition: &DeploymentCondition) -> Option<Availability> {
    let since = condition.last_transition_time.as_ref().and_then(|time| UnixSeconds::of(time.0))?;
    Some(Availability { is_available: condition.status == "True", since })
}

fn progressing(condition: &DeploymentCondition) -> Progressing {
    Progressing {
        reason: match condition.reason.as_deref() {
            Some("NewReplicaSetAvailable") => ProgressReason::Complete,
            Some("ProgressDeadlineExceeded") => ProgressReason::DeadlineExceeded,
            Some("FoundNewReplicaSet") => ProgressReason::Found,
            Some("DeploymentPaused") => ProgressReason::Paused,
            Some("DeploymentResumed") => ProgressReason::Resumed,
            _ => ProgressReason::Other,
        },
        replica_set: condition.message.as_deref().and_then(replica_set_in).map(Into::into),
        updated: condition.last_update_time.as_ref().map(|time| time.0),
    }
}

/// The name of the ReplicaSet in a message such as `ReplicaSet "web-7679c567ff" has successfully progressed.`
fn replica_set_in(message: &str) -> Option<&str> {
    let (before, quoted) = message.split_once('"')?;
    let (name, _) = quoted.split_once('"')?;
    before.to_ascii_lowercase().replace(' ', "").ends_with("replicaset").then_some(name)
}

/// The pods of a ReplicaSet, which controls them. Its name is that of the Deployment, a hyphen and the hash.
fn pods_of_revision(workload: &Workload, revision: &Revision) -> PodSelector {
    let hash = revision.name.strip_prefix(&*workload.name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    PodSelector { labels: format!("{POD_TEMPLATE_HASH}={hash}"), controller: revision.uid.clone() }
}

/// Reads the message of the condition `Available`.
async fn unavailable_message(client: &Client, namespace: &str, name: &str) -> OptionalMessage {
    let deployment = Api::<SlimDeployment>::namespaced(client.clone(), namespace).get_opt(name).await?;
    Ok(deployment.and_then(|deployment| deployment.status.condition("Available")?.message.clone()))
}

#[cfg(test)]
mod tests {
    use rollout::test_support;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_fields_that_are_read_are_kept() {
        let deployment: SlimDeployment = serde_json::from_value(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "generation": 4,
                "annotations": {
                    "deployment.kubernetes.io/revision": "7",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "dora.port.io/environment": "staging",
                },
                "labels": {"app": "web", "dora.port.io/group": "shop", "velero.io/restore-name": "r"},
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"replicas": 3, "template": {"spec": {"containers": []}}},
            "status": {
                "observedGeneration": 4, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 1,
                "conditions": [
                    {
                        "type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
                        "lastUpdateTime": "2026-02-01T00:00:00Z", "lastTransitionTime": "2026-01-02T00:00:00Z",
                    },
                    {
                        "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                        "message": "ReplicaSet \"web-5f\" has successfully progressed.",
                        "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2020-01-01T00:00:00Z",
                    },
                ],
            },
        }))
        .unwrap();
        let metadata = deployment.meta();
        assert_eq!(metadata.managed_fields, None);
        assert_eq!(metadata.annotations.as_ref().unwrap().len(), 2);
        let workload = deployment.workload(&Selection::default()).unwrap();
        let (revision, counts) = (workload.revision, workload.counts);
        assert_eq!((revision, counts.desired, counts.updated, counts.available), (Some(7), 3, 2, 1));
        assert_eq!(workload.labels.get("group"), Some("shop"));
        assert!(workload.is_restored);
        let since = UnixSeconds::of("2026-01-02T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(workload.conditions.available, Some(Availability { is_available: false, since }));
        let progressing = workload.conditions.progressing.unwrap();
        assert_eq!(progressing.reason, ProgressReason::Complete);
        assert_eq!(progressing.replica_set.as_deref(), Some("web-5f"));
        assert_eq!(progressing.updated, "2026-01-01T00:00:00Z".parse().ok());
    }

    #[test]
    fn new_deployment_has_no_status() {
        let deployment: SlimDeployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "spec": {}, "status": {},
        }))
        .unwrap();
        let workload = deployment.workload(&Selection::default()).unwrap();
        assert_eq!((workload.revision, workload.conditions.progressing, workload.counts.desired), (None, None, 1));
        assert!(!workload.is_restored);
    }

    #[test]
    fn impossible_time_is_absent() {
        for time in ["9999-12-30T22:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T09:59:59Z", "0001-01-01T00:00:00Z"] {
            let condition = |kind: &str| json!({"type": kind, "status": "False", "lastUpdateTime": time, "lastTransitionTime": time});
            let deployment: SlimDeployment = serde_json::from_value(json!({
                "metadata": {
                    "name": "web", "namespace": "shop", "uid": "u",
                    "managedFields": [{"manager": "m", "operation": "Update", "time": time}],
                },
                "spec": {"template": {"metadata": {"creationTimestamp": time}}},
                "status": {"conditions": [condition("Progressing"), condition("Available")]},
            }))
            .unwrap();
            let Conditions { progressing, available, .. } =
                deployment.workload(&Selection::default()).unwrap().conditions;
            assert_eq!((progressing.unwrap().updated, available), (None, None), "{time}");
        }
    }

    #[test]
    fn replica_set_is_read_from_every_message_that_names_one() {
        let messages = [
            ("ReplicaSet \"web-5f\" has successfully progressed.", Some("web-5f")),
            ("ReplicaSet \"web-5f\" has timed out progressing.", Some("web-5f")),
            ("Created new replica set \"web-5f\"", Some("web-5f")),
            ("Found new replica set \"web-5f\"", Some("web-5f")),
            ("Deployment \"web\" has successfully progressed.", None),
            ("Deployment is paused", None),
        ];
        for (message, expected) in messages {
            assert_eq!(replica_set_in(message), expected, "{message}");
        }
    }

    #[test]
    fn pods_have_the_hash_in_the_name_of_their_replica_set() {
        let workload = test_support::deployment(1);
        let revision = Revision { name: "web-7679c567ff".into(), ..test_support::replica_set("r", 1, 0) };
        let selector = pods_of_revision(&workload, &revision);
        assert_eq!((&*selector.labels, &*selector.controller), ("pod-template-hash=7679c567ff", "r"));
    }
}
