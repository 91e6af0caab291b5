//! Which revision numbers of a workload can be believed.
//!
//! A Deployment has the number of its current revision in the annotation `deployment.kubernetes.io/revision`. `kubectl get --output=yaml`
//! exports that annotation, and `kubectl apply` or `kubectl replace` of the export brings the old number back, or the one of another
//! cluster. The Deployment controller corrects it at its next sync. Until then, the Deployment seems to be at a revision that it isn't at:
//! annotations don't change `metadata.generation`, and the status still describes the true revision.
//!
//! The ReplicaSets have the truth. The Deployment controller works in this order (Kubernetes 1.36):
//! 1. `getNewReplicaSet` (`pkg/controller/deployment/sync.go`) gives the ReplicaSet of the current pod template a number that is higher than
//!    the numbers of all others (`MaxRevision` and `SetNewReplicaSetAnnotations` in `pkg/controller/deployment/util/deployment_util.go`).
//! 2. It copies that number from the ReplicaSet to the Deployment (`SetDeploymentRevision`).
//!
//! It never copies the number from the Deployment to a ReplicaSet (`skipCopyAnnotation`). So the number of a Deployment is true if it is the
//! highest number of its ReplicaSets. The watches of Deployments and ReplicaSets are not ordered, so a true number may arrive before its
//! ReplicaSet does. Therefore:
//! - **A higher number than before** is used, but no decision is made before a ReplicaSet with that number arrives. If the Deployment gets
//!   another number instead, the higher one was never true, and the observation goes on as if it had not been there.
//! - **A lower number than before** is used only if it is the highest one. That is so after somebody has deleted the current ReplicaSet.
//!   Otherwise, the state belongs to the revision that was current before.
//! - **The first number** of a Deployment that was listed, or that was created with a number, is used only if it is the highest one.

use crate::{Observation, Revision, Source};

/// The highest number of these revisions.
#[must_use]
pub fn highest_number<'a>(revisions: impl IntoIterator<Item = &'a Revision>) -> Option<i64> {
    revisions.into_iter().filter_map(|revision| revision.revision).max()
}

impl Observation {
    /// Whether to believe a state that says that the workload is at revision `number` now.
    ///
    /// `highest` is the highest number of the revisions that the workload owns. `refused` is the number that the state before said, if it was
    /// not believed.
    #[must_use]
    pub fn believes(&self, number: i64, refused: Option<i64>, highest: Option<i64>) -> bool {
        let needs_proof = match self.workload.revision {
            Some(current) => number < current,
            None => self.source == Source::List || refused == Some(number),
        };
        !needs_proof || highest == Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Workload;
    use crate::test_support::{deployment, replica_set, time};

    fn at(revision: Option<i64>, source: Source) -> Observation {
        Observation::new(Workload { revision, ..deployment(0) }, source, time(0))
    }

    #[test]
    fn lower_number_needs_to_be_the_highest_one() {
        let revisions = |numbers: &[i64]| -> Vec<Revision> {
            numbers.iter().map(|number| replica_set(&number.to_string(), *number, 0)).collect()
        };
        let (watched, listed, new) = (at(Some(4), Source::Watch), at(None, Source::List), at(None, Source::Watch));
        for (observation, number, refused, owned, is_believed) in [
            (&watched, 2, None, &[1, 2, 3, 4][..], false),
            (&watched, 2, None, &[1, 2], true),
            (&watched, 2, None, &[], false),
            (&watched, 4, None, &[1], true),
            (&watched, 5, None, &[4], true),
            (&listed, 4, None, &[3, 4], true),
            (&listed, 3, None, &[3, 4], false),
            (&listed, 7, None, &[3, 4], false),
            // The Deployment controller gives a new Deployment its first number.
            (&new, 1, None, &[], true),
            (&new, 7, Some(7), &[1], false),
            (&new, 1, Some(7), &[], true),
        ] {
            let believes = observation.believes(number, refused, highest_number(&revisions(owned)));
            assert_eq!(believes, is_believed, "{number} after {:?} with {owned:?}", observation.workload.revision);
        }
    }
}
