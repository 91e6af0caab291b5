//! Names and values in Port, where the blueprints are others than those of Port's DORA Metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the controller can say of a kind of resource, by the names of Port's DORA blueprints.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// Properties of these blueprints.
    pub properties: &'static [&'static str],
    /// Those of them that every entity has.
    pub always: &'static [&'static str],
    /// Relations of these blueprints.
    pub relations: &'static [&'static str],
    /// Further properties, for blueprints that have them.
    pub further_properties: &'static [&'static str],
    /// Further relations, for blueprints that have them.
    pub further_relations: &'static [&'static str],
}

/// Of a deployment.
pub const DEPLOYMENT: Vocabulary = Vocabulary {
    properties: &["deployment_time", "deployment_type", "environment", "status", "lead_time_hours"],
    always: &["deployment_time", "deployment_type", "environment", "status"],
    relations: &["group"],
    further_properties: &[
        "change",
        "started_at",
        "duration_hours",
        "failure",
        "commit_sha",
        "repository",
        "cluster",
        "namespace",
        "deployment",
        "revision",
    ],
    further_relations: &["service"],
};

/// Of an incident.
pub const INCIDENT: Vocabulary = Vocabulary {
    properties: &[
        "incident_type",
        "description",
        "status",
        "incident_url",
        "created_at",
        "resolved_at",
        "priority",
        "time_to_resolve",
        "urgency",
    ],
    always: &["incident_type", "status", "created_at"],
    relations: &["group"],
    further_properties: &["cluster", "namespace"],
    further_relations: &["deployment"],
};

/// Names and values of both kinds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Names {
    /// Of deployments.
    pub deployment: Naming,
    /// Of incidents.
    pub incident: Naming,
}

impl Names {
    /// What is wrong, where, and what to write instead.
    pub fn validate(&self) -> Result<(), String> {
        let Self { deployment, incident } = self;
        deployment.validate("naming.deployment", &DEPLOYMENT)?;
        incident.validate("naming.incident", &INCIDENT)
    }
}

/// Names and values of one kind, by those of Port's DORA blueprints. What isn't named keeps its name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Naming {
    /// Names of properties. An empty one is not sent.
    pub properties: BTreeMap<String, String>,
    /// Names of relations. An empty one is not sent.
    pub relations: BTreeMap<String, String>,
    /// Values of properties, by property and by value; upper and lower case are the same.
    pub values: BTreeMap<String, BTreeMap<String, String>>,
}

impl Naming {
    /// Name of a property in Port; `None` if it is not sent.
    #[must_use]
    pub fn property<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        renamed(&self.properties, name)
    }

    /// Name of a relation in Port; `None` if it is not sent.
    #[must_use]
    pub fn relation<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        renamed(&self.relations, name)
    }

    /// The value of a property in Port.
    #[must_use]
    pub fn value(&self, property: &str, value: Value) -> Value {
        let text = value.as_str().map(str::to_lowercase);
        let mut values = self.values.get(property).into_iter().flatten();
        match values.find(|(from, _)| text.as_deref() == Some(from.to_lowercase().as_str())) {
            Some((_, to)) => Value::String(to.clone()),
            None => value,
        }
    }

    fn validate(&self, place: &str, vocabulary: &Vocabulary) -> Result<(), String> {
        let Self { properties, relations, values } = self;
        let known_properties = [vocabulary.properties, vocabulary.further_properties].concat();
        let known_relations = [vocabulary.relations, vocabulary.further_relations].concat();
        for (section, names, known) in [
            ("properties", properties.keys().collect::<Vec<_>>(), &known_properties),
            ("relations", relations.keys().collect(), &known_relations),
            ("values", values.keys().collect(), &known_properties),
        ] {
            if let Some(unknown) = names.into_iter().find(|name| !known.contains(&name.as_str())) {
                return Err(format!(
                    "{place}.{section}.{unknown} is nothing that the controller says; its names are {}",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }
}

fn renamed<'a>(names: &'a BTreeMap<String, String>, name: &'a str) -> Option<&'a str> {
    names.get(name).map_or(Some(name), |renamed| Some(renamed.as_str()).filter(|renamed| !renamed.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_controller_does_not_know_is_named() {
        let names: Names = serde_saphyr::from_str("incident: {properties: {opened_at: created}}").unwrap();
        let problem = names.validate().unwrap_err();
        assert!(
            problem.contains("naming.incident.properties.opened_at") && problem.contains("created_at"),
            "{problem}"
        );
    }

    #[test]
    fn a_value_is_translated_without_regard_to_case() {
        let naming: Naming = serde_saphyr::from_str("values: {environment: {Production: prod}}").unwrap();
        assert_eq!(naming.value("environment", "PRODUCTION".into()), "prod");
        assert_eq!(naming.value("environment", "staging".into()), "staging");
        assert_eq!(naming.value("status", "production".into()), "production");
    }
}
