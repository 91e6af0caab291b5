//! What Alertmanager sends to a webhook (version 4 of its data), and where values are in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::settings::AlertSource;

/// One notification: the alerts of a group. What isn't named here is ignored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Name of the receiver in Alertmanager's configuration.
    #[serde(default)]
    pub receiver: String,
    /// `Firing` as long as one of the alerts is.
    pub status: AlertStatus,
    /// What identifies the group.
    pub group_key: String,
    /// The labels that the alerts are grouped by.
    #[serde(default)]
    pub group_labels: BTreeMap<String, String>,
    /// The labels that all of the alerts have.
    #[serde(default)]
    pub common_labels: BTreeMap<String, String>,
    /// The annotations that all of the alerts have.
    #[serde(default)]
    pub common_annotations: BTreeMap<String, String>,
    /// The address of Alertmanager.
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
    /// Whether it still fires.
    pub status: AlertStatus,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it ended. Alertmanager sends the year 1 as long as it fires.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// The address of its expression.
    #[serde(default, rename = "generatorURL")]
    pub generator_url: String,
}

/// Whether an alert, or a group of them, still fires.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

impl AlertStatus {
    /// The word for it in Alertmanager and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl Notification {
    /// When the earliest of the alerts that fire began, in whole seconds, as Kubernetes keeps times.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.firing().map(|alert| whole_seconds(alert.starts_at)).min()
    }

    /// When the last of the alerts ended, in whole seconds.
    #[must_use]
    pub fn ended(&self) -> Option<Timestamp> {
        // The year 1 means "not yet".
        let ends = self.alerts.iter().filter_map(|alert| alert.ends_at).filter(|end| *end > Timestamp::UNIX_EPOCH);
        ends.map(whole_seconds).max()
    }

    /// The values at a place, the ones that all alerts share first.
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

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
