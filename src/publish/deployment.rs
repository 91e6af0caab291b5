//! `DoraDeployment` as an entity of the blueprint `dora_deployment`.

use jiff::Timestamp;

use super::record::{Delivery, IN_PROGRESS, NOT_PUBLISHED, port_time};
use super::{Assessment, Context, Mapped, Record};
use crate::mapping::{hours, lead_time};
use crate::port::Entity;
use crate::resources::{DoraDeployment, DoraDeploymentSpec, DoraDeploymentStatus};

/// Characters of a Deployment's UID in an identifier: they tell a Deployment from its namesakes before and after.
const UID_CHARACTERS: usize = 8;

impl Record for DoraDeployment {
    type Status = DoraDeploymentStatus;

    fn blueprint(context: &Context) -> &str {
        &context.settings.blueprints.deployment
    }

    fn assess(&self, context: &Context, _now: Timestamp) -> Assessment {
        let spec = &self.spec;
        let mut warnings = spec.warnings.clone();
        let mapped = match (context.settings.statuses.of(spec.outcome), &spec.finished_at) {
            (_, None) => Mapped::Held {
                reason: IN_PROGRESS,
                message: "the deployment has not ended yet; Port is told when it has".to_owned(),
            },
            (None, Some(_)) => Mapped::Held {
                reason: NOT_PUBLISHED,
                message: format!(
                    "the setting statuses names no status for {}, so Port is not told",
                    spec.outcome.as_str()
                ),
            },
            (Some(status), Some(finished)) => Mapped::Entity(entity(self, status, finished.0, context, &mut warnings)),
        };
        Assessment { mapped, warnings }
    }

    fn delivery(&self) -> Delivery {
        let Some(status) = &self.status else {
            return Delivery::default();
        };
        let DoraDeploymentStatus { observed_generation, observed_settings, conditions, entity } = status.clone();
        Delivery { observed_generation, observed_settings, conditions, entity }
    }

    fn with_delivery(&self, delivery: Delivery, _now: Timestamp) -> DoraDeploymentStatus {
        let Delivery { observed_generation, observed_settings, conditions, entity } = delivery;
        DoraDeploymentStatus { observed_generation, observed_settings, conditions, entity }
    }

    fn status(&self) -> Option<&DoraDeploymentStatus> {
        self.status.as_ref()
    }
}

fn entity(
    deployment: &DoraDeployment,
    status: &str,
    finished: Timestamp,
    context: &Context,
    warnings: &mut Vec<String>,
) -> Entity {
    let DoraDeploymentSpec {
        title,
        identifier,
        deployment: rollout,
        outcome: _,
        started_at: _,
        finished_at: _,
        environment,
        group,
        // The blueprint of the contract has no relation for it, and Port refuses one that it does not know.
        service: _,
        deployment_type,
        commit_time,
        commit_sha: _,
        repository: _,
        relations,
        properties,
        warnings: _,
    } = &deployment.spec;
    let defaults = &context.settings.defaults;
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let cluster = &context.cluster;
    let (made_identifier, made_title) = match rollout {
        Some(rollout) => {
            let uid: String = rollout.uid.chars().take(UID_CHARACTERS).collect();
            (
                format!("{cluster}:{namespace}:{}:{}:{uid}", rollout.name, rollout.revision),
                format!("{namespace}/{} revision {}", rollout.name, rollout.revision),
            )
        }
        None => (format!("{cluster}:{namespace}:{name}"), format!("{namespace}/{name}")),
    };
    let mut entity = Entity::new(identifier.clone().unwrap_or(made_identifier))
        .with_title(title.clone().unwrap_or(made_title))
        .with_property("deployment_time", port_time(finished))
        .with_property("deployment_type", deployment_type.as_ref().unwrap_or(&defaults.deployment_type).as_str())
        .with_property("environment", environment.as_ref().unwrap_or(&defaults.environment).as_str())
        .with_property("status", status)
        .with_relation("group", group.as_ref().unwrap_or(&defaults.group).as_str());
    if let Some(committed) = commit_time {
        match lead_time(committed.0, finished) {
            Some(duration) => entity = entity.with_property("lead_time_hours", hours(duration)),
            None => warnings.push(format!(
                "the commit time {} is later than the end of the deployment at {finished}: check dora.port.io/commit-time (or \
                 spec.commitTime). The lead time is left out",
                committed.0
            )),
        }
    }
    entity.properties.extend(properties.clone());
    entity.relations.extend(relations.clone());
    entity
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::FileSettings;

    fn assess(spec: &serde_json::Value, settings: &str) -> Assessment {
        let record: DoraDeployment = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1",
            "kind": "DoraDeployment",
            "metadata": {"name": "web-7-01234567", "namespace": "shop"},
            "spec": spec,
        }))
        .unwrap();
        let context = Context::new("prod".to_owned(), FileSettings::parse(settings).unwrap());
        record.assess(&context, Timestamp::UNIX_EPOCH)
    }

    fn rollout() -> serde_json::Value {
        json!({
            "name": "web", "uid": "0123456789", "revision": 7, "replicaSet": "web-5f", "replicaSetUid": "r",
        })
    }

    #[test]
    fn a_rollout_becomes_the_entity_of_the_contract() {
        let spec = json!({
            "deployment": rollout(), "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z",
            "commitTime": "2025-01-01T00:00:00Z", "environment": "staging",
        });
        let Assessment { mapped: Mapped::Entity(entity), warnings } = assess(&spec, "") else { panic!() };
        assert!(warnings.is_empty());
        assert_eq!(
            serde_json::to_value(entity).unwrap(),
            json!({
                "identifier": "prod:shop:web:7:01234567",
                "title": "shop/web revision 7",
                "properties": {
                    "deployment_time": "2025-01-01T01:30:00.000Z",
                    "deployment_type": "Kubernetes",
                    "environment": "staging",
                    "lead_time_hours": 1.5,
                    "status": "success",
                },
                "relations": {"group": "all_teams"},
            })
        );
    }

    #[test]
    fn the_settings_say_which_outcomes_are_published_and_as_what() {
        let spec = |outcome| json!({"deployment": rollout(), "outcome": outcome, "finishedAt": "2025-01-01T01:30:00Z"});
        for (outcome, settings, expected) in [
            ("Failed", "", Ok("failed")),
            ("Recovered", "", Ok("success")),
            ("Superseded", "", Err(NOT_PUBLISHED)),
            ("Superseded", "statuses: {Superseded: cancelled}", Ok("cancelled")),
            ("Succeeded", "statuses: {Superseded: cancelled}", Err(NOT_PUBLISHED)),
        ] {
            let found = match assess(&spec(outcome), settings).mapped {
                Mapped::Entity(entity) => Ok(entity.properties["status"].as_str().unwrap().to_owned()),
                Mapped::Held { reason, .. } => Err(reason),
            };
            assert_eq!(found, expected.map(str::to_owned), "{outcome} with {settings:?}");
        }
        let Mapped::Held { reason, .. } = assess(&json!({"outcome": "InProgress"}), "").mapped else { panic!() };
        assert_eq!(reason, IN_PROGRESS);
    }

    #[test]
    fn a_lead_time_that_can_not_be_is_left_out_and_explained() {
        let spec = json!({
            "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "commitTime": "2025-01-01T01:30:01Z",
        });
        let Assessment { mapped: Mapped::Entity(entity), warnings } = assess(&spec, "") else { panic!() };
        assert!(!entity.properties.contains_key("lead_time_hours"));
        assert!(warnings[0].contains("later than the end of the deployment"), "{warnings:?}");
    }

    #[test]
    fn what_is_written_into_the_resource_wins() {
        let spec = json!({
            "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "identifier": "payroll/1", "title": "Payroll",
            "group": "finance", "service": "payroll", "deploymentType": "Mainframe",
            "properties": {"status": "shipped", "lead_time_hours": 3}, "relations": {"owners": ["a", "b"]},
        });
        let Mapped::Entity(entity) = assess(&spec, "").mapped else { panic!() };
        assert_eq!((entity.identifier.as_str(), entity.title.as_deref()), ("payroll/1", Some("Payroll")));
        assert_eq!(entity.properties["status"], "shipped");
        assert_eq!(entity.properties["lead_time_hours"], 3);
        assert_eq!(entity.properties["deployment_type"], "Mainframe");
        assert_eq!(json!(entity.relations), json!({"group": "finance", "owners": ["a", "b"]}));
    }
}
