//! Looks up the rollout behind an incident, and whether Port has its entity.

use jiff::Timestamp;
use kube::{Api, Client};
use rollout::UnixSeconds;

use super::AwaitedEntities;
use super::cause::{CandidateRollout, CauseQuery, decide_cause, may_change};
use crate::records::{RecordSummary, Records};
use crate::resources::{
    AffectedWorkload, Certainty, DoraIncident, DoraIncidentStatus, EntityState, Guarded, IncidentCause, ResourceKey,
    SlimDoraDeployment, digest, is_object_name,
};
use crate::settings::ActiveSettings;
use crate::workloads::workload_exists;

/// What a lookup reads, and when.
pub struct CauseContext<'a> {
    /// The client of the API server.
    pub client: &'a Client,
    /// The active settings.
    pub settings: &'a ActiveSettings,
    /// The records in memory.
    pub records: &'a Records,
    /// The incidents that wait for the entity of their cause.
    pub awaited: &'a AwaitedEntities,
    /// When this process started to publish. Rollouts from before may not be recorded yet.
    pub publishing_since: Timestamp,
    /// The current time.
    pub now: Timestamp,
}

/// The result of a lookup.
#[derive(Debug)]
pub struct Lookup<R> {
    /// The resource. Its status has the result, so it may differ from the one in the API server.
    pub resource: R,
    /// Whether to look up again after some time, although the resource doesn't change: the result may change with time, or the lookup
    /// failed.
    pub is_repeated: bool,
    /// References that can't be resolved, as sentences for the condition `Valid`.
    pub warnings: Vec<String>,
    /// Why a part of the result is missing. The rest is valid.
    pub error: Option<kube::Error>,
}

impl<R> Lookup<R> {
    /// The result for a resource without anything to look up.
    pub fn unchanged(resource: R) -> Self {
        Self { resource, is_repeated: false, warnings: Vec::new(), error: None }
    }
}

/// The answer of the records in memory.
struct Found {
    cause: Option<IncidentCause>,
    /// The record of the cause; `None` if it doesn't exist.
    record: Option<RecordSummary>,
    /// Whether the stated workload has a record.
    is_recorded: bool,
    /// Whether a record that is written later may change the answer.
    may_change: bool,
}

/// Looks up the cause of `incident`, which began at `opened`, and returns the incident with the cause in its status.
///
/// The answer comes from the records in memory. Only the record of the cause is read from the API server, once Port has its entity, for
/// the identifier. An incident with a stated cause waits for that in [`AwaitedEntities`]. The lookup is repeated while a rollout in
/// progress can change the answer, and again if the incident names another workload or another beginning. Otherwise the cause stays, even
/// if its record is deleted.
///
/// A request that fails leaves the cause as it is in the status, so it never stops the delivery of the incident.
pub async fn look_up_cause(
    incident: DoraIncident,
    opened: Timestamp,
    context: &CauseContext<'_>,
) -> Lookup<DoraIncident> {
    let Some(key) = ResourceKey::of(&incident.metadata) else {
        return Lookup::unchanged(incident);
    };
    let stated = incident.spec.workload_ref.as_ref();
    let query_digest = digest(&(opened.to_string(), stated));
    let status = incident.status.clone().unwrap_or_default();
    let is_observed = status.observed_cause.as_ref() == Some(&query_digest);
    if is_observed && is_complete(status.cause.as_ref(), stated) {
        context.awaited.forget(&key);
        return Lookup::unchanged(incident);
    }
    let created = incident.metadata.creation_timestamp.as_ref().map_or(opened, |time| time.0);
    let query = CauseQuery { stated, opened, suspect_within: context.settings.file.incidents.suspect_within.0 };
    let Found { mut cause, record, is_recorded, may_change } =
        find(&query, &status, is_observed, created, &key.namespace, context);
    let (mut warnings, mut error, mut awaits_entity) = (Vec::new(), None, false);
    context.awaited.forget(&key);
    if let (Some(known), Some(record)) = (&mut cause, &record) {
        match read_entity(&key, known, record, context).await {
            Ok(awaits) => awaits_entity = awaits,
            Err(failed) => error = Some(failed),
        }
    }
    if let Some(stated) = stated
        && cause.is_none()
        && !is_recorded
    {
        match explain_unknown(context, &key.namespace, stated).await {
            Ok(explained) => warnings.extend(explained),
            Err(failed) => error = Some(failed),
        }
    }
    if error.is_some() {
        // What the status says is the best that is known.
        cause = decide_cause(&query, &[], &status, is_observed).or(cause);
    }
    let is_repeated = may_change || error.is_some();
    let observed_cause = (!awaits_entity && !is_repeated).then_some(query_digest);
    let status = DoraIncidentStatus { cause, observed_cause, ..status };
    let has_status = incident.status.is_some() || status != DoraIncidentStatus::default();
    let resource = DoraIncident { status: has_status.then_some(status), ..incident };
    Lookup { resource, is_repeated, warnings, error }
}

/// Whether an observed answer is final. A stated cause is final when Port has its entity.
fn is_complete(cause: Option<&IncidentCause>, stated: Option<&AffectedWorkload>) -> bool {
    match cause {
        Some(cause) => cause.certainty == Certainty::Suspected || cause.entity.is_some(),
        None => stated.is_none(),
    }
}

/// Answers `query` from the records in memory. The candidates don't outlive this function, since many lookups run at the same time.
fn find(
    query: &CauseQuery<'_>,
    status: &DoraIncidentStatus,
    is_observed: bool,
    created: Timestamp,
    namespace: &str,
    context: &CauseContext<'_>,
) -> Found {
    let records = context.records.in_namespace(namespace, |workload, revision| query.concerns(workload, revision));
    let candidates: Vec<CandidateRollout> = records.iter().map(candidate).collect();
    let cause = decide_cause(query, &candidates, status, is_observed);
    let watched_since = created.max(context.publishing_since);
    Found {
        record: records.into_iter().find(|record| cause.as_ref().is_some_and(|cause| cause.record == record.name())),
        is_recorded: !candidates.is_empty(),
        may_change: !is_observed && may_change(query, &candidates, watched_since, context.now),
        cause,
    }
}

fn candidate(record: &RecordSummary) -> CandidateRollout {
    let RecordSummary { workload, revision, .. } = record;
    CandidateRollout {
        workload: workload.clone(),
        revision: revision.revision,
        record: record.name(),
        outcome: revision.outcome,
        started: revision.started.map(UnixSeconds::time),
        finished: revision.finished.map(UnixSeconds::time),
    }
}

/// Completes `cause` with the identifier of its entity, if Port has it. Otherwise the incident waits for the entity of a stated cause.
/// Returns whether it does.
async fn read_entity(
    incident: &ResourceKey,
    cause: &mut IncidentCause,
    record: &RecordSummary,
    context: &CauseContext<'_>,
) -> Result<bool, kube::Error> {
    if cause.entity.is_some() {
        return Ok(false);
    }
    let namespace = &incident.namespace;
    let is_stated = cause.certainty == Certainty::Stated;
    if is_stated {
        let key = ResourceKey { namespace: namespace.clone(), name: cause.record.as_str().into() };
        context.awaited.wait(incident, key);
    }
    let state = context.records.entity_state(namespace, &record.uid, &record.revision);
    if state == Some(EntityState::Delivered) {
        // The name is that of a record from the watch, so it can't change the path of the request.
        cause.entity = slim_record(context.client, namespace, &cause.record)
            .await?
            .and_then(|record| record.entity().map(str::to_owned));
    }
    let can_come = matches!(state, Some(EntityState::Awaited | EntityState::Delivered));
    let awaits = is_stated && cause.entity.is_none() && can_come;
    if !awaits {
        context.awaited.forget(incident);
    }
    Ok(awaits)
}

/// Explains why a stated workload without any record has no cause. `None` if it exists and rollouts of its kind are recorded.
async fn explain_unknown(
    context: &CauseContext<'_>,
    namespace: &str,
    stated: &AffectedWorkload,
) -> Result<Option<String>, kube::Error> {
    let AffectedWorkload { kind, name, .. } = stated;
    if !is_object_name(name) {
        return Ok(Some(format!(
            "spec.workloadRef.name is {name:?}, which can't be the name of a {kind}, so the incident has no cause; write metadata.name of \
             the {kind}, or remove spec.workloadRef"
        )));
    }
    let recorded = &context.settings.file.workloads.kinds;
    if !recorded.contains(kind) {
        let recorded = recorded.iter().map(|kind| format!("{kind}s")).collect::<Vec<_>>().join(", ");
        return Ok(Some(format!(
            "spec.workloadRef.kind is {kind}: the controller records rollouts of {recorded} only, so the incident has no cause"
        )));
    }
    if workload_exists(context.client, namespace, *kind, name).await? {
        return Ok(None);
    }
    Ok(Some(format!(
        "spec.workloadRef: the namespace {namespace} has no {kind} {name} and no record of one, so the incident has no cause; correct the \
         name, or remove spec.workloadRef"
    )))
}

/// Reads the record of this name. `None` if it doesn't exist or can't be decoded.
async fn slim_record(client: &Client, namespace: &str, name: &str) -> Result<Option<SlimDoraDeployment>, kube::Error> {
    let api: Api<Guarded<SlimDoraDeployment>> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.and_then(|record| record.0.ok()))
}

#[cfg(test)]
mod tests;
