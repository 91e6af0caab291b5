//! Which incidents are opened, resolved and opened again, for one Deployment. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::settings::IncidentSettings;
use rollout::{Availability, ChangeKind, Outcome, RecordedRevision, UnixSeconds, WorkloadKey};

/// What failed longer ago than this opens nothing: a setting that is switched on must not flood Port with the past.
pub const LONGEST_AGO: SignedDuration = SignedDuration::from_hours(24);

/// A person may be this much quicker than Kubernetes is to state the failure.
const SLACK: SignedDuration = SignedDuration::from_mins(1);

/// Longest name of an object in Kubernetes.
const NAME_CHARACTERS: usize = 253;

/// What opened an incident by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OpenedBy {
    /// A rollout that failed.
    FailedRollout,
    /// A rollout that had become complete and was taken back.
    RolledBackRollout,
    /// A Deployment whose condition `Available` was `False` outside of a rollout.
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

    /// What opened an incident with this label; `None` if it is not one of the controller's own.
    #[must_use]
    pub fn of(label: &str) -> Option<Self> {
        [Self::FailedRollout, Self::RolledBackRollout, Self::LostAvailability]
            .into_iter()
            .find(|opened_by| opened_by.as_str() == label)
    }
}

/// One Deployment, with its records and the incidents that concern it.
#[derive(Clone, Debug)]
pub struct IncidentInput<'a> {
    /// Its name.
    pub workload: &'a WorkloadKey,
    /// Its UID.
    pub uid: &'a str,
    /// How it stands; `None` once it is deleted.
    pub present: Option<Present>,
    /// Its recorded revisions.
    pub records: Vec<Recorded>,
    /// The incidents that refer to it, and its own.
    pub incidents: Vec<Incident>,
}

/// How a Deployment stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Present {
    /// The condition `Available`.
    pub availability: Option<Availability>,
    /// Whether a loss of availability would be one of what is in effect: the Deployment controller has seen the present generation,
    /// replicas are asked for, and the present revision is complete.
    pub is_in_effect: bool,
    /// Whether it is among those that are reported.
    pub is_wanted: bool,
    /// Where its present revision runs.
    pub environment: String,
    /// Since when it was unavailable at the last loss that has had an incident.
    pub reported_loss: Option<Timestamp>,
}

/// A recorded revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    /// Name of the record.
    pub name: String,
    /// What is known of it.
    pub known: RecordedRevision,
    /// What else it says. Absent where [`may_open`] says that nobody asks.
    pub details: Option<Details>,
}

/// What a record says that is not kept in memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Details {
    /// Where it was deployed to.
    pub environment: String,
    /// The incident that it has had.
    pub incident: Option<String>,
    /// The revision that took it back.
    pub rolled_back_by: Option<i64>,
}

/// An incident.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Incident {
    /// Its name.
    pub name: String,
    /// What opened it; `None` of one that a person opened, or another program.
    pub opened_by: Option<OpenedBy>,
    /// UID of the Deployment for which the controller opened it.
    pub uid: Option<String>,
    /// The revision that it names.
    pub revision: Option<i64>,
    /// The revision that took that one back.
    pub rolled_back_by: Option<i64>,
    /// When it began.
    pub opened: Timestamp,
    /// When it was over.
    pub resolved: Option<Timestamp>,
    /// Since when the controller has it open again.
    pub reopened: Option<Timestamp>,
    /// Whether somebody else has set `spec.status`: from then on it is theirs.
    pub is_taken_over: bool,
}

/// By which rules it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The settings.
    pub settings: &'a IncidentSettings,
    /// When the controller was installed: what failed before opens nothing.
    pub installed: Timestamp,
}

/// What is to be written, in this order, and when to look again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// What is to be written. Afterwards it has to be decided anew.
    pub writes: Vec<Write>,
    /// When something may have to be written although nothing has changed by then.
    pub look_again: Option<Timestamp>,
}

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// An incident is to be made, unless one of this name is there.
    Open(Opening),
    /// It is over.
    Resolve {
        /// Name of the incident.
        name: String,
        /// Since when.
        at: Timestamp,
    },
    /// It goes on.
    Reopen {
        /// Name of the incident.
        name: String,
        /// Since when.
        since: Timestamp,
    },
    /// A record has had its incident.
    Note {
        /// Name of the record.
        record: String,
        /// Name of the incident.
        incident: String,
    },
    /// A loss of availability has had its incident.
    NoteLoss {
        /// Since when the Deployment was unavailable.
        since: Timestamp,
    },
}

/// An incident that is to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// Its name, the same each time.
    pub name: String,
    /// What opens it.
    pub opened_by: OpenedBy,
    /// When it began.
    pub opened: Timestamp,
    /// The revision that failed.
    pub revision: Option<i64>,
    /// The revision that took that one back.
    pub rolled_back_by: Option<i64>,
}

/// Whether this record may open an incident at `now`, so that what else it says has to be known. `newest` is the last time of any record
/// of its Deployment.
#[must_use]
pub fn may_open(known: &RecordedRevision, newest: Option<Timestamp>, now: Timestamp) -> bool {
    let shown = match known.outcome {
        Outcome::Failed => known.finished.map(UnixSeconds::time),
        // It came to light with a later rollout.
        Outcome::RolledBack => newest,
        Outcome::InProgress
        | Outcome::Succeeded
        | Outcome::Recovered
        | Outcome::Superseded
        | Outcome::Abandoned
        | Outcome::Unobserved => None,
    };
    shown.is_some_and(|shown| now.duration_since(shown) <= LONGEST_AGO)
}

/// What is to be written for the Deployment of `scene`.
///
/// After the writes, the same decision on what they made says that nothing is to be written. All of them can be done again: names are
/// made from what failed, and times are those of the cluster.
#[must_use]
pub fn decide(scene: &IncidentInput<'_>, rules: &Rules<'_>, now: Timestamp) -> Verdict {
    let failures = scene.records.iter().flat_map(|record| failed(scene, record, rules, now));
    let resolutions = scene.incidents.iter().filter_map(|incident| {
        let at = resolution(scene, incident, now)?;
        Some(Write::Resolve { name: incident.name.clone(), at: at.max(incident.opened) })
    });
    let writes: Vec<Write> = failures.chain(resolutions).collect();
    if !writes.is_empty() {
        // Whether a loss of availability is one of its own depends on them.
        return Verdict { writes, look_again: None };
    }
    scene.present.as_ref().map(|present| lost(scene, present, rules, now)).unwrap_or_default()
}

/// Name of the incident of a Deployment that is unavailable since this time.
#[must_use]
pub fn loss_name(workload: &WorkloadKey, since: Timestamp) -> String {
    let ending = format!("-unavailable-{}", since.strftime("%Y%m%d%H%M%S"));
    let kept: String = workload.kind.qualified(&workload.name).chars().take(NAME_CHARACTERS - ending.len()).collect();
    // A name must not have a dot before a dash.
    format!("{}{ending}", kept.trim_end_matches(['.', '-']))
}

/// What a rollout that failed or was rolled back asks for.
fn failed(scene: &IncidentInput<'_>, record: &Recorded, rules: &Rules<'_>, now: Timestamp) -> Vec<Write> {
    let Recorded { name, known, details: Some(details) } = record else {
        return Vec::new();
    };
    let Some(finished) = known.finished.map(UnixSeconds::time) else {
        return Vec::new();
    };
    let note = |incident: &str| Write::Note { record: name.clone(), incident: incident.to_owned() };
    // It was opened, and the process ended before it was noted: the rollout may have recovered since.
    if details.incident.is_none() && scene.incidents.iter().any(|incident| incident.name == *name) {
        return vec![note(name)];
    }
    let (opened_by, shown) = match known.outcome {
        Outcome::Failed => (OpenedBy::FailedRollout, finished),
        Outcome::RolledBack => (OpenedBy::RolledBackRollout, taken_back(scene, details).unwrap_or(finished)),
        Outcome::InProgress
        | Outcome::Succeeded
        | Outcome::Recovered
        | Outcome::Superseded
        | Outcome::Abandoned
        | Outcome::Unobserved => return Vec::new(),
    };
    if details.incident.is_some() || is_restart_of_rolled_back(scene, known) {
        return Vec::new();
    }
    if !rules.opens(&details.environment, opened_by) || !rules.is_recent(shown, now) {
        return Vec::new();
    }
    // Each failed change is a failure of its own, so that no other revision's incident stands for it.
    let covers = |incident: &&Incident| {
        let is_of_rollout = matches!(incident.opened_by, Some(OpenedBy::FailedRollout | OpenedBy::RolledBackRollout));
        !is_of_rollout && incident.concerns(scene.uid) && incident.lasted(finished, later(shown, SLACK))
    };
    if let Some(incident) = scene.incidents.iter().find(covers) {
        return vec![note(&incident.name)];
    }
    let opening = Opening {
        name: name.clone(),
        opened_by,
        opened: finished,
        revision: Some(known.revision),
        rolled_back_by: details.rolled_back_by,
    };
    vec![Write::Open(opening), note(name)]
}

/// When the rollback began that took a record back.
fn taken_back(scene: &IncidentInput<'_>, details: &Details) -> Option<Timestamp> {
    let revision = details.rolled_back_by?;
    let rollback = scene.records.iter().find(|record| record.known.revision == revision)?;
    rollback.known.started.or(rollback.known.finished).map(UnixSeconds::time)
}

/// Whether it only restarted a revision that is rolled back too: both are one change.
fn is_restart_of_rolled_back(scene: &IncidentInput<'_>, known: &RecordedRevision) -> bool {
    known.outcome == Outcome::RolledBack
        && known.change == Some(ChangeKind::Restart)
        && scene
            .records
            .iter()
            .any(|earlier| earlier.known.revision < known.revision && earlier.known.outcome == Outcome::RolledBack)
}

/// Since when an incident of the controller's own is over, if it has to be told so.
fn resolution(scene: &IncidentInput<'_>, incident: &Incident, now: Timestamp) -> Option<Timestamp> {
    if !incident.is_own(scene.uid) || incident.resolved.is_some() || incident.is_taken_over {
        return None;
    }
    let Some(present) = &scene.present else {
        return Some(now);
    };
    let lost_since = match incident.opened_by? {
        OpenedBy::LostAvailability => Some(incident.reopened.unwrap_or(incident.opened)),
        OpenedBy::FailedRollout | OpenedBy::RolledBackRollout => incident.reopened,
    };
    if let Some(since) = lost_since {
        let returned = present.availability.filter(|availability| availability.is_available)?;
        return Some(returned.since.time().max(since));
    }
    let first = incident.rolled_back_by.or(incident.revision)?;
    let mended = |record: &Recorded| {
        let RecordedRevision { revision, outcome, finished, .. } = &record.known;
        let has_succeeded = matches!(outcome, Outcome::Succeeded | Outcome::Recovered | Outcome::RolledBack);
        // A number may come again; what ended before the failure mended nothing.
        finished.filter(|_| has_succeeded && *revision >= first).map(UnixSeconds::time)
    };
    scene.records.iter().filter_map(mended).filter(|finished| *finished >= incident.opened).min()
}

/// What a loss of availability asks for.
fn lost(scene: &IncidentInput<'_>, present: &Present, rules: &Rules<'_>, now: Timestamp) -> Verdict {
    let nothing = Verdict::default();
    let Some(since) = present.availability.filter(|availability| !availability.is_available) else {
        return nothing;
    };
    let since = since.since.time();
    if !present.is_in_effect
        || !present.is_wanted
        || !rules.opens(&present.environment, OpenedBy::LostAvailability)
        || !rules.is_recent(since, now)
        || present.reported_loss == Some(since)
    {
        return nothing;
    }
    let due = later(since, rules.settings.unavailable_for.0);
    if due > now {
        return Verdict { look_again: Some(due), ..nothing };
    }
    let write = |writes: Vec<Write>| Verdict { writes, look_again: None };
    let name = loss_name(scene.workload, since);
    let is_its_own =
        |incident: &Incident| incident.name == name || (incident.is_own(scene.uid) && incident.reopened == Some(since));
    if scene.incidents.iter().any(is_its_own) {
        return write(vec![Write::NoteLoss { since }]);
    }
    // One that somebody opened before the controller would have is meant for this loss.
    if scene.incidents.iter().any(|incident| incident.concerns(scene.uid) && incident.lasted(since, now)) {
        return nothing;
    }
    let was_just_over = |incident: &&Incident| {
        let ago = incident.resolved.map(|resolved| since.duration_since(resolved));
        let is_short = ago.is_some_and(|ago| !ago.is_negative() && ago < rules.settings.reopen_within.0);
        incident.is_own(scene.uid) && !incident.is_taken_over && is_short
    };
    let latest = scene.incidents.iter().filter(was_just_over).max_by_key(|incident| incident.resolved);
    let first = match latest {
        Some(incident) => Write::Reopen { name: incident.name.clone(), since },
        None => Write::Open(Opening {
            name,
            opened_by: OpenedBy::LostAvailability,
            opened: since,
            revision: None,
            rolled_back_by: None,
        }),
    };
    write(vec![first, Write::NoteLoss { since }])
}

fn later(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

impl Incident {
    /// Whether the controller opened it for the Deployment with this UID.
    fn is_own(&self, uid: &str) -> bool {
        self.opened_by.is_some() && self.uid.as_deref() == Some(uid)
    }

    /// Whether it is about the Deployment with this UID: a person's names no UID, and means the one that has the name.
    fn concerns(&self, uid: &str) -> bool {
        self.opened_by.is_none() || self.is_own(uid)
    }

    /// Whether it began before `until` and was not over before `from`.
    fn lasted(&self, from: Timestamp, until: Timestamp) -> bool {
        self.opened <= until && self.resolved.is_none_or(|resolved| resolved >= from)
    }
}

impl Rules<'_> {
    fn opens(&self, environment: &str, opened_by: OpenedBy) -> bool {
        self.settings.open.get(environment).is_some_and(|opening| match opened_by {
            OpenedBy::FailedRollout => opening.failed_rollouts,
            OpenedBy::RolledBackRollout => opening.rolled_back_rollouts,
            OpenedBy::LostAvailability => opening.lost_availability,
        })
    }

    fn is_recent(&self, time: Timestamp, now: Timestamp) -> bool {
        time >= self.installed && now.duration_since(time) <= LONGEST_AGO
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
