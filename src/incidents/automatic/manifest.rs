//! An incident of the controller's own as a resource, and changes of it as requests to the API server. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::decide::{OpenedBy, Opening};
use rollout::WorkloadKey;

use crate::resources::{
    AffectedWorkload, DeletionPolicy, DoraDeployment, DoraIncident, DoraIncidentSpec, FIELD_MANAGER, IncidentStatus,
};

/// Label of the incidents that the controller opened: what opened it.
pub const OPENED_BY: &str = "dora.port.io/opened-by";
/// Annotation: UID of the Deployment for which the controller opened it. A later Deployment of that name is another.
pub const WORKLOAD_UID: &str = "dora.port.io/workload-uid";
/// Annotation: the revision that took the one back that the incident is about.
pub const ROLLED_BACK_BY: &str = "dora.port.io/rolled-back-by";
/// Annotation: since when the incident is open again.
pub const REOPENED_AT: &str = "dora.port.io/reopened-at";

/// Owner of the fields with which an incident is made.
pub const OPENING_MANAGER: &str = "port-dora-controller-opened";
/// Owner of the fields that say whether the incident lasts, and of what is noted of it on a record. Not [`FIELD_MANAGER`]: what one
/// manager applies is all that it owns.
pub const INCIDENTS_MANAGER: &str = "port-dora-controller-incidents";

/// The incident that `opening` asks for. `description` says why; `group` is the identifier of the group in Port.
#[must_use]
pub fn opened(
    opening: &Opening,
    place: &WorkloadKey,
    uid: &str,
    description: Option<String>,
    group: Option<String>,
) -> DoraIncident {
    let Opening { name: incident, opened_by, opened, revision, rolled_back_by } = opening;
    let WorkloadKey { namespace, kind, name } = place;
    let workload = kind.titled(name);
    let which = revision.map(|revision| format!(" revision {revision}")).unwrap_or_default();
    let title = match opened_by {
        OpenedBy::FailedRollout => format!("Rollout of {namespace}/{workload}{which} failed"),
        OpenedBy::RolledBackRollout => format!("{namespace}/{workload}{which} was rolled back"),
        OpenedBy::LostAvailability => format!("{namespace}/{workload} is unavailable"),
    };
    let mut annotations = BTreeMap::from([(WORKLOAD_UID.to_owned(), uid.to_owned())]);
    annotations.extend(rolled_back_by.map(|revision| (ROLLED_BACK_BY.to_owned(), revision.to_string())));
    let labels = [("app.kubernetes.io/managed-by", FIELD_MANAGER), (OPENED_BY, opened_by.as_str())];
    DoraIncident {
        metadata: ObjectMeta {
            name: Some(incident.clone()),
            namespace: Some(namespace.to_string()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: DoraIncidentSpec {
            title: Some(title),
            description,
            incident_type: None,
            status: IncidentStatus::Open,
            url: None,
            priority: None,
            urgency: None,
            created_at: Some(Time(*opened)),
            resolved_at: None,
            workload_ref: Some(AffectedWorkload { kind: *kind, name: name.to_string(), revision: *revision }),
            group,
            identifier: None,
            relations: BTreeMap::new(),
            properties: BTreeMap::new(),
            deletion_policy: DeletionPolicy::default(),
        },
        status: None,
    }
}

/// The patch to apply when an incident is over.
#[must_use]
pub fn resolved(incident: &DoraIncident, at: Timestamp) -> Value {
    applied(incident, &json!({}), &json!({ "status": IncidentStatus::Resolved, "resolvedAt": Time(at) }))
}

/// The patch to apply when an incident goes on: `resolvedAt` goes because it is not applied any more.
#[must_use]
pub fn reopened(incident: &DoraIncident, since: Timestamp) -> Value {
    applied(incident, &json!({ REOPENED_AT: since.to_string() }), &json!({ "status": IncidentStatus::Open }))
}

/// UID and version keep the patch from making an incident anew that was deleted, and from undoing what somebody did meanwhile.
fn applied(incident: &DoraIncident, annotations: &Value, spec: &Value) -> Value {
    let ObjectMeta { name, uid, resource_version, .. } = &incident.metadata;
    json!({
        "apiVersion": DoraIncident::api_version(&()),
        "kind": DoraIncident::kind(&()),
        "metadata": { "name": name, "uid": uid, "resourceVersion": resource_version, "annotations": annotations },
        "spec": spec,
    })
}

/// The patch to apply to the status of a record that has had these incidents.
#[must_use]
pub fn noted(record: &str, incident: Option<&str>, reported_loss: Option<Timestamp>) -> Value {
    json!({
        "apiVersion": DoraDeployment::api_version(&()),
        "kind": DoraDeployment::kind(&()),
        "metadata": { "name": record },
        "status": { "incident": incident, "reportedLoss": reported_loss.map(Time) },
    })
}
