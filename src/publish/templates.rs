//! The blueprints that the controller creates if they do not exist: those of Port's DORA Metrics, with all fields that it can send. Pure.

use std::collections::BTreeMap;

use port_client::{NewBlueprint, Property, Relation};
use serde_json::Value;

use crate::settings::{Naming, Statuses};

/// The identifier of the blueprint of groups (teams).
pub const GROUP: &str = "group";

/// A property with the type of the values that the controller sends under this name of Port's DORA blueprints.
#[must_use]
pub fn property(name: &str) -> Property {
    match name {
        "deployment_time" | "started_at" | "created_at" | "resolved_at" => Property::date_time(),
        "lead_time_hours" | "duration_hours" | "time_to_resolve" | "revision" => Property::number(),
        "incident_url" => Property::url(),
        _ => Property::string(),
    }
}

/// A property with its name and its title.
fn titled<'a>(name: &'a str, title: &str) -> (&'a str, Property) {
    (name, property(name).with_title(title))
}

/// The blueprint of groups.
#[must_use]
pub fn group() -> NewBlueprint {
    NewBlueprint::new(GROUP, "Group").with_icon("Team").with_description("A team that owns deployments and incidents")
}

/// The blueprint of deployments.
#[must_use]
pub fn deployment(identifier: &str, naming: &Naming, statuses: &Statuses) -> NewBlueprint {
    let mut statuses: Vec<Value> = statuses.values().map(|status| naming.value("status", status.into())).collect();
    // Several outcomes may have the same status.
    statuses.sort_by_key(Value::to_string);
    statuses.dedup();
    let described =
        |name, title, description: &str| (name, property(name).with_title(title).with_description(description));
    let properties = BTreeMap::from([
        titled("deployment_time", "Deployment time"),
        titled("deployment_type", "Deployment type"),
        titled("environment", "Environment"),
        ("status", property("status").with_title("Status").with_allowed_values(statuses)),
        titled("lead_time_hours", "Lead time (hours)"),
        described("change", "Change", "The kind of change: Initial, Release, Config, Rollback or Restart"),
        titled("started_at", "Started at"),
        titled("duration_hours", "Duration (hours)"),
        described("failure", "Failure", "Why the rollout failed"),
        titled("commit_sha", "Commit"),
        titled("repository", "Repository"),
        titled("cluster", "Cluster"),
        titled("namespace", "Namespace"),
        described("deployment", "Deployment", "The name of the workload in Kubernetes"),
        titled("revision", "Revision"),
    ]);
    with_properties(NewBlueprint::new(identifier, "DORA Deployment").with_icon("Deployment"), properties, naming)
}

/// The blueprint of incidents. `deployment` is the identifier of the blueprint of deployments, which an incident relates to as its cause.
#[must_use]
pub fn incident(identifier: &str, deployment: &str, naming: &Naming) -> NewBlueprint {
    let statuses = ["open", "resolved"].map(|status| naming.value("status", status.into()));
    let properties = BTreeMap::from([
        titled("incident_type", "Incident type"),
        titled("description", "Description"),
        ("status", property("status").with_title("Status").with_allowed_values(statuses)),
        titled("incident_url", "URL"),
        titled("created_at", "Created at"),
        titled("resolved_at", "Resolved at"),
        titled("priority", "Priority"),
        titled("time_to_resolve", "Time to resolve (hours)"),
        titled("urgency", "Urgency"),
        titled("cluster", "Cluster"),
        titled("namespace", "Namespace"),
    ]);
    let blueprint =
        with_properties(NewBlueprint::new(identifier, "DORA Incident").with_icon("Alert"), properties, naming);
    match naming.relation("deployment") {
        Some(name) => blueprint.with_relation(name, Relation::to(deployment).with_title("Deployment")),
        None => blueprint,
    }
}

fn with_properties(blueprint: NewBlueprint, properties: BTreeMap<&str, Property>, naming: &Naming) -> NewBlueprint {
    let renamed =
        properties.into_iter().filter_map(|(name, property)| Some((naming.property(name)?.to_owned(), property)));
    let blueprint = renamed.fold(blueprint, |blueprint, (name, property)| blueprint.with_property(name, property));
    match naming.relation(GROUP) {
        Some(name) => blueprint.with_relation(name, Relation::to(GROUP).with_title("Group")),
        None => blueprint,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Map, json};

    use super::*;
    use crate::publish::{BuildInput, Drafted, Publishable};
    use crate::resources::{DoraDeployment, DoraIncident};
    use crate::settings::{ActiveSettings, DEPLOYMENT, FileSettings, INCIDENT, Vocabulary};

    fn assert_defines_all(blueprint: &NewBlueprint, vocabulary: &Vocabulary) {
        for name in [vocabulary.properties, vocabulary.further_properties].concat() {
            assert!(blueprint.schema.properties.contains_key(name), "{name}");
        }
        for name in vocabulary.relations {
            assert!(blueprint.relations.contains_key(*name), "{name}");
        }
        assert_eq!(
            blueprint.schema.properties.len(),
            vocabulary.properties.len() + vocabulary.further_properties.len()
        );
    }

    #[test]
    fn templates_define_every_field_of_the_vocabulary() {
        let FileSettings { statuses, naming, .. } = FileSettings::default();
        let deployment = deployment("dora_deployment", &naming.deployment, &statuses);
        assert_defines_all(&deployment, &DEPLOYMENT);
        let allowed = &deployment.schema.properties["status"].allowed_values;
        assert!(
            ["success", "failed", "cancelled", "rolled_back", "unknown"]
                .iter()
                .all(|status| allowed.contains(&(*status).into()))
        );
        let incident = incident("dora_incident", "rollout", &naming.incident);
        assert_defines_all(&incident, &INCIDENT);
        assert_eq!(incident.relations["deployment"].target, "rollout", "the cause of an incident");
    }

    #[test]
    fn templates_use_the_names_of_the_settings() {
        let settings = FileSettings::parse(
            "naming: {deployment: {properties: {status: deploymentStatus, failure: ''}, relations: {group: team}}}\nstatuses: {Succeeded: Success}",
        )
        .unwrap();
        let blueprint = deployment("deployment", &settings.naming.deployment, &settings.statuses);
        assert_eq!(blueprint.schema.properties["deploymentStatus"].allowed_values, ["Success"]);
        assert!(!blueprint.schema.properties.contains_key("failure") && blueprint.relations.contains_key("team"));
    }

    /// The properties of a resource, under the names of Port's DORA blueprints.
    fn drafted<R: Publishable>(spec: &Value) -> Map<String, Value> {
        let metadata = json!({"name": "a", "namespace": "shop"});
        let resource =
            json!({"apiVersion": R::api_version(&()), "kind": R::kind(&()), "metadata": metadata, "spec": spec});
        let settings = ActiveSettings::new("prod".to_owned(), FileSettings::default(), false);
        let input = BuildInput { settings: &settings, blueprint: None, now: Timestamp::UNIX_EPOCH };
        let Drafted { draft, .. } = serde_json::from_value::<R>(resource).unwrap().draft(&input);
        draft.properties.into_iter().chain(draft.further_properties).collect()
    }

    #[test]
    fn values_have_the_types_of_the_templates() {
        let deployment = drafted::<DoraDeployment>(&json!({
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "0123456789"},
            "revision": {"number": 7, "name": "web-5f", "uid": "r"}, "outcome": "Failed", "change": "Release",
            "startedAt": "2026-01-31T12:00:00Z", "finishedAt": "2026-01-31T13:00:00Z", "commitTime": "2026-01-31T11:00:00Z",
            "durationSeconds": 3600, "failure": "it failed", "commitSha": "4f2a", "repository": "shop.git",
        }));
        let incident = drafted::<DoraIncident>(&json!({
            "status": "resolved", "createdAt": "2026-01-31T12:00:00Z", "resolvedAt": "2026-01-31T13:00:00Z", "description": "It is down",
            "url": "https://example.com/", "priority": "high", "urgency": "high",
        }));
        for (properties, vocabulary) in [(deployment, DEPLOYMENT), (incident, INCIDENT)] {
            for name in [vocabulary.properties, vocabulary.further_properties].concat() {
                let value = &properties[name];
                assert_eq!(property(name).conform(value).as_ref(), Ok(value), "{name}");
            }
        }
    }
}
