//! Records that somebody else has applied, such as a pipeline, in memory. The controller needs them for their retention only.

use std::collections::HashMap;
use std::sync::Arc;

use rollout::{Outcome, UnixSeconds};

use super::store::{RecordState, seconds};
use crate::resources::SlimDoraDeployment;
use crate::runtime::ListMark;

/// The records of all namespaces that are not the record of a revision: those of deployments outside Kubernetes, and
/// copies of records under other names.
#[derive(Debug, Default)]
pub(super) struct AppliedRecords(HashMap<Arc<str>, HashMap<Box<str>, AppliedRecord>>);

#[derive(Debug)]
struct AppliedRecord {
    state: AppliedState,
    listing: ListMark,
}

/// The state of such a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AppliedState {
    /// From when its age counts: its end, or its creation if that is later. Somebody who reports deployments of the past
    /// gives them an end that is long ago.
    pub since: Option<UnixSeconds>,
    /// Whether nothing is left to deliver.
    pub is_settled: bool,
    /// Whether the deployment is in progress.
    pub is_in_progress: bool,
}

impl AppliedState {
    /// The state of `record`.
    pub fn of(record: &SlimDoraDeployment, RecordState { created, is_settled, .. }: RecordState) -> Self {
        let finished = record.spec.finished_at.as_ref().and_then(seconds);
        Self { since: finished.max(created), is_settled, is_in_progress: record.spec.outcome == Outcome::InProgress }
    }
}

impl AppliedRecords {
    /// Stores the state of a record.
    pub fn set(&mut self, namespace: &str, name: &str, state: AppliedState, listing: ListMark) {
        let record = AppliedRecord { state, listing };
        match self.0.get_mut(namespace) {
            Some(records) => records.insert(name.into(), record),
            None => self.0.entry(namespace.into()).or_default().insert(name.into(), record),
        };
    }

    /// Removes a record.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(records) = self.0.get_mut(namespace) {
            records.remove(name);
            if records.is_empty() {
                self.0.remove(namespace);
            }
        }
    }

    /// Keeps the records for which `is_kept` accepts the mark of the list that contained them last.
    pub fn retain(&mut self, is_kept: impl Fn(ListMark) -> bool) {
        self.0.retain(|_, records| {
            records.retain(|_, record| is_kept(record.listing));
            !records.is_empty()
        });
    }

    /// How many records a namespace has.
    pub fn count(&self, namespace: &str) -> usize {
        self.0.get(namespace).map_or(0, HashMap::len)
    }

    /// The namespaces that have records.
    pub fn namespaces(&self) -> Vec<Arc<str>> {
        self.0.keys().cloned().collect()
    }

    /// The records of a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&str, AppliedState)> {
        self.0.get(namespace).into_iter().flatten().map(|(name, record)| (&**name, record.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Listing;

    const STATE: AppliedState = AppliedState { since: None, is_settled: false, is_in_progress: false };

    #[test]
    fn nothing_is_left_of_removed_records() {
        let (mut records, mut listing) = (AppliedRecords::default(), Listing::default());
        records.set("shop", "a", STATE, listing.mark());
        records.set("shop", "b", STATE, listing.mark());
        records.remove("shop", "a");
        assert_eq!((records.count("shop"), records.namespaces().len()), (1, 1));
        listing.begin();
        records.retain(|mark| !listing.is_stale(mark));
        assert!(records.namespaces().is_empty());
    }

    #[test]
    fn applied_record_takes_at_most_12_bytes() {
        assert!(size_of::<AppliedRecord>() <= 12, "{}", size_of::<AppliedRecord>());
    }

    #[test]
    fn age_counts_from_the_later_of_end_and_creation() {
        let record = |finished: &str| -> SlimDoraDeployment {
            serde_json::from_value(serde_json::json!({
                "metadata": {"namespace": "shop", "name": "a"},
                "spec": {"outcome": "Succeeded", "finishedAt": finished},
            }))
            .unwrap()
        };
        let created = UnixSeconds::of("2026-01-02T00:00:00Z".parse().unwrap());
        let state = RecordState { created, ..RecordState::default() };
        for (finished, expected) in
            [("2020-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), ("2026-01-03T00:00:00Z", "2026-01-03T00:00:00Z")]
        {
            let since = AppliedState::of(&record(finished), state).since;
            assert_eq!(since, UnixSeconds::of(expected.parse().unwrap()), "{finished}");
        }
    }
}
