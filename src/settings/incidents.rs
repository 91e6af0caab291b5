//! Settings file: automatic incidents, and suspected causes of all incidents.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Duration, FileError};

/// Automatic incidents, and suspected causes of all incidents.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct IncidentSettings {
    /// What opens an incident, by environment. In an environment that is not listed, the controller opens no incidents. Default:
    /// `production` with all triggers.
    pub open: BTreeMap<String, IncidentTriggers>,
    /// How long a workload must be unavailable, outside of a rollout, before the controller opens an incident. Default: `5m`.
    pub unavailable_for: Duration,
    /// A loss of availability this soon after the end of the last automatic incident of the workload opens that incident again. Default:
    /// `10m`.
    pub reopen_within: Duration,
    /// How long before an incident a rollout may have ended to be its suspected cause. Default: `1h`.
    pub suspect_within: Duration,
}

impl Default for IncidentSettings {
    fn default() -> Self {
        Self {
            open: [("production".to_owned(), IncidentTriggers::default())].into(),
            unavailable_for: Duration(SignedDuration::from_mins(5)),
            reopen_within: Duration(SignedDuration::from_mins(10)),
            suspect_within: Duration(SignedDuration::from_hours(1)),
        }
    }
}

/// What opens an incident.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct IncidentTriggers {
    /// A rollout that fails. Default: `true`.
    pub failed_rollouts: bool,
    /// A complete rollout that is rolled back. Default: `true`.
    pub rolled_back_rollouts: bool,
    /// A workload that is unavailable outside of a rollout: the condition `Available` of a Deployment is `False`. Default: `true`.
    pub lost_availability: bool,
}

impl Default for IncidentTriggers {
    fn default() -> Self {
        Self { failed_rollouts: true, rolled_back_rollouts: true, lost_availability: true }
    }
}

impl IncidentTriggers {
    /// Nothing opens an incident.
    pub const NONE: Self = Self { failed_rollouts: false, rolled_back_rollouts: false, lost_availability: false };
}

impl IncidentSettings {
    /// What opens an incident in this environment.
    #[must_use]
    pub fn triggers(&self, environment: &str) -> IncidentTriggers {
        self.open.get(environment).copied().unwrap_or(IncidentTriggers::NONE)
    }

    /// Checks what the types don't.
    pub(super) fn validate(&self) -> Result<(), FileError> {
        if self.open.keys().any(|environment| environment.trim().is_empty()) {
            return Err(FileError::EmptyEnvironment);
        }
        Ok(())
    }
}
