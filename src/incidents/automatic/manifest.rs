//! The requests to the API server with which the controller opens, resolves and reopens an incident. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use rollout::WorkloadKey;
use serde_json::{Value, json};

use super::decide::{NewIncident, OpenedBy};
use crate::resources::{
    AffectedWorkload, DoraDeployment, DoraIncident, DoraIncidentSpec, FIELD_MANAGER, IncidentStatus, MANAGED_BY,
};

/// Label of an automatic incident: why the controller opened it.
pub const OPENED_BY: &str = "dora.port.io/opened-by";
/// Annotation: UID of the workload for which the controller opened the incident. A later workload of the same name has another UID.
pub const WORKLOAD_UID: &str = "dora.port.io/workload-uid";
/// Annotation: the revision that rolled back the revision of the incident.
pub const ROLLED_BACK_BY: &str = "dora.port.io/rolled-back-by";
/// Annotation: when the controller reopened the incident.
pub const REOPENED_AT: &str = "dora.port.io/reopened-at";

/// Field manager that creates an incident.
pub const CREATION_MANAGER: &str = "port-dora-controller-opened";
/// Field manager of the later changes: `spec.status` and `spec.resolvedAt` of an incident, `status.incident` and
/// `status.reportedLoss` of a record. It differs from [`FIELD_MANAGER`] because a server-side apply removes all fields of its manager
/// that it doesn't name.
pub const UPDATE_MANAGER: &str = "port-dora-controller-incidents";

/// The `DoraIncident` for `incident`. `description` is the reason, and `group` the identifier of the group in Port.
#[must_use]
pub fn incident_manifest(
    incident: &NewIncident,
    workload: &WorkloadKey,
    uid: &str,
    description: Option<String>,
    group: Option<String>,
) -> DoraIncident {
    let NewIncident { name: incident_name, opened_by, opened, revision, rolled_back_by } = incident;
    let WorkloadKey { namespace, kind, name } = workload;
    let mut annotations = BTreeMap::from([(WORKLOAD_UID.to_owned(), uid.to_owned())]);
    annotations.extend(rolled_back_by.map(|revision| (ROLLED_BACK_BY.to_owned(), revision.to_string())));
    let labels = [(MANAGED_BY, FIELD_MANAGER), (OPENED_BY, opened_by.as_str())];
    DoraIncident {
        metadata: ObjectMeta {
            name: Some(incident_name.clone()),
            namespace: Some(namespace.to_string()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: DoraIncidentSpec {
            title: Some(title(workload, *opened_by, *revision)),
            description,
            created_at: Some(Time(*opened)),
            workload_ref: Some(AffectedWorkload { kind: *kind, name: name.to_string(), revision: *revision }),
            group,
            ..DoraIncidentSpec::default()
        },
        status: None,
    }
}

fn title(workload: &WorkloadKey, opened_by: OpenedBy, revision: Option<i64>) -> String {
    let WorkloadKey { namespace, kind, name } = workload;
    let workload = kind.titled(name);
    let revision = revision.map(|revision| format!(" revision {revision}")).unwrap_or_default();
    match opened_by {
        OpenedBy::FailedRollout => format!("Rollout of {namespace}/{workload}{revision} failed"),
        OpenedBy::RolledBackRollout => format!("{namespace}/{workload}{revision} was rolled back"),
        OpenedBy::LostAvailability => format!("{namespace}/{workload} is unavailable"),
    }
}

/// The server-side apply that resolves an incident.
#[must_use]
pub fn resolve_patch(incident: &DoraIncident, at: Timestamp) -> Value {
    incident_patch(incident, &json!({}), &json!({ "status": IncidentStatus::Resolved, "resolvedAt": Time(at) }))
}

/// The server-side apply that reopens an incident. It removes `resolvedAt`, because it no longer names it.
#[must_use]
pub fn reopen_patch(incident: &DoraIncident, since: Timestamp) -> Value {
    incident_patch(incident, &json!({ REOPENED_AT: since.to_string() }), &json!({ "status": IncidentStatus::Open }))
}

/// UID and resource version make the apply fail with a conflict if the incident was deleted or changed in the meantime. Otherwise it
/// would create a deleted incident again.
fn incident_patch(incident: &DoraIncident, annotations: &Value, spec: &Value) -> Value {
    let ObjectMeta { name, uid, resource_version, .. } = &incident.metadata;
    json!({
        "apiVersion": DoraIncident::api_version(&()),
        "kind": DoraIncident::kind(&()),
        "metadata": { "name": name, "uid": uid, "resourceVersion": resource_version, "annotations": annotations },
        "spec": spec,
    })
}

/// The server-side apply that sets `status.incident` and `status.reportedLoss` of a record, or removes them.
#[must_use]
pub fn record_status_patch(record: &str, incident: Option<&str>, reported_loss: Option<Timestamp>) -> Value {
    json!({
        "apiVersion": DoraDeployment::api_version(&()),
        "kind": DoraDeployment::kind(&()),
        "metadata": { "name": record },
        "status": { "incident": incident, "reportedLoss": reported_loss.map(Time) },
    })
}
