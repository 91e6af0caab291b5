//! Builds the input of the decision from memory and from the objects of the cluster. Pure.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use rollout::{
    MetadataSources, Outcome, ProgressReason, RecordedRevision, Uid, UnixSeconds, Workload, WorkloadKey, is_complete,
    is_ignored, read_metadata,
};

use super::decide::{
    Completion, Incident, IncidentInput, OpenedBy, RecordDetails, RolloutRecord, WorkloadState, Write,
};
use super::manifest::{CREATION_MANAGER, OPENED_BY, REOPENED_AT, ROLLED_BACK_BY, UPDATE_MANAGER, WORKLOAD_UID};
use crate::incidents::IncidentTimes;
use crate::records::{IncidentDetails, record_name};
use crate::resources::{AffectedWorkload, DoraDeployment, DoraIncident, IncidentStatus, SlimDoraIncident};
use crate::settings::FileSettings;
use crate::workloads::Snapshot;

/// A workload, as far as it is in memory. That is enough to decide whether anything has to be written.
#[derive(Debug)]
pub struct CachedWorkload {
    /// Namespace, kind and name of the workload.
    pub workload: WorkloadKey,
    /// UID of the workload.
    pub uid: Uid,
    /// The current state of the workload.
    pub snapshot: Snapshot,
    /// Its recorded rollouts.
    pub records: Vec<(RecordedRevision, IncidentDetails)>,
    /// The incidents that concern it.
    pub incidents: Vec<Incident>,
    /// Start of the last loss of availability that has had an incident, if no record could hold it.
    pub reported_loss: Option<Timestamp>,
}

/// Names of the objects that a decision is about to write.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequiredObjects {
    /// Names of `DoraDeployment`s.
    pub records: BTreeSet<String>,
    /// Names of `DoraIncident`s. An incident of such a name need not exist.
    pub incidents: BTreeSet<String>,
}

/// Objects as the API server has them, by name; `None` if one doesn't exist or can't be decoded. They take precedence over memory.
#[derive(Debug, Default)]
pub struct ReadObjects {
    /// The records that were read.
    pub records: HashMap<String, Option<DoraDeployment>>,
    /// The incidents that were read.
    pub incidents: HashMap<String, Option<DoraIncident>>,
}

impl ReadObjects {
    /// As if none of these incidents existed.
    #[must_use]
    pub fn without_incidents(names: &[String]) -> Self {
        Self { incidents: names.iter().map(|name| (name.clone(), None)).collect(), ..Self::default() }
    }
}

impl RequiredObjects {
    /// The objects to read before `writes`. None if nothing is written.
    #[must_use]
    pub fn of(writes: &[Write], cached: &CachedWorkload) -> Self {
        let mut required = Self::default();
        for write in writes {
            match write {
                Write::Open(incident) if incident.opened_by == OpenedBy::LostAvailability => {
                    required.records.extend(cached.current_record_name());
                    required.incidents.insert(incident.name.clone());
                }
                Write::Open(incident) => {
                    required.records.insert(incident.name.clone());
                    required.incidents.insert(incident.name.clone());
                }
                Write::Resolve { name, .. } | Write::Reopen { name, .. } => {
                    required.incidents.insert(name.clone());
                }
                Write::SetIncident { record, incident } => {
                    required.records.insert(record.clone());
                    required.incidents.insert(incident.clone());
                }
                Write::SetReportedLoss { .. } => required.records.extend(cached.current_record_name()),
            }
        }
        required
    }

    /// Whether the objects of `write` are among these.
    #[must_use]
    pub fn include(&self, write: &Write, cached: &CachedWorkload) -> bool {
        let Self { records, incidents } = Self::of(std::slice::from_ref(write), cached);
        records.is_subset(&self.records) && incidents.is_subset(&self.incidents)
    }
}

impl CachedWorkload {
    /// The input of the decision. What was `read` takes precedence over memory.
    #[must_use]
    pub fn input(&self, read: &ReadObjects, settings: &FileSettings, now: Timestamp) -> IncidentInput<'_> {
        let record = |(rollout, known): &(RecordedRevision, IncidentDetails)| {
            let name = self.record_name(rollout);
            let details = match read.records.get(&name) {
                Some(record) => read_details(record.as_ref()?, settings),
                None => details(known),
            };
            Some(RolloutRecord { name, rollout: rollout.clone(), details })
        };
        let unread = self.incidents.iter().filter(|incident| !read.incidents.contains_key(&incident.name)).cloned();
        let reread = read.incidents.values().flatten().filter(|incident| concerns(incident, &self.workload));
        IncidentInput {
            workload: &self.workload,
            uid: &self.uid,
            state: self.state(read, settings, now),
            records: self.records.iter().filter_map(record).collect(),
            incidents: unread.chain(reread.map(|incident| read_incident(incident, now))).collect(),
        }
    }

    /// The record of the current revision, if it was read.
    #[must_use]
    pub fn current_record<'a>(&self, read: &'a ReadObjects) -> Option<&'a DoraDeployment> {
        read.records.get(&self.current_record_name()?)?.as_ref()
    }

    /// Identifier of the group in Port from the metadata of the workload, if it has one.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        read_metadata(&self.metadata_sources()?).group
    }

    /// The recorded revision whose record has this name.
    #[must_use]
    pub fn rollout(&self, record: &str) -> Option<&RecordedRevision> {
        self.records.iter().map(|(rollout, _)| rollout).find(|rollout| self.record_name(rollout) == record)
    }

    fn record_name(&self, rollout: &RecordedRevision) -> String {
        record_name(self.workload.kind, &self.workload.name, &self.uid, rollout)
    }

    fn current_record_name(&self) -> Option<String> {
        self.current_rollout().map(|(rollout, _)| self.record_name(rollout))
    }

    /// The newest recorded rollout of the current revision.
    fn current_rollout(&self) -> Option<&(RecordedRevision, IncidentDetails)> {
        let revision = self.snapshot.observation.as_ref()?.workload.revision?;
        let of_revision = self.records.iter().filter(|(rollout, _)| rollout.revision == revision);
        of_revision.max_by_key(|(rollout, _)| rollout.started)
    }

    /// The metadata of the current revision, if its ReplicaSet exists.
    fn metadata_sources(&self) -> Option<MetadataSources<'_>> {
        let Snapshot { observation, revisions, namespace_annotations, namespace_labels, .. } = &self.snapshot;
        let workload = &observation.as_ref()?.workload;
        let current = revisions.iter().find(|set| workload.revision.is_some_and(|revision| set.ran(revision)))?;
        Some(MetadataSources::new(workload, current, namespace_annotations, namespace_labels))
    }

    /// The current state of the workload. `None` once it is deleted.
    fn state(&self, read: &ReadObjects, settings: &FileSettings, now: Timestamp) -> Option<WorkloadState> {
        let workload = &self.snapshot.observation.as_ref()?.workload;
        let sources = self.metadata_sources();
        let (current, record) = (self.current_rollout(), self.current_record(read));
        let triggers = match (record, current) {
            (Some(record), _) => read_details(record, settings).triggers,
            (None, Some((_, details))) => details.triggers,
            (None, None) => {
                let environment = sources.as_ref().and_then(|sources| read_metadata(sources).environment);
                settings.incidents.triggers(environment.as_ref().unwrap_or(&settings.defaults.environment))
            }
        };
        let reported_loss = match (record, current) {
            (Some(record), _) => reported_loss(record),
            (None, Some((_, details))) => details.reported_loss.map(UnixSeconds::time),
            (None, None) => None,
        };
        let is_selected = workload.selected && !sources.as_ref().is_some_and(is_ignored);
        let is_observed = workload.observed_generation >= workload.generation;
        Some(WorkloadState {
            availability: workload.conditions.available,
            is_in_effect: self.is_in_effect(workload) && is_observed,
            is_selected,
            is_scaled_to_zero: workload.counts.desired == 0 && is_observed,
            excluded_completion: self.completion(workload, now).filter(|_| !is_selected && is_observed),
            triggers,
            reported_loss: reported_loss.or(self.reported_loss),
        })
    }

    /// Whether the current revision is complete, no rollout is in progress, and the workload asks for at least one replica.
    fn is_in_effect(&self, workload: &Workload) -> bool {
        let is_complete = if let Some((rollout, _)) = self.current_rollout() {
            !matches!(rollout.outcome, Outcome::InProgress | Outcome::Failed)
        } else {
            // The workload was complete before the controller was installed.
            let progressing = workload.conditions.progressing.as_ref();
            progressing.is_some_and(|condition| condition.reason == ProgressReason::Complete)
        };
        let is_in_progress = self.records.iter().any(|(rollout, _)| rollout.outcome == Outcome::InProgress);
        is_complete && !is_in_progress && workload.counts.desired > 0 && workload.revision.is_some()
    }

    /// The completion of the current revision, as the cluster states it: the condition `Progressing` that names its ReplicaSet, or the
    /// counts of a workload without a progress deadline.
    fn completion(&self, workload: &Workload, now: Timestamp) -> Option<Completion> {
        let revision = workload.revision.filter(|_| workload.counts.desired > 0)?;
        let current = self.snapshot.revisions.iter().find(|set| set.ran(revision))?;
        let at = match &workload.conditions.progressing {
            Some(condition) => {
                let is_stated = condition.reason == ProgressReason::Complete
                    && condition.replica_set.as_deref() == Some(&*current.name);
                is_stated.then(|| condition.updated.unwrap_or(now))?
            }
            None => is_complete(workload).then_some(now)?,
        };
        Some(Completion { revision, at })
    }
}

/// `status.reportedLoss` of a record.
#[must_use]
pub fn reported_loss(record: &DoraDeployment) -> Option<Timestamp> {
    Some(record.status.as_ref()?.reported_loss.as_ref()?.0)
}

fn details(known: &IncidentDetails) -> RecordDetails {
    let IncidentDetails { triggers, has_incident, .. } = *known;
    RecordDetails { triggers, has_incident, rolled_back_by: known.rolled_back_by() }
}

fn read_details(record: &DoraDeployment, settings: &FileSettings) -> RecordDetails {
    let spec = &record.spec;
    let environment = spec.environment.as_ref().unwrap_or(&settings.defaults.environment);
    RecordDetails {
        triggers: settings.incidents.triggers(environment),
        has_incident: record.status.as_ref().is_some_and(|status| status.incident.is_some()),
        rolled_back_by: spec.rolled_back_by,
    }
}

/// An incident as the API server has it, for the decision.
#[must_use]
pub fn read_incident(resource: &DoraIncident, now: Timestamp) -> Incident {
    let IncidentTimes { opened, resolved, .. } = IncidentTimes::of(resource, now);
    let stated = stated_incident(&resource.metadata, resource.spec.workload_ref.as_ref(), opened, resolved);
    Incident { is_taken_over: is_taken_over(resource), ..stated }
}

/// An incident as the watch has it. The watch doesn't say whether somebody else has set its status.
///
/// It states the end only once `spec` or `status` has it. The publisher writes `status` only while it can deliver to Port, so without Port
/// the end can stay unknown for long. Then it is `unstated_end`: a resolved incident that counted as open would
/// hide each later loss of availability.
#[must_use]
pub fn listed_incident(resource: &SlimDoraIncident, unstated_end: Timestamp) -> Incident {
    let opened = resource.opened_at().unwrap_or(Timestamp::UNIX_EPOCH);
    let resolved = match resource.spec.status {
        IncidentStatus::Open => None,
        IncidentStatus::Resolved => Some(resource.resolved_at().unwrap_or(unstated_end)),
    };
    stated_incident(resource.meta(), resource.spec.workload_ref.as_ref(), opened, resolved)
}

fn stated_incident(
    metadata: &ObjectMeta,
    reference: Option<&AffectedWorkload>,
    opened: Timestamp,
    resolved: Option<Timestamp>,
) -> Incident {
    let annotation = |key: &str| metadata.annotations.as_ref()?.get(key);
    Incident {
        name: metadata.name.clone().unwrap_or_default(),
        opened_by: opened_by(metadata),
        workload_uid: annotation(WORKLOAD_UID).cloned(),
        revision: reference.and_then(|reference| reference.revision),
        rolled_back_by: annotation(ROLLED_BACK_BY).and_then(|revision| revision.parse().ok()),
        opened,
        resolved,
        reopened: annotation(REOPENED_AT).and_then(|time| time.parse().ok()),
        is_taken_over: false,
    }
}

fn opened_by(metadata: &ObjectMeta) -> Option<OpenedBy> {
    OpenedBy::from_label(metadata.labels.as_ref()?.get(OPENED_BY)?)
}

/// Whether an incident is about the workload with this name and UID: the automatic incident of the UID, or an incident of a person that
/// refers to the name.
#[must_use]
pub fn is_about(resource: &DoraIncident, workload: &WorkloadKey, uid: &str) -> bool {
    let workload_uid = resource.metadata.annotations.as_ref().and_then(|annotations| annotations.get(WORKLOAD_UID));
    match opened_by(&resource.metadata) {
        Some(_) => workload_uid.is_some_and(|it| it == uid),
        None => concerns(resource, workload),
    }
}

/// Whether an incident refers to `workload` or is automatic.
fn concerns(resource: &DoraIncident, workload: &WorkloadKey) -> bool {
    let reference = resource.spec.workload_ref.as_ref();
    let refers = reference.is_some_and(|it| it.kind == workload.kind && it.name == *workload.name);
    refers || opened_by(&resource.metadata).is_some()
}

/// Whether a field manager other than the controller has set `spec.status`, or has corrected `spec.resolvedAt`.
fn is_taken_over(resource: &DoraIncident) -> bool {
    const FIELDS: [&str; 2] = ["/f:spec/f:status", "/f:spec/f:resolvedAt"];
    resource.managed_fields().iter().any(|entry| {
        let is_own = matches!(entry.manager.as_deref(), Some(CREATION_MANAGER | UPDATE_MANAGER));
        let sets_field = |path: &str| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(path).is_some());
        entry.subresource.as_deref().is_none_or(str::is_empty) && !is_own && FIELDS.into_iter().any(sets_field)
    })
}

#[cfg(test)]
mod tests;
