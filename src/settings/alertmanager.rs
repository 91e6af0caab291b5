//! The part of the settings file that says what an alert of Alertmanager becomes in an incident.

use serde::{Deserialize, Serialize};

/// What Alertmanager's notifications become. They are only received with `ALERTMANAGER_TOKEN_FILE`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Alertmanager {
    /// Name of the label whose value is the namespace of the incident. Without it, that of the controller.
    pub namespace: String,
    /// Where the fields of the incident come from.
    pub fields: AlertFields,
}

/// For each field of an incident the places where its value may be: the first that has a usable one counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AlertFields {
    /// `spec.title`.
    pub title: Vec<AlertSource>,
    /// `spec.description`.
    pub description: Vec<AlertSource>,
    /// `spec.url`; what is no whole http address is passed over.
    pub url: Vec<AlertSource>,
    /// `spec.priority`.
    pub priority: Vec<AlertSource>,
    /// `spec.urgency`.
    pub urgency: Vec<AlertSource>,
    /// `spec.type`.
    #[serde(rename = "type")]
    pub incident_type: Vec<AlertSource>,
    /// `spec.group`: Port refuses an incident of a group that doesn't exist, so nothing is taken for it by default.
    pub group: Vec<AlertSource>,
    /// `spec.workloadRef.name`: the name of a Deployment.
    pub workload: Vec<AlertSource>,
}

/// A place in a notification where a value may be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AlertSource {
    /// The label with this name.
    Label(String),
    /// The annotation with this name.
    Annotation(String),
    /// The address of Alertmanager.
    ExternalUrl,
    /// The address of the alert's expression, in Prometheus.
    GeneratorUrl,
}

impl TryFrom<String> for AlertSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('.') {
            Some(("labels", name)) if !name.is_empty() => Ok(Self::Label(name.to_owned())),
            Some(("annotations", name)) if !name.is_empty() => Ok(Self::Annotation(name.to_owned())),
            None if text == "externalURL" => Ok(Self::ExternalUrl),
            None if text == "generatorURL" => Ok(Self::GeneratorUrl),
            _ => Err(format!(
                "alertmanager.fields: {text:?} names nothing in a notification: write labels.NAME, annotations.NAME, externalURL \
                 or generatorURL"
            )),
        }
    }
}

impl From<AlertSource> for String {
    fn from(source: AlertSource) -> Self {
        match source {
            AlertSource::Label(name) => format!("labels.{name}"),
            AlertSource::Annotation(name) => format!("annotations.{name}"),
            AlertSource::ExternalUrl => "externalURL".to_owned(),
            AlertSource::GeneratorUrl => "generatorURL".to_owned(),
        }
    }
}

impl Default for Alertmanager {
    fn default() -> Self {
        Self { namespace: "namespace".to_owned(), fields: AlertFields::default() }
    }
}

impl Default for AlertFields {
    fn default() -> Self {
        let label = |name: &str| AlertSource::Label(name.to_owned());
        let annotation = |name: &str| AlertSource::Annotation(name.to_owned());
        Self {
            title: vec![annotation("summary"), label("alertname")],
            description: vec![annotation("description"), annotation("message")],
            url: vec![
                annotation("runbook_url"),
                annotation("dashboard_url"),
                AlertSource::GeneratorUrl,
                AlertSource::ExternalUrl,
            ],
            priority: vec![label("severity"), label("priority")],
            urgency: vec![label("urgency")],
            incident_type: Vec::new(),
            group: Vec::new(),
            workload: vec![label("deployment")],
        }
    }
}

impl Alertmanager {
    /// What is wrong, where, and what to write instead.
    pub fn validate(&self) -> Result<(), String> {
        if self.namespace.trim().is_empty() {
            return Err(
                "alertmanager.namespace is empty: name a label, or leave it out for the label namespace".to_owned()
            );
        }
        Ok(())
    }
}
