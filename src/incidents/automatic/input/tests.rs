use rollout::{Availability, Observation, PodCounts, RevisionId, Source, WorkloadKind};
use serde_json::{Value, json};

use super::*;
use crate::incidents::automatic::decide::{Decision, IncidentPolicy, decide, unavailable_incident_name};
use crate::settings::{IncidentSettings, IncidentTriggers};

const NOW: &str = "2026-01-03T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// So many seconds before [`NOW`].
fn ago(seconds: i64) -> UnixSeconds {
    UnixSeconds::of(Timestamp::from_second(now().as_second() - seconds).unwrap()).unwrap()
}

fn rollout(revision: i64, outcome: Outcome, finished: UnixSeconds) -> RecordedRevision {
    RecordedRevision {
        revision,
        id: RevisionId::new("00abcdef-0000", "web-5f"),
        repeated: false,
        outcome,
        change: None,
        started: None,
        finished: Some(finished),
        paused_at: None,
        paused_seconds: 0,
    }
}

fn recorded(
    revision: i64,
    outcome: Outcome,
    finished: UnixSeconds,
    has_incident: bool,
) -> (RecordedRevision, IncidentDetails) {
    let mut details = IncidentDetails::default();
    (details.triggers, details.has_incident) = (IncidentTriggers::default(), has_incident);
    (rollout(revision, outcome, finished), details)
}

/// The Deployment `web`, whose revision 4 is complete and has been available, or not, for an hour.
fn web(is_available: bool, records: Vec<(RecordedRevision, IncidentDetails)>) -> CachedWorkload {
    let mut workload = Workload { revision: Some(4), ..Workload::default() };
    workload.conditions.available = Some(Availability { is_available, since: ago(3600) });
    workload.counts = PodCounts { desired: 1, ..PodCounts::default() };
    workload.selected = true;
    let mut snapshot = Snapshot::default();
    snapshot.observation = Some(Observation::new(workload, Source::Watch, now()));
    CachedWorkload {
        workload: WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() },
        uid: "01234567-89ab".into(),
        snapshot,
        records,
        incidents: Vec::new(),
        reported_loss: None,
    }
}

/// An automatic incident of `web` as the watch has it.
fn listed(name: &str, revision: i64, spec: &Value) -> Incident {
    let mut resource = json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
        "metadata": {
            "name": name, "namespace": "shop", "labels": {OPENED_BY: "FailedRollout"},
            "annotations": {WORKLOAD_UID: "01234567-89ab"}, "creationTimestamp": "2026-01-02T22:00:00Z",
        },
        "spec": {"workloadRef": {"name": "web", "revision": revision}},
    });
    resource["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    listed_incident(&serde_json::from_value(resource).unwrap(), now())
}

/// The objects that are read for `cached`.
fn required(cached: &CachedWorkload, settings: &FileSettings) -> RequiredObjects {
    let policy = IncidentPolicy { settings: &settings.incidents, installed: Timestamp::UNIX_EPOCH };
    let Decision { writes, .. } = decide(&cached.input(&ReadObjects::default(), settings, now()), &policy, now());
    RequiredObjects::of(&writes, cached)
}

fn nothing() -> RequiredObjects {
    RequiredObjects::default()
}

fn objects(records: &[&str], incidents: &[&str]) -> RequiredObjects {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    RequiredObjects { records: owned(records), incidents: owned(incidents) }
}

#[test]
fn nothing_is_read_while_nothing_can_change() {
    let settings = FileSettings::default();
    let succeeded = recorded(4, Outcome::Succeeded, ago(60), false);
    assert_eq!(required(&web(true, vec![succeeded.clone()]), &settings), nothing());

    // The incident of a failed rollout stays open until a success.
    let open = listed("web-4-01234567", 4, &json!({}));
    let failed = vec![recorded(4, Outcome::Failed, ago(3600), true)];
    let waiting = CachedWorkload { incidents: vec![open], ..web(true, failed) };
    assert_eq!(required(&waiting, &settings), nothing());

    // The incident of a loss of availability stays open until the return.
    let mut lost = recorded(4, Outcome::Succeeded, ago(7200), false);
    lost.1.reported_loss = Some(ago(3600));
    assert_eq!(required(&web(false, vec![lost]), &settings), nothing());

    // An incident that somebody else has taken over is read once.
    let mut taken_over = listed("web-3-01234567", 3, &json!({}));
    let of = |incident: &Incident| CachedWorkload {
        incidents: vec![incident.clone()],
        ..web(true, vec![succeeded.clone()])
    };
    assert_eq!(required(&of(&taken_over), &settings), objects(&[], &["web-3-01234567"]));
    taken_over.is_taken_over = true;
    assert_eq!(required(&of(&taken_over), &settings), nothing());
}

#[test]
fn nothing_is_read_if_incidents_are_switched_off() {
    let off = FileSettings {
        incidents: IncidentSettings { open: [].into(), ..IncidentSettings::default() },
        ..FileSettings::default()
    };
    let mut records =
        vec![recorded(4, Outcome::Failed, ago(60), false), recorded(5, Outcome::RolledBack, ago(60), false)];
    for (_, details) in &mut records {
        details.triggers = off.incidents.triggers("production");
    }
    assert_eq!(required(&web(false, records), &off), nothing());
    assert_eq!(required(&web(false, vec![]), &off), nothing());
}

#[test]
fn only_objects_that_are_written_are_read() {
    let settings = FileSettings::default();
    let records = vec![
        recorded(1, Outcome::Failed, ago(200_000), false),
        recorded(2, Outcome::Failed, ago(60), true),
        recorded(3, Outcome::Failed, ago(60), false),
        recorded(4, Outcome::Succeeded, ago(30), false),
    ];
    let name = "web-3-01234567";
    assert_eq!(required(&web(true, records.clone()), &settings), objects(&[name], &[name]));

    // An incident of a person is used: it is read, because the watch can be late.
    let mut person = listed("down", 9, &json!({"createdAt": "2026-01-02T23:50:00Z"}));
    person.opened_by = None;
    let covered = CachedWorkload { incidents: vec![person], ..web(true, records) };
    assert_eq!(required(&covered, &settings), objects(&[name], &["down"]));

    // A loss of availability is noted on the record of the current revision.
    let lost = web(false, vec![recorded(4, Outcome::Succeeded, ago(7200), false)]);
    let incident = unavailable_incident_name(&lost.workload, ago(3600).time());
    assert_eq!(required(&lost, &settings), objects(&["web-4-01234567"], &[&incident]));
    let unrecorded = required(&web(false, vec![]), &settings);
    assert_eq!(unrecorded, nothing(), "the revision is not complete");
}

#[test]
fn object_that_was_read_takes_precedence() {
    let settings = FileSettings::default();
    let name = "web-4-01234567";
    let cached = CachedWorkload {
        incidents: vec![listed(name, 4, &json!({}))],
        ..web(true, vec![recorded(4, Outcome::Succeeded, ago(60), false)])
    };
    let read = |incident: Option<Value>| {
        let incident = incident.map(|json| serde_json::from_value(json).unwrap());
        let read = ReadObjects { incidents: [(name.to_owned(), incident)].into(), ..ReadObjects::default() };
        cached.input(&read, &settings, now()).incidents
    };
    assert_eq!(read(None), [], "it is deleted");
    let resource = |manager: &str, field: &str| {
        json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {
                "name": name, "namespace": "shop", "labels": {OPENED_BY: "FailedRollout"},
                "managedFields": [{"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {field: {}}}}],
            },
            "spec": {"workloadRef": {"name": "web"}, "status": "resolved", "resolvedAt": "2026-01-02T23:00:00Z"},
        })
    };
    for (manager, field, expected) in [
        (UPDATE_MANAGER, "f:status", false),
        (UPDATE_MANAGER, "f:resolvedAt", false),
        ("kubectl-edit", "f:title", false),
        ("kubectl-edit", "f:status", true),
        ("kubectl-edit", "f:resolvedAt", true),
    ] {
        let incidents = read(Some(resource(manager, field)));
        assert_eq!(incidents[0].is_taken_over, expected, "{manager} {field}");
    }
}

#[test]
fn excluded_revision_is_complete_if_the_cluster_says_so() {
    let settings = FileSettings::default();
    let completion = |change: &dyn Fn(&mut Workload)| {
        let mut cached = web(true, vec![]);
        let mut workload = cached.snapshot.observation.take().unwrap().workload;
        workload.selected = false;
        workload.conditions.progressing = Some(rollout::Progressing {
            reason: ProgressReason::Complete,
            replica_set: Some("web-5f".into()),
            updated: Some(ago(60).time()),
        });
        change(&mut workload);
        cached.snapshot.observation = Some(Observation::new(workload, Source::Watch, now()));
        cached.snapshot.revisions =
            vec![rollout::Revision { name: "web-5f".into(), revision: Some(4), ..rollout::Revision::default() }];
        cached.input(&ReadObjects::default(), &settings, now()).state.unwrap().excluded_completion
    };
    let complete = Some(Completion { revision: 4, at: ago(60).time() });
    assert_eq!(completion(&|_| {}), complete);
    assert_eq!(completion(&|web| web.selected = true), None, "a record states it");
    assert_eq!(completion(&|web| web.generation = 9), None, "the condition is from before a change");
    assert_eq!(completion(&|web| web.counts.desired = 0), None);
    let other = |web: &mut Workload| {
        web.conditions.progressing.as_mut().unwrap().replica_set = Some("web-6c".into());
    };
    assert_eq!(completion(&other), None, "the condition names another revision");
    let without_deadline = |web: &mut Workload| {
        web.conditions.progressing = None;
        web.counts = PodCounts { desired: 1, total: 1, updated: 1, available: 1 };
    };
    assert_eq!(completion(&without_deadline), Some(Completion { revision: 4, at: now() }));
}
