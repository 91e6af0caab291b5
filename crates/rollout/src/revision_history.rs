//! Which ReplicaSet ran which revision, as far as the ReplicaSets remember.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{ChangeKind, Revision};

/// A ReplicaSet that is older than its Deployment by more than this was adopted. The margin is for API servers whose
/// clocks differ.
const ADOPTION_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// The revisions that the ReplicaSets of a Deployment remember: the annotations `deployment.kubernetes.io/revision` and
/// `…/revision-history`.
#[derive(Debug)]
pub struct RevisionHistory<'a> {
    revisions: BTreeMap<i64, &'a Revision>,
    /// When the Deployment was made.
    created: Option<Timestamp>,
}

impl<'a> RevisionHistory<'a> {
    /// The revisions that `replica_sets` remember of a Deployment that was made at `created`. Of several with the same
    /// UID the first counts.
    #[must_use]
    pub fn new(replica_sets: impl Iterator<Item = &'a Revision>, created: Option<Timestamp>) -> Self {
        let mut revisions: BTreeMap<i64, &Revision> = BTreeMap::new();
        for row in replica_sets {
            for number in row.earlier_revisions.iter().copied().chain(row.revision) {
                let known = revisions.entry(number).or_insert(row);
                // A present number is surer than a remembered one.
                if known.uid != row.uid && row.revision == Some(number) && known.revision != Some(number) {
                    *known = row;
                }
            }
        }
        Self { revisions, created }
    }

    /// The ReplicaSet that ran `revision`.
    #[must_use]
    pub fn at(&self, revision: i64) -> Option<&'a Revision> {
        self.revisions.get(&revision).copied()
    }

    /// The revisions below `revision`, oldest first.
    #[must_use]
    pub fn before(&self, revision: i64) -> impl DoubleEndedIterator<Item = (i64, &'a Revision)> {
        self.revisions.range(..revision).map(|(number, row)| (*number, *row))
    }

    /// Whether the Deployment took over `replica_set` from a former one (`kubectl delete --cascade=orphan`) for `revision`,
    /// without rolling out anything.
    #[must_use]
    pub fn is_adopted(&self, revision: i64, replica_set: &Revision) -> bool {
        // What comes after a ReplicaSet of its own was rolled out by this Deployment.
        self.is_older_than_deployment(replica_set)
            && self.before(revision).all(|(_, row)| self.is_older_than_deployment(row))
    }

    fn is_older_than_deployment(&self, replica_set: &Revision) -> bool {
        let (Some(made), Some(created)) = (replica_set.created, self.created) else {
            return false;
        };
        made < created && created.duration_since(made) > ADOPTION_MARGIN
    }

    /// The first revision that was provably born at `installed` or later: its ReplicaSet was made for it. All after it are younger.
    #[must_use]
    pub fn first_since(&self, installed: Timestamp) -> Option<i64> {
        self.revisions
            .iter()
            .find(|(number, row)| {
                row.first_revision() == Some(**number)
                    && row.created.is_some_and(|created| created >= installed)
                    && !self.is_older_than_deployment(row)
            })
            .map(|(number, _)| *number)
    }

    /// What `revision` changed, against the revision before it; `None` if that one is not remembered. `ran_before` is the one that is
    /// known to have run before: a number may be given and taken without anything being rolled out.
    #[must_use]
    pub fn change(&self, revision: i64, replica_set: &Revision, ran_before: Option<i64>) -> Option<ChangeKind> {
        let is_reused = replica_set.first_revision() != Some(revision);
        let ran_before = ran_before.and_then(|number| Some((number, self.at(number)?)));
        let is_next = ran_before.is_some();
        match ran_before.or_else(|| self.before(revision).next_back()) {
            // Something was between the two, or it would have kept its number.
            Some((_, before)) if before.uid == replica_set.uid => Some(ChangeKind::Rollback),
            Some((_, before)) if before.template == replica_set.template => Some(ChangeKind::Restart),
            _ if is_reused => Some(ChangeKind::Rollback),
            Some((number, _)) if !is_next && number + 1 != revision => None,
            Some((_, before)) if before.images != replica_set.images => Some(ChangeKind::Release),
            Some(_) => Some(ChangeKind::Config),
            None => (revision == 1).then_some(ChangeKind::Initial),
        }
    }
}
