//! Kinds of workloads, and names of workloads.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of workload.
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
    /// The kind as Kubernetes writes it, such as `Deployment`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The kind, unless it is the default. Names and identifiers contain the kind of every workload that is not a Deployment.
    #[must_use]
    pub fn unless_default(self) -> Option<&'static str> {
        (self != Self::default()).then(|| self.as_str())
    }

    /// The API group and version of the kind, such as `apps/v1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps/v1",
        }
    }

    /// The workload `name` in a text for people: `web` for a Deployment, `StatefulSet web` for another kind.
    #[must_use]
    pub fn titled(self, name: &str) -> String {
        self.unless_default().map_or_else(|| name.to_owned(), |kind| format!("{kind} {name}"))
    }

    /// The workload `name` in the name of another object: `web` for a Deployment, `statefulset-web` for another kind.
    ///
    /// Such objects exist for workloads of all kinds in one namespace. With the kind in the name, two workloads never share an object.
    #[must_use]
    pub fn qualified(self, name: &str) -> String {
        self.unless_default().map_or_else(|| name.to_owned(), |kind| format!("{}-{name}", kind.to_ascii_lowercase()))
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The name of a workload, by which an incident refers to it.
///
/// If a workload is deleted and another one is created under its name, both have the same key and different UIDs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct WorkloadKey {
    /// Namespace of the workload.
    pub namespace: Arc<str>,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
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
