//! One running cluster: its start, its components and its end.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use programs::{Binaries, create_folder, last_lines};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::cache::{ClusterFolder, write_private};
use crate::certificates::Certificates;
use crate::component::{Component, Layout, Ports};
use crate::error::{Error, Result};
use crate::lifeline::Lifeline;
use crate::node;
use crate::ports::free_ports;
use crate::text::log;
use crate::wait::{NotYet, Wait};

/// How often a start is retried with other ports, because another process has taken a port before it was used.
const PORT_ATTEMPTS: usize = 5;

/// The value of GOGC: the garbage collector runs when the heap has grown by this percentage. With Go's default of 100,
/// it takes a fifth of the CPU time of the programs.
const GARBAGE_PERCENT: &str = "400";

/// Options for the start of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The folder for state and logs. Default: a new folder in the cache, where the newest 10 are kept.
    pub folder: Option<PathBuf>,
    /// How long each step of the start may take. Default: 10 minutes, for busy machines.
    pub deadline: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { folder: None, deadline: Duration::from_mins(10) }
    }
}

/// A real Kubernetes control plane on 127.0.0.1, with one simulated node that has room for 100,000 pods.
///
/// It ends with [`LocalCluster::stop`], when it is dropped, or when this process ends, even by SIGKILL. It is not bound
/// to an async runtime, so tests with different runtimes can share one. A [`kube::Client`] is bound to the runtime that
/// created it, so each test creates its own with [`LocalCluster::client`].
#[derive(Debug)]
pub struct LocalCluster {
    pub(crate) binaries: Binaries,
    pub(crate) layout: Layout,
    pub(crate) ports: Ports,
    pub(crate) group: i32,
    pub(crate) started_processes: AtomicUsize,
    admin_kubeconfig: PathBuf,
    deadline: Duration,
    running: Mutex<Running>,
    // The last field, so that the folder stays locked until everything else has ended.
    _folder: ClusterFolder,
}

/// The processes of the cluster. The lifeline is taken when the cluster is dropped.
#[derive(Debug)]
struct Running {
    lifeline: Option<Lifeline>,
    components: BTreeMap<Component, Child>,
}

impl LocalCluster {
    /// Starts a cluster, and waits until its node is ready and pods can be created in the namespace `default`.
    /// Builds missing programs first: see [`Binaries::ensure`].
    ///
    /// # Errors
    /// When a program can't be built, the folder can't be used, or a component of the control plane ends or isn't ready
    /// in time. The error names the log of that component and shows its end.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::ensure).await??;
        let mut cluster = Self::prepare(binaries, options)?;
        cluster.start_on_free_ports().await?;
        Ok(cluster)
    }

    /// The cluster that all tests of this process share. The first call starts it, and it ends with the process.
    ///
    /// # Panics
    /// When the cluster can't be started. Then all tests fail with the same message, without starting it again.
    #[expect(clippy::panic, reason = "a test without its cluster has failed")]
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Result<LocalCluster>> = OnceCell::const_new();
        let start = async || {
            let cluster = Self::start(ClusterOptions::default()).await?;
            // So that the logs can be found after a test has failed.
            log(&format!("{} is running; logs are in {}", cluster.server(), cluster.layout.logs().display()));
            Ok(cluster)
        };
        match SHARED.get_or_init(start).await {
            Ok(cluster) => cluster,
            Err(error) => panic!("failed to start the shared cluster: {error}"),
        }
    }

    /// Stops the cluster, waits until all of its processes are gone, and removes the data of etcd. The logs are kept.
    ///
    /// # Errors
    /// When the runtime shuts down before the cluster has ended. The cluster ends in that case as well.
    pub async fn stop(self) -> Result<()> {
        Ok(tokio::task::spawn_blocking(move || drop(self)).await?)
    }

    /// The kubeconfig of an administrator. It contains its certificates, so it can be copied.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// The folder with the state of the cluster. Its subfolder `logs` has the log of each process.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.layout.folder
    }

    /// The programs of the cluster, for example for the `PATH`.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The address of the API server, such as `https://127.0.0.1:12345`.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// Kills the API server and starts it again on the same port. All watches and open requests are interrupted.
    ///
    /// # Errors
    /// As [`LocalCluster::start_component`].
    pub async fn restart_api_server(&self) -> Result<()> {
        self.stop_component(Component::ApiServer)?;
        self.start_component(Component::ApiServer).await
    }

    /// Kills a component of the control plane with SIGKILL, and waits until it is gone. Does nothing if it isn't
    /// running.
    ///
    /// # Errors
    /// When the process can't be signalled or waited for.
    pub fn stop_component(&self, component: Component) -> Result<()> {
        let Some(mut child) = self.running.lock().components.remove(&component) else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map(drop).map_err(Error::process("stop", component.name()))
    }

    /// Starts a component of the control plane unless it is running. Waits until etcd or the API server accepts
    /// requests.
    ///
    /// # Errors
    /// When the component can't be started, ends, or isn't ready in time.
    pub async fn start_component(&self, component: Component) -> Result<()> {
        self.launch(component)?;
        match component {
            Component::Etcd => {
                let address = (Ipv4Addr::LOCALHOST, self.ports.etcd);
                let mut wait = self.wait("etcd to accept connections");
                let connect = async || -> Result<_, NotYet> { Ok(Some(TcpStream::connect(address).await?)) };
                while wait.poll(connect()).await?.is_none() {
                    self.check()?;
                }
            }
            Component::ApiServer => {
                let client = self.client().await?;
                let mut wait = self.wait("the API server to be ready");
                let check = async || -> Result<_, NotYet> {
                    let request = http::Request::get("/readyz").body(Vec::new())?;
                    Ok(Some(client.request_text(request).await?))
                };
                while wait.poll(check()).await?.is_none() {
                    self.check()?;
                }
            }
            Component::ControllerManager | Component::Scheduler | Component::Kwok => {}
        }
        Ok(())
    }

    /// Checks that all started components of the control plane are running.
    ///
    /// # Errors
    /// When a component ended unexpectedly. The error shows the end of its log.
    pub fn check(&self) -> Result<()> {
        for (&component, child) in &mut self.running.lock().components {
            let status = child.try_wait().map_err(Error::process("check", component.name()))?;
            if let Some(status) = status {
                let log = self.layout.log(component);
                let output = last_lines(&log, 20);
                return Err(Error::ComponentEnded { component: component.name(), status, output, log });
            }
        }
        Ok(())
    }

    /// Prepares the folder, certificates and ports, without starting a component.
    fn prepare(binaries: Binaries, options: ClusterOptions) -> Result<Self> {
        let ClusterOptions { folder, deadline } = options;
        let folder = match folder {
            Some(path) => ClusterFolder::take(&path)?,
            None => ClusterFolder::create()?,
        };
        let path = folder.path().to_path_buf();
        let certificates = Certificates::create(&path.join("pki"))?;
        let layout = Layout { folder: path, certificates };
        create_folder(&layout.logs())?;
        write_private(&layout.kwok_configuration(), include_str!("manifests/kwok.yaml"))?;
        let lifeline = Lifeline::start(&layout.etcd_data())?;
        let mut cluster = Self {
            binaries,
            ports: Ports { api: 0, etcd: 0, etcd_peer: 0 },
            group: lifeline.group(),
            started_processes: AtomicUsize::new(0),
            admin_kubeconfig: layout.kubeconfig("admin"),
            layout,
            deadline,
            running: Mutex::new(Running { lifeline: Some(lifeline), components: BTreeMap::new() }),
            _folder: folder,
        };
        cluster.choose_ports()?;
        Ok(cluster)
    }

    fn choose_ports(&mut self) -> Result<()> {
        let [api, etcd, etcd_peer] = free_ports()?;
        self.ports = Ports { api, etcd, etcd_peer };
        let certificates = &self.layout.certificates;
        for (user, identity) in [
            ("admin", &certificates.admin),
            ("controller-manager", &certificates.controller_manager),
            ("scheduler", &certificates.scheduler),
        ] {
            write_private(&self.layout.kubeconfig(user), certificates.kubeconfig(api, identity))?;
        }
        Ok(())
    }

    /// Stops all components, removes their state, and chooses other ports.
    fn change_ports(&mut self) -> Result<()> {
        for component in Component::ALL {
            self.stop_component(component)?;
            // [`is_port_taken`] must see only the log of the next attempt.
            let log = self.layout.log(component);
            if log.exists() {
                fs::remove_file(&log).map_err(Error::file("remove", &log))?;
            }
        }
        let data = self.layout.etcd_data();
        if data.exists() {
            fs::remove_dir_all(&data).map_err(Error::file("remove", &data))?;
        }
        self.choose_ports()
    }

    async fn start_on_free_ports(&mut self) -> Result<()> {
        for _ in 1..PORT_ATTEMPTS {
            match self.start_all().await {
                Err(error) if is_port_taken(&error) => self.change_ports()?,
                result => return result,
            }
        }
        self.start_all().await
    }

    async fn start_all(&self) -> Result<()> {
        for component in Component::ALL {
            self.start_component(component).await?;
        }
        let client = self.client().await?;
        let nodes: Api<Node> = Api::all(client.clone());
        nodes
            .patch(node::NAME, &PatchParams::apply("local-cluster"), &Patch::Apply(node::manifest()))
            .await
            .map_err(Error::kubernetes("create the simulated node"))?;
        let mut wait = self.wait("the simulated node to accept pods");
        while wait.poll(async { node::accepts_pods(&nodes.get(node::NAME).await?) }).await?.is_none() {
            self.check()?;
        }
        self.wait_for_default_account(client, "default").await?;
        // If another cluster answered on a port until now, the component that lost the port has ended by now.
        self.check()
    }

    /// Waits for the default service account of a namespace. The controller manager creates it, and without it, no pod
    /// can be created there.
    pub(crate) async fn wait_for_default_account(&self, client: kube::Client, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        let mut wait = self.wait(&format!("the default service account of namespace {namespace}"));
        while wait.poll(async { Ok(accounts.get_opt("default").await?) }).await?.is_none() {
            self.check()?;
        }
        Ok(())
    }

    /// Starts the process of a component unless it is running. Its output is appended to its log.
    fn launch(&self, component: Component) -> Result<()> {
        let mut running = self.running.lock();
        if let Some(child) = running.components.get_mut(&component) {
            let status = child.try_wait().map_err(Error::process("check", component.name()))?;
            if status.is_none() {
                return Ok(());
            }
        }
        let (log, log_copy) = open_log(&self.layout.log(component))?;
        let child = Command::new(self.binaries.path(component.program()))
            .args(self.layout.arguments(component, self.ports))
            .current_dir(&self.layout.folder)
            // Some programs read settings from the environment: etcd reads all of its flags from there.
            .env_clear()
            .env("HOME", &self.layout.folder)
            .env("GOGC", GARBAGE_PERCENT)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_copy)
            .process_group(self.group)
            .spawn()
            .map_err(Error::process("start", component.name()))?;
        let id = self.layout.folder.join(format!("{component}.pid"));
        let written = fs::write(&id, child.id().to_string()).map_err(Error::file("write", &id));
        running.components.insert(component, child);
        written
    }

    /// A wait with the deadline of the cluster.
    fn wait(&self, what: &str) -> Wait {
        Wait::new(what.to_owned(), self.deadline)
    }

    /// The number of the next process that a test starts, for the name of its log.
    pub(crate) fn next_process(&self) -> usize {
        self.started_processes.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the logs of the cluster are in {}", self.layout.logs().display());
        }
        let running = self.running.get_mut();
        let cleaner = running.lifeline.take().map(Lifeline::cut);
        for child in running.components.values_mut() {
            // Usually already killed with its group. This is for the case that the leader of the group was killed.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(cleaner) = cleaner {
            cleaner.wait();
        }
    }
}

/// Opens a log twice, for the standard output and the standard error of a process.
pub(crate) fn open_log(path: &Path) -> Result<(File, File)> {
    let log = OpenOptions::new().create(true).append(true).open(path).map_err(Error::file("open", path))?;
    let copy = log.try_clone().map_err(Error::file("open", path))?;
    Ok((log, copy))
}

/// Whether a component ended because another process has taken its port.
fn is_port_taken(error: &Error) -> bool {
    let Error::ComponentEnded { log, .. } = error else { return false };
    fs::read(log).is_ok_and(|text| String::from_utf8_lossy(&text).contains("address already in use"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn port_that_another_process_takes_is_replaced() -> Result<()> {
        let binaries = tokio::task::spawn_blocking(Binaries::ensure).await??;
        let mut cluster = LocalCluster::prepare(binaries, ClusterOptions::default())?;
        let lost = cluster.ports;
        let _etcd = TcpListener::bind((Ipv4Addr::LOCALHOST, lost.etcd)).expect("the port was free");
        cluster.start_on_free_ports().await?;
        assert_ne!(cluster.ports.etcd, lost.etcd);

        let mut other = LocalCluster::prepare(cluster.binaries.clone(), ClusterOptions::default())?;
        // The API server of another cluster has this port, and answers as if it were the right one.
        other.ports.api = cluster.ports.api;
        other.start_on_free_ports().await?;
        assert_ne!(other.ports.api, cluster.ports.api);
        cluster.check()?;
        other.namespace("other").await?;
        Ok(())
    }
}
