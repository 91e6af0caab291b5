//! Builds the input of the decision from the objects of the cluster. Pure.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use kube::ResourceExt;
use rollout::{
    MetadataSources, Outcome, ProgressReason, RecordedRevision, Uid, WorkloadKey, is_ignored, read_metadata,
};

use super::decide::{
    Incident, IncidentInput, OpenedBy, RecordDetails, RolloutRecord, WorkloadState, may_open, unavailable_incident_name,
};
use super::index::latest_time;
use super::manifest::{CREATION_MANAGER, OPENED_BY, REOPENED_AT, ROLLED_BACK_BY, UPDATE_MANAGER, WORKLOAD_UID};
use crate::incidents::IncidentTimes;
use crate::records::record_name;
use crate::resources::{DoraDeployment, DoraIncident};
use crate::settings::Defaults;
use crate::workloads::Snapshot;

/// A workload, as far as it is in memory.
#[derive(Debug)]
pub struct CachedWorkload {
    /// Namespace, kind and name of the workload.
    pub workload: WorkloadKey,
    /// UID of the workload.
    pub uid: Uid,
    /// The current state of the workload.
    pub snapshot: Snapshot,
    /// Its recorded rollouts.
    pub rollouts: Vec<RecordedRevision>,
}

/// Names of the objects that a decision needs from the API server.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct RequiredObjects {
    /// Names of `DoraDeployment`s: those that may open an incident, have one, or belong to a workload that is unavailable.
    pub records: BTreeSet<String>,
    /// Names of `DoraIncident`s. An incident of such a name need not exist.
    pub incidents: BTreeSet<String>,
}

/// A workload, with the objects that a decision needs.
#[derive(Debug)]
pub struct ObservedWorkload {
    /// The workload in memory.
    pub cached: CachedWorkload,
    /// Records, by name.
    pub records: HashMap<String, DoraDeployment>,
    /// Incidents, by name.
    pub incidents: HashMap<String, DoraIncident>,
}

impl CachedWorkload {
    /// Names of the objects to read. `incidents` are the names of the incidents that refer to the workload.
    #[must_use]
    pub fn required_objects(&self, incidents: Vec<String>, now: Timestamp) -> RequiredObjects {
        let unavailable_since = self.unavailable_since();
        let current = unavailable_since.and_then(|_| current_rollout(&self.snapshot, &self.rollouts));
        let latest = latest_time(&self.rollouts);
        let mut required = RequiredObjects { incidents: incidents.into_iter().collect(), ..RequiredObjects::default() };
        required.incidents.extend(unavailable_since.map(|since| unavailable_incident_name(&self.workload, since)));
        for rollout in &self.rollouts {
            let may_open = may_open(rollout, latest, now);
            let name = self.record_name(rollout);
            if may_open || required.incidents.contains(&name) || current == Some(rollout) {
                required.records.insert(name.clone());
            }
            if may_open {
                required.incidents.insert(name);
            }
        }
        required
    }

    fn unavailable_since(&self) -> Option<Timestamp> {
        let availability = self.snapshot.observation.as_ref()?.workload.conditions.available?;
        (!availability.is_available).then(|| availability.since.time())
    }

    fn record_name(&self, rollout: &RecordedRevision) -> String {
        record_name(self.workload.kind, &self.workload.name, &self.uid, rollout)
    }
}

impl ObservedWorkload {
    /// The record of the current revision, if it was read.
    #[must_use]
    pub fn current_record(&self) -> Option<&DoraDeployment> {
        let rollout = current_rollout(&self.cached.snapshot, &self.cached.rollouts)?;
        self.records.get(&self.cached.record_name(rollout))
    }

    /// The input of the decision. `reported_loss` is the one that this process remembers for a workload without a record.
    #[must_use]
    pub fn input(&self, reported_loss: Option<Timestamp>, defaults: &Defaults, now: Timestamp) -> IncidentInput<'_> {
        let Self { cached, records, incidents } = self;
        let record = |rollout: &RecordedRevision| {
            let name = cached.record_name(rollout);
            let details = records.get(&name).map(|record| record_details(record, defaults));
            RolloutRecord { name, rollout: rollout.clone(), details }
        };
        IncidentInput {
            workload: &cached.workload,
            uid: &cached.uid,
            state: workload_state(cached, self.current_record(), reported_loss, defaults),
            records: cached.rollouts.iter().map(record).collect(),
            incidents: incidents.values().filter_map(|it| incident(it, &cached.workload, now)).collect(),
        }
    }

    /// Identifier of the group in Port from the metadata of the workload, if it has one.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        read_metadata(&metadata_sources(&self.cached.snapshot)?).group
    }
}

/// `status.reportedLoss` of a record.
#[must_use]
pub fn reported_loss(record: &DoraDeployment) -> Option<Timestamp> {
    Some(record.status.as_ref()?.reported_loss.as_ref()?.0)
}

fn record_details(record: &DoraDeployment, defaults: &Defaults) -> RecordDetails {
    let spec = &record.spec;
    RecordDetails {
        environment: spec.environment.as_ref().unwrap_or(&defaults.environment).clone(),
        incident: record.status.as_ref().and_then(|status| status.incident.clone()),
        rolled_back_by: spec.rolled_back_by,
    }
}

/// The newest of the `rollouts` that is of the current revision.
fn current_rollout<'a>(snapshot: &Snapshot, rollouts: &'a [RecordedRevision]) -> Option<&'a RecordedRevision> {
    let revision = snapshot.observation.as_ref()?.workload.revision?;
    rollouts.iter().filter(|rollout| rollout.revision == revision).max_by_key(|rollout| rollout.started)
}

/// The metadata of the current revision, if its ReplicaSet exists.
fn metadata_sources(snapshot: &Snapshot) -> Option<MetadataSources<'_>> {
    let row = &snapshot.observation.as_ref()?.workload;
    let replica_set = snapshot.revisions.iter().find(|set| row.revision.is_some_and(|it| set.ran(it)))?;
    Some(MetadataSources::new(row, replica_set, &snapshot.namespace_annotations, &snapshot.namespace_labels))
}

/// The current state of a workload. `None` once it is deleted. `record` is the one of the current revision, if it was read.
fn workload_state(
    cached: &CachedWorkload,
    record: Option<&DoraDeployment>,
    remembered_loss: Option<Timestamp>,
    defaults: &Defaults,
) -> Option<WorkloadState> {
    let CachedWorkload { snapshot, rollouts, .. } = cached;
    let row = &snapshot.observation.as_ref()?.workload;
    let sources = metadata_sources(snapshot);
    let recorded_environment = record.and_then(|record| record.spec.environment.clone());
    let environment = recorded_environment.or_else(|| read_metadata(sources.as_ref()?).environment);
    let is_complete = match current_rollout(snapshot, rollouts).map(|rollout| rollout.outcome) {
        Some(outcome) => !matches!(outcome, Outcome::InProgress | Outcome::Failed),
        // The workload was complete before the controller was installed.
        None => {
            row.conditions.progressing.as_ref().is_some_and(|condition| condition.reason == ProgressReason::Complete)
        }
    };
    let is_in_progress = rollouts.iter().any(|rollout| rollout.outcome == Outcome::InProgress);
    Some(WorkloadState {
        availability: row.conditions.available,
        is_in_effect: is_complete
            && !is_in_progress
            && row.counts.desired > 0
            && row.revision.is_some()
            && row.observed_generation >= row.generation,
        is_selected: row.selected && !sources.as_ref().is_some_and(is_ignored),
        environment: environment.unwrap_or_else(|| defaults.environment.clone()),
        reported_loss: record.and_then(reported_loss).or(remembered_loss),
    })
}

/// `resource` for the decision. `None` if it is neither about `workload` nor automatic.
fn incident(resource: &DoraIncident, workload: &WorkloadKey, now: Timestamp) -> Option<Incident> {
    let reference = resource.spec.workload_ref.as_ref();
    let refers = reference.is_some_and(|it| it.kind == workload.kind && it.name == *workload.name);
    let opened_by = resource.labels().get(OPENED_BY).and_then(|label| OpenedBy::from_label(label));
    if !refers && opened_by.is_none() {
        return None;
    }
    let annotation = |key: &str| resource.annotations().get(key);
    let IncidentTimes { opened, resolved, .. } = IncidentTimes::of(resource, now);
    Some(Incident {
        name: resource.name_any(),
        opened_by,
        workload_uid: annotation(WORKLOAD_UID).cloned(),
        revision: reference.and_then(|reference| reference.revision),
        rolled_back_by: annotation(ROLLED_BACK_BY).and_then(|revision| revision.parse().ok()),
        opened,
        resolved,
        reopened: annotation(REOPENED_AT).and_then(|time| time.parse().ok()),
        is_taken_over: is_taken_over(resource),
    })
}

/// Whether a field manager other than the controller has set `spec.status`.
fn is_taken_over(resource: &DoraIncident) -> bool {
    resource.managed_fields().iter().any(|entry| {
        let is_own = matches!(entry.manager.as_deref(), Some(CREATION_MANAGER | UPDATE_MANAGER));
        let sets_status =
            || entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:status").is_some());
        entry.subresource.as_deref().is_none_or(str::is_empty) && !is_own && sets_status()
    })
}

#[cfg(test)]
mod tests {
    use rollout::{Availability, Observation, RevisionId, Source, UnixSeconds, Workload, WorkloadKind};

    use super::*;

    fn rollout(revision: i64, outcome: Outcome, finished: Timestamp) -> RecordedRevision {
        RecordedRevision {
            revision,
            id: RevisionId::new("00abcdef-0000", "web-5f"),
            repeated: false,
            outcome,
            change: None,
            started: None,
            finished: UnixSeconds::of(finished),
            paused_at: None,
            paused_seconds: 0,
        }
    }

    #[test]
    fn only_relevant_objects_are_read() {
        let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        let (recent, old) = ("2026-01-02T23:00:00Z".parse().unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
        let cached = CachedWorkload {
            workload: WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() },
            uid: "01234567-89ab".into(),
            snapshot: Snapshot::default(),
            rollouts: vec![
                rollout(1, Outcome::Failed, old),
                rollout(2, Outcome::Failed, old),
                rollout(3, Outcome::Failed, recent),
                rollout(4, Outcome::Succeeded, recent),
            ],
        };
        let all: Vec<String> = cached.rollouts.iter().map(|rollout| cached.record_name(rollout)).collect();
        let names = |revisions: &[usize]| -> BTreeSet<String> {
            revisions.iter().map(|index| all[index - 1].clone()).collect()
        };
        let required = cached.required_objects(names(&[2]).into_iter().collect(), now);
        assert_eq!(required, RequiredObjects { records: names(&[2, 3]), incidents: names(&[2, 3]) });

        // An unavailable workload needs the record of its current revision, and the incident of this loss.
        let since = UnixSeconds::of(recent).unwrap();
        let mut workload = Workload { revision: Some(4), ..Workload::default() };
        workload.conditions.available = Some(Availability { is_available: false, since });
        let mut unavailable = cached;
        unavailable.snapshot.observation = Some(Observation::new(workload, Source::Watch, now));
        let required = unavailable.required_objects(names(&[2]).into_iter().collect(), now);
        let loss = unavailable_incident_name(&unavailable.workload, recent);
        let incidents = names(&[2, 3]).into_iter().chain([loss]).collect();
        assert_eq!(required, RequiredObjects { records: names(&[2, 3, 4]), incidents });
    }
}
