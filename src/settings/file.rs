//! The settings file, which the chart makes from its value `config`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alertmanager::Alertmanager;
use super::incidents::Incidents;
use super::limits::RequestLimits;
use super::naming::Names;
use super::rollouts::{Publish, Retention, Rollouts};
use super::workloads::Workloads;
use rollout::Outcome;

/// What the settings file can say. Everything has a default.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FileSettings {
    /// What holds where no annotation says otherwise.
    pub defaults: Defaults,
    /// The blueprints in Port that entities are made of.
    pub blueprints: Blueprints,
    /// Value of the property `status` by outcome; an outcome that is not named is not published.
    pub statuses: Statuses,
    /// Names and values in Port.
    pub naming: Names,
    /// How much may be asked of Port.
    pub limits: RequestLimits,
    /// How rollouts are followed.
    pub rollouts: Rollouts,
    /// Which of the recorded rollouts Port is told.
    pub publish: Publish,
    /// Which workloads are recorded.
    pub workloads: Workloads,
    /// How long the records of a Deployment are kept.
    pub retention: Retention,
    /// Which incidents the controller opens itself, and what it says of all of them.
    pub incidents: Incidents,
    /// What an alert of Alertmanager becomes in an incident.
    pub alertmanager: Alertmanager,
}

/// What holds where neither an annotation nor the resource says otherwise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Defaults {
    /// Property `environment` of a deployment.
    pub environment: String,
    /// Relation `group`: identifier of the entity of Port's blueprint `group`.
    pub group: String,
    /// Property `deployment_type` of a deployment.
    pub deployment_type: String,
    /// Property `incident_type` of an incident.
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
    /// That of deployments.
    pub deployment: String,
    /// That of incidents.
    pub incident: String,
}

impl Default for Blueprints {
    fn default() -> Self {
        Self { deployment: "dora_deployment".to_owned(), incident: "dora_incident".to_owned() }
    }
}

/// Value of the property `status` by outcome.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Statuses(BTreeMap<Outcome, String>);

impl Statuses {
    /// The status that `outcome` is published as; `None` if it is not published.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> Option<&str> {
        self.0.get(&outcome).map(String::as_str)
    }

    /// All of them; several outcomes may have the same.
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

impl FileSettings {
    /// Reads the settings from YAML. An empty text means the defaults.
    ///
    /// # Errors
    /// What is wrong and where: an unknown name, a value of the wrong kind, an empty value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let settings: Option<Self> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let settings = settings.unwrap_or_default();
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
        } = &settings;
        let Defaults { environment, group, deployment_type, incident_type } = defaults;
        let Blueprints { deployment, incident } = blueprints;
        let named = [
            ("defaults.environment", environment),
            ("defaults.group", group),
            ("defaults.deploymentType", deployment_type),
            ("defaults.incidentType", incident_type),
            ("blueprints.deployment", deployment),
            ("blueprints.incident", incident),
        ];
        if let Some((name, _)) = named.into_iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(format!("{name} is empty: give it a value, or leave it out for the default"));
        }
        if let Some((outcome, _)) = statuses.0.iter().find(|(_, status)| status.trim().is_empty()) {
            return Err(format!("statuses.{outcome:?} is empty: leave the outcome out if it is not to be published"));
        }
        if statuses.0.contains_key(&Outcome::InProgress) {
            return Err(
                "statuses.InProgress: a deployment in progress has no time yet and is not published; leave it out"
                    .to_owned(),
            );
        }
        naming.validate()?;
        limits.validate()?;
        workloads.selection()?;
        retention.validate()?;
        incidents.validate()?;
        alertmanager.validate()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::ChangeKind;

    #[test]
    fn an_empty_file_means_the_defaults() {
        for text in ["", "{}", "# nothing\n", "defaults: {}\n"] {
            assert_eq!(FileSettings::parse(text), Ok(FileSettings::default()), "{text:?}");
        }
    }

    #[test]
    fn what_is_given_replaces_its_default_and_nothing_else() {
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
    fn mistakes_are_named() {
        let mistakes = [
            ("defaults: {enviroment: staging}", "enviroment"),
            ("defaults: {environment: ''}", "defaults.environment is empty"),
            ("statuses: {Succeded: success}", "Succeded"),
            ("statuses: {InProgress: running}", "statuses.InProgress"),
            ("blueprints: 7", "line 1"),
            ("publish: {changes: {Restarts: true}}", "Restarts"),
            ("rollouts: {history: everything}", "everything"),
            ("naming: {deployment: {properties: {state: x}}}", "naming.deployment.properties.state"),
            ("rollouts: {failAfter: soon}", "such as 15m"),
            ("alertmanager: {fields: {title: [label.alertname]}}", "write labels.NAME"),
            ("alertmanager: {namespace: ''}", "alertmanager.namespace is empty"),
            ("retention: {records: 0}", "retention.records is 0"),
            ("retention: {maxAge: 90}", "such as 15m, 12h or 90d"),
            ("workloads: {exclude: {namespaces: ['Kube System']}}", "no name of a namespace"),
            ("workloads: {exclude: {labels: {matchlabels: {a: b}}}}", "workloads.exclude.labels selects nothing"),
            ("workloads: {include: {labels: {matchExpressions: [{key: a, operator: Is}]}}}", "operators are In"),
        ];
        for (text, named) in mistakes {
            let problem = FileSettings::parse(text).unwrap_err();
            assert!(problem.contains(named), "{text:?}: {problem}");
        }
    }
}
