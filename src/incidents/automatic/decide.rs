//! Decides which incidents of one workload are opened, resolved and reopened. Pure.

use jiff::{SignedDuration, Timestamp};
use rollout::{Availability, ChangeKind, Outcome, RecordedRevision, UnixSeconds, WorkloadKey};

use crate::records::object_name;
use crate::settings::{IncidentSettings, IncidentTriggers};

/// Failures that are older open no incident, so that a change of the settings doesn't flood Port with the past.
pub const MAX_FAILURE_AGE: SignedDuration = SignedDuration::from_hours(24);

/// An incident that a person opens up to this long after a failure is meant for that failure.
const ACCEPTED_DELAY: SignedDuration = SignedDuration::from_mins(1);

/// Why the controller opened an incident.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OpenedBy {
    /// A rollout failed.
    FailedRollout,
    /// A complete revision was rolled back.
    RolledBackRollout,
    /// The condition `Available` became `False` outside of a rollout.
    LostAvailability,
}

impl OpenedBy {
    /// The value of the label [`OPENED_BY`](super::OPENED_BY).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailedRollout => "FailedRollout",
            Self::RolledBackRollout => "RolledBackRollout",
            Self::LostAvailability => "LostAvailability",
        }
    }

    /// Parses the value of the label [`OPENED_BY`](super::OPENED_BY). `None` if it is not one of the controller.
    #[must_use]
    pub fn from_label(value: &str) -> Option<Self> {
        [Self::FailedRollout, Self::RolledBackRollout, Self::LostAvailability]
            .into_iter()
            .find(|opened_by| opened_by.as_str() == value)
    }
}

/// One workload, with its records and the incidents that concern it.
#[derive(Clone, Debug)]
pub struct IncidentInput<'a> {
    /// Namespace, kind and name of the workload.
    pub workload: &'a WorkloadKey,
    /// UID of the workload.
    pub uid: &'a str,
    /// The current state of the workload. `None` once it is deleted.
    pub state: Option<WorkloadState>,
    /// The records of its rollouts.
    pub records: Vec<RolloutRecord>,
    /// The incidents that refer to the workload, and those that the controller opened for it.
    pub incidents: Vec<Incident>,
}

/// The current state of a workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkloadState {
    /// The condition `Available`.
    pub availability: Option<Availability>,
    /// Whether a loss of availability concerns the revision in effect: the current revision is complete, the workload asks for at
    /// least one replica, and its controller has observed the current generation.
    pub is_in_effect: bool,
    /// Whether the settings and the annotations of the workload select it.
    pub is_selected: bool,
    /// Whether the workload asks for no replicas, and its controller has observed that.
    pub is_scaled_to_zero: bool,
    /// The completion of the current revision, if the workload is not selected: then no record states it.
    pub excluded_completion: Option<Completion>,
    /// What opens an incident in the environment of the current revision.
    pub triggers: IncidentTriggers,
    /// Start of the last loss of availability that has had an incident: `status.reportedLoss` of the record.
    pub reported_loss: Option<Timestamp>,
}

/// A revision became complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Completion {
    /// Number of the revision.
    pub revision: i64,
    /// When it became complete.
    pub at: Timestamp,
}

/// The record of one rollout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RolloutRecord {
    /// Name of the `DoraDeployment`.
    pub name: String,
    /// The rollout, as it is kept in memory.
    pub rollout: RecordedRevision,
    /// Further fields of the record.
    pub details: RecordDetails,
}

/// Fields of a record beside its rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordDetails {
    /// What opens an incident in the environment of the rollout.
    pub triggers: IncidentTriggers,
    /// Whether the rollout has had an incident: `status.incident`.
    pub has_incident: bool,
    /// The revision that rolled this one back.
    pub rolled_back_by: Option<i64>,
}

/// An existing incident.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Incident {
    /// Name of the `DoraIncident`.
    pub name: String,
    /// Why the controller opened it. `None` if a person or another program opened it.
    pub opened_by: Option<OpenedBy>,
    /// UID of the workload for which the controller opened it.
    pub workload_uid: Option<String>,
    /// The revision that the incident names.
    pub revision: Option<i64>,
    /// The revision that rolled that one back.
    pub rolled_back_by: Option<i64>,
    /// When the incident began.
    pub opened: Timestamp,
    /// When it ended. `None` while it is open.
    pub resolved: Option<Timestamp>,
    /// When the controller reopened it.
    pub reopened: Option<Timestamp>,
    /// Whether somebody else has set `spec.status`, or has corrected `spec.resolvedAt`. From then on, the controller changes neither.
    pub is_taken_over: bool,
}

/// The rules of the decision.
#[derive(Clone, Copy, Debug)]
pub struct IncidentPolicy<'a> {
    /// The settings `incidents`.
    pub settings: &'a IncidentSettings,
    /// When the controller was installed. Earlier failures open no incident.
    pub installed: Timestamp,
}

/// The result of a decision.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Decision {
    /// What to write, in this order. After the writes, the workload has to be reconciled again.
    pub writes: Vec<Write>,
    /// When to reconcile the workload again although nothing has changed.
    pub requeue_at: Option<Timestamp>,
}

/// One write to the API server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// Create an incident, unless one with this name exists.
    Open(NewIncident),
    /// Resolve an incident.
    Resolve {
        /// Name of the incident.
        name: String,
        /// When it ended.
        at: Timestamp,
    },
    /// Open a resolved incident again.
    Reopen {
        /// Name of the incident.
        name: String,
        /// When the problem came back.
        since: Timestamp,
    },
    /// Set `status.incident` of a record.
    SetIncident {
        /// Name of the record.
        record: String,
        /// Name of the incident.
        incident: String,
    },
    /// Set `status.reportedLoss` of the current record.
    SetReportedLoss {
        /// When the workload became unavailable.
        since: Timestamp,
    },
}

impl Write {
    /// Name of the incident that is open after this write, if it opens one.
    #[must_use]
    pub fn opened(&self) -> Option<&str> {
        match self {
            Self::Open(NewIncident { name, .. }) | Self::Reopen { name, .. } => Some(name),
            Self::Resolve { .. } | Self::SetIncident { .. } | Self::SetReportedLoss { .. } => None,
        }
    }
}

/// An incident to create.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewIncident {
    /// Its name. The same failure always has the same name.
    pub name: String,
    /// Why it is opened.
    pub opened_by: OpenedBy,
    /// When it began.
    pub opened: Timestamp,
    /// The revision that failed.
    pub revision: Option<i64>,
    /// The revision that rolled that one back.
    pub rolled_back_by: Option<i64>,
}

/// Whether a rollout may open an incident at `now`. `latest` is the latest time in all records of the workload.
#[must_use]
pub fn may_open(rollout: &RecordedRevision, latest: Option<Timestamp>, now: Timestamp) -> bool {
    let detected = match rollout.outcome {
        Outcome::Failed => rollout.finished.map(UnixSeconds::time),
        // The start of a later rollout shows it.
        Outcome::RolledBack => latest,
        Outcome::InProgress
        | Outcome::Succeeded
        | Outcome::Recovered
        | Outcome::Superseded
        | Outcome::Abandoned
        | Outcome::Unobserved => None,
    };
    detected.is_some_and(|detected| now.duration_since(detected) <= MAX_FAILURE_AGE)
}

/// Decides what to write for one workload.
///
/// The decision is idempotent: once its writes are done, the next decision has none. Every write can be repeated, because names come
/// from the failure and times come from the cluster.
#[must_use]
pub fn decide(input: &IncidentInput<'_>, policy: &IncidentPolicy<'_>, now: Timestamp) -> Decision {
    let failures = input.records.iter().flat_map(|record| decide_rollout(input, record, policy, now));
    let resolutions = input.incidents.iter().filter_map(|incident| {
        let at = resolution_time(input, incident, now)?;
        Some(Write::Resolve { name: incident.name.clone(), at: at.max(incident.opened) })
    });
    let writes: Vec<Write> = failures.chain(resolutions).collect();
    if !writes.is_empty() {
        // They decide whether a loss of availability has an incident of its own.
        return Decision { writes, requeue_at: None };
    }
    input.state.as_ref().map(|state| decide_availability(input, state, policy, now)).unwrap_or_default()
}

/// Name of the incident of a workload that became unavailable at `since`.
#[must_use]
pub fn unavailable_incident_name(workload: &WorkloadKey, since: Timestamp) -> String {
    let suffix = format!("-unavailable-{}", since.strftime("%Y%m%d%H%M%S"));
    object_name(workload.kind, &workload.name, &suffix)
}

/// What to write for a rollout that failed or was rolled back.
fn decide_rollout(
    input: &IncidentInput<'_>,
    record: &RolloutRecord,
    policy: &IncidentPolicy<'_>,
    now: Timestamp,
) -> Vec<Write> {
    let RolloutRecord { name, rollout, details } = record;
    let Some(finished) = rollout.finished.map(UnixSeconds::time).filter(|_| !details.has_incident) else {
        return Vec::new();
    };
    let set_incident = |incident: &str| Write::SetIncident { record: name.clone(), incident: incident.to_owned() };
    // The process ended between the two writes. The rollout may have recovered since.
    if input.incidents.iter().any(|incident| incident.name == *name && incident.concerns(input.uid)) {
        return vec![set_incident(name)];
    }
    let (opened_by, detected) = match rollout.outcome {
        Outcome::Failed => (OpenedBy::FailedRollout, finished),
        Outcome::RolledBack => (OpenedBy::RolledBackRollout, rollback_start(input, details).unwrap_or(finished)),
        Outcome::InProgress
        | Outcome::Succeeded
        | Outcome::Recovered
        | Outcome::Superseded
        | Outcome::Abandoned
        | Outcome::Unobserved => return Vec::new(),
    };
    if is_restart_of_rolled_back(input, rollout)
        || !opens(details.triggers, opened_by)
        || !policy.is_recent(detected, now)
    {
        return Vec::new();
    }
    // Each failed revision is a failure of its own, so the incident of another revision doesn't cover it.
    let covers = |incident: &&Incident| {
        let is_of_rollout = matches!(incident.opened_by, Some(OpenedBy::FailedRollout | OpenedBy::RolledBackRollout));
        let until = saturating_add(detected, ACCEPTED_DELAY);
        !is_of_rollout && incident.concerns(input.uid) && incident.overlaps(finished, until)
    };
    if let Some(incident) = input.incidents.iter().find(covers) {
        return vec![set_incident(&incident.name)];
    }
    let incident = NewIncident {
        name: name.clone(),
        opened_by,
        opened: finished,
        revision: Some(rollout.revision),
        rolled_back_by: details.rolled_back_by,
    };
    vec![Write::Open(incident), set_incident(name)]
}

/// When the rollback of this record began.
fn rollback_start(input: &IncidentInput<'_>, details: &RecordDetails) -> Option<Timestamp> {
    let revision = details.rolled_back_by?;
    let rollback = &input.records.iter().find(|record| record.rollout.revision == revision)?.rollout;
    rollback.started.or(rollback.finished).map(UnixSeconds::time)
}

/// Whether the rollout only restarted a revision that was rolled back as well: both are one failed change.
fn is_restart_of_rolled_back(input: &IncidentInput<'_>, rollout: &RecordedRevision) -> bool {
    let is_rolled_back = |rollout: &RecordedRevision| rollout.outcome == Outcome::RolledBack;
    is_rolled_back(rollout)
        && rollout.change == Some(ChangeKind::Restart)
        && input
            .records
            .iter()
            .any(|earlier| earlier.rollout.revision < rollout.revision && is_rolled_back(&earlier.rollout))
}

/// When an incident ended, if the controller has to resolve it.
fn resolution_time(input: &IncidentInput<'_>, incident: &Incident, now: Timestamp) -> Option<Timestamp> {
    if !incident.is_automatic_for(input.uid) || incident.resolved.is_some() || incident.is_taken_over {
        return None;
    }
    let Some(state) = &input.state else {
        return Some(now);
    };
    // Nothing is expected of a workload without replicas.
    recovery_time(input, state, incident, now).or_else(|| state.is_scaled_to_zero.then_some(now))
}

/// When the problem of an open automatic incident was over.
fn recovery_time(
    input: &IncidentInput<'_>,
    state: &WorkloadState,
    incident: &Incident,
    now: Timestamp,
) -> Option<Timestamp> {
    let unavailable_since = match incident.opened_by? {
        OpenedBy::LostAvailability => Some(incident.reopened.unwrap_or(incident.opened)),
        OpenedBy::FailedRollout | OpenedBy::RolledBackRollout => incident.reopened,
    };
    if let Some(since) = unavailable_since {
        let available = state.availability.filter(|availability| availability.is_available)?;
        return Some(available.since.time().max(since));
    }
    let first_revision = incident.rolled_back_by.or(incident.revision)?;
    let success = |record: &RolloutRecord| {
        let RecordedRevision { revision, outcome, finished, .. } = &record.rollout;
        let became_complete = matches!(outcome, Outcome::Succeeded | Outcome::Recovered | Outcome::RolledBack);
        finished.filter(|_| became_complete && *revision >= first_revision).map(UnixSeconds::time)
    };
    // Revision numbers can repeat. A success from before the failure resolves nothing.
    let recorded = input.records.iter().filter_map(success).filter(|finished| *finished >= incident.opened).min();
    recorded.or_else(|| {
        let Completion { revision, at } = state.excluded_completion?;
        // A revision can be complete again with the condition of an earlier completion.
        let at = if at >= incident.opened { Some(at) } else { (revision > first_revision).then_some(now) };
        at.filter(|_| revision >= first_revision)
    })
}

/// What to write for a loss of availability.
fn decide_availability(
    input: &IncidentInput<'_>,
    state: &WorkloadState,
    policy: &IncidentPolicy<'_>,
    now: Timestamp,
) -> Decision {
    let Some(since) = unreported_loss(state, policy, now) else {
        return Decision::default();
    };
    let due = saturating_add(since, policy.settings.unavailable_for.0);
    if due > now {
        return Decision { requeue_at: Some(due), ..Decision::default() };
    }
    let name = unavailable_incident_name(input.workload, since);
    let is_of_this_loss = |incident: &Incident| {
        (incident.name == name && incident.concerns(input.uid))
            || (incident.is_automatic_for(input.uid) && incident.reopened == Some(since))
    };
    if input.incidents.iter().any(is_of_this_loss) {
        return Decision { writes: vec![Write::SetReportedLoss { since }], requeue_at: None };
    }
    // An incident that somebody else opened in the meantime is meant for this loss.
    if input.incidents.iter().any(|incident| incident.concerns(input.uid) && incident.overlaps(since, now)) {
        return Decision::default();
    }
    let was_just_resolved = |incident: &&Incident| {
        let elapsed = incident.resolved.map(|resolved| since.duration_since(resolved));
        let is_recent =
            elapsed.is_some_and(|elapsed| !elapsed.is_negative() && elapsed < policy.settings.reopen_within.0);
        incident.is_automatic_for(input.uid) && !incident.is_taken_over && is_recent
    };
    let latest = input.incidents.iter().filter(was_just_resolved).max_by_key(|incident| incident.resolved);
    let write = match latest {
        Some(incident) => Write::Reopen { name: incident.name.clone(), since },
        None => Write::Open(NewIncident {
            name,
            opened_by: OpenedBy::LostAvailability,
            opened: since,
            revision: None,
            rolled_back_by: None,
        }),
    };
    Decision { writes: vec![write, Write::SetReportedLoss { since }], requeue_at: None }
}

/// Start of a loss of availability that counts and has had no incident.
fn unreported_loss(state: &WorkloadState, policy: &IncidentPolicy<'_>, now: Timestamp) -> Option<Timestamp> {
    let since = state.availability.filter(|availability| !availability.is_available)?.since.time();
    let counts = state.is_in_effect
        && state.is_selected
        && opens(state.triggers, OpenedBy::LostAvailability)
        && policy.is_recent(since, now)
        && state.reported_loss != Some(since);
    counts.then_some(since)
}

fn saturating_add(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

impl Incident {
    /// Whether the controller opened it for the workload with this UID.
    fn is_automatic_for(&self, uid: &str) -> bool {
        self.opened_by.is_some() && self.workload_uid.as_deref() == Some(uid)
    }

    /// Whether it is about the workload with this UID. An incident of a person has no UID: it means the workload of that name.
    fn concerns(&self, uid: &str) -> bool {
        self.opened_by.is_none() || self.is_automatic_for(uid)
    }

    /// Whether it was open at any time from `from` to `until`.
    fn overlaps(&self, from: Timestamp, until: Timestamp) -> bool {
        self.opened <= until && self.resolved.is_none_or(|resolved| resolved >= from)
    }
}

fn opens(triggers: IncidentTriggers, opened_by: OpenedBy) -> bool {
    match opened_by {
        OpenedBy::FailedRollout => triggers.failed_rollouts,
        OpenedBy::RolledBackRollout => triggers.rolled_back_rollouts,
        OpenedBy::LostAvailability => triggers.lost_availability,
    }
}

impl IncidentPolicy<'_> {
    fn is_recent(&self, time: Timestamp, now: Timestamp) -> bool {
        time >= self.installed && now.duration_since(time) <= MAX_FAILURE_AGE
    }
}

#[cfg(test)]
mod tests;
