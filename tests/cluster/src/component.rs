//! The components of the control plane and their command lines.

use std::fmt;
use std::path::PathBuf;

use programs::Program;

use crate::certificates::Certificates;

/// A component of the control plane, each a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store. Its data survives a restart, but not the end of the cluster.
    Etcd,
    /// The API server. It keeps its port.
    ApiServer,
    /// The built-in controllers. Without them, Deployments create no ReplicaSets, and ReplicaSets no pods.
    ControllerManager,
    /// Assigns pods to the node. Without it, pods stay Pending.
    Scheduler,
    /// Simulates the kubelet. Without it, pods get no status.
    Kwok,
}

impl Component {
    /// All components, in the order in which they are started.
    pub const ALL: [Self; 5] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Kwok];

    /// The name of the program and of its log.
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

    /// The arguments that are the same for all clusters.
    fn fixed_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Etcd => &[
                // The data ends with the cluster, so it needn't survive a crash of the machine.
                "--unsafe-no-fsync",
                // For the same reason, the default of ten writes per second is not needed.
                "--backend-batch-interval=2s",
                "--log-level=warn",
                // 8 GiB: room for all versions of thousands of large objects.
                "--quota-backend-bytes=8589934592",
                "--client-cert-auth",
                "--peer-client-cert-auth",
                // A single member waits for the election timeout before it elects itself.
                "--heartbeat-interval=20",
                "--election-timeout=200",
            ],
            Self::ApiServer => &[
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                // Endpoints can't be loopback addresses. Without this flag, the log is full of errors about that.
                "--endpoint-reconciler-type=none",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged=true",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
            ],
            Self::ControllerManager => &[
                "--use-service-account-credentials",
                "--leader-elect=false",
                "--secure-port=0",
                "--concurrent-deployment-syncs=20",
                "--concurrent-replicaset-syncs=20",
                "--kube-api-qps=2000",
                "--kube-api-burst=4000",
                // Nothing renews the lease of the simulated node, and its pods must not be evicted because of that.
                "--node-monitor-grace-period=8760h",
            ],
            Self::Scheduler => {
                &["--leader-elect=false", "--secure-port=0", "--kube-api-qps=2000", "--kube-api-burst=4000"]
            }
            // KWOK doesn't limit its own requests.
            Self::Kwok => &[
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                // Without a lease: after a restart, KWOK would wait until the lease of the former process expires.
                "--node-lease-duration-seconds=0",
                // Room for an address of each pod of the node.
                "--cidr=10.128.0.0/14",
            ],
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

/// The paths and certificates of one cluster, from which the command lines are built.
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

    /// The arguments of the program of a component.
    pub(crate) fn arguments(&self, component: Component, ports: Ports) -> Vec<String> {
        let of_this_cluster = match component {
            Component::Etcd => self.etcd_arguments(ports),
            Component::ApiServer => self.api_server_arguments(ports),
            Component::ControllerManager => vec![
                self.kubeconfig_argument("controller-manager"),
                format!("--service-account-private-key-file={}", self.certificate("service-accounts.key")),
                format!("--root-ca-file={}", self.certificate("ca.crt")),
            ],
            Component::Scheduler => vec![self.kubeconfig_argument("scheduler")],
            Component::Kwok => {
                vec![self.kubeconfig_argument("admin"), format!("--config={}", self.kwok_configuration().display())]
            }
        };
        component.fixed_arguments().iter().map(|&argument| argument.to_owned()).chain(of_this_cluster).collect()
    }

    fn etcd_arguments(&self, ports: Ports) -> Vec<String> {
        let client = client_url(ports);
        let peer = format!("https://127.0.0.1:{}", ports.etcd_peer);
        vec![
            format!("--data-dir={}", self.etcd_data().display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            format!("--cert-file={}", self.certificate("etcd.crt")),
            format!("--key-file={}", self.certificate("etcd.key")),
            format!("--trusted-ca-file={}", self.certificate("ca.crt")),
            format!("--peer-cert-file={}", self.certificate("etcd.crt")),
            format!("--peer-key-file={}", self.certificate("etcd.key")),
            format!("--peer-trusted-ca-file={}", self.certificate("ca.crt")),
        ]
    }

    fn api_server_arguments(&self, ports: Ports) -> Vec<String> {
        vec![
            format!("--secure-port={}", ports.api),
            format!("--etcd-servers={}", client_url(ports)),
            format!("--etcd-cafile={}", self.certificate("ca.crt")),
            format!("--etcd-certfile={}", self.certificate("etcd-client.crt")),
            format!("--etcd-keyfile={}", self.certificate("etcd-client.key")),
            format!("--tls-cert-file={}", self.certificate("apiserver.crt")),
            format!("--tls-private-key-file={}", self.certificate("apiserver.key")),
            format!("--client-ca-file={}", self.certificate("ca.crt")),
            format!("--service-account-key-file={}", self.certificate("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", self.certificate("service-accounts.key")),
        ]
    }

    fn certificate(&self, name: &str) -> String {
        self.certificates.file(name).display().to_string()
    }

    fn kubeconfig_argument(&self, user: &str) -> String {
        format!("--kubeconfig={}", self.kubeconfig(user).display())
    }
}

/// The address of etcd for its clients.
fn client_url(ports: Ports) -> String {
    format!("https://127.0.0.1:{}", ports.etcd)
}
