//! Settings file: which workloads are recorded.

use rollout::WorkloadKind;
use serde::{Deserialize, Serialize};

use super::FileError;
use crate::workloads::{NamespacePattern, Selection, WorkloadSelector, supported_kinds};

/// Which workloads are recorded: those that `include` matches and `exclude` doesn't.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadSettings {
    /// Kinds of workloads. This version supports `Deployment` only. Default: `[Deployment]`.
    pub kinds: Vec<WorkloadKind>,
    /// The workloads that are recorded. A workload must match the namespaces and the labels, if both are set. Default: all workloads.
    pub include: WorkloadSelector,
    /// The workloads that are not recorded. One match, of the namespaces or of the labels, is enough. Default: the workloads of the
    /// namespace `kube-system`.
    pub exclude: WorkloadSelector,
}

impl Default for WorkloadSettings {
    fn default() -> Self {
        let exclude = WorkloadSelector { namespaces: vec![NamespacePattern::exact("kube-system")], labels: None };
        Self { kinds: vec![WorkloadKind::Deployment], include: WorkloadSelector::default(), exclude }
    }
}

impl WorkloadSettings {
    /// Which workloads of these kinds are recorded.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { include: self.include.clone(), exclude: self.exclude.clone() }
    }

    /// Checks what the types don't.
    pub(super) fn validate(&self) -> Result<(), FileError> {
        let supported = supported_kinds();
        if self.kinds.is_empty() {
            return Err(FileError::NoKinds);
        }
        match self.kinds.iter().find(|kind| !supported.contains(kind)) {
            Some(kind) => Err(FileError::UnsupportedKind { kind: *kind, supported }),
            None => Ok(()),
        }
    }
}
