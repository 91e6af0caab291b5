//! `DoraIncident` as an entity of the blueprint `dora_incident`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::blueprints::Wanted;
use super::build::{BuildInput, Drafted, fields, port_time};
use super::conform::Draft;
use super::lead_time::hours;
use super::{BackupAnnotations, CommonStatus, Publishable, PublishedKind};
use crate::incidents::{
    CauseContext, IncidentTimes, Lookup, backup_annotations, incident_identifier, invalid_annotations, look_up_cause,
};
use crate::resources::{Certainty, DeletionPolicy, DoraIncident, DoraIncidentSpec, DoraIncidentStatus};
use crate::settings::{FileSettings, INCIDENT};

/// The relation to the deployment that caused an incident.
const CAUSE: &str = "deployment";

impl Publishable for DoraIncident {
    const KIND: PublishedKind = PublishedKind::Incident;

    type Status = DoraIncidentStatus;

    fn blueprint(settings: &FileSettings) -> Wanted<'_> {
        let FileSettings { blueprints, naming, .. } = settings;
        Wanted { identifier: &blueprints.incident, naming: &naming.incident, vocabulary: &INCIDENT }
    }

    fn claimed_identifier(&self) -> Option<&str> {
        self.spec.identifier.as_deref()
    }

    fn backup_annotations(&self, cluster: &str, now: Timestamp) -> BackupAnnotations {
        backup_annotations(self, cluster, now).into()
    }

    fn invalid_annotations(&self) -> Vec<String> {
        invalid_annotations(self)
    }

    async fn resolve(self, around: &CauseContext<'_>) -> Lookup<Self> {
        let opened = IncidentTimes::of(&self, around.now).opened;
        look_up_cause(self, opened, around).await
    }

    fn draft(&self, input: &BuildInput<'_>) -> Drafted {
        let times = IncidentTimes::of(self, input.now);
        let warnings = times.warnings.iter().map(ToString::to_string).collect();
        Drafted { draft: draft(self, &times, input), warnings }
    }

    fn deletion_policy(&self) -> DeletionPolicy {
        self.spec.deletion_policy
    }

    /// People may remove any field, and an incident that is opened again has no `resolved_at`.
    fn may_lose_fields(&self) -> bool {
        true
    }

    fn status(&self) -> Option<&DoraIncidentStatus> {
        self.status.as_ref()
    }

    fn common_status(&self) -> CommonStatus {
        let Some(status) = self.status.clone() else {
            return CommonStatus::default();
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
        CommonStatus { observed_generation, observed_settings, conditions, entity }
    }

    fn with_common_status(&self, common: CommonStatus, now: Timestamp) -> DoraIncidentStatus {
        let CommonStatus { observed_generation, observed_settings, conditions, entity } = common;
        let IncidentTimes { opened, resolved, time_to_resolve, warnings: _ } = IncidentTimes::of(self, now);
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
}

/// The entity of the deployment that caused the incident, if it is sent.
///
/// A cause that is only suspected is not sent. Port would refuse the whole incident if the entity did not exist, or if the relation had
/// another target than the blueprint of deployments, so the cause is omitted then.
fn cause<'a>(incident: &'a DoraIncident, input: &BuildInput<'_>) -> Option<&'a str> {
    let cause = incident.status.as_ref()?.cause.as_ref().filter(|cause| cause.certainty == Certainty::Stated)?;
    let FileSettings { blueprints, naming, .. } = &input.settings.file;
    let relation = input.blueprint?.relations.get(naming.incident.relation(CAUSE)?)?;
    cause.entity.as_deref().filter(|_| relation.target == blueprints.deployment)
}

fn draft(incident: &DoraIncident, times: &IncidentTimes, input: &BuildInput<'_>) -> Draft {
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
        identifier: _,
        relations,
        properties,
        deletion_policy: _,
    } = &incident.spec;
    let (cluster, defaults) = (&input.settings.cluster, &input.settings.file.defaults);
    let namespace = incident.metadata.namespace.as_deref().unwrap_or_default();
    let name = incident.metadata.name.as_deref().unwrap_or_default();
    Draft {
        identifier: incident_identifier(incident, cluster),
        title: title.as_deref().unwrap_or(name).to_owned(),
        properties: fields([
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
        relations: fields([("group", Some(group.as_ref().unwrap_or(&defaults.group).as_str().into()))]),
        further_properties: fields([("cluster", Some(cluster.as_str().into())), ("namespace", Some(namespace.into()))]),
        further_relations: fields([(CAUSE, cause(incident, input).map(Into::into))]),
        own_properties: properties.clone(),
        own_relations: relations.clone(),
    }
}

#[cfg(test)]
mod tests {
    use port_client::Blueprint;
    use serde_json::{Value, json};

    use super::*;
    use crate::publish::{Built, build};
    use crate::settings::ActiveSettings;

    /// Builds the incident `shop/down`, which was created at 10:00, at 12:00.
    fn built(spec: &Value, status: &Value, settings: &str, blueprint: Option<&Value>) -> Built {
        let incident: DoraIncident = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {
                "name": "down", "namespace": "shop", "uid": "0123456789", "creationTimestamp": "2026-01-31T10:00:00Z",
            },
            "spec": spec, "status": status,
        }))
        .unwrap();
        let blueprint: Option<Blueprint> = blueprint.cloned().map(|json| serde_json::from_value(json).unwrap());
        let settings = ActiveSettings::new("prod".to_owned(), FileSettings::parse(settings).unwrap(), false);
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        build(&incident, &BuildInput { settings: &settings, blueprint: blueprint.as_ref(), now })
    }

    #[test]
    fn incident_becomes_an_entity() {
        let Built { entity, warnings, .. } = built(&json!({"priority": "high"}), &json!({}), "", None);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            json!(entity),
            json!({
                "identifier": "prod:shop:down:01234567",
                "title": "down",
                "properties": {
                    "created_at": "2026-01-31T10:00:00.000Z",
                    "incident_type": "Custom incident",
                    "priority": "high",
                    "status": "open",
                },
                "relations": {"group": "all_teams"},
            })
        );
    }

    #[test]
    fn resolved_incident_has_a_time_to_resolve() {
        let spec = json!({"status": "resolved", "resolvedAt": "2026-01-31T11:30:00Z"});
        let Built { entity, .. } = built(&spec, &json!({}), "", None);
        assert_eq!(entity.properties["status"], "resolved");
        assert_eq!(entity.properties["resolved_at"], "2026-01-31T11:30:00.000Z");
        assert_eq!(entity.properties["time_to_resolve"], 1.5);
    }

    #[test]
    fn contradicting_times_are_a_warning() {
        let spec = json!({"status": "resolved", "resolvedAt": "2026-01-31T09:00:00Z"});
        let Built { entity, warnings, .. } = built(&spec, &json!({}), "", None);
        assert!(!entity.properties.contains_key("time_to_resolve"), "{entity:?}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("spec.createdAt"), "{warnings:?}");
    }

    #[test]
    fn cause_is_sent_only_if_port_accepts_it() {
        let relations =
            |target: &str| json!({"identifier": "dora_incident", "relations": {"deployment": {"target": target}}});
        let cause = |certainty: &str, entity: Option<&str>| {
            json!({"cause": {
                "certainty": certainty, "workload": {"kind": "Deployment", "name": "web"}, "revision": 7,
                "record": "web-7-01234567", "entity": entity,
            }})
        };
        let (right, other) = (relations("dora_deployment"), relations("service"));
        let entity = Some("prod:shop:web:7:01234567");
        for (status, blueprint, expected, case) in [
            (cause("Stated", entity), Some(&right), entity, "all is well"),
            (cause("Suspected", entity), Some(&right), None, "only suspected"),
            (cause("Stated", None), Some(&right), None, "not in Port yet"),
            (cause("Stated", entity), Some(&other), None, "the relation has another target"),
            (cause("Stated", entity), None, None, "the blueprint is unknown"),
            (json!({}), Some(&right), None, "no cause"),
        ] {
            let Built { entity, .. } = built(&json!({}), &status, "", blueprint);
            let sent = entity.relations.get("deployment").and_then(Value::as_str);
            assert_eq!(sent, expected, "{case}");
        }
    }

    #[test]
    fn cause_takes_the_name_of_the_settings() {
        let blueprint = json!({"identifier": "incident", "relations": {"caused_by": {"target": "rollout"}}});
        let status = json!({"cause": {
            "certainty": "Stated", "workload": {"kind": "Deployment", "name": "web"}, "revision": 7, "record": "r", "entity": "e",
        }});
        let settings = "blueprints: {deployment: rollout, incident: incident}\nnaming: {incident: {relations: {deployment: caused_by}}}";
        let Built { entity, .. } = built(&json!({}), &status, settings, Some(&blueprint));
        assert_eq!(json!(entity.relations), json!({"caused_by": "e"}));
    }

    #[test]
    fn digest_depends_on_entity_and_blueprint() {
        let digest = |spec: &Value, settings: &str| built(spec, &json!({}), settings, None).digest;
        let before = digest(&json!({}), "");
        assert_eq!(digest(&json!({}), "retention: {records: 2}"), before);
        assert_ne!(digest(&json!({"priority": "high"}), ""), before);
        assert_ne!(digest(&json!({}), "blueprints: {incident: other}"), before);
    }
}
