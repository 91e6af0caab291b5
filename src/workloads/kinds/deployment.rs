//! Kubernetes objects with only the fields that the controller reads, and the rows made from them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource};
use serde::Deserialize;

use crate::resources::{REVISION, REVISION_HISTORY, own_entries, slim_metadata};
use crate::runtime::{Synced, watch_each};
use crate::workloads::template::PodTemplate;
use crate::workloads::{Index, Selection};
use rollout::{
    Availability, Conditions, PodCounts, ProgressReason, Progressing, Revision, Source, Uid, UnixSeconds, Workload,
    WorkloadKind,
};

/// The value of `progressDeadlineSeconds` that means none (`HasProgressDeadline` in `deployment_util.go`).
const NO_DEADLINE: i32 = i32::MAX;

/// A Deployment with only what is read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Deployment)]
pub struct SlimDeployment {
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
    last_update_time: Option<Time>,
    last_transition_time: Option<Time>,
}

impl SlimDeployment {
    /// The row of this Deployment; `None` without a name, namespace or UID, which the API server always gives.
    #[must_use]
    pub fn row(&self, selection: &Selection) -> Option<Workload> {
        let Self { metadata, spec, status } = self;
        let namespace = metadata.namespace.as_deref()?;
        let none = BTreeMap::new();
        let condition = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind);
        Some(Workload {
            kind: WorkloadKind::Deployment,
            uid: metadata.uid.as_deref()?.into(),
            namespace: namespace.into(),
            name: metadata.name.as_deref()?.into(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation,
            revision: revision(metadata.annotations.as_ref()),
            counts: PodCounts {
                // The API server defaults it to 1.
                desired: spec.replicas.unwrap_or(1),
                total: status.replicas,
                updated: status.updated_replicas,
                available: status.available_replicas,
            },
            conditions: Conditions {
                progressing: condition("Progressing").map(progressing),
                available: condition("Available").and_then(available),
                replica_failure: condition("ReplicaFailure")
                    .filter(|condition| {
                        condition.status == "True" && condition.reason.as_deref() == Some("FailedCreate")
                    })
                    .and_then(|condition| condition.message.as_deref().map(Into::into)),
            },
            paused: spec.paused,
            recreates: spec.strategy.kind == "Recreate",
            // The API server defaults it to 600.
            progress_deadline: Some(spec.progress_deadline_seconds.unwrap_or(600)).filter(|it| *it != NO_DEADLINE),
            labels: own_entries(metadata.labels.as_ref()),
            selected: selection.selects(namespace, metadata.labels.as_ref().unwrap_or(&none)),
        })
    }
}

fn available(condition: &DeploymentCondition) -> Option<Availability> {
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
        replica_set: condition.message.as_deref().and_then(named_replica_set).map(Into::into),
        updated: condition.last_update_time.as_ref().map(|time| time.0),
    }
}

/// The ReplicaSet in a message such as `ReplicaSet "web-7679c567ff" has successfully progressed.`
fn named_replica_set(message: &str) -> Option<&str> {
    let (before, quoted) = message.split_once('"')?;
    let (name, _) = quoted.split_once('"')?;
    before.to_ascii_lowercase().replace(' ', "").ends_with("replicaset").then_some(name)
}

/// A ReplicaSet with only what is read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = ReplicaSet)]
pub struct SlimReplicaSet {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ReplicaSetSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaSetSpec {
    template: PodTemplate,
}

impl SlimReplicaSet {
    /// The UID of this ReplicaSet.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.metadata.uid.as_deref()
    }

    /// The UID of the Deployment that owns it, and its row; `None` if no Deployment does.
    #[must_use]
    pub fn row(&self) -> Option<(Uid, Revision)> {
        let Self { metadata, spec } = self;
        let owner = metadata.owner_references.as_deref()?.iter().find(|owner| is_deployment(owner))?;
        let PodTemplate { annotations, labels, images, whole } = &spec.template;
        let row = Revision {
            uid: metadata.uid.as_deref()?.into(),
            name: metadata.name.as_deref()?.into(),
            revision: revision(metadata.annotations.as_ref()),
            earlier_revisions: earlier_revisions(metadata.annotations.as_ref()),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            annotations: own_entries(metadata.annotations.as_ref()),
            images: *images,
            template: *whole,
            template_annotations: annotations.clone(),
            template_labels: labels.clone(),
        };
        Some((owner.uid.as_str().into(), row))
    }
}

fn is_deployment(owner: &OwnerReference) -> bool {
    owner.controller == Some(true) && owner.kind == "Deployment" && owner.api_version.starts_with("apps/")
}

fn revision(annotations: Option<&BTreeMap<String, String>>) -> Option<i64> {
    annotations?.get(REVISION)?.parse().ok()
}

/// A list such as `1,4`; what is no number in it is passed over.
fn earlier_revisions(annotations: Option<&BTreeMap<String, String>>) -> Box<[i64]> {
    let history = annotations.and_then(|kept| kept.get(REVISION_HISTORY)).map_or("", String::as_str);
    history.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// Feeds the Deployments of all namespaces into `index`, for ever.
pub fn watch_deployments<'a>(
    client: Client,
    index: &'a Index,
    selection: &'a Selection,
    synced: Synced,
) -> impl Future<Output = ()> + 'a {
    let apply = move |deployment: SlimDeployment, source| {
        if let Some(row) = deployment.row(selection) {
            index.deployment_applied(row, source, Timestamp::now());
        }
    };
    watch_each(Api::<SlimDeployment>::all(client), synced, move |event| match event {
        Event::Init => index.deployments_listed_anew(),
        Event::InitDone => index.deployments_listed(Timestamp::now()),
        Event::Apply(deployment) => apply(deployment, Source::Watch),
        Event::InitApply(deployment) => apply(deployment, Source::List),
        Event::Delete(deployment) => {
            if let Some(row) = deployment.row(selection) {
                let uid = Uid::clone(&row.uid);
                index.deployment_deleted(&uid, Some(row), Source::Watch, Timestamp::now());
            }
        }
    })
}

/// Feeds the ReplicaSets of all namespaces into `index`, for ever.
pub fn watch_replica_sets(client: Client, index: &Index, synced: Synced) -> impl Future<Output = ()> {
    watch_each(Api::<SlimReplicaSet>::all(client), synced, move |event| match event {
        Event::Init => index.replica_sets_listed_anew(),
        Event::InitDone => index.replica_sets_listed(),
        Event::Apply(replica_set) | Event::InitApply(replica_set) => match replica_set.row() {
            Some((owner, row)) => index.replica_set_applied(owner, row),
            None => replica_set.uid().into_iter().for_each(|uid| index.replica_set_deleted(uid)),
        },
        Event::Delete(replica_set) => {
            replica_set.uid().into_iter().for_each(|uid| index.replica_set_deleted(uid));
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_read_is_kept_of_a_deployment() {
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
                "labels": {"app": "web", "dora.port.io/group": "shop"},
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
        let row = deployment.row(&Selection::default()).unwrap();
        assert_eq!((row.revision, row.counts.desired, row.counts.updated, row.counts.available), (Some(7), 3, 2, 1));
        assert_eq!(row.labels.get("group"), Some("shop"));
        let since = UnixSeconds::of("2026-01-02T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(row.conditions.available, Some(Availability { is_available: false, since }));
        let progressing = row.conditions.progressing.unwrap();
        assert_eq!(progressing.reason, ProgressReason::Complete);
        assert_eq!(progressing.replica_set.as_deref(), Some("web-5f"));
        assert_eq!(progressing.updated, "2026-01-01T00:00:00Z".parse().ok());
    }

    #[test]
    fn a_deployment_that_nobody_has_looked_at_yet_has_no_status() {
        let deployment: SlimDeployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "spec": {}, "status": {},
        }))
        .unwrap();
        let row = deployment.row(&Selection::default()).unwrap();
        assert_eq!((row.revision, row.conditions.progressing, row.counts.desired), (None, None, 1));
    }

    #[test]
    fn the_replica_set_is_read_out_of_every_message_that_names_one() {
        let named = [
            ("ReplicaSet \"web-5f\" has successfully progressed.", Some("web-5f")),
            ("ReplicaSet \"web-5f\" has timed out progressing.", Some("web-5f")),
            ("Created new replica set \"web-5f\"", Some("web-5f")),
            ("Found new replica set \"web-5f\"", Some("web-5f")),
            ("Deployment \"web\" has successfully progressed.", None),
            ("Deployment is paused", None),
        ];
        for (message, expected) in named {
            assert_eq!(named_replica_set(message), expected, "{message}");
        }
    }

    #[test]
    fn a_replica_set_belongs_to_the_deployment_that_controls_it() {
        let replica_set = |owners: serde_json::Value| -> SlimReplicaSet {
            serde_json::from_value(json!({
                "metadata": {
                    "name": "web-5f", "namespace": "shop", "uid": "r", "creationTimestamp": "2026-01-01T00:00:00Z",
                    "annotations": {"deployment.kubernetes.io/revision": "3", "deployment.kubernetes.io/revision-history": "1"},
                    "ownerReferences": owners,
                },
                "spec": {"template": {"metadata": {"annotations": {"dora.port.io/group": "shop", "other": "x"}}}},
            }))
            .unwrap()
        };
        let owner = |kind: &str, controller: bool| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": "d", "controller": controller}]);
        let (uid, row) = replica_set(owner("Deployment", true)).row().unwrap();
        assert_eq!((&*uid, row.revision, &*row.earlier_revisions), ("d", Some(3), &[1][..]));
        assert_eq!(row.template_annotations, [("group", "shop")].into_iter().collect());
        for owners in [owner("Deployment", false), owner("Rollout", true), json!([])] {
            assert!(replica_set(owners.clone()).row().is_none(), "{owners}");
        }
    }
}
