//! The blueprints that the controller creates if they do not exist: those of Port's DORA Metrics, with all fields that it can send. Pure.

use std::collections::BTreeMap;

use port_client::{NewBlueprint, Property, Relation};
use serde_json::Value;

use crate::settings::{Naming, Statuses};

/// The identifier of the blueprint of groups (teams).
pub const GROUP: &str = "group";

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
    let text = |title: &str| Property::string().with_title(title);
    let properties = BTreeMap::from([
        ("deployment_time", Property::date_time().with_title("Deployment time")),
        ("deployment_type", text("Deployment type")),
        ("environment", text("Environment")),
        ("status", text("Status").with_allowed_values(statuses)),
        ("lead_time_hours", Property::number().with_title("Lead time (hours)")),
        (
            "change",
            text("Change").with_description("The kind of change: Initial, Release, Config, Rollback or Restart"),
        ),
        ("started_at", Property::date_time().with_title("Started at")),
        ("duration_hours", Property::number().with_title("Duration (hours)")),
        ("failure", text("Failure").with_description("Why the rollout failed")),
        ("commit_sha", text("Commit")),
        ("repository", text("Repository")),
        ("cluster", text("Cluster")),
        ("namespace", text("Namespace")),
        ("deployment", text("Deployment").with_description("The name of the workload in Kubernetes")),
        ("revision", Property::number().with_title("Revision")),
    ]);
    with_properties(NewBlueprint::new(identifier, "DORA Deployment").with_icon("Deployment"), properties, naming)
}

/// The blueprint of incidents. `deployment` is the identifier of the blueprint of deployments, which an incident relates to as its cause.
#[must_use]
pub fn incident(identifier: &str, deployment: &str, naming: &Naming) -> NewBlueprint {
    let text = |title: &str| Property::string().with_title(title);
    let properties = BTreeMap::from([
        ("incident_type", text("Incident type")),
        ("description", text("Description")),
        (
            "status",
            text("Status")
                .with_allowed_values(["open", "resolved"].map(|status| naming.value("status", status.into()))),
        ),
        ("incident_url", Property::url().with_title("URL")),
        ("created_at", Property::date_time().with_title("Created at")),
        ("resolved_at", Property::date_time().with_title("Resolved at")),
        ("priority", text("Priority")),
        ("time_to_resolve", Property::number().with_title("Time to resolve (hours)")),
        ("urgency", text("Urgency")),
        ("cluster", text("Cluster")),
        ("namespace", text("Namespace")),
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
    use super::*;
    use crate::settings::{DEPLOYMENT, FileSettings, INCIDENT, Vocabulary};

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
}
