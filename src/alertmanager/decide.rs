//! Decides what a notification means for the incidents of its group. Pure.
//!
//! One incident is one episode of a group: from the first alert that fires until no alert fires any more.

use jiff::Timestamp;

use super::notification::{AlertStatus, Notification};
use crate::incidents::IncidentTimes;
use crate::resources::{DoraIncident, IncidentStatus, digest_bytes};

/// What to write for a notification.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Create an incident that began at this time.
    Create {
        /// When the earliest firing alert started.
        started: Timestamp,
    },
    /// Resolve these incidents, each at its time.
    Resolve(Vec<(DoraIncident, Timestamp)>),
    /// Write nothing.
    Ignore(IgnoreReason),
}

/// Why a notification changes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IgnoreReason {
    /// The notification says that the group fires, but none of its alerts does.
    NoFiringAlert,
    /// The incident of the episode exists.
    AlreadyOpen,
    /// The alerts belong to an episode whose incident is resolved.
    AlreadyResolved,
    /// The group has no incident that the notification could resolve.
    NoOpenIncident,
}

impl IgnoreReason {
    /// The reason as text for the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoFiringAlert => "no alert of the group is firing",
            Self::AlreadyOpen => "the group has an open incident",
            Self::AlreadyResolved => "the alerts started before the last incident of the group was resolved",
            Self::NoOpenIncident => "the group has no open incident",
        }
    }
}

/// Decides what `notification` means. `incidents` are the existing incidents of its group.
///
/// Notifications can arrive twice and late. So a notification opens no incident if its alerts started before the last incident of the
/// group was resolved, and it resolves no incident that began after its alerts ended.
#[must_use]
pub fn decide(notification: &Notification, incidents: &[DoraIncident], now: Timestamp) -> Decision {
    match notification.status {
        AlertStatus::Firing => decide_firing(notification, incidents, now),
        AlertStatus::Resolved => decide_resolved(notification, incidents, now),
    }
}

fn decide_firing(notification: &Notification, incidents: &[DoraIncident], now: Timestamp) -> Decision {
    let Some(started) = notification.started() else {
        return Decision::Ignore(IgnoreReason::NoFiringAlert);
    };
    if incidents.iter().any(is_open) {
        return Decision::Ignore(IgnoreReason::AlreadyOpen);
    }
    let mut resolutions = incidents.iter().filter_map(|incident| IncidentTimes::of(incident, now).resolved);
    if resolutions.any(|resolved| started <= resolved) {
        return Decision::Ignore(IgnoreReason::AlreadyResolved);
    }
    Decision::Create { started }
}

fn decide_resolved(notification: &Notification, incidents: &[DoraIncident], now: Timestamp) -> Decision {
    let ended = notification.ended().unwrap_or(now).min(now);
    let began_before_end =
        |incident: &DoraIncident| incident.spec.created_at.as_ref().is_none_or(|created| created.0 <= ended);
    let resolutions: Vec<_> = incidents
        .iter()
        .filter(|incident| is_open(incident) && began_before_end(incident))
        .map(|incident| (incident.clone(), ended.max(IncidentTimes::of(incident, now).opened)))
        .collect();
    if resolutions.is_empty() {
        return Decision::Ignore(IgnoreReason::NoOpenIncident);
    }
    Decision::Resolve(resolutions)
}

fn is_open(incident: &DoraIncident) -> bool {
    incident.spec.status == IncidentStatus::Open
}

/// The identity of a group, as 16 hexadecimal digits. The same group at two receivers is two groups.
#[must_use]
pub fn group_hash(notification: &Notification) -> String {
    let Notification { receiver, group_key, .. } = notification;
    digest_bytes(&[receiver.as_bytes(), &[0], group_key.as_bytes()].concat())
}

#[cfg(test)]
mod tests;
