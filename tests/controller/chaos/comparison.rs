//! Compares the records with the ReplicaSets, and the entities with the records.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, ResourceExt};
use port_dora_controller::incidents::automatic::OPENED_BY;
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::Entity;
use rollout::{ChangeKind, Outcome};
use serde_json::{Value, json};

use super::operations::Plan;
use crate::Error;
use crate::fixture::{CLUSTER, Installation};
use crate::objects::{revision_of, rollout_of};

/// All differences, one line each.
pub async fn differences(setup: &Installation, namespace: &str, plan: Plan) -> Result<Vec<String>, Error> {
    let client = setup.client().await?;
    let sets = Api::<ReplicaSet>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
    let records =
        Api::<DoraDeployment>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
    let incidents = Api::<DoraIncident>::namespaced(client, namespace).list(&ListParams::default()).await?.items;
    let mut found = Vec::new();
    // Each image has its own ReplicaSet, and each ReplicaSet has run one revision.
    let mut ran: Vec<_> =
        sets.iter().filter_map(|set| Some((set.labels().get("app")?.clone(), revision_of(set)?))).collect();
    let mut recorded: Vec<_> = records
        .iter()
        .filter_map(rollout_of)
        .map(|(workload, revision)| (workload.name.clone(), revision.number))
        .collect();
    ran.sort();
    recorded.sort();
    let (automatic, applied): (Vec<_>, Vec<_>) =
        incidents.iter().partition(|incident| incident.labels().contains_key(OPENED_BY));
    if ran.len() != plan.rollouts || applied.len() != plan.incidents {
        found.push(format!("{} revisions and {} incidents for {plan:?}", ran.len(), applied.len()));
    }
    found.extend(wrong_automatic_incidents(&records, &automatic));
    if ran != recorded {
        found.push(format!("recorded: {recorded:?}, rolled out: {ran:?}"));
    }
    for record in &records {
        let conditions = record.status.as_ref().map(|status| status.conditions.as_slice());
        found.extend(undelivered(&record.metadata, conditions.unwrap_or_default()));
    }
    for incident in &incidents {
        let conditions = incident.status.as_ref().map(|status| status.conditions.as_slice());
        found.extend(undelivered(&incident.metadata, conditions.unwrap_or_default()));
    }
    let deployments = records.iter().map(deployment).collect();
    let incidents = incidents.iter().map(incident).collect();
    compare(&deployments, &setup.entities("dora_deployment", namespace), &mut found);
    compare(&incidents, &setup.entities("dora_incident", namespace), &mut found);
    Ok(found)
}

/// Checks the automatic incidents: each failed rollout has one with the name of its record, and there are no others.
fn wrong_automatic_incidents(records: &[DoraDeployment], automatic: &[&DoraIncident]) -> Option<String> {
    let has_incident =
        |record: &&DoraDeployment| record.status.as_ref().is_some_and(|status| status.incident.is_some());
    // A recovered rollout has none if it recovered before the controller saw the failure.
    let needs_incident = |record: &&DoraDeployment| record.spec.outcome == Outcome::Failed || has_incident(record);
    let mut expected: Vec<String> = records.iter().filter(needs_incident).map(ResourceExt::name_any).collect();
    let mut found: Vec<String> = automatic.iter().map(|incident| incident.name_any()).collect();
    expected.sort();
    found.sort();
    (expected != found).then(|| format!("automatic incidents: {found:?}, expected: {expected:?}"))
}

/// Why the current generation of a resource is not delivered, or `None` if it is.
fn undelivered(metadata: &ObjectMeta, conditions: &[Condition]) -> Option<String> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let Some(synced) = conditions.iter().find(|condition| condition.type_ == "Synced") else {
        return Some(format!("{name} has no condition Synced"));
    };
    let is_delivered = synced.status == "True" && synced.observed_generation == metadata.generation;
    (!is_delivered).then(|| {
        let Condition { reason, observed_generation, message, .. } = synced;
        format!(
            "{name} has generation {:?}, and {reason} was observed at {observed_generation:?}: {message}",
            metadata.generation
        )
    })
}

/// Compares entities with the expected contents, by identifier.
fn compare(expected: &BTreeMap<String, Value>, entities: &[Entity], found: &mut Vec<String>) {
    let mut missing: Vec<_> = expected.keys().collect();
    for entity in entities {
        missing.retain(|identifier| **identifier != entity.identifier);
        let actual = json!({"title": entity.title, "properties": entity.properties, "relations": entity.relations});
        match expected.get(&entity.identifier) {
            Some(expected) if *expected == actual => {}
            Some(expected) => found.push(format!("{} is {actual}, expected {expected}", entity.identifier)),
            None => found.push(format!("{} is not expected", entity.identifier)),
        }
    }
    found.extend(missing.into_iter().map(|identifier| format!("{identifier} is missing")));
}

/// The identifier and the contents of the entity of a record.
fn deployment(record: &DoraDeployment) -> (String, Value) {
    let namespace = record.namespace().unwrap_or_default();
    let spec = &record.spec;
    let (name, revision, uid) = rollout_of(record).map_or_else(Default::default, |(workload, revision)| {
        (workload.name.clone(), revision.number, workload.uid.chars().take(8).collect::<String>())
    });
    let status = match spec.outcome {
        Outcome::Succeeded | Outcome::Recovered => "success",
        Outcome::Failed => "failed",
        Outcome::Superseded => "cancelled",
        Outcome::Unobserved => "unknown",
        Outcome::RolledBack => "rolled_back",
        Outcome::InProgress | Outcome::Abandoned => "not expected",
    };
    let time = spec.finished_at.as_ref().or(spec.started_at.as_ref()).map(|time| port_time(time.0));
    let properties = json!({
        "deployment_time": time, "deployment_type": "Kubernetes", "environment": "production", "status": status,
        "change": spec.change.map(ChangeKind::as_str), "failure": spec.failure, "revision": revision,
    });
    let contents = json!({
        "title": format!("{namespace}/{name} revision {revision}"),
        "properties": without_null(properties),
        "relations": {"group": "all_teams"},
    });
    (format!("{CLUSTER}:{namespace}:{name}:{revision}:{uid}"), contents)
}

/// The identifier and the contents of the entity of an incident.
fn incident(incident: &DoraIncident) -> (String, Value) {
    let (namespace, name) = (incident.namespace().unwrap_or_default(), incident.name_any());
    let (spec, status) = (&incident.spec, incident.status.clone().unwrap_or_default());
    let (opened, resolved) = (status.opened_at.map(|time| time.0), status.resolved_at.map(|time| time.0));
    let hours = opened
        .zip(resolved)
        .map(|(opened, resolved)| port_dora_controller::publish::hours(resolved.duration_since(opened)));
    let properties = json!({
        "incident_type": "Custom incident", "status": spec.status.as_str(), "priority": spec.priority,
        "urgency": spec.urgency, "description": spec.description, "created_at": opened.map(port_time),
        "resolved_at": resolved.map(port_time), "time_to_resolve": hours,
    });
    let contents = json!({
        "title": spec.title.as_deref().unwrap_or(&name), "properties": without_null(properties), "relations": {"group": "all_teams"},
    });
    let uid: String = incident.uid().unwrap_or_default().chars().take(8).collect();
    (format!("{CLUSTER}:{namespace}:{name}:{uid}"), contents)
}

fn port_time(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn without_null(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}
