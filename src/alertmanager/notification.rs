//! The notification that Alertmanager sends to a webhook: version 4 of its
//! [data](https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rollout::is_supported_time;
use serde::{Deserialize, Deserializer, Serialize};

use crate::runtime::whole_seconds;
use crate::settings::AlertSource;

/// How much later than the receiver the clock of an alert may be.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);

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
    /// When the alert started to fire. `None` if that is not a time which an incident can have.
    #[serde(default, deserialize_with = "supported_time")]
    pub starts_at: Option<Timestamp>,
    /// When the alert ended. `None` while it fires: Alertmanager sends the year 1 then.
    #[serde(default, deserialize_with = "supported_time")]
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
    ///
    /// If no firing alert states a usable time, such as one in the year 1 or in the far future, it is `now`, the time of the receipt.
    #[must_use]
    pub fn started(&self, now: Timestamp) -> Option<Timestamp> {
        self.firing().next()?;
        Some(earliest_start(self.firing(), now).unwrap_or_else(|| whole_seconds(now)))
    }

    /// Whether a firing alert states a usable time of its start.
    #[must_use]
    pub fn states_start(&self, now: Timestamp) -> bool {
        earliest_start(self.firing(), now).is_some()
    }

    /// When the earliest of all alerts started, firing or not. `None` if no alert states a usable time.
    #[must_use]
    pub fn earliest_start(&self, now: Timestamp) -> Option<Timestamp> {
        earliest_start(self.alerts.iter(), now)
    }

    /// When the last alert ended, in whole seconds. `None` if no alert has an end.
    #[must_use]
    pub fn ended(&self) -> Option<Timestamp> {
        self.alerts.iter().filter_map(|alert| alert.ends_at).map(whole_seconds).max()
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

    /// The values of this label in the whole notification: of all alerts together, of the group, and of each alert. Alertmanager sets
    /// them, so they say whose alerts these are.
    #[must_use]
    pub fn label_values(&self, label: &str) -> BTreeSet<&str> {
        let labels = [&self.common_labels, &self.group_labels].into_iter();
        let values = labels.chain(self.alerts.iter().map(|alert| &alert.labels)).filter_map(|labels| labels.get(label));
        values.map(String::as_str).filter(|value| !value.is_empty()).collect()
    }

    fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.status == AlertStatus::Firing)
    }
}

/// The earliest start of these alerts, in whole seconds.
fn earliest_start<'a>(alerts: impl Iterator<Item = &'a Alert>, now: Timestamp) -> Option<Timestamp> {
    let is_usable = |start: &Timestamp| start.duration_since(now) <= MAX_CLOCK_SKEW;
    alerts.filter_map(|alert| alert.starts_at).filter(is_usable).map(whole_seconds).min()
}

/// A time that an incident can have; `None` for all others, so that one alert doesn't make the whole notification invalid.
fn supported_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()).filter(|time| is_supported_time(*time)))
}
