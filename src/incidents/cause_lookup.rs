//! Looks up which deployment is behind an incident, and whether Port knows of it.

use jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use rollout::UnixSeconds;

use super::{Question, Rollout, cause, was_under_way};
use crate::records::{RecordSummary, Records};
use crate::resources::{
    Certainty, DoraIncident, DoraIncidentStatus, IncidentCause, SlimDoraDeployment, WorkloadRef, digest,
};
use crate::settings::ActiveSettings;
use crate::workloads::workload_exists;

/// How long a rollout that had ended when an incident began may take to be recorded, while the controller is at work.
const SETTLING: SignedDuration = SignedDuration::from_secs(60);

/// How long after the beginning of an incident a rollout that was under way may turn out to have been complete.
const LATEST: SignedDuration = SignedDuration::from_hours(1);

/// Where and when something is looked up.
pub struct Surroundings<'a> {
    /// The client of the API server.
    pub client: &'a Client,
    /// The settings.
    pub settings: &'a ActiveSettings,
    /// What is recorded.
    pub records: &'a Records,
    /// Since when this process publishes: what happened before may not be recorded yet.
    pub since: Timestamp,
    /// The time.
    pub now: Timestamp,
}

/// A resource with what was looked up for it in its status.
#[derive(Clone, Debug)]
pub struct LookedUp<R> {
    /// The resource; its status may say more than the API server's.
    pub resource: R,
    /// Whether the answer may become another although nothing about the resource changes.
    pub may_change: bool,
    /// What could not be used, in sentences that say what to do.
    pub warnings: Vec<String>,
}

impl<R> LookedUp<R> {
    /// Nothing was to be looked up.
    pub fn nothing(resource: R) -> Self {
        Self { resource, may_change: false, warnings: Vec::new() }
    }
}

fn rollout_of(record: &RecordSummary) -> Rollout {
    let RecordSummary { workload, known, .. } = record;
    Rollout {
        workload: workload.clone(),
        revision: known.revision,
        record: record.name(),
        outcome: known.outcome,
        started: known.started.map(UnixSeconds::time),
        finished: known.finished.map(UnixSeconds::time),
    }
}

/// `incident` with its cause in the status.
///
/// A cause that is found stays: the record of it expires one day. It is looked up anew when the incident names another Deployment or
/// another beginning, and until nothing that was under way then can change it and Port has its entity.
///
/// # Errors
/// If the API server does not answer.
pub async fn with_cause(
    incident: DoraIncident,
    opened: Timestamp,
    around: &Surroundings<'_>,
) -> Result<LookedUp<DoraIncident>, kube::Error> {
    let stated = incident.spec.workload_ref.as_ref();
    let asked = digest(&(opened.to_string(), stated));
    let status = incident.status.clone().unwrap_or_default();
    let is_answered = status.observed_cause.as_ref() == Some(&asked);
    let before = status.cause.clone();
    let is_complete = match &before {
        Some(cause) => cause.certainty == Certainty::Suspected || cause.entity.is_some(),
        None => stated.is_none(),
    };
    if is_answered && is_complete {
        return Ok(LookedUp::nothing(incident));
    }
    let namespace = incident.metadata.namespace.as_deref().unwrap_or_default();
    let records = around.records.in_namespace(namespace);
    let rollouts: Vec<Rollout> = records.iter().map(rollout_of).collect();
    let suspect_within = around.settings.file.incidents.suspect_within.0;
    let question = Question { stated, opened, suspect_within };
    let is_same_beginning = status.opened_at.as_ref().map(|time| time.0) == Some(opened);
    let kept = before.filter(|cause| is_same_beginning && fits(cause, stated));
    let found = if is_answered && kept.is_some() { None } else { cause(&question, &rollouts) };
    let mut cause = found.map(|(rollout, certainty)| named(rollout, certainty)).or(kept);
    let record = match &cause {
        Some(cause) => slim_record(around.client, namespace, &cause.record).await?,
        None => None,
    };
    if let (Some(cause), Some(record)) = (cause.as_mut(), &record) {
        cause.entity = record.entity().map(str::to_owned);
    }
    let awaits_entity =
        cause.as_ref().is_some_and(|cause| cause.certainty == Certainty::Stated && cause.entity.is_none())
            && record.is_some_and(|record| !record.is_withheld(around.settings.digest()));
    let created = incident.metadata.creation_timestamp.as_ref().map_or(opened, |time| time.0);
    let has_settled = around.now >= opened.max(created).max(around.since) + SETTLING;
    let in_doubt = was_under_way(&question, &rollouts) && around.now < opened + LATEST;
    let may_change = awaits_entity || !is_answered && (!has_settled || in_doubt);
    let warnings = match stated {
        Some(stated)
            if cause.is_none()
                && rollouts
                    .iter()
                    .all(|rollout| rollout.workload.kind != stated.kind || rollout.workload.name != stated.name) =>
        {
            unknown(around, namespace, stated).await?
        }
        _ => Vec::new(),
    };
    let observed_cause = (!may_change).then_some(asked);
    let status = DoraIncidentStatus { cause, observed_cause, ..status };
    let has_status = incident.status.is_some() || status != DoraIncidentStatus::default();
    let resource = DoraIncident { status: has_status.then_some(status), ..incident };
    Ok(LookedUp { resource, may_change, warnings })
}

/// Whether `cause` is one for what the incident says.
fn fits(cause: &IncidentCause, stated: Option<&WorkloadRef>) -> bool {
    match (cause.certainty, stated) {
        (Certainty::Suspected, None) => true,
        (Certainty::Stated, Some(stated)) => {
            stated.kind == cause.workload.kind
                && stated.name == cause.workload.name
                && stated.revision.is_none_or(|revision| revision == cause.revision)
        }
        (Certainty::Suspected, Some(_)) | (Certainty::Stated, None) => false,
    }
}

fn named(rollout: &Rollout, certainty: Certainty) -> IncidentCause {
    let Rollout { workload, revision, record, .. } = rollout.clone();
    IncidentCause { certainty, workload, revision, record, entity: None }
}

/// What to say of a workload without any record: nothing, if it exists and rollouts of its kind are recorded.
async fn unknown(around: &Surroundings<'_>, namespace: &str, stated: &WorkloadRef) -> Result<Vec<String>, kube::Error> {
    let WorkloadRef { kind, name, .. } = stated;
    let recorded = &around.settings.file.workloads.kinds;
    if !recorded.contains(kind) {
        let recorded = recorded.iter().map(|kind| format!("{kind}s")).collect::<Vec<_>>().join(", ");
        return Ok(vec![format!(
            "spec.workloadRef.kind is {kind}: the controller records rollouts of {recorded} only, so the incident has no cause"
        )]);
    }
    if workload_exists(around.client, namespace, *kind, name).await? {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "spec.workloadRef: the namespace {namespace} has no {kind} {name} and no record of one, so the incident has no cause; correct the \
         name, or remove spec.workloadRef"
    )])
}

/// The record of this name; `None` if it does not exist or cannot be decoded.
async fn slim_record(client: &Client, namespace: &str, name: &str) -> Result<Option<SlimDoraDeployment>, kube::Error> {
    let api: Api<DeserializeGuard<SlimDoraDeployment>> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.and_then(|record| record.0.ok()))
}
