//! What has to be recorded of a Deployment, given what was seen of it and what is recorded already.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Action, CLOCK_MARGIN, Change, DeploymentRow, Ending, Former, Known, ProgressReason, Progressing, ReplicaSetMark,
    ReplicaSetRow, Second, Sighting, Since, Source, Stamp, Timeline, ending, is_complete,
};
use crate::resources::{Accuracy, ChangeKind, Outcome};

/// How long the ReplicaSets of a deleted Deployment are waited for.
const CATCH_UP: SignedDuration = SignedDuration::from_secs(10);

/// What was seen of a Deployment.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Its present state; absent once it is deleted.
    pub deployment: Option<&'a Sighting>,
    /// Its last states at former revisions, oldest first.
    pub former: &'a [Former],
    /// The ReplicaSets that it owns.
    pub owned: &'a [ReplicaSetRow],
}

/// By which rules it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// When the controller first started in this cluster.
    pub installed: Timestamp,
    /// Which of the revisions from before that are reported.
    pub history: History,
    /// How long a rollout without a progress deadline may stand still.
    pub patience: SignedDuration,
}

/// Which of the revisions from before the installation are reported.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum History {
    /// None that was over by then.
    #[default]
    None,
    /// The present one of each Deployment.
    Current,
    /// All that the ReplicaSets remember.
    All,
}

/// What has to be written down, in this order, and when to look again if nothing happens.
#[derive(Debug, Default)]
pub struct Decision<'a> {
    /// The changes.
    pub changes: Vec<Change<'a>>,
    /// When a rollout without a progress deadline counts as failed, or what is behind is not waited for any longer.
    pub look_again: Option<Timestamp>,
    /// The watch on ReplicaSets is behind that on Deployments: nothing can be said before it has caught up.
    pub is_behind: bool,
}

/// What has to be recorded at `now` of what was seen, against the revisions that are recorded (`known`).
///
/// `is_wanted` tells whether a revision is to be reported at all. The same scene and the changed records give no more changes: a crash between two writes only repeats. A recorded
/// end is final, but a failed rollout can recover, and a successful one can be rolled back ([`Outcome::may_become`]).
#[must_use]
pub fn decide<'a>(
    scene: &Scene<'a>,
    known: &[Known],
    policy: &Policy,
    is_wanted: &dyn Fn(&DeploymentRow, &ReplicaSetRow) -> bool,
    now: Timestamp,
) -> Decision<'a> {
    let row = scene.deployment.or_else(|| scene.former.last().map(|former| &former.sighting)).map(|seen| &seen.row);
    let remembered = scene.owned.iter().chain(scene.former.iter().filter_map(|former| former.replica_set.as_ref()));
    let timeline = Timeline::new(remembered, row.and_then(|row| row.created));
    if let Some(behind) = behind(scene, &timeline, now) {
        return behind;
    }
    let mut course = Course {
        first_since: timeline.first_since(policy.installed),
        newest: known.iter().map(|known| known.revision).max(),
        scene: *scene,
        timeline,
        policy,
        is_wanted,
        records: known.to_vec(),
        replacement: None,
        decision: Decision::default(),
    };
    course.finish_rollbacks();
    for former in scene.former {
        // Left unseen, it may have moved again, and has not surely stood still for long.
        let until = if former.left == Source::Watch { former.until } else { former.sighting.progressed };
        course.pass(&former.sighting, former.replica_set.as_ref(), until);
    }
    // Only the present revision can still come to fail.
    course.decision.look_again = None;
    match scene.deployment {
        Some(sighting) => course.pass(sighting, None, now),
        None => course.deleted(),
    }
    course.decision
}

/// Whether the watch on ReplicaSets is behind that on Deployments: no ReplicaSet has the present revision yet, or a revision of a
/// Deployment that was just deleted.
fn behind<'a>(scene: &Scene<'_>, timeline: &Timeline<'_>, now: Timestamp) -> Option<Decision<'a>> {
    let is_unknown = |sighting: &Sighting| sighting.row.revision.is_some_and(|number| timeline.at(number).is_none());
    let look_again = match (scene.deployment, scene.former.last()) {
        (Some(present), _) => is_unknown(present).then_some(None),
        (None, Some(last)) => {
            let until = last.until.checked_add(CATCH_UP).ok().filter(|until| *until > now);
            until.filter(|_| scene.former.iter().any(|former| is_unknown(&former.sighting))).map(Some)
        }
        (None, None) => None,
    };
    look_again.map(|look_again| Decision { look_again, is_behind: true, ..Decision::default() })
}

/// The course of a Deployment, revision by revision.
struct Course<'a, 'p> {
    scene: Scene<'a>,
    timeline: Timeline<'a>,
    policy: &'p Policy,
    is_wanted: &'p dyn Fn(&DeploymentRow, &ReplicaSetRow) -> bool,
    /// The first revision that was provably born after the installation.
    first_since: Option<i64>,
    /// The highest revision that was recorded before.
    newest: Option<i64>,
    /// The records as they are after the changes so far.
    records: Vec<Known>,
    /// The ReplicaSet that took the place of one which was deleted by hand, of a record that goes on.
    replacement: Option<&'a ReplicaSetRow>,
    decision: Decision<'a>,
}

/// A revision and the ReplicaSet that runs it.
#[derive(Clone, Copy)]
struct Revision<'a> {
    number: i64,
    replica_set: &'a ReplicaSetRow,
}

impl<'a> Course<'a, '_> {
    /// Takes in a state at one revision, as it was at `now`.
    fn pass(&mut self, sighting: &Sighting, replica_set: Option<&'a ReplicaSetRow>, now: Timestamp) {
        let Some(number) = sighting.row.revision else {
            return;
        };
        // `kubectl apply` of a manifest that states a number gives the Deployment one for a moment that no ReplicaSet has.
        let Some(replica_set) = replica_set.or_else(|| self.timeline.at(number)) else {
            return;
        };
        let seen = Revision { number, replica_set };
        let revision = self.renumbered(seen, sighting).unwrap_or(seen);
        self.replace_replica_set(revision);
        // An undo while it is paused is no rollout before it is resumed.
        let is_waiting = !sighting.has_run && self.position(revision).is_none();
        if is_waiting && sighting.source == Source::Watch {
            return;
        }
        if revision.number == number && sighting.source == Source::List {
            self.find_missed(&sighting.row, revision);
        }
        let started = started(sighting, revision);
        self.close_others(sighting, revision, started);
        if is_waiting {
            return;
        }
        let standing =
            ending(sighting, replica_set, self.conditions_since(revision, sighting.source), self.policy.patience, now);
        match self.position(revision) {
            None => self.begin_present(sighting, revision, started, standing),
            Some(position) => self.go_on(position, sighting, revision, standing),
        }
        self.finish_rollback(revision);
    }

    /// The Deployment is deleted.
    fn deleted(&mut self) {
        let last = self.scene.former.last().filter(|last| last.left == Source::Watch && !last.sighting.is_broken);
        for position in self.in_progress() {
            let record = &self.records[position];
            let watched = last.filter(|last| last.sighting.row.revision.is_some_and(|last| last >= record.revision));
            match watched {
                Some(last) => self.end(position, Outcome::Abandoned, Some(Stamp::observed(last.until)), None),
                None => self.end(position, Outcome::Unobserved, None, None),
            }
        }
    }

    fn position(&self, revision: Revision<'_>) -> Option<usize> {
        self.records.iter().position(|record| record.is_of(revision.number, revision.replica_set))
    }

    fn in_progress(&self) -> Vec<usize> {
        self.positions(|record| record.outcome == Outcome::InProgress)
    }

    fn positions(&self, are: impl Fn(&Known) -> bool) -> Vec<usize> {
        self.records.iter().enumerate().filter(|(_, record)| are(record)).map(|(position, _)| position).collect()
    }

    /// Which conditions that name the ReplicaSet of `revision` speak of this revision of it, if it was seen by `source`.
    fn conditions_since(&self, revision: Revision<'_>, source: Source) -> Since {
        let Revision { number, replica_set } = revision;
        let made = |row: &ReplicaSetRow| row.created.and_then(|made| made.checked_sub(CLOCK_MARGIN).ok());
        let Some(earlier) = replica_set.earlier_revisions.iter().copied().filter(|earlier| *earlier < number).max()
        else {
            return made(replica_set).map_or(Since::Any, Since::Time);
        };
        let uid = ReplicaSetMark::of(replica_set).uid;
        let same = |record: &&Known| record.replica_set.uid == uid && record.revision != number;
        if let Some(finished) = self.records.iter().filter(same).filter_map(|record| record.finished).max() {
            let started = self.position(revision).and_then(|position| self.records[position].started);
            let after = finished.time().checked_add(SignedDuration::from_secs(1)).ok();
            let began = started.map(Second::time).filter(|_| source == Source::List);
            return after.max(began).map_or(Since::Never, Since::Time);
        }
        if source == Source::Watch {
            return Since::Any;
        }
        // When it was seen to begin, nobody knows of a condition from before that it speaks of it.
        if let Some(started) = self.position(revision).and_then(|position| self.records[position].started) {
            return Since::Time(started.time());
        }
        // What was made between its two revisions is older than the second one.
        let between = self
            .timeline
            .before(number)
            .filter(|(other, row)| *other > earlier && row.first_revision() == Some(*other));
        between.filter_map(|(_, row)| made(row)).max().map_or(Since::Never, Since::Time)
    }

    /// The revision under which the present one is recorded, if nothing but its number has changed.
    ///
    /// The Deployment controller numbers its ReplicaSet anew when it adopts a stray one with a higher number (`SetNewReplicaSetAnnotations`
    /// in `deployment_util.go`), and with each undo while the Deployment is paused; nothing is rolled out then.
    fn renumbered(&self, seen: Revision<'a>, sighting: &Sighting) -> Option<Revision<'a>> {
        let Revision { number, replica_set } = seen;
        let record =
            self.records.iter().filter(|record| record.revision < number).max_by_key(|record| record.revision)?;
        if record.replica_set.uid != ReplicaSetMark::of(replica_set).uid || !replica_set.ran(record.revision) {
            return None;
        }
        let nothing_ran_between = sighting.has_followed(record.revision)
            && sighting.path.iter().filter(|ran| **ran > record.revision).all(|ran| replica_set.ran(*ran));
        let stands_as_recorded = sighting.row.progressing.as_ref().is_some_and(|condition| {
            condition.reason == ProgressReason::Complete
                && condition.replica_set.as_deref() == Some(&*replica_set.name)
                && condition.updated.and_then(Second::of) <= record.finished
        });
        // Only a rollback gives a ReplicaSet a number that is not its first; a stray one keeps that.
        let mut between = self.timeline.before(number).filter(|(other, _)| *other > record.revision);
        let was_undone = between.any(|(other, row)| row.uid != replica_set.uid && row.first_revision() != Some(other));
        (nothing_ran_between || (stands_as_recorded && !was_undone))
            .then_some(Revision { number: record.revision, replica_set })
    }

    /// A rollout goes on when its ReplicaSet is deleted by hand and made again, under the same name and number.
    fn replace_replica_set(&mut self, revision: Revision<'a>) {
        let mark = ReplicaSetMark::of(revision.replica_set);
        let is_replaced = |record: &&mut Known| {
            record.revision == revision.number
                && record.outcome.is_open()
                && !record.repeated
                && record.replica_set.name == mark.name
        };
        if let Some(record) = self.records.iter_mut().find(is_replaced).filter(|record| record.replica_set != mark) {
            record.replica_set = mark;
            self.replacement = Some(revision.replica_set);
        }
    }

    /// Whether the Deployment took over the ReplicaSet of its first revision from a former Deployment.
    fn is_adopted(&self, revision: Revision<'_>) -> bool {
        let Revision { number, replica_set } = revision;
        let is_first = !self.records.iter().any(|record| record.revision < number);
        is_first && self.timeline.is_adopted(number, replica_set)
    }

    /// Whether an unrecorded revision came since the last record, or since the installation.
    fn is_news(&self, revision: Revision<'_>) -> bool {
        let Revision { number, replica_set } = revision;
        if self.is_adopted(revision) {
            return false;
        }
        match self.newest {
            Some(newest) if number > newest => true,
            None if self.policy.history == History::All => true,
            _ => {
                self.first_since.is_some_and(|first| number >= first)
                    && self.newest.is_none_or(|newest| {
                        // Below a recorded number, it is either a record that was deleted, or the numbers began anew.
                        replica_set.first_revision() == Some(number) && self.is_younger_than(replica_set, newest)
                    })
            }
        }
    }

    fn is_younger_than(&self, replica_set: &ReplicaSetRow, newest: i64) -> bool {
        let made = replica_set.created.and_then(Second::of);
        let newest =
            self.records.iter().filter(|record| record.revision == newest).filter_map(|record| record.started).max();
        newest.is_none() || made > newest
    }

    /// Records the revisions that came and went while nobody watched, as far as ReplicaSets remember them.
    fn find_missed(&mut self, row: &DeploymentRow, present: Revision<'a>) {
        let missed: Vec<_> = self.timeline.before(present.number).collect();
        for (number, replica_set) in missed {
            let revision = Revision { number, replica_set };
            let is_recorded = self.records.iter().any(|record| record.revision == number);
            if is_recorded
                || self.newest.is_some_and(|newest| number <= newest)
                || !self.is_news(revision)
                || !(self.is_wanted)(row, replica_set)
            {
                continue;
            }
            let is_first = replica_set.first_revision() == Some(number);
            let started = replica_set
                .created
                .filter(|_| is_first)
                .map(|made| if row.recreates { Stamp::observed(made) } else { Stamp::exact(made) });
            let is_only = is_first && replica_set.revision == Some(number);
            let since = self.conditions_since(revision, Source::List);
            let end = is_only.then(|| stated_end(row, replica_set, since)).flatten();
            let (outcome, finished) = end.map_or((Outcome::Unobserved, None), |(outcome, at)| (outcome, Some(at)));
            let change = self.timeline.change(number, replica_set, None);
            self.begin(revision, change, started, outcome, finished, self.unseen_before(number));
            self.finish_rollback(revision);
        }
    }

    /// Ends what is in progress at other revisions than the present one. The condition may still tell how.
    fn close_others(&mut self, sighting: &Sighting, present: Revision<'_>, started: Option<Stamp>) {
        let Revision { number, replica_set } = present;
        let made = replica_set.created.and_then(Second::of);
        let over = self.positions(|record| {
            let is_younger = record.started.is_none_or(|started| made.is_none_or(|made| made <= started));
            let is_older = record.revision < number
                || (record.replica_set.uid != ReplicaSetMark::of(replica_set).uid && !is_younger);
            record.outcome.is_open() && is_older && !record.is_of(number, replica_set)
        });
        for position in over {
            let record = &self.records[position];
            // What the condition says of a ReplicaSet that was used again, it says of its last revision.
            let is_its_last =
                |row: &&ReplicaSetRow| record.is_of(record.revision, row) && row.revision == Some(record.revision);
            let ran = self.timeline.at(record.revision).filter(is_its_last);
            let told = ran.and_then(|replica_set| {
                let revision = Revision { number: record.revision, replica_set };
                stated_end(&sighting.row, replica_set, self.conditions_since(revision, Source::List))
            });
            match (record.outcome, told) {
                (Outcome::InProgress, Some((outcome, at))) => self.end(position, outcome, Some(at), None),
                // Followed by the watch, the state in which it recovered was seen. Scaled to nothing, it only looks complete.
                (Outcome::Failed, Some((Outcome::Succeeded, at)))
                    if sighting.source == Source::List && sighting.row.replicas > 0 =>
                {
                    self.end(position, Outcome::Recovered, Some(at), None);
                }
                (Outcome::InProgress, None) if sighting.has_followed(record.revision) => {
                    let at = started.unwrap_or_else(|| Stamp::observed(sighting.since));
                    self.end(position, Outcome::Superseded, Some(at), None);
                }
                (Outcome::InProgress, None) => self.end(position, Outcome::Unobserved, None, None),
                _ => {}
            }
        }
    }

    fn begin_present(&mut self, sighting: &Sighting, revision: Revision<'a>, started: Option<Stamp>, standing: Ending) {
        if self.is_adopted(revision) && !is_rolled_out(&sighting.row, standing) {
            return;
        }
        if !(self.is_wanted)(&sighting.row, revision.replica_set) {
            return;
        }
        let (outcome, finished) = match standing {
            Ending::Open { fails } => {
                self.decision.look_again = fails;
                (Outcome::InProgress, None)
            }
            Ending::Complete { at, after_failure: false } => (Outcome::Succeeded, Some(at)),
            Ending::Complete { at, after_failure: true } => (Outcome::Recovered, Some(at)),
            Ending::Failed(at) => (Outcome::Failed, Some(at)),
        };
        // A ReplicaSet from before the installation may have been re-used since. Pause and resume of a complete Deployment
        // renew the time of its condition too, so that the time alone does not tell.
        let is_reused_since = || {
            let exact = finished.filter(|at| at.accuracy == Accuracy::Exact);
            self.newest.is_none()
                && !revision.replica_set.earlier_revisions.is_empty()
                && exact.is_some_and(|at| at.at >= self.policy.installed)
        };
        let is_reported = finished.is_none()
            || self.is_news(revision)
            || is_reused_since()
            || sighting.source == Source::Watch
            || (self.newest.is_none() && self.policy.history != History::None);
        if is_reported {
            let change = self.change_of(sighting, revision);
            // A watch misses nothing: a number that it did not see was given to nothing that ran.
            let is_gapless = sighting.source == Source::Watch && self.knows_former();
            let unseen = if is_gapless { None } else { self.unseen_before(revision.number) };
            self.begin(revision, change, started, outcome, finished, unseen);
            if let Some(position) = self.position(revision) {
                self.note_pause(position, &sighting.row, sighting.progressed);
            }
        }
    }

    /// What the present revision changed.
    fn change_of(&self, sighting: &Sighting, revision: Revision<'_>) -> Option<ChangeKind> {
        let Revision { number, replica_set } = revision;
        let latest = self.records.iter().max_by_key(|record| (record.started, record.revision));
        // The name is made from the pod template: this one was deleted by hand and made again.
        let mark = ReplicaSetMark::of(replica_set);
        let is_made_again = |latest: &Known| latest.replica_set.name == mark.name && latest.replica_set.uid != mark.uid;
        if latest.is_some_and(is_made_again) {
            return Some(ChangeKind::Restart);
        }
        let change = self.timeline.change(number, replica_set, sighting.path.last().copied());
        change.filter(|change| *change != ChangeKind::Initial || latest.is_none())
    }

    fn begin(
        &mut self,
        revision: Revision<'a>,
        change: Option<ChangeKind>,
        started: Option<Stamp>,
        outcome: Outcome,
        finished: Option<Stamp>,
        unseen: Option<i64>,
    ) {
        let Revision { number, replica_set } = revision;
        let record = Known {
            revision: number,
            replica_set: ReplicaSetMark::of(replica_set),
            repeated: self.records.iter().any(|record| record.revision == number),
            outcome,
            change,
            started: started.and_then(|started| Second::of(started.at)),
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        };
        self.decision.changes.push(Change {
            action: Action::Begin,
            record: record.clone(),
            replica_set: Some(replica_set),
            is_described: replica_set.revision == Some(number),
            started,
            finished: None,
            unseen: unseen.filter(|unseen| *unseen > 0),
            rolled_back_by: None,
        });
        self.records.push(record);
        if finished.is_some() {
            self.end(self.records.len() - 1, outcome, finished, None);
        }
    }

    /// Whether each former revision that was seen has its ReplicaSet: the watch on these may have been interrupted meanwhile.
    fn knows_former(&self) -> bool {
        let former = self.scene.former.iter().filter_map(|former| former.sighting.row.revision);
        former.into_iter().all(|revision| self.timeline.at(revision).is_some())
    }

    /// How many revisions before `number` left nothing.
    fn unseen_before(&self, number: i64) -> Option<i64> {
        let recorded = self.records.iter().map(|record| record.revision).filter(|recorded| *recorded < number).max();
        let remembered = self.timeline.before(number).next_back().map(|(remembered, _)| remembered);
        let row = self.scene.deployment.or_else(|| self.scene.former.last().map(|former| &former.sighting));
        let made_since =
            row.and_then(|sighting| sighting.row.created).is_some_and(|created| created >= self.policy.installed);
        let before = match (recorded, remembered) {
            (None, None) if self.newest.is_none() && made_since => 0,
            (None, Some(remembered)) if self.first_since.is_none_or(|first| remembered < first) => return None,
            (recorded, remembered) => recorded.max(remembered)?,
        };
        Some(number - before - 1)
    }

    /// Goes on with the record of the present revision.
    fn go_on(&mut self, position: usize, sighting: &Sighting, revision: Revision<'a>, standing: Ending) {
        let replica_set = Some(revision.replica_set);
        match (self.records[position].outcome, standing) {
            (Outcome::InProgress, Ending::Open { fails }) => self.decision.look_again = fails,
            (Outcome::InProgress, Ending::Failed(at)) => self.end(position, Outcome::Failed, Some(at), replica_set),
            (Outcome::InProgress, Ending::Complete { at, after_failure: false }) => {
                self.end(position, Outcome::Succeeded, Some(at), replica_set);
            }
            (Outcome::InProgress, Ending::Complete { at, after_failure: true }) => {
                self.end(position, Outcome::Recovered, Some(at), replica_set);
            }
            // Scaled to nothing, a failed rollout is complete to Kubernetes, and stays so when it is scaled up again. Where the
            // failure was seen as well as what came after it, that condition is known to be void.
            (Outcome::Failed, Ending::Complete { at, after_failure })
                if after_failure || (sighting.row.replicas > 0 && is_complete(&sighting.row)) =>
            {
                let at = if at.accuracy == Accuracy::Exact { at } else { at.not_before(Some(sighting.progressed)) };
                self.end(position, Outcome::Recovered, Some(at), replica_set);
            }
            _ => {}
        }
        self.note_pause(position, &sighting.row, sighting.progressed);
    }

    /// Notes a pause or its end once Kubernetes has taken it in, so that the time is that of its condition. Where it will state none
    /// (without a progress deadline, or while a failure stands), it is noted at once, for the moment at which it was `seen`.
    fn note_pause(&mut self, position: usize, row: &DeploymentRow, seen: Timestamp) {
        let record = &self.records[position];
        if !record.outcome.is_open() || row.paused == record.paused_at.is_some() {
            return;
        }
        let reason = if row.paused { ProgressReason::Paused } else { ProgressReason::Resumed };
        let stated = row.progressing.as_ref().filter(|condition| condition.reason == reason);
        let will_state = row.progress_deadline.is_some() && record.outcome != Outcome::Failed;
        if stated.is_none() && will_state && row.observed_generation < row.generation {
            return;
        }
        let at = stated.and_then(|condition| condition.updated).unwrap_or(seen);
        let paused_seconds = record.paused_until(at);
        let changed = Known { paused_at: Second::of(at).filter(|_| row.paused), paused_seconds, ..record.clone() };
        self.write(position, Action::Pause, changed, None, |_| {});
    }

    /// Marks what `revision` took back, if it is a rollback.
    fn finish_rollback(&mut self, revision: Revision<'_>) {
        if let Some(position) = self.position(revision)
            && let Known { revision, replica_set, started, change: Some(ChangeKind::Rollback), .. } =
                self.records[position]
        {
            self.roll_back_before(revision, replica_set, started);
        }
    }

    /// Marks what recorded rollbacks took back: the process may have ended between the two writes.
    fn finish_rollbacks(&mut self) {
        for position in self.positions(|record| record.change == Some(ChangeKind::Rollback)) {
            let Known { revision, replica_set, started, .. } = self.records[position];
            self.roll_back_before(revision, replica_set, started);
        }
    }

    /// Marks what was in effect before the rollback `number` by `replica_set` as taken back. A restart brings nothing of its own: what it restarted is
    /// taken back with it.
    fn roll_back_before(&mut self, number: i64, replica_set: ReplicaSetMark, began: Option<Second>) {
        // Where the numbers began anew, a lower one may be younger.
        let is_younger = |record: &Known| began.is_some() && record.started > began;
        let mut older = self.positions(|record| record.revision < number && !is_younger(record));
        older.sort_by_key(|position| {
            let record = &self.records[*position];
            std::cmp::Reverse((record.revision, record.started))
        });
        for position in older {
            let record = &self.records[position];
            let is_restart = record.change == Some(ChangeKind::Restart);
            match record.outcome {
                // These never were in effect.
                Outcome::Failed | Outcome::Superseded | Outcome::Abandoned => {}
                Outcome::Succeeded | Outcome::Recovered if record.replica_set.uid != replica_set.uid => {
                    let changed = Known { outcome: Outcome::RolledBack, ..record.clone() };
                    let by = Some(number);
                    self.write(position, Action::RollBack, changed, None, |change| change.rolled_back_by = by);
                    if !is_restart {
                        return;
                    }
                }
                Outcome::RolledBack if is_restart => {}
                _ => return,
            }
        }
    }

    fn end(
        &mut self,
        position: usize,
        outcome: Outcome,
        finished: Option<Stamp>,
        replica_set: Option<&'a ReplicaSetRow>,
    ) {
        let record = &self.records[position];
        let replica_set = replica_set.or_else(|| self.replacement.filter(|row| record.is_of(record.revision, row)));
        let finished = finished.map(|finished| finished.not_before(record.started.map(Second::time)));
        let ended = Known {
            outcome,
            finished: finished.and_then(|finished| Second::of(finished.at)),
            paused_seconds: finished.map_or(record.paused_seconds, |finished| record.paused_until(finished.at)),
            paused_at: record.paused_at.filter(|_| outcome.is_open()),
            ..record.clone()
        };
        self.write(position, Action::End, ended, replica_set, |change| change.finished = finished);
    }

    /// Adds a change, or makes it a part of the beginning of the same record.
    fn write(
        &mut self,
        position: usize,
        action: Action,
        record: Known,
        replica_set: Option<&'a ReplicaSetRow>,
        add: impl FnOnce(&mut Change<'a>),
    ) {
        let before = std::mem::replace(&mut self.records[position], record.clone());
        let same = |change: &&mut Change<'a>| {
            change.record.revision == before.revision && change.record.replica_set == before.replica_set
        };
        let changes = &mut self.decision.changes;
        if let Some(begun) = changes.iter_mut().filter(|change| change.action == Action::Begin).find(same) {
            begun.record = record;
            add(begun);
            return;
        }
        let (started, finished) = (None, None);
        let mut change = Change {
            action,
            record,
            replica_set,
            is_described: replica_set.is_some_and(|row| row.revision == Some(before.revision)),
            started,
            finished,
            unseen: None,
            rolled_back_by: None,
        };
        add(&mut change);
        changes.push(change);
    }
}

/// Whether a Deployment that took over its ReplicaSet has more to do than that.
fn is_rolled_out(row: &DeploymentRow, standing: Ending) -> bool {
    let is_on_its_way = row.progressing.as_ref().is_some_and(|condition| condition.reason == ProgressReason::Other);
    matches!(standing, Ending::Open { .. }) && is_on_its_way && row.observed_generation >= row.generation
}

/// When the revision began, if that can be known.
fn started(sighting: &Sighting, revision: Revision<'_>) -> Option<Stamp> {
    let Revision { number, replica_set } = revision;
    if replica_set.first_revision() != Some(number) {
        return (sighting.source == Source::Watch).then_some(Stamp::observed(sighting.since));
    }
    // With Recreate the old pods have gone before it is made.
    replica_set.created.map(|made| if sighting.row.recreates { Stamp::observed(made) } else { Stamp::exact(made) })
}

/// How a former revision ended, if the condition still speaks of its ReplicaSet.
fn stated_end(row: &DeploymentRow, replica_set: &ReplicaSetRow, since: Since) -> Option<(Outcome, Stamp)> {
    let Progressing { reason, replica_set: named, updated } = row.progressing.as_ref()?;
    if named.as_deref() != Some(&*replica_set.name) || !since.includes(*updated) {
        return None;
    }
    let outcome = match reason {
        ProgressReason::Complete => Outcome::Succeeded,
        ProgressReason::DeadlineExceeded => Outcome::Failed,
        ProgressReason::Found | ProgressReason::Paused | ProgressReason::Resumed | ProgressReason::Other => {
            return None;
        }
    };
    Some((outcome, Stamp::exact((*updated)?)))
}

#[cfg(test)]
mod tests;
