//! Random histories of the incidents of one Deployment. The controller is away at times, ends between two writes, and
//! decides again without need.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use port_dora_controller::incidents::automatic::decide::{
    Incident, IncidentInput, IncidentPolicy, NewIncident, OpenedBy, RecordDetails, RolloutRecord, WorkloadState, Write,
    decide,
};
use port_dora_controller::settings::{IncidentSettings, IncidentTriggers};
use rollout::{
    Availability, ChangeKind, Outcome, RecordedRevision, RevisionId, UnixSeconds, WorkloadKey, WorkloadKind,
};

/// Random histories, each with its number as the seed.
const HISTORIES: u64 = 3000;

/// Steps of each history.
const STEPS: usize = 60;

/// Unix time at which each history starts.
const START: i64 = 1_000_000;

/// UID of the Deployment.
const UID: &str = "uid";

/// Rounds of decisions and writes after which the controller never stops to write.
const MAX_ROUNDS: usize = 10;

/// A Deployment with its records and incidents, as the cluster has them.
struct SimulatedDeployment {
    key: WorkloadKey,
    random: fastrand::Rng,
    /// Seconds since the start.
    second: i64,
    is_deleted: bool,
    available: Option<Availability>,
    reported_loss: Option<Timestamp>,
    records: Vec<RolloutRecord>,
    incidents: Vec<Incident>,
    settings: IncidentSettings,
    /// How often each incident was created.
    created: BTreeMap<String, usize>,
    /// The times at which the Deployment became unavailable.
    losses: BTreeSet<Timestamp>,
    /// What happened, for the message of a failed test.
    log: Vec<String>,
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn unix_seconds(second: i64) -> Option<UnixSeconds> {
    UnixSeconds::of(time(second))
}

/// An incident without times of its end, which nobody but its creator has changed.
fn incident(name: String, opened: Timestamp) -> Incident {
    Incident {
        name,
        opened_by: None,
        workload_uid: None,
        revision: None,
        rolled_back_by: None,
        opened,
        resolved: None,
        reopened: None,
        is_taken_over: false,
    }
}

fn find<'a>(incidents: &'a mut [Incident], name: &str) -> &'a mut Incident {
    incidents.iter_mut().find(|incident| incident.name == name).unwrap()
}

impl SimulatedDeployment {
    fn new(seed: u64) -> Self {
        Self {
            key: WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() },
            random: fastrand::Rng::with_seed(seed),
            second: 0,
            is_deleted: false,
            available: None,
            reported_loss: None,
            records: Vec::new(),
            incidents: Vec::new(),
            settings: IncidentSettings::default(),
            created: BTreeMap::new(),
            losses: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        time(self.second)
    }

    fn step(&mut self) {
        self.second += self.random.i64(1..400);
        match self.random.u8(..12) {
            0 | 1 => {
                let is_rollback = self.random.bool();
                self.start_rollout(is_rollback);
            }
            2 | 3 => self.finish_rollout(true),
            4 => self.finish_rollout(false),
            5 | 6 => {
                if !self.records.is_empty() {
                    let is_available = self.random.bool();
                    self.set_available(is_available);
                }
            }
            7 => self.change_incident_by_hand(),
            8 | 9 => self.reconcile(true),
            _ => self.reconcile(false),
        }
    }
}

/// The controller.
impl SimulatedDeployment {
    fn state(&self) -> Option<WorkloadState> {
        let outcome = self.records.last().map(|record| record.rollout.outcome);
        (!self.is_deleted).then(|| WorkloadState {
            availability: self.available,
            is_in_effect: outcome.is_some_and(|outcome| !matches!(outcome, Outcome::InProgress | Outcome::Failed)),
            is_selected: true,
            is_scaled_to_zero: false,
            excluded_completion: None,
            triggers: IncidentTriggers::default(),
            reported_loss: self.reported_loss,
        })
    }

    /// What the controller would write now.
    fn decided_writes(&self) -> Vec<Write> {
        let input = IncidentInput {
            workload: &self.key,
            uid: UID,
            state: self.state(),
            records: self.records.clone(),
            incidents: self.incidents.clone(),
        };
        decide(&input, &IncidentPolicy { settings: &self.settings, installed: time(0) }, self.now()).writes
    }

    /// Decides and writes until nothing is left to write. If it `may_crash`, the controller may end before any write.
    fn reconcile(&mut self, may_crash: bool) {
        for _ in 0..MAX_ROUNDS {
            let writes = self.decided_writes();
            if writes.is_empty() {
                return;
            }
            for write in writes {
                if may_crash && self.random.u8(..) < 40 {
                    self.log.push("the controller ends".to_owned());
                    return;
                }
                self.log.push(format!("{}: {write:?}", self.second));
                self.write(write);
            }
        }
        panic!("the controller never stops to write: {:#?}", self.log);
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Open(opening) => self.open(opening),
            Write::Resolve { name, at } => {
                let now = self.now();
                let incident = find(&mut self.incidents, &name);
                assert!(incident.resolved.is_none() && !incident.is_taken_over, "{:#?}", self.log);
                (incident.resolved, incident.reopened) = (Some(at), None);
                assert!(at >= incident.opened && at <= now, "{:#?}", self.log);
            }
            Write::Reopen { name, since } => {
                let incident = find(&mut self.incidents, &name);
                assert!(incident.resolved.is_some() && !incident.is_taken_over, "{:#?}", self.log);
                (incident.resolved, incident.reopened) = (None, Some(since));
            }
            Write::SetIncident { record, incident: _ } => {
                let record = self.records.iter_mut().find(|recorded| recorded.name == record).unwrap();
                record.details.has_incident = true;
            }
            Write::SetReportedLoss { since } => self.reported_loss = Some(since),
        }
    }

    /// Creates an incident, unless one of the name exists.
    fn open(&mut self, NewIncident { name, opened_by, opened, revision, rolled_back_by }: NewIncident) {
        if self.incidents.iter().any(|incident| incident.name == name) {
            return;
        }
        *self.created.entry(name.clone()).or_default() += 1;
        self.incidents.push(Incident {
            opened_by: Some(opened_by),
            workload_uid: Some(UID.to_owned()),
            revision,
            rolled_back_by,
            ..incident(name, opened)
        });
    }
}

/// The cluster and the people who use it.
impl SimulatedDeployment {
    /// Starts a rollout. If `is_rollback`, it rolls back the last revision, if that one succeeded.
    fn start_rollout(&mut self, is_rollback: bool) {
        let (second, revision) = (self.second, i64::try_from(self.records.len()).unwrap() + 1);
        let mut rolls_back = false;
        if let Some(RolloutRecord { rollout: last, details, .. }) = self.records.last_mut() {
            match last.outcome {
                Outcome::InProgress => {
                    (last.outcome, last.finished) = (Outcome::Superseded, unix_seconds(second));
                }
                Outcome::Succeeded | Outcome::Recovered if is_rollback => {
                    last.outcome = Outcome::RolledBack;
                    details.rolled_back_by = Some(revision);
                    rolls_back = true;
                }
                _ => {}
            }
        }
        self.log.push(format!("{second}: revision {revision}, rollback: {rolls_back}"));
        let known = RecordedRevision {
            revision,
            id: RevisionId::new("00abcdef-0000", "web-5f"),
            repeated: false,
            outcome: Outcome::InProgress,
            change: Some(if rolls_back { ChangeKind::Rollback } else { ChangeKind::Release }),
            started: unix_seconds(second),
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        };
        let details =
            RecordDetails { triggers: IncidentTriggers::default(), has_incident: false, rolled_back_by: None };
        self.records.push(RolloutRecord { name: format!("web-{revision}-u"), rollout: known, details });
    }

    fn finish_rollout(&mut self, succeeds: bool) {
        let second = self.second;
        let Some(last) = self.records.last_mut().map(|record| &mut record.rollout) else {
            return;
        };
        last.outcome = match (last.outcome, succeeds) {
            (Outcome::InProgress, true) => Outcome::Succeeded,
            (Outcome::InProgress, false) => Outcome::Failed,
            (Outcome::Failed, true) => Outcome::Recovered,
            _ => return,
        };
        last.finished = unix_seconds(second);
        let line = format!("{second}: revision {} {:?}", last.revision, last.outcome);
        self.log.push(line);
        if succeeds {
            self.set_available(true);
        }
    }

    fn set_available(&mut self, is_available: bool) {
        if self.available.is_none_or(|available| available.is_available != is_available) {
            self.log.push(format!("{}: available {is_available}", self.second));
            self.available = unix_seconds(self.second).map(|since| Availability { is_available, since });
            if !is_available {
                self.losses.insert(self.now());
            }
        }
    }

    /// A person opens, resolves or deletes an incident.
    fn change_incident_by_hand(&mut self) {
        let (second, now) = (self.second, self.now());
        match self.random.u8(..3) {
            0 => {
                self.log.push(format!("{second}: a person opens an incident"));
                let opened = incident(format!("person-{second}"), now);
                self.incidents.push(Incident { is_taken_over: true, ..opened });
            }
            1 => {
                if let Some(open) = self.incidents.iter_mut().find(|incident| incident.resolved.is_none()) {
                    (open.resolved, open.is_taken_over) = (Some(now), true);
                    self.log.push(format!("{second}: a person resolves {}", open.name));
                }
            }
            // An incident that is deleted before the controller has noted it on the record would be opened again.
            _ if self.decided_writes().is_empty() && !self.incidents.is_empty() => {
                let index = self.random.usize(..self.incidents.len());
                let deleted = self.incidents.remove(index);
                self.log.push(format!("{second}: a person deletes {}", deleted.name));
            }
            _ => {}
        }
    }
}

/// The checks.
impl SimulatedDeployment {
    fn check(&self) {
        let repeated: Vec<_> = self.created.iter().filter(|(_, count)| **count > 1).collect();
        assert!(repeated.is_empty(), "created more than once: {repeated:?} {:#?}", self.log);
        let losses = || self.incidents.iter().filter(|incident| incident.opened_by == Some(OpenedBy::LostAvailability));
        let unfounded: Vec<_> = losses().filter(|incident| !self.losses.contains(&incident.opened)).collect();
        assert!(unfounded.is_empty(), "opened without a loss of availability: {unfounded:?} {:#?}", self.log);
        let open: Vec<_> = losses().filter(|incident| incident.resolved.is_none() && !incident.is_taken_over).collect();
        assert!(open.len() <= 1, "one loss of availability has two incidents: {open:?} {:#?}", self.log);
    }

    /// Checks that no incident of the controller stays open after the Deployment has recovered or is deleted.
    fn check_resolved(&mut self) {
        self.second += 1000;
        if self.random.bool() {
            self.start_rollout(false);
            self.finish_rollout(true);
        } else {
            self.is_deleted = true;
        }
        self.reconcile(false);
        self.check();
        let is_left_open = |incident: &&Incident| {
            incident.opened_by.is_some() && incident.resolved.is_none() && !incident.is_taken_over
        };
        assert_eq!(self.incidents.iter().find(is_left_open), None, "stays open: {:#?}", self.log);
    }
}

#[test]
fn each_failure_has_one_incident_that_is_resolved() {
    let mut counts = BTreeMap::new();
    for seed in 0..HISTORIES {
        let mut deployment = SimulatedDeployment::new(seed);
        deployment.log.push(format!("seed {seed}"));
        deployment.start_rollout(false);
        for _ in 0..STEPS {
            deployment.step();
            deployment.check();
        }
        deployment.reconcile(false);
        assert_eq!(deployment.decided_writes(), [], "{:#?}", deployment.log);
        deployment.check_resolved();
        for incident in deployment.incidents {
            *counts.entry(incident.opened_by.map(OpenedBy::as_str)).or_insert(0) += 1;
        }
    }
    let all = [None, Some("FailedRollout"), Some("LostAvailability"), Some("RolledBackRollout")];
    assert!(all.iter().all(|kind| counts.get(kind).is_some_and(|count| *count > 100)), "too few: {counts:?}");
}
