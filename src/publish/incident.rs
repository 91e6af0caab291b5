//! `DoraIncident` as an entity of the blueprint `dora_incident`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::blueprints::Wanted;
use super::conform::{Draft, Fitted};
use super::publishable::{Delivery, port_time, said};
use super::{Assessment, Mapped, PublishContext, Record};
use crate::incidents::{CauseContext, IncidentTimes, Lookup, look_up_cause};
use crate::publish::lead_time::hours;
use crate::resources::{Certainty, DeletionPolicy, DoraIncident, DoraIncidentSpec, DoraIncidentStatus};
use crate::settings::{FileSettings, INCIDENT};

/// The relation to the deployment that caused an incident.
const CAUSE: &str = "deployment";

impl Record for DoraIncident {
    type Status = DoraIncidentStatus;

    fn wanted(context: &PublishContext) -> Wanted<'_> {
        let FileSettings { blueprints, naming, .. } = &context.settings.file;
        Wanted { identifier: &blueprints.incident, naming: &naming.incident, vocabulary: &INCIDENT }
    }

    async fn look_up(self, around: &CauseContext<'_>) -> Result<Lookup<Self>, kube::Error> {
        let opened = IncidentTimes::of(&self, around.now).opened;
        look_up_cause(self, opened, around).await
    }

    fn deletion_policy(&self) -> DeletionPolicy {
        self.spec.deletion_policy
    }

    fn assess(&self, context: &PublishContext, now: Timestamp) -> Assessment {
        let times = IncidentTimes::of(self, now);
        let Fitted { entity, warnings: unfitting } = Self::fitted(draft(self, &times, context), context);
        let warnings = times.warning.map(|warning| warning.to_string()).into_iter().chain(unfitting).collect();
        Assessment { mapped: Mapped::Entity(entity), warnings }
    }

    /// A person may take away anything, and an incident that is opened again is not resolved any more.
    fn may_say_less(&self) -> bool {
        true
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
            cause: _,
            observed_cause: _,
            conditions,
            entity,
        } = status;
        Delivery { observed_generation, observed_settings, conditions, entity }
    }

    fn with_delivery(&self, delivery: Delivery, now: Timestamp) -> DoraIncidentStatus {
        let Delivery { observed_generation, observed_settings, conditions, entity } = delivery;
        let IncidentTimes { opened, resolved, time_to_resolve, warning: _ } = IncidentTimes::of(self, now);
        DoraIncidentStatus {
            observed_generation,
            observed_settings,
            opened_at: Some(Time(opened)),
            resolved_at: resolved.map(Time),
            time_to_resolve: time_to_resolve.map(|duration| format!("{duration:#}")),
            cause: self.status.as_ref().and_then(|status| status.cause.clone()),
            observed_cause: self.status.as_ref().and_then(|status| status.observed_cause.clone()),
            conditions,
            entity,
        }
    }

    fn status(&self) -> Option<&DoraIncidentStatus> {
        self.status.as_ref()
    }
}

/// The entity of the deployment that caused the incident, if Port is to be told of it.
///
/// Not one that is only suspected. Nor one that Port doesn't have yet, or a relation that leads elsewhere than to the blueprint of
/// deployments: Port would refuse the whole incident.
fn cause<'a>(incident: &'a DoraIncident, context: &PublishContext) -> Option<&'a str> {
    let cause = incident.status.as_ref()?.cause.as_ref().filter(|cause| cause.certainty == Certainty::Stated)?;
    let FileSettings { blueprints, naming, .. } = &context.settings.file;
    let blueprint = context.blueprints.get(&blueprints.incident)?;
    let relation = blueprint.relations.get(naming.incident.relation(CAUSE)?)?;
    cause.entity.as_deref().filter(|_| relation.target == blueprints.deployment)
}

fn draft(incident: &DoraIncident, times: &IncidentTimes, context: &PublishContext) -> Draft {
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
        workload_ref: _,
        group,
        identifier,
        relations,
        properties,
        deletion_policy: _,
    } = &incident.spec;
    let defaults = &context.settings.file.defaults;
    let namespace = incident.metadata.namespace.as_deref().unwrap_or_default();
    let name = incident.metadata.name.as_deref().unwrap_or_default();
    Draft {
        identifier: identifier.clone().unwrap_or_else(|| format!("{}:{namespace}:{name}", context.settings.cluster)),
        title: title.as_deref().unwrap_or(name).to_owned(),
        properties: said([
            ("incident_type", Some(incident_type.as_ref().unwrap_or(&defaults.incident_type).as_str().into())),
            ("status", Some(status.as_str().into())),
            ("created_at", Some(port_time(times.opened).into())),
            ("description", description.as_deref().map(Into::into)),
            ("incident_url", url.as_deref().map(Into::into)),
            ("priority", priority.as_deref().map(Into::into)),
            ("urgency", urgency.as_deref().map(Into::into)),
            ("resolved_at", times.resolved.map(|resolved| port_time(resolved).into())),
            ("time_to_resolve", times.time_to_resolve.map(|duration| hours(duration).into())),
        ]),
        relations: said([("group", Some(group.as_ref().unwrap_or(&defaults.group).as_str().into()))]),
        further_properties: said([
            ("cluster", Some(context.settings.cluster.as_str().into())),
            ("namespace", Some(namespace.into())),
        ]),
        further_relations: said([(CAUSE, cause(incident, context).map(Into::into))]),
        own_properties: properties.clone(),
        own_relations: relations.clone(),
    }
}
