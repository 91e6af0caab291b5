//! Settings file: how a notification of Alertmanager becomes an incident.

use serde::{Deserialize, Serialize};

use super::FileError;

/// How a notification of Alertmanager becomes an incident. The controller receives notifications only if `ALERTMANAGER_TOKEN_FILE` is set.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AlertmanagerSettings {
    /// Name of the label whose value is the namespace of the incident. If the alerts have no such label in common, or if the namespace
    /// doesn't exist, the incident is in the namespace of the controller. Default: `namespace`.
    pub namespace: String,
    /// Sources of the fields of the incident.
    pub fields: AlertFields,
}

/// Sources of the fields of an incident. A source is `labels.NAME`, `annotations.NAME`, `externalURL` or `generatorURL`. The first source
/// with a usable value counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AlertFields {
    /// Sources of `spec.title`. Default: `[annotations.summary, labels.alertname]`.
    pub title: Vec<AlertSource>,
    /// Sources of `spec.description`. Default: `[annotations.description, annotations.message]`.
    pub description: Vec<AlertSource>,
    /// Sources of `spec.url`. A value that is not an absolute HTTP or HTTPS URL is ignored. Default: `[annotations.runbook_url,
    /// annotations.dashboard_url, generatorURL, externalURL]`.
    pub url: Vec<AlertSource>,
    /// Sources of `spec.priority`. Default: `[labels.severity, labels.priority]`.
    pub priority: Vec<AlertSource>,
    /// Sources of `spec.urgency`. Default: `[labels.urgency]`.
    pub urgency: Vec<AlertSource>,
    /// Sources of `spec.type`. Default: none.
    #[serde(rename = "type")]
    pub incident_type: Vec<AlertSource>,
    /// Sources of `spec.group`. Port refuses an incident whose group doesn't exist. Default: none.
    pub group: Vec<AlertSource>,
    /// Sources of `spec.workloadRef.name`, the name of a Deployment. Default: `[labels.deployment]`.
    pub workload: Vec<AlertSource>,
}

/// A part of a notification that can be the value of a field.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AlertSource {
    /// The label with this name.
    Label(String),
    /// The annotation with this name.
    Annotation(String),
    /// The address of Alertmanager.
    ExternalUrl,
    /// The address of the alert's expression in Prometheus.
    GeneratorUrl,
}

/// A text that is not a part of a notification.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid source {0:?}: expected labels.NAME, annotations.NAME, externalURL or generatorURL")]
pub struct AlertSourceError(String);

impl TryFrom<String> for AlertSource {
    type Error = AlertSourceError;

    fn try_from(text: String) -> Result<Self, AlertSourceError> {
        match text.split_once('.') {
            Some(("labels", name)) if !name.is_empty() => Ok(Self::Label(name.to_owned())),
            Some(("annotations", name)) if !name.is_empty() => Ok(Self::Annotation(name.to_owned())),
            None if text == "externalURL" => Ok(Self::ExternalUrl),
            None if text == "generatorURL" => Ok(Self::GeneratorUrl),
            _ => Err(AlertSourceError(text)),
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

impl Default for AlertmanagerSettings {
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

impl AlertmanagerSettings {
    /// Checks what the types don't.
    pub(super) fn validate(&self) -> Result<(), FileError> {
        if self.namespace.trim().is_empty() {
            return Err(FileError::Empty { key: "alertmanager.namespace" });
        }
        Ok(())
    }
}
