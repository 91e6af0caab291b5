//! Which revision had which number, as far as the revisions themselves show.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::state::CLOCK_MARGIN;
use crate::{ChangeKind, Revision, Workload};

/// The numbers of the revisions of one workload. For a Deployment, they are in the annotations `deployment.kubernetes.io/revision` and
/// `deployment.kubernetes.io/revision-history` of the ReplicaSets.
#[derive(Debug)]
pub(crate) struct RevisionHistory<'a> {
    revisions: BTreeMap<i64, &'a Revision>,
    /// When the workload was created.
    created: Option<Timestamp>,
    /// Whether a restore of a backup created the workload.
    is_restored: bool,
}

impl<'a> RevisionHistory<'a> {
    /// The history of `workload`. If several `revisions` have the same UID, the first of them counts.
    pub(crate) fn new(revisions: impl Iterator<Item = &'a Revision>, workload: Option<&Workload>) -> Self {
        let mut by_number: BTreeMap<i64, &Revision> = BTreeMap::new();
        for revision in revisions {
            for number in revision.earlier_revisions.iter().copied().chain(revision.revision) {
                let entry = by_number.entry(number).or_insert(revision);
                // The revision that has the number now takes precedence over one that had it earlier.
                if entry.uid != revision.uid && revision.revision == Some(number) && entry.revision != Some(number) {
                    *entry = revision;
                }
            }
        }
        let (created, is_restored) =
            workload.map_or((None, false), |workload| (workload.created, workload.is_restored));
        Self { revisions: by_number, created, is_restored }
    }

    /// The revision with this number.
    pub(crate) fn get(&self, number: i64) -> Option<&'a Revision> {
        self.revisions.get(&number).copied()
    }

    /// The revisions with lower numbers than `number`, lowest first.
    pub(crate) fn before(&self, number: i64) -> impl DoubleEndedIterator<Item = (i64, &'a Revision)> {
        self.revisions.range(..number).map(|(number, revision)| (*number, *revision))
    }

    /// Whether the workload adopted `revision` under this number and rolled out nothing.
    ///
    /// - `kubectl delete --cascade=orphan` leaves the ReplicaSets of a Deployment. A new Deployment with the same selector adopts them.
    /// - A restore of a backup creates the ReplicaSets and then their Deployment, often in the same second. If the backup has no ReplicaSets,
    ///   the restored Deployment creates its first one.
    pub(crate) fn is_adopted(&self, number: i64, revision: &Revision) -> bool {
        // If an earlier revision is the workload's own, the workload has rolled out this one too.
        let is_adopted = self.is_foreign(revision) && self.before(number).all(|(_, earlier)| self.is_foreign(earlier));
        is_adopted || (self.is_restored && number == 1)
    }

    /// Whether `revision` was not created by the controller of the workload.
    fn is_foreign(&self, revision: &Revision) -> bool {
        revision.is_restored || self.is_older_than_workload(revision)
    }

    fn is_older_than_workload(&self, revision: &Revision) -> bool {
        let (Some(revision_created), Some(workload_created)) = (revision.created, self.created) else {
            return false;
        };
        revision_created < workload_created && workload_created.duration_since(revision_created) > CLOCK_MARGIN
    }

    /// The number of the first revision that was certainly created at `installed` or later. All later numbers are younger.
    pub(crate) fn first_since(&self, installed: Timestamp) -> Option<i64> {
        self.revisions
            .iter()
            .find(|(number, revision)| {
                revision.first_revision() == Some(**number)
                    && revision.created.is_some_and(|created| created >= installed)
                    && !self.is_foreign(revision)
            })
            .map(|(number, _)| *number)
    }

    /// What the rollout of `revision` changed, compared with the previous one. `None` if the previous one is unknown.
    ///
    /// `ran_before` is the number that is known to have run before. Without it, the next lower number counts. They can differ: Kubernetes may
    /// assign a number without rolling out anything.
    pub(crate) fn change_kind(&self, number: i64, revision: &Revision, ran_before: Option<i64>) -> Option<ChangeKind> {
        let is_reused = revision.first_revision() != Some(number);
        let ran_before = ran_before.and_then(|number| Some((number, self.get(number)?)));
        let is_certain = ran_before.is_some();
        match ran_before.or_else(|| self.before(number).next_back()) {
            // Another revision ran in between, or this one would have kept its number.
            Some((_, previous)) if previous.uid == revision.uid => Some(ChangeKind::Rollback),
            Some((_, previous)) if previous.template == revision.template => Some(ChangeKind::Restart),
            _ if is_reused => Some(ChangeKind::Rollback),
            Some((previous, _)) if !is_certain && previous + 1 != number => None,
            Some((_, previous)) if previous.images != revision.images => Some(ChangeKind::Release),
            Some(_) => Some(ChangeKind::Config),
            None => (number == 1).then_some(ChangeKind::Initial),
        }
    }
}
