//! Settings file: which rollouts are recorded, sent and kept.

use jiff::SignedDuration;
use rollout::{ChangeKind, History};
use serde::{Deserialize, Serialize};

use super::{Duration, FileError};

/// How rollouts are recorded.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RolloutSettings {
    /// Which revisions from before the first start of the controller are recorded: `none`, `current` (the present revision of each
    /// workload) or `all`. Default: `none`.
    pub history: History,
    /// A rollout of a workload without a progress deadline fails after this time without progress. Default: `15m`.
    pub fail_after: Duration,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self { history: History::None, fail_after: Duration(SignedDuration::from_mins(15)) }
    }
}

/// Which of the recorded rollouts are sent to Port.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct PublishSettings {
    /// Which kinds of change are sent.
    pub changes: PublishedChanges,
    /// Whether rollouts at 0 replicas, which run no pods, are sent. Default: `false`.
    pub zero_replicas: bool,
}

/// Whether rollouts with each kind of change are sent to Port.
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct PublishedChanges {
    /// The first revision of a workload. Default: `true`.
    pub initial: bool,
    /// A revision with another image. Default: `true`.
    pub release: bool,
    /// A revision with another change of the pod template. Default: `true`.
    pub config: bool,
    /// A return to the pod template of an earlier revision. Default: `true`.
    pub rollback: bool,
    /// A revision that changes nothing, such as `kubectl rollout restart`. Default: `false`.
    pub restart: bool,
}

impl Default for PublishedChanges {
    fn default() -> Self {
        Self { initial: true, release: true, config: true, rollback: true, restart: false }
    }
}

impl PublishedChanges {
    /// Whether rollouts with this kind of change are sent.
    #[must_use]
    pub fn includes(&self, change: ChangeKind) -> bool {
        match change {
            ChangeKind::Initial => self.initial,
            ChangeKind::Release => self.release,
            ChangeKind::Config => self.config,
            ChangeKind::Rollback => self.rollback,
            ChangeKind::Restart => self.restart,
        }
    }
}

/// How long the records of rollouts are kept in the cluster.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RetentionSettings {
    /// How many records of each workload are kept, newest first. At least 1. Default: `20`.
    pub records: u32,
    /// Records of rollouts that ended longer ago are deleted. Default: `90d`.
    pub max_age: Duration,
    /// How many records of each workload wait to be delivered, newest first. Older ones are deleted although Port doesn't have them. At
    /// least 1. Default: `200`.
    pub undelivered_records: u32,
    /// How many records are kept in each namespace that somebody else has applied, such as a pipeline. Delivered records are deleted before
    /// undelivered ones, and older ones before newer ones. At least 1. Default: `1000`.
    pub applied_records: u32,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            records: 20,
            max_age: Duration(SignedDuration::from_hours(90 * 24)),
            undelivered_records: 200,
            applied_records: 1000,
        }
    }
}

impl RetentionSettings {
    /// Checks what the types don't.
    pub(super) fn validate(&self) -> Result<(), FileError> {
        let Self { records, max_age: _, undelivered_records, applied_records } = *self;
        let counts = [
            ("retention.records", records),
            ("retention.undeliveredRecords", undelivered_records),
            ("retention.appliedRecords", applied_records),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((key, _)) => Err(FileError::NoRecords { key }),
            None => Ok(()),
        }
    }
}
