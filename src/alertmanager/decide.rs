//! Decides what a notification means for the incidents of its group. Pure.
//!
//! One incident is one episode of a group: from the first alert that fires until no alert fires any more.

use jiff::Timestamp;

use super::notification::{AlertStatus, Notification};
use crate::incidents::IncidentTimes;
use crate::resources::{DoraIncident, IncidentStatus, ResourceKey, digest_bytes};

/// An incident of a group, as far as the decision needs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupIncident {
    /// Namespace and name of the incident.
    pub key: ResourceKey,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
    /// The state of the incident.
    pub state: GroupIncidentState,
}

/// The state of an incident of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GroupIncidentState {
    /// It is open.
    Open {
        /// When it began.
        opened: Timestamp,
        /// Whether `spec.createdAt` says so.
        is_stated: bool,
    },
    /// It was resolved at this time.
    Resolved(Timestamp),
    /// It is open and can't be decoded, so it can't be changed.
    Unreadable,
}

impl GroupIncident {
    /// Reads `incident`. `now` applies only if the API server states no time. `None` without namespace and name.
    #[must_use]
    pub fn of(incident: &DoraIncident, now: Timestamp) -> Option<Self> {
        let IncidentTimes { opened, resolved, .. } = IncidentTimes::of(incident, now);
        // Nobody has resolved it later than now. The creation is a time that only the API server sets, and unlike `now` it stays the same,
        // so that an incident which ends in 2199 doesn't cover each later episode.
        let created = || incident.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0.min(now));
        let resolved = resolved.map(|resolved| if resolved > now { created() } else { resolved });
        let state = match incident.spec.status {
            IncidentStatus::Open => GroupIncidentState::Open { opened, is_stated: incident.spec.created_at.is_some() },
            IncidentStatus::Resolved => GroupIncidentState::Resolved(resolved.unwrap_or(now)),
        };
        let metadata = &incident.metadata;
        let (uid, resource_version) = (metadata.uid.clone(), metadata.resource_version.clone());
        Some(Self { key: ResourceKey::of(metadata)?, uid, resource_version, state })
    }

    fn is_open(&self) -> bool {
        !matches!(self.state, GroupIncidentState::Resolved(_))
    }

    fn resolved(&self) -> Option<Timestamp> {
        match self.state {
            GroupIncidentState::Resolved(at) => Some(at),
            GroupIncidentState::Open { .. } | GroupIncidentState::Unreadable => None,
        }
    }
}

/// What to write for a notification.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Create an incident that began at this time.
    Create {
        /// When the earliest firing alert started.
        started: Timestamp,
    },
    /// Resolve these incidents, each at its time.
    Resolve(Vec<(GroupIncident, Timestamp)>),
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

/// Decides what `notification` means. `incidents` are the incidents of its group that count: the open ones, and the one that was resolved
/// last, in the namespaces that the notification names and in the namespace of the controller.
///
/// Notifications can arrive twice and late. So a notification opens no incident if its alerts started before the last incident of the
/// group was resolved, and it resolves no incident that began after its alerts ended.
#[must_use]
pub fn decide(notification: &Notification, incidents: &[GroupIncident], now: Timestamp) -> Decision {
    match notification.status {
        AlertStatus::Firing => decide_firing(notification, incidents, now),
        AlertStatus::Resolved => decide_resolved(notification, incidents, now),
    }
}

fn decide_firing(notification: &Notification, incidents: &[GroupIncident], now: Timestamp) -> Decision {
    let Some(started) = notification.started(now) else {
        return Decision::Ignore(IgnoreReason::NoFiringAlert);
    };
    if incidents.iter().any(GroupIncident::is_open) {
        return Decision::Ignore(IgnoreReason::AlreadyOpen);
    }
    if incidents.iter().filter_map(GroupIncident::resolved).any(|resolved| started <= resolved) {
        return Decision::Ignore(IgnoreReason::AlreadyResolved);
    }
    Decision::Create { started }
}

fn decide_resolved(notification: &Notification, incidents: &[GroupIncident], now: Timestamp) -> Decision {
    let with_time = |incident: &GroupIncident| Some((incident.clone(), resolution(notification, incident, now)?));
    let resolutions: Vec<_> = incidents.iter().filter_map(with_time).collect();
    if resolutions.is_empty() {
        return Decision::Ignore(IgnoreReason::NoOpenIncident);
    }
    Decision::Resolve(resolutions)
}

/// The time at which the end of all alerts of `notification` resolves `incident`, if it does.
#[must_use]
pub fn resolution(notification: &Notification, incident: &GroupIncident, now: Timestamp) -> Option<Timestamp> {
    let ended = notification.ended().unwrap_or(now).min(now);
    match incident.state {
        GroupIncidentState::Open { opened, is_stated } if !is_stated || opened <= ended => Some(ended.max(opened)),
        _ => None,
    }
}

/// Whether the end of the alerts may have arrived before the watch has brought the incident of their episode, which another replica has
/// created. `incidents` are those of the group that are known. None of them is of this episode if all were resolved before it.
#[must_use]
pub fn may_be_early(notification: &Notification, incidents: &[GroupIncident], now: Timestamp) -> bool {
    let is_before = |resolved| notification.earliest_start(now).is_none_or(|start| resolved < start);
    incidents.iter().filter_map(GroupIncident::resolved).all(is_before)
}

/// The identity of a group, as 16 hexadecimal digits. The same group at two receivers is two groups.
#[must_use]
pub fn group_hash(notification: &Notification) -> String {
    let Notification { receiver, group_key, .. } = notification;
    digest_bytes(&[receiver.as_bytes(), &[0], group_key.as_bytes()].concat())
}

#[cfg(test)]
mod tests;
