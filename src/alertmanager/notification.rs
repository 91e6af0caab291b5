//! The notification that Alertmanager sends to a webhook: version 4 of its
//! [data](https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::runtime::whole_seconds;
use crate::settings::AlertSource;

/// One notification: the alerts of a group. Other fields are ignored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Name of the receiver in the configuration of Alertmanager.
    #[serde(default)]
    pub receiver: String,
    /// `Firing` while at least one of the alerts fires.
    pub status: AlertStatus,
    /// Identity of the group.
    pub group_key: String,
    /// The labels by which the alerts are grouped.
    #[serde(default)]
    pub group_labels: BTreeMap<String, String>,
    /// The labels that all of the alerts have.
    #[serde(default)]
    pub common_labels: BTreeMap<String, String>,
    /// The annotations that all of the alerts have.
    #[serde(default)]
    pub common_annotations: BTreeMap<String, String>,
    /// URL of Alertmanager.
    #[serde(default, rename = "externalURL")]
    pub external_url: String,
    /// The alerts.
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// One alert of a notification.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Whether the alert fires.
    pub status: AlertStatus,
    /// Labels of the alert.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the alert.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When the alert started to fire.
    pub starts_at: Timestamp,
    /// When the alert ended. Alertmanager sends the year 1 while the alert fires.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// URL of the expression of the alert, in Prometheus.
    #[serde(default, rename = "generatorURL")]
    pub generator_url: String,
}

/// Whether an alert, or a group of alerts, fires.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// The alert fires.
    Firing,
    /// The alert has ended.
    Resolved,
}

impl AlertStatus {
    /// The status as Alertmanager writes it. Metrics use the same word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl Notification {
    /// When the earliest firing alert started, in whole seconds because Kubernetes stores whole seconds. `None` if no alert fires.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.firing().map(|alert| whole_seconds(alert.starts_at)).min()
    }

    /// When the last alert ended, in whole seconds. `None` if no alert has an end.
    #[must_use]
    pub fn ended(&self) -> Option<Timestamp> {
        // The year 1 means that the alert has no end yet.
        let ends = self.alerts.iter().filter_map(|alert| alert.ends_at).filter(|end| *end > Timestamp::UNIX_EPOCH);
        ends.map(whole_seconds).max()
    }

    /// The values of a source that are not empty. Values that all alerts share come first, then those of the first firing alert.
    pub fn values<'a>(&'a self, source: &'a AlertSource) -> impl Iterator<Item = &'a str> {
        let first = self.firing().next();
        let values = match source {
            AlertSource::Label(name) => [
                self.common_labels.get(name),
                self.group_labels.get(name),
                first.and_then(|alert| alert.labels.get(name)),
            ],
            AlertSource::Annotation(name) => {
                [self.common_annotations.get(name), first.and_then(|alert| alert.annotations.get(name)), None]
            }
            AlertSource::ExternalUrl => [Some(&self.external_url), None, None],
            AlertSource::GeneratorUrl => [first.map(|alert| &alert.generator_url), None, None],
        };
        values.into_iter().flatten().map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.status == AlertStatus::Firing)
    }
}
