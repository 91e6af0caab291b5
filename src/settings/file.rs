//! The settings file. The chart makes it from its value `config`.

use std::collections::BTreeMap;

use rollout::{Outcome, WorkloadKind};
use serde::{Deserialize, Serialize};

use super::{
    AlertmanagerSettings, IncidentSettings, NamingSettings, PublishSettings, RequestLimits, RetentionSettings,
    RolloutSettings, WorkloadSettings,
};

/// The settings file. Every key has a default.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FileSettings {
    /// Values that apply if neither the custom resource nor an annotation or label has one.
    pub defaults: Defaults,
    /// The blueprints in Port.
    pub blueprints: Blueprints,
    /// Property `status` of a deployment, by outcome of the rollout. A rollout whose outcome is not listed is not sent. Default:
    /// `Succeeded: success`, `Recovered: success`, `Failed: failed`, `Superseded: cancelled`, `RolledBack: rolled_back` and `Unobserved:
    /// unknown`.
    pub statuses: Statuses,
    /// Names and values of blueprints that are not those of Port's DORA Metrics.
    pub naming: NamingSettings,
    /// Rate limits of Port.
    pub limits: RequestLimits,
    /// How rollouts are recorded.
    pub rollouts: RolloutSettings,
    /// Which of the recorded rollouts are sent to Port.
    pub publish: PublishSettings,
    /// Which workloads are recorded.
    pub workloads: WorkloadSettings,
    /// How long the records of rollouts are kept in the cluster.
    pub retention: RetentionSettings,
    /// Automatic incidents, and suspected causes of all incidents.
    pub incidents: IncidentSettings,
    /// How a notification of Alertmanager becomes an incident.
    pub alertmanager: AlertmanagerSettings,
}

/// Values that apply if neither the custom resource nor an annotation or label has one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Defaults {
    /// Environment of a deployment. Default: `production`.
    pub environment: String,
    /// Identifier of the group in Port, for deployments and incidents. Default: `all_teams`.
    pub group: String,
    /// Property `deployment_type` of a deployment. Default: `Kubernetes`.
    pub deployment_type: String,
    /// Property `incident_type` of an incident. Default: `Custom incident`.
    pub incident_type: String,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            environment: "production".to_owned(),
            group: "all_teams".to_owned(),
            deployment_type: "Kubernetes".to_owned(),
            incident_type: "Custom incident".to_owned(),
        }
    }
}

/// Identifiers of the blueprints in Port.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Blueprints {
    /// Identifier of the blueprint of deployments. Default: `dora_deployment`.
    pub deployment: String,
    /// Identifier of the blueprint of incidents. Default: `dora_incident`.
    pub incident: String,
}

impl Default for Blueprints {
    fn default() -> Self {
        Self { deployment: "dora_deployment".to_owned(), incident: "dora_incident".to_owned() }
    }
}

/// Property `status` of a deployment, by outcome of the rollout.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Statuses(BTreeMap<Outcome, String>);

impl Statuses {
    /// The status for `outcome`; `None` if rollouts with this outcome are not sent.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> Option<&str> {
        self.0.get(&outcome).map(String::as_str)
    }

    /// All statuses. Several outcomes can have the same one.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
}

impl Default for Statuses {
    fn default() -> Self {
        let statuses = [
            (Outcome::Succeeded, "success"),
            (Outcome::Recovered, "success"),
            (Outcome::Failed, "failed"),
            (Outcome::Superseded, "cancelled"),
            (Outcome::RolledBack, "rolled_back"),
            (Outcome::Unobserved, "unknown"),
        ];
        Self(statuses.into_iter().map(|(outcome, status)| (outcome, status.to_owned())).collect())
    }
}

/// Why the settings file is invalid.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not YAML, or a key or value is invalid. The text has the line.
    #[error(transparent)]
    Syntax(Box<serde_saphyr::Error>),
    /// A value is empty.
    #[error("{key} is empty: set a value, or remove the key to use the default")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// The status of an outcome is empty.
    #[error("statuses.{outcome:?} is empty: set a value, or remove the key if these rollouts must not be sent")]
    EmptyStatus {
        /// The outcome.
        outcome: Outcome,
    },
    /// A rollout in progress has a status.
    #[error(
        "statuses.InProgress is not allowed: remove the key. Port needs the time of a deployment, and a rollout in progress has none"
    )]
    InProgressStatus,
    /// The controller doesn't send a property or relation of this name.
    #[error("{key} is unknown: expected one of {}", .known.join(", "))]
    UnknownName {
        /// The key.
        key: String,
        /// The names that the controller knows.
        known: Vec<&'static str>,
    },
    /// A share of the rate limits that is not a percentage.
    #[error("limits.percent is {0}: expected a number from 1 to 100")]
    Percent(u32),
    /// A rate limit that allows no request.
    #[error(
        "{key} is 0, which allows no request: set at least 1, or remove the key to use the limit that Port publishes"
    )]
    NoRequests {
        /// The key.
        key: &'static str,
    },
    /// No record is kept.
    #[error("{key} is 0: expected at least 1, because a record stays in the cluster until it is delivered")]
    NoRecords {
        /// The key.
        key: &'static str,
    },
    /// The name of an environment is empty.
    #[error("incidents.open has an empty environment: write its name, such as production")]
    EmptyEnvironment,
    /// No kind of workload is recorded.
    #[error("workloads.kinds is empty: list the kinds of workloads that are recorded, such as [Deployment]")]
    NoKinds,
    /// This version can't record rollouts of a kind.
    #[error("workloads.kinds: this version doesn't record rollouts of a {kind}; remove it. Supported kinds: {}", names(.supported))]
    UnsupportedKind {
        /// The kind.
        kind: WorkloadKind,
        /// The kinds that this version supports.
        supported: Vec<WorkloadKind>,
    },
}

fn names(kinds: &[WorkloadKind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

impl FileSettings {
    /// Reads and validates the settings in `yaml`. An empty text means the defaults.
    ///
    /// # Errors
    /// If a key is unknown or a value is invalid.
    pub fn parse(yaml: &str) -> Result<Self, FileError> {
        let settings: Option<Self> =
            serde_saphyr::from_str(yaml).map_err(|error| FileError::Syntax(Box::new(error)))?;
        let settings = settings.unwrap_or_default();
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), FileError> {
        let Self {
            defaults,
            blueprints,
            statuses,
            naming,
            limits,
            rollouts: _,
            publish: _,
            workloads,
            retention,
            incidents,
            alertmanager,
        } = self;
        let Defaults { environment, group, deployment_type, incident_type } = defaults;
        let Blueprints { deployment, incident } = blueprints;
        let required = [
            ("defaults.environment", environment),
            ("defaults.group", group),
            ("defaults.deploymentType", deployment_type),
            ("defaults.incidentType", incident_type),
            ("blueprints.deployment", deployment),
            ("blueprints.incident", incident),
        ];
        if let Some((key, _)) = required.into_iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(FileError::Empty { key });
        }
        statuses.validate()?;
        naming.validate()?;
        limits.validate()?;
        workloads.validate()?;
        retention.validate()?;
        incidents.validate()?;
        alertmanager.validate()
    }
}

impl Statuses {
    fn validate(&self) -> Result<(), FileError> {
        if let Some((outcome, _)) = self.0.iter().find(|(_, status)| status.trim().is_empty()) {
            return Err(FileError::EmptyStatus { outcome: *outcome });
        }
        if self.0.contains_key(&Outcome::InProgress) { Err(FileError::InProgressStatus) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use rollout::ChangeKind;

    use super::*;

    #[test]
    fn empty_file_means_the_defaults() {
        for text in ["", "{}", "# nothing\n", "defaults: {}\n"] {
            assert_eq!(FileSettings::parse(text).unwrap(), FileSettings::default(), "{text:?}");
        }
    }

    #[test]
    fn defaults_survive_a_round_trip() {
        let text = serde_saphyr::to_string(&FileSettings::default()).unwrap();
        assert_eq!(FileSettings::parse(&text).unwrap(), FileSettings::default(), "{text}");
    }

    #[test]
    fn only_given_keys_replace_their_defaults() {
        let settings =
            FileSettings::parse("defaults: {environment: staging}\nstatuses: {Succeeded: Success}\n").unwrap();
        assert_eq!(settings.defaults, Defaults { environment: "staging".to_owned(), ..Defaults::default() });
        assert_eq!(settings.statuses.of(Outcome::Succeeded), Some("Success"));
        assert_eq!(settings.statuses.of(Outcome::Failed), None);
        let settings = FileSettings::parse("publish: {changes: {Restart: true}}\nretention: {maxAge: 30d}\n").unwrap();
        let changes = [ChangeKind::Restart, ChangeKind::Release];
        assert!(changes.iter().all(|change| settings.publish.changes.includes(*change)));
        assert_eq!((settings.retention.records, settings.retention.max_age.to_string().as_str()), (20, "720h"));
    }

    #[test]
    fn mistakes_are_explained() {
        let mistakes = [
            ("defaults: {enviroment: staging}", "unknown field `enviroment`"),
            ("defaults: {environment: ''}", "defaults.environment is empty"),
            ("statuses: {Succeded: success}", "Succeded"),
            ("statuses: {Failed: ' '}", "statuses.Failed is empty"),
            ("statuses: {InProgress: running}", "statuses.InProgress is not allowed"),
            ("blueprints: 7", "line 1"),
            ("publish: {changes: {Restarts: true}}", "Restarts"),
            ("limits: {percent: 101}", "limits.percent is 101"),
            ("rollouts: {history: everything}", "everything"),
            ("naming: {deployment: {properties: {state: x}}}", "naming.deployment.properties.state is unknown"),
            ("rollouts: {failAfter: soon}", "invalid duration \"soon\""),
            (
                "alertmanager: {fields: {title: [label.alertname]}}",
                "invalid source \"label.alertname\": expected labels.NAME",
            ),
            ("alertmanager: {namespace: ''}", "alertmanager.namespace is empty"),
            ("incidents: {open: {'': {}}}", "incidents.open has an empty environment"),
            ("retention: {records: 0}", "retention.records is 0"),
            ("retention: {undeliveredRecords: 0}", "retention.undeliveredRecords is 0"),
            ("retention: {appliedRecords: 0}", "retention.appliedRecords is 0"),
            ("retention: {maxAge: 90}", "such as 15m, 12h or 90d"),
            ("workloads: {kinds: []}", "workloads.kinds is empty"),
            ("workloads: {kinds: [DaemonSet]}", "doesn't record rollouts of a DaemonSet"),
            ("workloads: {exclude: {namespaces: ['Kube System']}}", "invalid namespace \"Kube System\""),
            ("workloads: {exclude: {labels: {matchlabels: {a: b}}}}", "empty label selector"),
            (
                "workloads: {include: {labels: {matchExpressions: [{key: a, operator: Is}]}}}",
                "expected the operators In",
            ),
        ];
        for (text, expected) in mistakes {
            let error = FileSettings::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn mistakes_in_values_have_the_line() {
        for text in [
            "workloads:\n  exclude:\n    namespaces: [kube-system, 'Shop']",
            "workloads:\n  include:\n    labels: {matchlabels: {tier: web}}",
            "retention:\n  records: 5\n  maxAge: 90",
            "alertmanager:\n  fields:\n    title: [label.alertname]",
        ] {
            let error = FileSettings::parse(text).unwrap_err().to_string();
            assert!(error.contains("line 3") && error.contains(text.lines().last().unwrap()), "{error}");
        }
    }
}
