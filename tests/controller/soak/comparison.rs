//! Compares the population with the entities in Port.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, ResourceExt};
use port_dora_controller::resources::{DeliveredEntity, DoraDeployment, DoraIncident};
use serde_json::{Value, json};

use super::population::Population;
use crate::Error;
use crate::fixture::Installation;

/// All differences, one line each: resources that are not delivered, entities that differ, and entities without a
/// resource.
pub async fn differences(setup: &Installation, population: &Population) -> Result<Vec<String>, Error> {
    let (mut found, client) = (Vec::new(), setup.client().await?);
    for namespace in &population.namespaces {
        let all = ListParams::default();
        let records = Api::<DoraDeployment>::namespaced(client.clone(), namespace).list(&all).await?;
        let incidents = Api::<DoraIncident>::namespaced(client.clone(), namespace).list(&all).await?;
        let mut deployments = BTreeSet::new();
        for record in records {
            let status = record.status.clone().unwrap_or_default();
            let expected = json!({"status": "success", "title": record.spec.title});
            let delivered =
                Delivered { metadata: &record.metadata, conditions: &status.conditions, entity: status.entity };
            deployments.extend(delivered.check(setup, "dora_deployment", &expected, &mut found));
        }
        let mut opened = BTreeSet::new();
        for incident in incidents {
            let status = incident.status.clone().unwrap_or_default();
            let expected = json!({
                "status": incident.spec.status.as_str(), "title": incident.spec.title,
                "priority": incident.spec.priority, "description": incident.spec.description,
                "created_at": status.opened_at.map(|time| format!("{:.3}", time.0)),
                "resolved_at": status.resolved_at.map(|time| format!("{:.3}", time.0)),
            });
            let delivered =
                Delivered { metadata: &incident.metadata, conditions: &status.conditions, entity: status.entity };
            opened.extend(delivered.check(setup, "dora_incident", &expected, &mut found));
        }
        for (blueprint, expected) in [("dora_deployment", deployments), ("dora_incident", opened)] {
            let entities = setup.entities(blueprint, namespace).into_iter().map(|entity| entity.identifier);
            let others = entities.filter(|identifier| !expected.contains(identifier));
            found.extend(others.map(|identifier| format!("{identifier} has no resource")));
        }
    }
    Ok(found)
}

/// A resource and the entity that its status names.
struct Delivered<'a> {
    metadata: &'a ObjectMeta,
    conditions: &'a [Condition],
    entity: Option<DeliveredEntity>,
}

impl Delivered<'_> {
    /// Compares the entity in Port with the `expected` title and properties. Returns its identifier.
    fn check(
        &self,
        setup: &Installation,
        blueprint: &str,
        expected: &Value,
        found: &mut Vec<String>,
    ) -> Option<String> {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let synced = self.conditions.iter().find(|condition| condition.type_ == "Synced");
        if synced.is_none_or(|synced| synced.status != "True" || synced.observed_generation != self.metadata.generation)
        {
            found.push(format!("{name} is not delivered: {synced:?}"));
        }
        let identifier = self.entity.as_ref().map(|entity| entity.identifier.clone())?;
        let Some(entity) = setup.port.entity(blueprint, &identifier) else {
            found.push(format!("{identifier} is missing"));
            return Some(identifier);
        };
        for (field, value) in expected.as_object().into_iter().flatten() {
            let title = json!(entity.title);
            let actual = if field == "title" { Some(&title) } else { entity.properties.get(field) };
            if actual.unwrap_or(&Value::Null) != value {
                found.push(format!("{identifier} has {field} {actual:?}, expected {value}"));
            }
        }
        Some(identifier)
    }
}

/// The names of all records in a namespace.
pub async fn records_in(setup: &Installation, namespace: &str) -> Result<Vec<String>, Error> {
    let api: Api<DoraDeployment> = Api::namespaced(setup.client().await?, namespace);
    Ok(api.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
}
