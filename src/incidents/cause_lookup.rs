//! Looks up the rollout behind an incident, and whether Port has its entity.

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use rollout::UnixSeconds;

use super::cause::{CandidateRollout, CauseQuery, decide_cause, may_change};
use crate::records::{RecordSummary, Records};
use crate::resources::{
    AffectedWorkload, Certainty, DoraIncident, DoraIncidentStatus, IncidentCause, SlimDoraDeployment, digest,
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
    /// When this process started to publish. Rollouts from before may not be recorded yet.
    pub publishing_since: Timestamp,
    /// The current time.
    pub now: Timestamp,
}

/// The result of a lookup.
#[derive(Clone, Debug)]
pub struct Lookup<R> {
    /// The resource. Its status has the result, so it may differ from the one in the API server.
    pub resource: R,
    /// Whether the result may change although the resource doesn't.
    pub may_change: bool,
    /// References that can't be resolved, as sentences for the condition `Valid`.
    pub warnings: Vec<String>,
}

impl<R> Lookup<R> {
    /// The result for a resource without anything to look up.
    pub fn unchanged(resource: R) -> Self {
        Self { resource, may_change: false, warnings: Vec::new() }
    }
}

/// Looks up the cause of `incident`, which began at `opened`, and returns the incident with the cause in its status.
///
/// The answer comes from the records in memory. Only the record of the cause is read from the API server, for the identifier of its
/// entity. The lookup is repeated until no rollout in progress can change the answer and Port has the entity of a stated cause, and
/// again if the incident names another workload or another beginning. Otherwise the cause stays, even if its record is deleted.
///
/// # Errors
/// If the API server doesn't answer.
pub async fn look_up_cause(
    incident: DoraIncident,
    opened: Timestamp,
    context: &CauseContext<'_>,
) -> Result<Lookup<DoraIncident>, kube::Error> {
    let stated = incident.spec.workload_ref.as_ref();
    let query_digest = digest(&(opened.to_string(), stated));
    let status = incident.status.clone().unwrap_or_default();
    let is_observed = status.observed_cause.as_ref() == Some(&query_digest);
    if is_observed && is_complete(status.cause.as_ref(), stated) {
        return Ok(Lookup::unchanged(incident));
    }
    let namespace = incident.metadata.namespace.as_deref().unwrap_or_default();
    let candidates: Vec<_> = context.records.in_namespace(namespace).iter().map(candidate).collect();
    let query = CauseQuery { stated, opened, suspect_within: context.settings.file.incidents.suspect_within.0 };
    let mut cause = decide_cause(&query, &candidates, &status, is_observed);
    let mut awaits_entity = false;
    if let Some(cause) = &mut cause
        && let Some(record) = slim_record(context.client, namespace, &cause.record).await?
    {
        cause.entity = record.entity().map(str::to_owned);
        awaits_entity = cause.certainty == Certainty::Stated
            && cause.entity.is_none()
            && !record.is_withheld(context.settings.dry_run);
    }
    let created = incident.metadata.creation_timestamp.as_ref().map_or(opened, |time| time.0);
    let watched_since = created.max(context.publishing_since);
    let may_change = awaits_entity || !is_observed && may_change(&query, &candidates, watched_since, context.now);
    let warnings = match stated {
        Some(stated) if cause.is_none() && !candidates.iter().any(|rollout| rollout.is_of(stated)) => {
            warn_about_unknown(context, namespace, stated).await?
        }
        _ => Vec::new(),
    };
    let observed_cause = (!may_change).then_some(query_digest);
    let status = DoraIncidentStatus { cause, observed_cause, ..status };
    let has_status = incident.status.is_some() || status != DoraIncidentStatus::default();
    let resource = DoraIncident { status: has_status.then_some(status), ..incident };
    Ok(Lookup { resource, may_change, warnings })
}

/// Whether an observed answer is final. A stated cause is final when Port has its entity.
fn is_complete(cause: Option<&IncidentCause>, stated: Option<&AffectedWorkload>) -> bool {
    match cause {
        Some(cause) => cause.certainty == Certainty::Suspected || cause.entity.is_some(),
        None => stated.is_none(),
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

/// Warns about a stated workload without any record, unless it exists and rollouts of its kind are recorded.
async fn warn_about_unknown(
    context: &CauseContext<'_>,
    namespace: &str,
    stated: &AffectedWorkload,
) -> Result<Vec<String>, kube::Error> {
    let AffectedWorkload { kind, name, .. } = stated;
    let recorded = &context.settings.file.workloads.kinds;
    if !recorded.contains(kind) {
        let recorded = recorded.iter().map(|kind| format!("{kind}s")).collect::<Vec<_>>().join(", ");
        return Ok(vec![format!(
            "spec.workloadRef.kind is {kind}: the controller records rollouts of {recorded} only, so the incident has no cause"
        )]);
    }
    if workload_exists(context.client, namespace, *kind, name).await? {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "spec.workloadRef: the namespace {namespace} has no {kind} {name} and no record of one, so the incident has no cause; correct the \
         name, or remove spec.workloadRef"
    )])
}

/// Reads the record of this name. `None` if it doesn't exist or can't be decoded.
async fn slim_record(client: &Client, namespace: &str, name: &str) -> Result<Option<SlimDoraDeployment>, kube::Error> {
    let api: Api<DeserializeGuard<SlimDoraDeployment>> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.and_then(|record| record.0.ok()))
}
