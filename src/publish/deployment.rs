//! `DoraDeployment` as an entity of the blueprint `dora_deployment`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rollout::{ChangeKind, Outcome, is_supported_time};
use serde_json::{Map, Value};

use super::blueprints::Wanted;
use super::build::{BuildInput, Drafted, Hold, fields, port_time};
use super::conform::Draft;
use super::lead_time::{CommitAfterEnd, hours, lead_time};
use super::{CommonStatus, Publishable, PublishedKind};
use crate::records::entity_identifier;
use crate::resources::conditions::{IN_PROGRESS, NOT_PUBLISHED};
use crate::resources::{DoraDeployment, DoraDeploymentSpec, DoraDeploymentStatus, supported};
use crate::settings::{DEPLOYMENT, FileSettings};

impl Publishable for DoraDeployment {
    const KIND: PublishedKind = PublishedKind::Deployment;

    type Status = DoraDeploymentStatus;

    fn blueprint(settings: &FileSettings) -> Wanted<'_> {
        let FileSettings { blueprints, naming, .. } = settings;
        Wanted { identifier: &blueprints.deployment, naming: &naming.deployment, vocabulary: &DEPLOYMENT }
    }

    fn claimed_identifier(&self) -> Option<&str> {
        self.spec.identifier.as_deref()
    }

    fn hold(&self, settings: &FileSettings) -> Option<Hold> {
        let (reason, message) = hold_reason(&self.spec, settings)?;
        Some(Hold { reason, message, warnings: warnings(&self.spec) })
    }

    fn draft(&self, input: &BuildInput<'_>) -> Drafted {
        let mut warnings = warnings(&self.spec);
        let lead_time = lead_time_of(&self.spec).unwrap_or_else(|error| {
            warnings.push(error.to_string());
            None
        });
        Drafted { draft: draft(self, lead_time, input), warnings }
    }

    /// The controller's own records change only after a failure. People may remove any field of the others.
    fn may_lose_fields(&self) -> bool {
        self.spec.workload.is_none() || self.spec.outcome.is_open()
    }

    fn status(&self) -> Option<&DoraDeploymentStatus> {
        self.status.as_ref()
    }

    fn common_status(&self) -> CommonStatus {
        let Some(status) = self.status.clone() else {
            return CommonStatus::default();
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
        } = status;
        CommonStatus { observed_generation, observed_settings, conditions, entity }
    }

    fn with_common_status(&self, common: CommonStatus, _now: Timestamp) -> DoraDeploymentStatus {
        let CommonStatus { observed_generation, observed_settings, conditions, entity } = common;
        // Other parts of the controller write the fields about incidents, which have to stay.
        let before = self.status.as_ref();
        DoraDeploymentStatus {
            observed_generation,
            observed_settings,
            conditions,
            entity,
            lead_time: lead_time_of(&self.spec).ok().flatten().map(|lead_time| format!("{lead_time:#}")),
            duration: self.spec.duration_seconds.map(|seconds| format!("{:#}", SignedDuration::from_secs(seconds))),
            incident: before.and_then(|status| status.incident.clone()),
            reported_loss: before.and_then(|status| status.reported_loss.clone()),
        }
    }
}

/// Reason and message of the condition, if the deployment is not sent.
fn hold_reason(spec: &DoraDeploymentSpec, settings: &FileSettings) -> Option<(&'static str, String)> {
    if spec.outcome == Outcome::InProgress {
        return Some((
            IN_PROGRESS,
            "The deployment is in progress; the controller sends it when it has ended".to_owned(),
        ));
    }
    let not_published =
        |cause: &str| Some((NOT_PUBLISHED, format!("The controller does not send the deployment: {cause}")));
    let outcome = spec.outcome.as_str();
    if settings.statuses.of(spec.outcome).is_none() {
        return not_published(&format!("the setting statuses has no status for the outcome {outcome}"));
    }
    if let Some(change) = spec.change.filter(|change| !settings.publish.changes.includes(*change)) {
        return not_published(&format!("the setting publish.changes.{} is false", change.as_str()));
    }
    if spec.replicas == Some(0) && !settings.publish.zero_replicas {
        return not_published("the rollout had 0 replicas, and the setting publish.zeroReplicas is false");
    }
    if deployment_time(spec).is_none() {
        return not_published("neither its start nor its end is known, and Port requires a time");
    }
    None
}

/// The warnings in the record, and one for each time that the controller can't use.
fn warnings(spec: &DoraDeploymentSpec) -> Vec<String> {
    let times = [
        ("spec.startedAt", &spec.started_at),
        ("spec.finishedAt", &spec.finished_at),
        ("spec.commitTime", &spec.commit_time),
    ];
    let unsupported = times.into_iter().filter_map(|(field, time)| supported(field, time.as_ref()).err());
    spec.warnings.iter().cloned().chain(unsupported.map(|warning| warning.to_string())).collect()
}

/// `time`, if it is stated and the controller can use it.
fn usable(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|time| is_supported_time(*time))
}

/// The time of the deployment in Port: its end, or its start if the end is unknown.
fn deployment_time(spec: &DoraDeploymentSpec) -> Option<Timestamp> {
    usable(spec.finished_at.as_ref()).or(usable(spec.started_at.as_ref()))
}

/// The lead time. `None` if the commit or the end is unknown, and for a rollback or a restart: its commit was in production before, so its
/// lead time is that of the first deployment.
fn lead_time_of(spec: &DoraDeploymentSpec) -> Result<Option<SignedDuration>, CommitAfterEnd> {
    if matches!(spec.change, Some(ChangeKind::Rollback | ChangeKind::Restart)) {
        return Ok(None);
    }
    match (usable(spec.commit_time.as_ref()), usable(spec.finished_at.as_ref())) {
        (Some(committed), Some(finished)) => lead_time(committed, finished).map(Some),
        _ => Ok(None),
    }
}

/// Identifier and title of the entity, unless the resource names others.
fn default_names(deployment: &DoraDeployment, cluster: &str) -> (String, String) {
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let DoraDeploymentSpec { workload, revision, .. } = &deployment.spec;
    if let (Some(workload), Some(revision)) = (workload, revision) {
        (
            entity_identifier(cluster, namespace, workload.kind, &workload.name, revision.number, &workload.uid),
            format!("{namespace}/{} revision {}", workload.kind.titled(&workload.name), revision.number),
        )
    } else {
        // A deployment outside Kubernetes.
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        (format!("{cluster}:{namespace}:{name}"), format!("{namespace}/{name}"))
    }
}

fn draft(deployment: &DoraDeployment, lead_time: Option<SignedDuration>, input: &BuildInput<'_>) -> Draft {
    let spec = &deployment.spec;
    let FileSettings { defaults, statuses, .. } = &input.settings.file;
    let deployment_type = spec.deployment_type.as_ref().unwrap_or(&defaults.deployment_type);
    let environment = spec.environment.as_ref().unwrap_or(&defaults.environment);
    let group = spec.group.as_ref().unwrap_or(&defaults.group);
    let (default_identifier, default_title) = default_names(deployment, &input.settings.cluster);
    Draft {
        identifier: spec.identifier.clone().unwrap_or(default_identifier),
        title: spec.title.clone().unwrap_or(default_title),
        properties: fields([
            ("deployment_time", deployment_time(spec).map(|time| port_time(time).into())),
            ("deployment_type", Some(deployment_type.as_str().into())),
            ("environment", Some(environment.as_str().into())),
            ("status", statuses.of(spec.outcome).map(Into::into)),
            ("lead_time_hours", lead_time.map(|lead_time| hours(lead_time).into())),
        ]),
        relations: fields([("group", Some(group.as_str().into()))]),
        further_properties: further_properties(deployment, &input.settings.cluster),
        further_relations: fields([("service", spec.service.as_deref().map(Into::into))]),
        own_properties: spec.properties.clone(),
        own_relations: spec.relations.clone(),
    }
}

/// The properties that Port's DORA blueprints don't have.
fn further_properties(deployment: &DoraDeployment, cluster: &str) -> Map<String, Value> {
    let spec = &deployment.spec;
    let (namespace, duration) = (&deployment.metadata.namespace, spec.duration_seconds.map(SignedDuration::from_secs));
    fields([
        ("change", spec.change.map(|change| change.as_str().into())),
        ("started_at", usable(spec.started_at.as_ref()).map(|started| port_time(started).into())),
        ("duration_hours", duration.map(|duration| hours(duration).into())),
        ("failure", spec.failure.as_deref().map(Into::into)),
        ("commit_sha", spec.commit_sha.as_deref().map(Into::into)),
        ("repository", spec.repository.as_deref().map(Into::into)),
        ("cluster", Some(cluster.into())),
        ("namespace", namespace.as_deref().map(Into::into)),
        ("deployment", spec.workload.as_ref().map(|workload| workload.name.as_str().into())),
        ("revision", spec.revision.as_ref().map(|revision| revision.number.into())),
    ])
}

#[cfg(test)]
mod tests {
    use port_client::Blueprint;
    use serde_json::json;

    use super::*;
    use crate::publish::{Built, build};
    use crate::settings::ActiveSettings;

    fn record(spec: &Value) -> DoraDeployment {
        serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1",
            "kind": "DoraDeployment",
            "metadata": {"name": "web-7-01234567", "namespace": "shop"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn hold(spec: &Value, settings: &str) -> Option<Hold> {
        record(spec).hold(&FileSettings::parse(settings).unwrap())
    }

    /// Builds the entity, without a blueprint.
    fn built(spec: &Value) -> Built {
        built_with(spec, "", None)
    }

    fn built_with(spec: &Value, settings: &str, blueprint: Option<&Blueprint>) -> Built {
        let settings = ActiveSettings::new("prod".to_owned(), FileSettings::parse(settings).unwrap(), false);
        build(&record(spec), &BuildInput { settings: &settings, blueprint, now: Timestamp::UNIX_EPOCH })
    }

    /// The spec of revision 7 of the Deployment `web`, with these fields.
    fn rollout(fields: &Value) -> Value {
        let mut spec = json!({
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "0123456789"},
            "revision": {"number": 7, "name": "web-5f", "uid": "r"},
        });
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec
    }

    #[test]
    fn rollout_becomes_an_entity() {
        let Built { entity, warnings, .. } = built(&rollout(&json!({
            "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "commitTime": "2025-01-01T00:00:00Z",
            "environment": "staging",
        })));
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            json!(entity),
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
    fn blueprint_with_more_properties_gets_more() {
        let blueprint = serde_json::from_value(json!({
            "identifier": "dora_deployment",
            "schema": {"properties": {
                "change": {"type": "string"}, "duration_hours": {"type": "number"}, "failure": {"type": "string"},
                "revision": {"type": "number"}, "started_at": {"type": "string", "format": "date-time"},
            }},
            "relations": {"service": {"target": "service"}},
        }))
        .unwrap();
        let spec = rollout(&json!({
            "outcome": "Failed", "change": "Release", "startedAt": "2025-01-01T01:00:00Z", "durationSeconds": 1800,
            "finishedAt": "2025-01-01T01:30:00Z", "service": "shop", "commitSha": "4f2a",
        }));
        let Built { entity, .. } = built_with(&spec, "", Some(&blueprint));
        assert_eq!(
            json!(entity.properties),
            json!({"change": "Release", "duration_hours": 0.5, "revision": 7, "started_at": "2025-01-01T01:00:00.000Z"})
        );
        assert_eq!(json!(entity.relations), json!({"service": "shop"}));
    }

    #[test]
    fn kinds_with_the_same_name_share_no_entity() {
        let entity = |kind: &str| {
            let workload = json!({"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": "0123456789"});
            let spec =
                rollout(&json!({"workload": workload, "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z"}));
            let entity = built(&spec).entity;
            (entity.identifier, entity.title.unwrap())
        };
        assert_eq!(entity("Deployment"), ("prod:shop:web:7:01234567".to_owned(), "shop/web revision 7".to_owned()));
        assert_eq!(
            entity("StatefulSet"),
            ("prod:shop:StatefulSet/web:7:01234567".to_owned(), "shop/StatefulSet web revision 7".to_owned())
        );
    }

    #[test]
    fn statuses_determine_what_is_sent_and_how() {
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
            let spec = spec(outcome);
            let found = match hold(&spec, settings) {
                Some(hold) => Err(hold.reason),
                None => Ok(built_with(&spec, settings, None).entity.properties["status"].as_str().unwrap().to_owned()),
            };
            assert_eq!(found, expected.map(str::to_owned), "{outcome} with {settings:?}");
        }
        assert_eq!(hold(&json!({"outcome": "InProgress"}), "").unwrap().reason, IN_PROGRESS);
    }

    #[test]
    fn restarts_and_zero_replicas_are_held_by_default() {
        let spec = |change, replicas| {
            rollout(&json!({
                "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "change": change, "replicas": replicas,
            }))
        };
        for (change, replicas, settings, held_by) in [
            ("Initial", 1, "", None),
            ("Rollback", 1, "", None),
            ("Rollback", 1, "publish: {changes: {Rollback: false}}", Some("publish.changes.Rollback")),
            ("Restart", 1, "", Some("publish.changes.Restart")),
            ("Restart", 1, "publish: {changes: {Restart: true}}", None),
            ("Release", 0, "", Some("publish.zeroReplicas")),
            ("Release", 0, "publish: {zeroReplicas: true}", None),
        ] {
            let hold = hold(&spec(change, replicas), settings);
            let is_as_expected = match (&hold, held_by) {
                (Some(hold), Some(setting)) => hold.reason == NOT_PUBLISHED && hold.message.contains(setting),
                (None, None) => true,
                _ => false,
            };
            assert!(is_as_expected, "{change} {replicas} {settings}: {hold:?}");
        }
    }

    #[test]
    fn held_deployment_keeps_its_warnings() {
        let spec = json!({"outcome": "InProgress", "warnings": ["an annotation is invalid"]});
        assert_eq!(hold(&spec, "").unwrap().warnings, ["an annotation is invalid"]);
    }

    #[test]
    fn unknown_end_is_replaced_by_the_start() {
        let spec = |started| {
            rollout(&json!({
                "outcome": "Unobserved", "startedAt": started, "commitTime": "2025-01-01T00:00:00Z",
            }))
        };
        let with_start = spec(json!("2025-01-01T01:30:00Z"));
        assert_eq!(hold(&with_start, ""), None);
        let entity = built(&with_start).entity;
        assert_eq!(entity.properties["deployment_time"], "2025-01-01T01:30:00.000Z");
        assert!(!entity.properties.contains_key("lead_time_hours"));
        let Hold { reason, message, .. } = hold(&spec(json!(null)), "").unwrap();
        assert_eq!(reason, NOT_PUBLISHED);
        assert!(message.contains("Port requires a time"), "{message}");
    }

    #[test]
    fn rollback_has_no_lead_time() {
        for (change, has_one) in [("Release", true), ("Config", true), ("Rollback", false), ("Restart", false)] {
            let spec = json!({
                "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "commitTime": "2025-01-01T00:00:00Z", "change": change,
            });
            assert_eq!(built(&spec).entity.properties.contains_key("lead_time_hours"), has_one, "{change}");
            let status = record(&spec).with_common_status(CommonStatus::default(), Timestamp::UNIX_EPOCH);
            assert_eq!(status.lead_time.as_deref(), has_one.then_some("1h 30m"), "{change}");
        }
    }

    #[test]
    fn commit_after_the_end_is_a_warning() {
        let Built { entity, warnings, .. } = built(&json!({
            "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "commitTime": "2025-01-01T01:30:01Z",
            "warnings": ["an annotation is invalid"],
        }));
        assert!(!entity.properties.contains_key("lead_time_hours"));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert_eq!(warnings[0], "an annotation is invalid");
        assert!(warnings[1].contains("later than the end of the deployment"), "{warnings:?}");
    }

    #[test]
    fn fields_of_the_resource_take_precedence() {
        let Built { entity, .. } = built(&json!({
            "outcome": "Succeeded", "finishedAt": "2025-01-01T01:30:00Z", "identifier": "payroll/1", "title": "Payroll",
            "group": "finance", "service": "payroll", "deploymentType": "Mainframe",
            "properties": {"status": "shipped", "lead_time_hours": 3}, "relations": {"owners": ["a", "b"]},
        }));
        assert_eq!((entity.identifier.as_str(), entity.title.as_deref()), ("payroll/1", Some("Payroll")));
        assert_eq!(entity.properties["status"], "shipped");
        assert_eq!(entity.properties["lead_time_hours"], 3);
        assert_eq!(entity.properties["deployment_type"], "Mainframe");
        assert_eq!(json!(entity.relations), json!({"group": "finance", "owners": ["a", "b"]}));
    }

    #[test]
    fn new_status_keeps_the_fields_about_incidents() {
        let mut record = record(&json!({"outcome": "Failed", "durationSeconds": 90}));
        let status = json!({"incident": "web-7", "reportedLoss": "2025-01-01T00:00:00Z", "conditions": []});
        record.status = Some(serde_json::from_value(status).unwrap());
        let common = CommonStatus { observed_generation: Some(2), ..CommonStatus::default() };
        let status = record.with_common_status(common, Timestamp::UNIX_EPOCH);
        assert_eq!(status.incident, record.status.as_ref().unwrap().incident);
        assert_eq!(status.reported_loss, record.status.as_ref().unwrap().reported_loss);
        assert_eq!((status.observed_generation, status.duration.as_deref()), (Some(2), Some("1m 30s")));
    }

    #[test]
    fn unsupported_times_are_omitted_with_a_warning() {
        let times = |finished: &str| {
            rollout(&json!({
                "outcome": "Succeeded", "startedAt": "2025-01-01T00:00:00Z", "finishedAt": finished,
                "commitTime": "0001-01-01T00:00:00Z",
            }))
        };
        for finished in ["9999-12-30T22:00:00Z", "9999-12-31T23:59:59Z", "2026-01-31T12:00:00+99:99"] {
            let Built { entity, warnings, .. } = built(&times(finished));
            assert_eq!(entity.properties["deployment_time"], "2025-01-01T00:00:00.000Z", "{finished}");
            assert!(!entity.properties.contains_key("lead_time_hours"), "{finished}");
            let fields: Vec<_> = warnings.iter().filter_map(|warning| warning.split(' ').next()).collect();
            assert_eq!(fields, ["spec.finishedAt", "spec.commitTime"]);
        }
        let without_start = json!({"outcome": "Succeeded", "finishedAt": "9999-12-30T22:00:00Z"});
        let held = hold(&without_start, "").unwrap();
        assert_eq!((held.reason, held.warnings.len()), (NOT_PUBLISHED, 1));
    }
}
