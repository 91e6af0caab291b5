//! Kinds of workloads, and how one workload is named.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of workload: what rolls out pods.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    #[default]
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// The kind, as Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// Its API group and version.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps/v1",
        }
    }

    /// `name` for people: a Deployment stands there under its own name, and every other kind is named before it.
    #[must_use]
    pub fn titled(self, name: &str) -> String {
        match self {
            Self::Deployment => name.to_owned(),
            Self::StatefulSet | Self::DaemonSet => format!("{} {name}", self.as_str()),
        }
    }

    /// `name` for names of other objects, where workloads of all kinds share one space: a Deployment stands there under its own name,
    /// and every other kind has its lower-case name before it.
    #[must_use]
    pub fn qualified(self, name: &str) -> String {
        match self {
            Self::Deployment => name.to_owned(),
            Self::StatefulSet | Self::DaemonSet => format!("{}-{name}", self.as_str().to_ascii_lowercase()),
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A workload by its name: that is what an incident refers to. A later workload of the same name has the same key, but another UID.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct WorkloadKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_never_share_a_qualified_name() {
        let names = [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet]
            .map(|kind| kind.qualified("web"));
        assert_eq!(names, ["web", "statefulset-web", "daemonset-web"]);
    }
}
