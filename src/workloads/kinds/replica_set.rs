//! ReplicaSets: the revisions of Deployments.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::Resource;
use kube::api::ObjectMeta;
use rollout::{Revision, WorkloadKind};
use serde::Deserialize;

use crate::resources::{REVISION, REVISION_HISTORY, is_restored, own_entries, slim_metadata};
use crate::workloads::template::PodTemplate;
use crate::workloads::watch::{Watch, watch_revisions};

/// The watch on ReplicaSets.
pub const REPLICA_SETS: Watch = Watch {
    resource: "ReplicaSets",
    run: |context, synced| watch_revisions(context, synced, &[WorkloadKind::Deployment], SlimReplicaSet::revision),
};

/// A ReplicaSet with only the fields that the controller reads.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = ReplicaSet)]
struct SlimReplicaSet {
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
    /// What the index keeps of this ReplicaSet; `None` without a name or UID, which the API server always sets.
    fn revision(&self) -> Option<Revision> {
        let Self { metadata, spec } = self;
        let PodTemplate { annotations, labels, images, fingerprint } = &spec.template;
        Some(Revision {
            uid: metadata.uid.as_deref()?.into(),
            name: metadata.name.as_deref()?.into(),
            revision: revision_number(metadata.annotations.as_ref()),
            earlier_revisions: earlier_revisions(metadata.annotations.as_ref()),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            annotations: own_entries(metadata.annotations.as_ref()),
            images: *images,
            template: *fingerprint,
            template_annotations: annotations.clone(),
            template_labels: labels.clone(),
            is_restored: is_restored(metadata.labels.as_ref()),
        })
    }
}

/// The annotation `deployment.kubernetes.io/revision`, which Deployments and their ReplicaSets have.
pub fn revision_number(annotations: Option<&BTreeMap<String, String>>) -> Option<i64> {
    number(annotations?.get(REVISION)?)
}

/// The number of a revision. The Deployment controller counts from 1, but anybody who writes the object can write the annotation.
fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok().filter(|number| *number > 0)
}

/// The annotation `deployment.kubernetes.io/revision-history`: a list such as `1,4`. Entries that are not numbers are ignored.
fn earlier_revisions(annotations: Option<&BTreeMap<String, String>>) -> Box<[i64]> {
    let history = annotations.and_then(|annotations| annotations.get(REVISION_HISTORY)).map_or("", String::as_str);
    history.split(',').filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn revision_has_its_numbers_and_template() {
        let replica_set: SlimReplicaSet = serde_json::from_value(json!({
            "metadata": {
                "name": "web-5f", "namespace": "shop", "uid": "r", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"deployment.kubernetes.io/revision": "3", "deployment.kubernetes.io/revision-history": "1,x"},
            },
            "spec": {"template": {"metadata": {"annotations": {"dora.port.io/group": "shop", "other": "x"}}}},
        }))
        .unwrap();
        let revision = replica_set.revision().unwrap();
        assert_eq!((revision.revision, &*revision.earlier_revisions), (Some(3), &[1][..]));
        assert_eq!(revision.template_annotations, [("group", "shop")].into_iter().collect());
        assert!(!revision.is_restored);
    }

    #[test]
    fn label_of_a_restore_counts_on_the_replica_set_only() {
        let with = |labels: Value, template: Value| -> bool {
            let replica_set: SlimReplicaSet = serde_json::from_value(json!({
                "metadata": {"name": "web-5f", "uid": "r", "labels": labels},
                "spec": {"template": {"metadata": {"labels": template}}},
            }))
            .unwrap();
            replica_set.revision().unwrap().is_restored
        };
        let restored = || json!({"velero.io/restore-name": "nightly", "velero.io/backup-name": "nightly"});
        assert!(with(restored(), json!({"app": "web"})));
        assert!(!with(json!({"app": "web"}), restored()));
    }

    #[test]
    fn impossible_revision_number_is_absent() {
        for text in ["0", "-9223372036854775808", "9223372036854775808", "1.5", "", "x"] {
            let annotations = [(REVISION.to_owned(), text.to_owned())].into();
            assert_eq!(revision_number(Some(&annotations)), None, "{text}");
        }
    }
}
