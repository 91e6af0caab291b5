//! The part of the settings file that says which incidents the controller opens itself, and what it says of all of them.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::Duration;

/// Incidents.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Incidents {
    /// What opens an incident by itself, by environment. In an environment that isn't named, nothing does.
    pub open: BTreeMap<String, Opening>,
    /// How long a Deployment must be without its availability, outside of a rollout, before that is an incident.
    pub unavailable_for: Duration,
    /// An incident of the controller's own that ended less than this ago is opened again, instead of another one, when the Deployment
    /// fails again.
    pub reopen_within: Duration,
    /// How long before an incident a rollout may have ended to be suspected of it.
    pub suspect_within: Duration,
}

impl Default for Incidents {
    fn default() -> Self {
        Self {
            open: [("production".to_owned(), Opening::default())].into(),
            unavailable_for: Duration(SignedDuration::from_mins(5)),
            reopen_within: Duration(SignedDuration::from_mins(10)),
            suspect_within: Duration(SignedDuration::from_hours(1)),
        }
    }
}

/// What opens an incident by itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Opening {
    /// A rollout that fails.
    pub failed_rollouts: bool,
    /// A rollout that became complete and is taken back.
    pub rolled_back_rollouts: bool,
    /// A Deployment whose condition `Available` is `False` outside of a rollout.
    pub lost_availability: bool,
}

impl Default for Opening {
    fn default() -> Self {
        Self { failed_rollouts: true, rolled_back_rollouts: true, lost_availability: true }
    }
}

impl Incidents {
    /// What is wrong, where, and what to write instead.
    pub fn validate(&self) -> Result<(), String> {
        if self.open.keys().any(|environment| environment.trim().is_empty()) {
            return Err("incidents.open names an empty environment: write its name, such as production".to_owned());
        }
        Ok(())
    }
}
