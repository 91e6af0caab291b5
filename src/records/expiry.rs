//! Searches for expired records in memory, and deletes them.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use rollout::{RecordedRevision, Uid, WorkloadKey};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::applied::AppliedState;
use super::names::record_name;
use super::retention::RetentionPolicy;
use super::store::{RecordState, Records};
use crate::resources::SlimDoraDeployment;
use crate::runtime::{Backoff, Context, now, warning_event};
use crate::settings::{ActiveSettings, RetentionSettings};
use crate::workloads::Index;

/// Workloads or namespaces whose expired records are deleted at the same time.
const MAX_CONCURRENT_DELETIONS: usize = 4;

/// Longest time between two searches.
const MAX_PERIOD: Duration = Duration::from_hours(1);

/// Shortest time between two searches. During a backlog, each delivered record asks for one.
const MIN_PERIOD: Duration = Duration::from_secs(1);

/// Bounds of the first and the longest delay of a search after deletions failed.
pub(super) const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(10), MAX_PERIOD);

/// Reason of the Event on the lease about undelivered records that were deleted.
const UNDELIVERED_EXPIRED: &str = "UndeliveredRecordsExpired";

/// Deletes records at the end of their retention.
pub(super) struct Expiry {
    pub context: Context,
    pub settings: Arc<ActiveSettings>,
    pub index: Arc<Index>,
    pub records: Arc<Records>,
    pub policy: RetentionPolicy,
    /// The object that Events about many records are published on.
    pub lease: Lease,
    /// Notified when records may have expired before the next regular search.
    pub requested: Notify,
    /// Delays of the searches after failed deletions.
    pub backoff: Backoff<()>,
}

/// How a deletion ended that the API server answered.
#[derive(Debug, Eq, PartialEq)]
enum Deletion {
    Deleted,
    /// Somebody else has deleted the record.
    Missing,
    /// The record has changed since it was judged.
    Changed,
}

/// What a search did.
#[derive(Debug, Default)]
struct SearchResult {
    /// Records that were deleted before they were delivered.
    undelivered: u64,
    /// Deletions that failed. The next search repeats them.
    failures: u64,
    /// The error of the last of them.
    error: Option<kube::Error>,
}

impl SearchResult {
    fn merge(&mut self, other: Self) {
        self.undelivered += other.undelivered;
        self.failures += other.failures;
        self.error = other.error.or(self.error.take());
    }

    /// Whether the API server can't be reached, so that the rest of the search would fail too.
    fn is_cut_short(&self) -> bool {
        self.error.as_ref().is_some_and(|error| matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_)))
    }
}

impl Expiry {
    /// Notes that a record of a workload has changed. Asks for a search if the workload has too many records: a newer record
    /// makes an older one expire, even before the newer one is delivered.
    pub fn record_changed(&self, key: &WorkloadKey, uid: &Uid) {
        let may_have_expired = self.records.count(key, uid) > self.policy.records.min(self.policy.undelivered);
        if may_have_expired && !self.expired(key, uid).is_empty() {
            self.requested.notify_one();
        }
    }

    /// Notes that a record has changed that somebody has applied. Asks for a search if its namespace has too many of them.
    pub fn applied_changed(&self, namespace: &str) {
        if self.records.count_applied(namespace) > self.policy.applied {
            self.requested.notify_one();
        }
    }

    /// The time between two regular searches: only the passing of time makes a record expire by its age.
    pub fn period(&self) -> Duration {
        let tenth = Duration::try_from(self.policy.max_age).map_or(MAX_PERIOD, |max_age| max_age.mul_f64(0.1));
        tenth.clamp(MIN_PERIOD, MAX_PERIOD)
    }

    /// Waits until the next search is due: at the time `regular`, or before if there may be too many records. While deletions fail, the
    /// searches in between wait with exponential backoff.
    pub async fn next_search(&self, regular: Instant, has_failures: bool) {
        let pause = if has_failures { self.backoff.next_delay(&()) } else { Duration::ZERO };
        if !has_failures {
            self.backoff.forget(&());
        }
        tokio::time::sleep(pause.max(MIN_PERIOD)).await;
        let _ = tokio::time::timeout_at(regular, self.requested.notified()).await;
    }

    /// Deletes all records that have expired. Nothing is listed: the records are in memory, and each one that has expired is
    /// read once more. Returns whether deletions failed.
    pub async fn search(&self) -> bool {
        let mut total = SearchResult::default();
        let workloads = self.records.owners().into_iter();
        self.collect(stream::iter(workloads.map(|(key, uid)| self.expire_workload(key, uid))), &mut total).await;
        let namespaces = self.records.namespaces_with_applied().into_iter();
        self.collect(stream::iter(namespaces.map(|namespace| self.expire_applied(namespace))), &mut total).await;
        let has_failures = total.failures > 0;
        self.report(total).await;
        has_failures
    }

    async fn collect<F: Future<Output = SearchResult>>(
        &self,
        deletions: impl Stream<Item = F>,
        total: &mut SearchResult,
    ) {
        let mut results = std::pin::pin!(deletions.buffer_unordered(MAX_CONCURRENT_DELETIONS));
        while !total.is_cut_short() {
            let Some(result) = results.next().await else {
                return;
            };
            total.merge(result);
        }
    }

    async fn expire_workload(&self, key: WorkloadKey, uid: Uid) -> SearchResult {
        let mut result = SearchResult::default();
        for (revision, state) in self.expired(&key, &uid) {
            let name = record_name(key.kind, &key.name, &uid, &revision);
            let is_unchanged = |_: &SlimDoraDeployment, found: RecordState| found == state;
            if self.expire(&key.namespace, &name, state.is_settled, is_unchanged, &mut result).await {
                self.records.remove(&key, &uid, &revision);
            }
            if result.is_cut_short() {
                break;
            }
        }
        result
    }

    fn expired(&self, key: &WorkloadKey, uid: &Uid) -> Vec<(RecordedRevision, RecordState)> {
        let workload_exists = self.index.contains(key, uid);
        self.records.expired((key, uid), workload_exists, &self.policy, now())
    }

    async fn expire_applied(&self, namespace: Arc<str>) -> SearchResult {
        let mut result = SearchResult::default();
        for (name, state) in self.records.expired_applied(&namespace, &self.policy, now()) {
            let is_delivered = state.is_settled && !state.is_in_progress;
            let is_unchanged = |record: &SlimDoraDeployment, found| AppliedState::of(record, found) == state;
            if self.expire(&namespace, &name, is_delivered, is_unchanged, &mut result).await {
                self.records.remove_applied(&namespace, &name);
            }
            if result.is_cut_short() {
                break;
            }
        }
        result
    }

    /// Deletes one record, and adds to `result` what happened. Returns whether the record is gone.
    async fn expire(
        &self,
        namespace: &str,
        name: &str,
        is_delivered: bool,
        is_unchanged: impl Fn(&SlimDoraDeployment, RecordState) -> bool,
        result: &mut SearchResult,
    ) -> bool {
        match self.delete(namespace, name, is_unchanged).await {
            Ok(Deletion::Deleted) => {
                self.context.metrics.records.expired(is_delivered);
                result.undelivered += u64::from(!is_delivered);
                info!(namespace, record = name, is_delivered, "deleted an expired record");
                true
            }
            Ok(Deletion::Missing) => true,
            // The watch brings the changed record, and the next search judges it again.
            Ok(Deletion::Changed) => false,
            Err(error) => {
                self.context.metrics.records.write_retried();
                result.merge(SearchResult { failures: 1, error: Some(error), ..SearchResult::default() });
                false
            }
        }
    }

    async fn delete(
        &self,
        namespace: &str,
        name: &str,
        is_unchanged: impl Fn(&SlimDoraDeployment, RecordState) -> bool,
    ) -> Result<Deletion, kube::Error> {
        let api: Api<SlimDoraDeployment> = Api::namespaced(self.context.client.clone(), namespace);
        let Some(record) = api.get_opt(name).await? else {
            return Ok(Deletion::Missing);
        };
        let state = RecordState::of(&record, &self.settings);
        if !is_unchanged(&record, state) {
            self.records.apply(&record, state);
            return Ok(Deletion::Changed);
        }
        let parameters = DeleteParams::default().preconditions(record.preconditions());
        match api.delete(name, &parameters).await {
            // The response may be the record, which can't be decoded if somebody has added such properties.
            Ok(_) | Err(kube::Error::SerdeError(_)) => Ok(Deletion::Deleted),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Deletion::Missing),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Deletion::Changed),
            Err(error) => Err(error),
        }
    }

    async fn report(&self, SearchResult { undelivered, failures, error }: SearchResult) {
        if let Some(error) = error {
            warn!(
                failures,
                error = &error as &dyn std::error::Error,
                "failed to delete expired records; the next search tries again (if this persists, check admission webhooks \
                 and the ClusterRole of the controller)",
            );
        }
        if undelivered > 0 {
            let note = expired_note(undelivered, &self.settings.file.retention, self.settings.dry_run);
            warn!(undelivered, "{note}");
            self.context.events.publish(&self.lease, &warning_event(UNDELIVERED_EXPIRED, "Expire", note)).await;
        }
    }
}

/// The note of the Event about records that were deleted before they were delivered.
fn expired_note(count: u64, settings: &RetentionSettings, is_dry_run: bool) -> String {
    let RetentionSettings { max_age, undelivered_records, applied_records, .. } = settings;
    let advice = if is_dry_run {
        "The controller runs in dry-run mode and delivers nothing; end the dry run to deliver the others"
    } else {
        "The condition Synced of the others says why they are not delivered (kubectl get ddep --all-namespaces --output=wide)"
    };
    format!(
        "{count} undelivered DoraDeployments were deleted, so Port doesn't show these deployments. They ended more than {max_age} ago \
         (retention.maxAge), or a workload had more than {undelivered_records} of them (retention.undeliveredRecords), or a namespace \
         more than {applied_records} applied ones (retention.appliedRecords). {advice}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_fits_into_an_event() {
        for is_dry_run in [true, false] {
            let note = expired_note(u64::MAX, &RetentionSettings::default(), is_dry_run);
            assert!(note.len() <= 1024 && note.contains("2160h"), "{note}");
        }
    }
}
