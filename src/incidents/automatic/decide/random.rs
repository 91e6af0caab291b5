//! Random histories of one Deployment, with a controller that is away, ends half way, and looks again without need.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use rollout::RevisionId;

const HISTORIES: u64 = 3000;
const STEPS: usize = 60;
const START: i64 = 1_000_000;

/// A Deployment, its records and incidents as the cluster has them.
struct SimulatedCluster {
    workload: WorkloadKey,
    random: fastrand::Rng,
    second: i64,
    is_deleted: bool,
    available: Option<Availability>,
    reported_loss: Option<Timestamp>,
    records: Vec<Recorded>,
    incidents: Vec<Incident>,
    settings: IncidentSettings,
    /// How often each incident was made.
    made: BTreeMap<String, usize>,
    /// Since when the Deployment was unavailable, each time.
    losses: BTreeSet<Timestamp>,
    log: Vec<String>,
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn seconds(second: i64) -> Option<UnixSeconds> {
    UnixSeconds::of(time(second))
}

impl SimulatedCluster {
    fn new(seed: u64) -> Self {
        Self {
            workload: super::tests::web(),
            random: fastrand::Rng::with_seed(seed),
            second: 0,
            is_deleted: false,
            available: None,
            reported_loss: None,
            records: Vec::new(),
            incidents: Vec::new(),
            settings: IncidentSettings::default(),
            made: BTreeMap::new(),
            losses: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        time(self.second)
    }

    fn present(&self) -> Option<Present> {
        let outcome = self.records.last().map(|record| record.known.outcome);
        (!self.is_deleted).then(|| Present {
            availability: self.available,
            is_in_effect: outcome.is_some_and(|outcome| !matches!(outcome, Outcome::InProgress | Outcome::Failed)),
            is_wanted: true,
            environment: "production".to_owned(),
            reported_loss: self.reported_loss,
        })
    }

    fn verdict(&self) -> Verdict {
        let scene = IncidentInput {
            workload: &self.workload,
            uid: "uid",
            present: self.present(),
            records: self.records.clone(),
            incidents: self.incidents.clone(),
        };
        decide(&scene, &Rules { settings: &self.settings, installed: time(0) }, self.now())
    }

    /// The controller looks until nothing is left to do, and may end after any write.
    fn look(&mut self, may_end: bool) {
        for _ in 0..10 {
            let writes = self.verdict().writes;
            if writes.is_empty() {
                return;
            }
            for write in writes {
                if may_end && self.random.u8(..) < 40 {
                    self.log.push("the controller ends".to_owned());
                    return;
                }
                self.log.push(format!("{}: {write:?}", self.second));
                self.write(write);
            }
        }
        panic!("it never stops to write: {:#?}", self.log);
    }

    fn write(&mut self, write: Write) {
        let find = |incidents: &mut Vec<Incident>, name: &str| incidents.iter().position(|it| it.name == name).unwrap();
        match write {
            Write::Open(Opening { name, opened_by, opened, revision, rolled_back_by }) => {
                if self.incidents.iter().any(|incident| incident.name == name) {
                    return;
                }
                *self.made.entry(name.clone()).or_default() += 1;
                self.incidents.push(Incident {
                    name,
                    opened_by: Some(opened_by),
                    uid: Some("uid".to_owned()),
                    revision,
                    rolled_back_by,
                    opened,
                    resolved: None,
                    reopened: None,
                    is_taken_over: false,
                });
            }
            Write::Resolve { name, at } => {
                let index = find(&mut self.incidents, &name);
                let incident = &mut self.incidents[index];
                assert!(incident.resolved.is_none() && !incident.is_taken_over, "{:#?}", self.log);
                (incident.resolved, incident.reopened) = (Some(at), None);
                assert!(at >= incident.opened && at <= time(self.second), "{:#?}", self.log);
            }
            Write::Reopen { name, since } => {
                let index = find(&mut self.incidents, &name);
                let incident = &mut self.incidents[index];
                assert!(incident.resolved.is_some() && !incident.is_taken_over, "{:#?}", self.log);
                (incident.resolved, incident.reopened) = (None, Some(since));
            }
            Write::Note { record, incident } => {
                let record = self.records.iter_mut().find(|it| it.name == record).unwrap();
                record.details.as_mut().unwrap().incident = Some(incident);
            }
            Write::NoteLoss { since } => self.reported_loss = Some(since),
        }
    }

    fn last(&mut self) -> Option<&mut RecordedRevision> {
        self.records.last_mut().map(|record| &mut record.known)
    }

    /// A new revision, which takes back the last one if that has succeeded and `is_rollback`.
    fn roll_out(&mut self, is_rollback: bool) {
        let (second, revision) = (self.second, i64::try_from(self.records.len()).unwrap() + 1);
        let mut has_taken_back = false;
        if let Some(last) = self.last() {
            match last.outcome {
                Outcome::InProgress => {
                    (last.outcome, last.finished) = (Outcome::Superseded, seconds(second));
                }
                Outcome::Succeeded | Outcome::Recovered if is_rollback => {
                    last.outcome = Outcome::RolledBack;
                    has_taken_back = true;
                }
                _ => {}
            }
        }
        if let (true, Some(last)) = (has_taken_back, self.records.last_mut()) {
            last.details.as_mut().unwrap().rolled_back_by = Some(revision);
        }
        self.log.push(format!("{second}: revision {revision}, rollback: {has_taken_back}"));
        let known = RecordedRevision {
            revision,
            replica_set: RevisionId::new("00abcdef-0000", "web-5f"),
            repeated: false,
            outcome: Outcome::InProgress,
            change: Some(if has_taken_back { ChangeKind::Rollback } else { ChangeKind::Release }),
            started: seconds(second),
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        };
        let details = Details { environment: "production".to_owned(), ..Details::default() };
        self.records.push(Recorded { name: format!("web-{revision}-u"), known, details: Some(details) });
    }

    fn become_available(&mut self, is_available: bool) {
        if self.available.is_none_or(|available| available.is_available != is_available) {
            self.log.push(format!("{}: available {is_available}", self.second));
            self.available = seconds(self.second).map(|since| Availability { is_available, since });
            if !is_available {
                self.losses.insert(self.now());
            }
        }
    }

    fn end_rollout(&mut self, succeeds: bool) {
        let second = self.second;
        let Some(last) = self.last() else {
            return;
        };
        last.outcome = match (last.outcome, succeeds) {
            (Outcome::InProgress, true) => Outcome::Succeeded,
            (Outcome::InProgress, false) => Outcome::Failed,
            (Outcome::Failed, true) => Outcome::Recovered,
            _ => return,
        };
        last.finished = seconds(second);
        let line = format!("{second}: revision {} {:?}", last.revision, last.outcome);
        self.log.push(line);
        if succeeds {
            self.become_available(true);
        }
    }

    fn person(&mut self) {
        let (second, now) = (self.second, self.now());
        match self.random.u8(..3) {
            0 => {
                self.log.push(format!("{second}: a person opens an incident"));
                self.incidents.push(Incident {
                    name: format!("person-{second}"),
                    opened_by: None,
                    uid: None,
                    revision: None,
                    rolled_back_by: None,
                    opened: now,
                    resolved: None,
                    reopened: None,
                    is_taken_over: true,
                });
            }
            1 => {
                let theirs = |incident: &&mut Incident| incident.resolved.is_none();
                if let Some(incident) = self.incidents.iter_mut().find(theirs) {
                    (incident.resolved, incident.is_taken_over) = (Some(now), true);
                    self.log.push(format!("{second}: a person resolves {}", incident.name));
                }
            }
            _ => {
                // Only what the controller has no half of its work left for.
                if self.verdict().writes.is_empty() && !self.incidents.is_empty() {
                    let index = self.random.usize(..self.incidents.len());
                    let incident = self.incidents.remove(index);
                    self.log.push(format!("{second}: a person deletes {}", incident.name));
                }
            }
        }
    }

    fn step(&mut self) {
        self.second += self.random.i64(1..400);
        match self.random.u8(..12) {
            0 | 1 => {
                let is_rollback = self.random.bool();
                self.roll_out(is_rollback);
            }
            2 | 3 => self.end_rollout(true),
            4 => self.end_rollout(false),
            5 | 6 => {
                if !self.records.is_empty() {
                    let is_available = self.random.bool();
                    self.become_available(is_available);
                }
            }
            7 => self.person(),
            // It may be away for longer.
            8 | 9 => self.look(true),
            _ => self.look(false),
        }
    }

    fn check(&self) {
        let twice: Vec<_> = self.made.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "made more than once: {twice:?} {:#?}", self.log);
        let lost = |incident: &&Incident| incident.opened_by == Some(OpenedBy::LostAvailability);
        for incident in self.incidents.iter().filter(lost) {
            assert!(self.losses.contains(&incident.opened), "{incident:?} {:#?}", self.log);
        }
        let open: Vec<&Incident> = self.incidents.iter().filter(lost).filter(|it| it.resolved.is_none()).collect();
        let own: Vec<_> = open.iter().filter(|incident| !incident.is_taken_over).collect();
        assert!(own.len() <= 1, "one Deployment is lost twice at once: {own:?} {:#?}", self.log);
    }
}

#[test]
fn one_failure_has_one_incident_and_none_lasts_once_all_is_well() {
    let mut kinds = BTreeMap::new();
    for seed in 0..HISTORIES {
        let mut world = SimulatedCluster::new(seed);
        world.roll_out(false);
        for _ in 0..STEPS {
            world.step();
            world.check();
        }
        world.look(false);
        assert_eq!(world.verdict().writes, [], "{seed}: {:#?}", world.log);
        world.second += 1000;
        if world.random.bool() {
            world.roll_out(false);
            world.end_rollout(true);
        } else {
            world.is_deleted = true;
        }
        world.look(false);
        world.check();
        let lasting = world.incidents.iter().find(|it| it.opened_by.is_some() && it.resolved.is_none());
        assert_eq!(lasting.filter(|incident| !incident.is_taken_over), None, "{seed}: {:#?}", world.log);
        for incident in world.incidents {
            *kinds.entry(incident.opened_by.map(OpenedBy::as_str)).or_insert(0) += 1;
        }
    }
    let all = [None, Some("FailedRollout"), Some("LostAvailability"), Some("RolledBackRollout")];
    assert!(all.iter().all(|kind| kinds.get(kind).is_some_and(|count| *count > 100)), "{kinds:?}");
}
