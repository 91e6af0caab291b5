//! Settings file: names and values of blueprints that are not those of Port's DORA Metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FileError;

/// The properties and relations that the controller can send for a kind of resource, by the names of Port's DORA blueprints.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// Properties of Port's blueprint.
    pub properties: &'static [&'static str],
    /// Properties that every entity has, as far as the blueprint defines them.
    pub always: &'static [&'static str],
    /// Relations of Port's blueprint.
    pub relations: &'static [&'static str],
    /// Additional properties, which are sent only if the blueprint defines them.
    pub further_properties: &'static [&'static str],
    /// Additional relations, which are sent only if the blueprint defines them.
    pub further_relations: &'static [&'static str],
}

/// Properties and relations of deployments.
pub const DEPLOYMENT: Vocabulary = Vocabulary {
    properties: &["deployment_time", "deployment_type", "environment", "status", "lead_time_hours"],
    always: &["deployment_time", "deployment_type", "environment", "status", "cluster", "namespace"],
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

/// Properties and relations of incidents.
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
    always: &["incident_type", "status", "created_at", "cluster", "namespace"],
    relations: &["group"],
    further_properties: &["cluster", "namespace"],
    further_relations: &["deployment"],
};

/// Names and values in Port.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct NamingSettings {
    /// Names and values of deployments.
    pub deployment: Naming,
    /// Names and values of incidents.
    pub incident: Naming,
}

impl NamingSettings {
    /// Checks what the types don't.
    pub(super) fn validate(&self) -> Result<(), FileError> {
        let Self { deployment, incident } = self;
        deployment.validate("naming.deployment", &DEPLOYMENT)?;
        incident.validate("naming.incident", &INCIDENT)
    }
}

/// Names and values in your blueprint, by those of Port's DORA blueprints. A name or value that is not listed stays the same.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Naming {
    /// Your names of properties. A property with an empty name is not sent. Default: none.
    pub properties: BTreeMap<String, String>,
    /// Your names of relations. A relation with an empty name is not sent. Default: none.
    pub relations: BTreeMap<String, String>,
    /// Your values of properties, by property and by value. Upper and lower case don't matter. Default: none.
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

    fn validate(&self, key: &str, vocabulary: &Vocabulary) -> Result<(), FileError> {
        let Self { properties, relations, values } = self;
        let known_properties = [vocabulary.properties, vocabulary.further_properties].concat();
        let known_relations = [vocabulary.relations, vocabulary.further_relations].concat();
        for (section, names, known) in [
            ("properties", properties.keys().collect::<Vec<_>>(), &known_properties),
            ("relations", relations.keys().collect(), &known_relations),
            ("values", values.keys().collect(), &known_properties),
        ] {
            if let Some(unknown) = names.into_iter().find(|name| !known.contains(&name.as_str())) {
                return Err(FileError::UnknownName { key: format!("{key}.{section}.{unknown}"), known: known.clone() });
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
    fn unknown_name_is_refused_with_the_known_ones() {
        let names: NamingSettings = serde_saphyr::from_str("incident: {properties: {opened_at: created}}").unwrap();
        let error = names.validate().unwrap_err().to_string();
        assert!(error.contains("naming.incident.properties.opened_at") && error.contains("created_at"), "{error}");
    }

    #[test]
    fn value_is_replaced_regardless_of_its_case() {
        let naming: Naming = serde_saphyr::from_str("values: {environment: {Production: prod}}").unwrap();
        assert_eq!(naming.value("environment", "PRODUCTION".into()), "prod");
        assert_eq!(naming.value("environment", "staging".into()), "staging");
        assert_eq!(naming.value("status", "production".into()), "production");
    }
}
