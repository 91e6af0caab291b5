//! The names of the programs.

use crate::module::Module;

/// A program that is built from a Go module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The built-in controllers, among them those of Deployments and ReplicaSets.
    KubeControllerManager,
    /// Assigns pods to nodes.
    KubeScheduler,
    /// Simulates the kubelet of the node.
    Kwok,
    /// The command line client.
    Kubectl,
    /// Installs charts.
    Helm,
    /// The agent of a real node.
    Kubelet,
    /// Routes service addresses on a real node.
    KubeProxy,
    /// Sends alerts to the controller.
    Alertmanager,
}

impl Program {
    /// The programs of a cluster with a simulated node.
    pub const CLUSTER: [Self; 7] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kwok,
        Self::Kubectl,
        Self::Helm,
    ];

    /// The further programs of a real node.
    pub const NODE: [Self; 2] = [Self::Kubelet, Self::KubeProxy];

    /// The further programs of the tests.
    pub const TESTS: [Self; 1] = [Self::Alertmanager];

    /// The name of the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Alertmanager => "alertmanager",
        }
    }

    pub(crate) fn module(self) -> Module {
        match self {
            Self::Alertmanager => Module::Alertmanager,
            _ => Module::Cluster,
        }
    }

    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v3/cmd/helm",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::Alertmanager => "github.com/prometheus/alertmanager/cmd/alertmanager",
        }
    }

    /// The file name that `go build -o FOLDER/` gives the program: the last element of the package path, without the
    /// major version.
    pub(crate) fn built_name(self) -> &'static str {
        match self {
            Self::Etcd => "server",
            other => other.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_a_tool_of_its_module() {
        for program in Program::CLUSTER.into_iter().chain(Program::NODE).chain(Program::TESTS) {
            let [(_, go_mod), _] = program.module().files();
            let is_tool = |line: &str| line.trim().trim_start_matches("tool ") == program.package();
            assert!(go_mod.lines().any(is_tool), "{} is missing in the tool lines of go.mod", program.package());
        }
    }
}
