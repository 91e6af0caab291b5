//! The processes of the control plane and their command lines.

use std::fmt;
use std::path::PathBuf;

use crate::certificates::Certificates;
use programs::Program;

/// A process of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store. Its data outlives a stop, but not the cluster.
    Etcd,
    /// The API server. It keeps its port.
    ApiServer,
    /// The built-in controllers. Without them, Deployments make no ReplicaSets, and those no pods.
    ControllerManager,
    /// Gives pods to the node. Without it, they stay Pending.
    Scheduler,
    /// Plays the kubelet. Without it, pods get no status.
    Kwok,
}

impl Component {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 5] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Kwok];

    /// The program's name, which is also that of its log.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.program().name()
    }

    pub(crate) fn program(self) -> Program {
        match self {
            Self::Etcd => Program::Etcd,
            Self::ApiServer => Program::KubeApiserver,
            Self::ControllerManager => Program::KubeControllerManager,
            Self::Scheduler => Program::KubeScheduler,
            Self::Kwok => Program::Kwok,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The ports of one cluster, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
}

/// What the command lines of one cluster are made of.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    pub(crate) certificates: Certificates,
}

impl Layout {
    pub(crate) fn etcd_data(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(crate) fn log(&self, component: Component) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    pub(crate) fn kwok_configuration(&self) -> PathBuf {
        self.folder.join("kwok.yaml")
    }

    /// The arguments of a component's program.
    pub(crate) fn arguments(&self, component: Component, ports: Ports) -> Vec<String> {
        let certificate = |name: &str| self.certificates.file(name).display().to_string();
        let kubeconfig = |user: &str| format!("--kubeconfig={}", self.kubeconfig(user).display());
        let client = format!("https://127.0.0.1:{}", ports.etcd);
        let peer = format!("https://127.0.0.1:{}", ports.etcd_peer);
        let strings =
            |arguments: &[&str]| -> Vec<String> { arguments.iter().map(|&argument| argument.to_owned()).collect() };
        let mut all = match component {
            Component::Etcd => strings(&[
                // Nothing is to survive the machine: a cluster's data ends with it.
                "--unsafe-no-fsync",
                // And so it needn't be written ten times a second, which is the default.
                "--backend-batch-interval=2s",
                "--log-level=warn",
                // 8 GiB, so that thousands of large objects with all their versions fit.
                "--quota-backend-bytes=8589934592",
                "--client-cert-auth",
                "--peer-client-cert-auth",
                // A lone member waits for the timeout of an election before it elects itself.
                "--heartbeat-interval=20",
                "--election-timeout=200",
            ]),
            Component::ApiServer => strings(&[
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                // Endpoints can't be loopback addresses: without this, the log is full of refusals.
                "--endpoint-reconciler-type=none",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged=true",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
            ]),
            Component::ControllerManager => strings(&[
                "--use-service-account-credentials",
                "--leader-elect=false",
                "--secure-port=0",
                "--concurrent-deployment-syncs=20",
                "--concurrent-replicaset-syncs=20",
                "--kube-api-qps=2000",
                "--kube-api-burst=4000",
                // Nobody renews the simulated node's lease, and no pod is to be evicted for that.
                "--node-monitor-grace-period=8760h",
            ]),
            Component::Scheduler => {
                strings(&["--leader-elect=false", "--secure-port=0", "--kube-api-qps=2000", "--kube-api-burst=4000"])
            }
            // KWOK has no limit of its own on requests.
            Component::Kwok => strings(&[
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                // None: after a restart, KWOK would wait for the lease of its predecessor to expire.
                "--node-lease-duration-seconds=0",
                // Room for an address of each of the node's pods.
                "--cidr=10.128.0.0/14",
            ]),
        };
        all.extend(match component {
            Component::Etcd => vec![
                format!("--data-dir={}", self.etcd_data().display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
                format!("--cert-file={}", certificate("etcd.crt")),
                format!("--key-file={}", certificate("etcd.key")),
                format!("--trusted-ca-file={}", certificate("ca.crt")),
                format!("--peer-cert-file={}", certificate("etcd.crt")),
                format!("--peer-key-file={}", certificate("etcd.key")),
                format!("--peer-trusted-ca-file={}", certificate("ca.crt")),
            ],
            Component::ApiServer => vec![
                format!("--secure-port={}", ports.api),
                format!("--etcd-servers={client}"),
                format!("--etcd-cafile={}", certificate("ca.crt")),
                format!("--etcd-certfile={}", certificate("etcd-client.crt")),
                format!("--etcd-keyfile={}", certificate("etcd-client.key")),
                format!("--tls-cert-file={}", certificate("apiserver.crt")),
                format!("--tls-private-key-file={}", certificate("apiserver.key")),
                format!("--client-ca-file={}", certificate("ca.crt")),
                format!("--service-account-key-file={}", certificate("service-accounts.pub")),
                format!("--service-account-signing-key-file={}", certificate("service-accounts.key")),
            ],
            Component::ControllerManager => vec![
                kubeconfig("controller-manager"),
                format!("--service-account-private-key-file={}", certificate("service-accounts.key")),
                format!("--root-ca-file={}", certificate("ca.crt")),
            ],
            Component::Scheduler => vec![kubeconfig("scheduler")],
            Component::Kwok => vec![kubeconfig("admin"), format!("--config={}", self.kwok_configuration().display())],
        });
        all
    }
}
