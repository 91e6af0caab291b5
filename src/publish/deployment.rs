//! `DoraDeployment` as an entity of the blueprint `dora_deployment`.

use jiff::{SignedDuration, Timestamp};

use super::blueprints::Wanted;
use super::conform::{Conformed, Draft};
use super::publishable::{Delivery, port_time, said};
use super::{Assessment, Mapped, PublishContext, Record};
use crate::publish::lead_time::{hours, lead_time};
use crate::records::entity_identifier;
use crate::resources::conditions::{IN_PROGRESS, NOT_PUBLISHED};
use crate::resources::{DoraDeployment, DoraDeploymentSpec, DoraDeploymentStatus};
use crate::settings::{DEPLOYMENT, FileSettings};
use rollout::{ChangeKind, Outcome};

impl Record for DoraDeployment {
    type Status = DoraDeploymentStatus;

    fn wanted(context: &PublishContext) -> Wanted<'_> {
        let FileSettings { blueprints, naming, .. } = &context.settings.file;
        Wanted { identifier: &blueprints.deployment, naming: &naming.deployment, vocabulary: &DEPLOYMENT }
    }

    fn assess(&self, context: &PublishContext, _now: Timestamp) -> Assessment {
        let spec = &self.spec;
        let mut warnings = spec.warnings.clone();
        let time =
            spec.finished_at.as_ref().or(spec.started_at.as_ref()).filter(|_| spec.outcome != Outcome::InProgress);
        let mapped = match (withheld(spec, context), time) {
            (Some((reason, message)), _) => Mapped::Held { reason, message },
            (None, None) => Mapped::Held {
                reason: NOT_PUBLISHED,
                message: "nobody knows when it began or ended, and Port needs a time".to_owned(),
            },
            (None, Some(time)) => {
                let draft = draft(self, time.0, context, &mut warnings);
                let Conformed { entity, warnings: unfitting } = Self::fitted(draft, context);
                warnings.extend(unfitting);
                Mapped::Entity(entity)
            }
        };
        Assessment { mapped, warnings }
    }

    /// The controller's own records only change after a failure; those that people write, as they like.
    fn may_say_less(&self) -> bool {
        self.spec.workload.is_none() || self.spec.outcome.is_open()
    }

    fn delivery(&self) -> Delivery {
        let Some(status) = &self.status else {
            return Delivery::default();
        };
        let DoraDeploymentStatus {
            observed_generation,
            observed_settings,
            conditions,
            entity,
            lead_time: _,
            duration: _,
            incident: _,
            reported_loss: _,
        } = status.clone();
        Delivery { observed_generation, observed_settings, conditions, entity }
    }

    fn with_delivery(&self, delivery: Delivery, _now: Timestamp) -> DoraDeploymentStatus {
        let Delivery { observed_generation, observed_settings, conditions, entity } = delivery;
        // What was noted of incidents is not the publisher's to take away.
        let noted = self.status.as_ref();
        DoraDeploymentStatus {
            observed_generation,
            observed_settings,
            conditions,
            entity,
            lead_time: lead_time_of(&self.spec).and_then(Result::ok).map(|lead_time| format!("{lead_time:#}")),
            duration: self.spec.duration_seconds.map(|seconds| format!("{:#}", SignedDuration::from_secs(seconds))),
            incident: noted.and_then(|status| status.incident.clone()),
            reported_loss: noted.and_then(|status| status.reported_loss.clone()),
        }
    }

    fn status(&self) -> Option<&DoraDeploymentStatus> {
        self.status.as_ref()
    }
}

/// Why Port is not told, if it is not.
fn withheld(spec: &DoraDeploymentSpec, context: &PublishContext) -> Option<(&'static str, String)> {
    let settings = &context.settings.file;
    if spec.outcome == Outcome::InProgress {
        return Some((IN_PROGRESS, "the deployment has not ended yet; Port is told when it has".to_owned()));
    }
    let outcome = spec.outcome.as_str();
    if settings.statuses.of(spec.outcome).is_none() {
        return Some((
            NOT_PUBLISHED,
            format!("the setting statuses names no status for {outcome}, so Port is not told"),
        ));
    }
    if let Some(change) = spec.change.filter(|change| !settings.publish.changes.includes(*change)) {
        let change = change.as_str();
        return Some((NOT_PUBLISHED, format!("the setting publish.changes.{change} is false, so Port is not told")));
    }
    if spec.replicas == Some(0) && !settings.publish.zero_replicas {
        let message = "it was rolled out at 0 replicas, so nothing ran, and the setting publish.zeroReplicas is false";
        return Some((NOT_PUBLISHED, message.to_owned()));
    }
    None
}

/// The lead time, or why it can't be: `None` if no commit is known, or the deployment brought none.
fn lead_time_of(spec: &DoraDeploymentSpec) -> Option<Result<SignedDuration, String>> {
    // The commit of a rollback or a restart was in production before: its lead time was that of the first time.
    if matches!(spec.change, Some(ChangeKind::Rollback | ChangeKind::Restart)) {
        return None;
    }
    let (committed, finished) = (spec.commit_time.as_ref()?.0, spec.finished_at.as_ref()?.0);
    Some(lead_time(committed, finished).ok_or_else(|| {
        format!(
            "the commit time {committed} is later than the end of the deployment at {finished}, so the lead time is unknown: check \
             dora.port.io/commit-time (or spec.commitTime)"
        )
    }))
}

fn draft(deployment: &DoraDeployment, time: Timestamp, context: &PublishContext, warnings: &mut Vec<String>) -> Draft {
    let DoraDeploymentSpec {
        title,
        identifier,
        workload,
        revision,
        outcome,
        change,
        started_at,
        started_at_accuracy: _,
        finished_at: _,
        finished_at_accuracy: _,
        duration_seconds,
        paused_at: _,
        paused_seconds: _,
        replicas: _,
        failure,
        rolled_back_by: _,
        unseen_revisions: _,
        environment,
        group,
        service,
        deployment_type,
        commit_time: _,
        commit_sha,
        repository,
        relations,
        properties,
        warnings: _,
    } = &deployment.spec;
    let defaults = &context.settings.file.defaults;
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let cluster = &context.settings.cluster;
    let rollout = workload.as_ref().zip(revision.as_ref());
    let (made_identifier, made_title) = match rollout {
        Some((workload, revision)) => (
            entity_identifier(cluster, namespace, workload.kind, &workload.name, revision.number, &workload.uid),
            format!("{namespace}/{} revision {}", workload.kind.titled(&workload.name), revision.number),
        ),
        None => (format!("{cluster}:{namespace}:{name}"), format!("{namespace}/{name}")),
    };
    let mut draft = Draft {
        identifier: identifier.clone().unwrap_or(made_identifier),
        title: title.clone().unwrap_or(made_title),
        own_properties: properties.clone(),
        own_relations: relations.clone(),
        ..Draft::default()
    };
    let lead_time =
        lead_time_of(&deployment.spec).and_then(|lead_time| lead_time.map_err(|warning| warnings.push(warning)).ok());
    draft.properties = said([
        ("deployment_time", Some(port_time(time).into())),
        ("deployment_type", Some(deployment_type.as_ref().unwrap_or(&defaults.deployment_type).as_str().into())),
        ("environment", Some(environment.as_ref().unwrap_or(&defaults.environment).as_str().into())),
        ("status", Some(context.settings.file.statuses.of(*outcome).unwrap_or_default().into())),
        ("lead_time_hours", lead_time.map(|lead_time| hours(lead_time).into())),
    ]);
    draft.relations = said([("group", Some(group.as_ref().unwrap_or(&defaults.group).as_str().into()))]);
    draft.further_properties = said([
        ("change", change.map(|change| change.as_str().into())),
        ("started_at", started_at.as_ref().map(|started| port_time(started.0).into())),
        ("duration_hours", duration_seconds.map(|seconds| hours(SignedDuration::from_secs(seconds)).into())),
        ("failure", failure.as_deref().map(Into::into)),
        ("commit_sha", commit_sha.as_deref().map(Into::into)),
        ("repository", repository.as_deref().map(Into::into)),
        ("cluster", Some(cluster.as_str().into())),
        ("namespace", Some(namespace.into())),
        ("deployment", workload.as_ref().map(|workload| workload.name.as_str().into())),
        ("revision", revision.as_ref().map(|revision| revision.number.into())),
    ]);
    draft.further_relations = said([("service", service.as_deref().map(Into::into))]);
    draft
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assess(spec: &serde_json::Value, settings: &str) -> Assessment {
        let record: DoraDeployment = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1",
            "kind": "DoraDeployment",
            "metadata": {"name": "web-7-01234567", "namespace": "shop"},
            "spec": spec,
        }))
        .unwrap();
        let context = PublishContext::new(std::sync::Arc::new(crate::settings::ActiveSettings::new(
            "prod".to_owned(),
            FileSettings::parse(settings).unwrap(),
            false,
        )));
        record.assess(&context, Timestamp::UNIX_EPOCH)
    }

    /// A spec of revision 7 of the Deployment `web`, with these fields besides.
    fn rollout(fields: &serde_json::Value) -> serde_json::Value {
        let mut spec = json!({
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "0123456789"},
            "revision": {"number": 7, "name": "web-5f", "uid": "r"},
        });
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec
    }

    #[test]
    fn a_rollout_becomes_the_entity_of_the_contract() {
        let spec = rollout(&json!({
            "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "commitTime": "2025-01-01T00:00:00Z",
            "environment": "staging",
        }));
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
    fn kinds_with_the_same_name_share_no_entity() {
        let entity = |kind: &str| {
            let workload = json!({"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": "0123456789"});
            let spec =
                rollout(&json!({"workload": workload, "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z"}));
            let Mapped::Entity(entity) = assess(&spec, "").mapped else { panic!() };
            (entity.identifier, entity.title.unwrap())
        };
        assert_eq!(entity("Deployment"), ("prod:shop:web:7:01234567".to_owned(), "shop/web revision 7".to_owned()));
        assert_eq!(
            entity("StatefulSet"),
            ("prod:shop:StatefulSet/web:7:01234567".to_owned(), "shop/StatefulSet web revision 7".to_owned())
        );
    }

    #[test]
    fn the_settings_say_which_outcomes_are_published_and_as_what() {
        let spec = |outcome| rollout(&json!({"outcome": outcome, "finishedAt": "2025-01-01T01:30:00Z"}));
        for (outcome, settings, expected) in [
            ("Failed", "", Ok("failed")),
            ("Recovered", "", Ok("success")),
            ("Superseded", "", Ok("cancelled")),
            ("RolledBack", "", Ok("rolled_back")),
            ("Unobserved", "", Ok("unknown")),
            ("Abandoned", "", Err(NOT_PUBLISHED)),
            ("Abandoned", "statuses: {Abandoned: deleted}", Ok("deleted")),
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
    fn restarts_and_rollouts_that_ran_nothing_are_published_only_if_the_settings_say_so() {
        let spec = |change, replicas| {
            rollout(&json!({
                "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "change": change, "replicas": replicas,
            }))
        };
        for (change, replicas, settings, published) in [
            ("Initial", 1, "", true),
            ("Rollback", 1, "", true),
            ("Rollback", 1, "publish: {changes: {Rollback: false}}", false),
            ("Restart", 1, "", false),
            ("Restart", 1, "publish: {changes: {Restart: true}}", true),
            ("Release", 0, "", false),
            ("Release", 0, "publish: {zeroReplicas: true}", true),
        ] {
            let mapped = assess(&spec(change, replicas), settings).mapped;
            assert_eq!(matches!(mapped, Mapped::Entity(_)), published, "{change} {replicas} {settings}");
        }
    }

    #[test]
    fn what_nobody_saw_the_end_of_is_dated_by_its_start_and_has_no_lead_time() {
        let spec = |started| {
            rollout(&json!({
                "outcome": "Unobserved", "startedAt": started, "commitTime": "2025-01-01T00:00:00Z",
            }))
        };
        let Mapped::Entity(entity) = assess(&spec(json!("2025-01-01T01:30:00Z")), "").mapped else { panic!() };
        assert_eq!(entity.properties["deployment_time"], "2025-01-01T01:30:00.000Z");
        assert!(!entity.properties.contains_key("lead_time_hours"));
        let Mapped::Held { message, .. } = assess(&spec(json!(null)), "").mapped else { panic!() };
        assert!(message.contains("Port needs a time"), "{message}");
    }

    #[test]
    fn what_was_in_production_before_has_no_lead_time() {
        for (change, has_one) in [("Release", true), ("Config", true), ("Rollback", false)] {
            let spec = json!({
                "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "commitTime": "2025-01-01T00:00:00Z", "change": change,
            });
            let Mapped::Entity(entity) = assess(&spec, "").mapped else { panic!() };
            assert_eq!(entity.properties.contains_key("lead_time_hours"), has_one, "{change}");
        }
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
