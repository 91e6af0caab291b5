//! `DoraIncident` as an entity of the blueprint `dora_incident`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::record::{Delivery, port_time};
use super::{Assessment, Context, Mapped, Record};
use crate::incident::{Life, life};
use crate::mapping::hours;
use crate::port::Entity;
use crate::resources::{DoraIncident, DoraIncidentSpec, DoraIncidentStatus};

impl Record for DoraIncident {
    type Status = DoraIncidentStatus;

    fn blueprint(context: &Context) -> &str {
        &context.settings.blueprints.incident
    }

    fn assess(&self, context: &Context, now: Timestamp) -> Assessment {
        let life = life(self, now);
        Assessment { mapped: Mapped::Entity(entity(self, &life, context)), warnings: life.warnings }
    }

    fn delivery(&self) -> Delivery {
        let Some(status) = self.status.clone() else {
            return Delivery::default();
        };
        let DoraIncidentStatus {
            observed_generation,
            observed_settings,
            opened_at: _,
            resolved_at: _,
            time_to_resolve: _,
            conditions,
            entity,
        } = status;
        Delivery { observed_generation, observed_settings, conditions, entity }
    }

    fn with_delivery(&self, delivery: Delivery, now: Timestamp) -> DoraIncidentStatus {
        let Delivery { observed_generation, observed_settings, conditions, entity } = delivery;
        let Life { opened, resolved, time_to_resolve, warnings: _ } = life(self, now);
        DoraIncidentStatus {
            observed_generation,
            observed_settings,
            opened_at: Some(Time(opened)),
            resolved_at: resolved.map(Time),
            time_to_resolve: time_to_resolve.map(|duration| format!("{duration:#}")),
            conditions,
            entity,
        }
    }

    fn status(&self) -> Option<&DoraIncidentStatus> {
        self.status.as_ref()
    }
}

fn entity(incident: &DoraIncident, life: &Life, context: &Context) -> Entity {
    let DoraIncidentSpec {
        title,
        description,
        incident_type,
        status,
        url,
        priority,
        urgency,
        created_at: _,
        resolved_at: _,
        group,
        identifier,
        relations,
        properties,
    } = &incident.spec;
    let defaults = &context.settings.defaults;
    let namespace = incident.metadata.namespace.as_deref().unwrap_or_default();
    let name = incident.metadata.name.as_deref().unwrap_or_default();
    let mut entity =
        Entity::new(identifier.clone().unwrap_or_else(|| format!("{}:{namespace}:{name}", context.cluster)))
            .with_title(title.as_deref().unwrap_or(name))
            .with_property("incident_type", incident_type.as_ref().unwrap_or(&defaults.incident_type).as_str())
            .with_property("status", status.as_str())
            .with_property("created_at", port_time(life.opened))
            .with_relation("group", group.as_ref().unwrap_or(&defaults.group).as_str());
    let optional = [("description", description), ("incident_url", url), ("priority", priority), ("urgency", urgency)];
    for (property, value) in optional {
        if let Some(value) = value {
            entity = entity.with_property(property, value.as_str());
        }
    }
    if let Some(resolved) = life.resolved {
        entity = entity.with_property("resolved_at", port_time(resolved));
    }
    if let Some(duration) = life.time_to_resolve {
        entity = entity.with_property("time_to_resolve", hours(duration));
    }
    entity.properties.extend(properties.clone());
    entity.relations.extend(relations.clone());
    entity
}
