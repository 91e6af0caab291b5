//! One running cluster: its start, its parts and its end.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::cache::{ClusterFolder, write_private};
use crate::certificates::Certificates;
use crate::component::{Component, Layout, Ports};
use crate::error::{Error, Result};
use crate::lifeline::Lifeline;
use crate::node;
use crate::ports::free_ports;
use crate::text::{last_lines, say};
use crate::wait::{NotYet, Waiting};
use programs::{Binaries, create_folder};

/// How often a start is repeated with other ports, because others took one between its choice and its use.
const PORT_ATTEMPTS: usize = 5;

/// How much garbage the programs collect before they clear it away, in percent of what they hold. Memory is there, and
/// clearing takes a fifth of their time with Go's default of 100.
const GARBAGE_PERCENT: &str = "400";

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where state and logs go. Without it, a folder of its own in the cache, of which the newest 10 are kept.
    pub folder: Option<PathBuf>,
    /// How long each step of the start may take. Generous by default, for machines that are busy.
    pub deadline: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { folder: None, deadline: Duration::from_mins(10) }
    }
}

/// A real Kubernetes control plane on 127.0.0.1, with one simulated node that has room for 100,000 pods.
///
/// It ends with [`LocalCluster::stop`], when it is dropped, or when this process ends, even by SIGKILL.
/// Nothing in it is bound to an async runtime, so tests with a runtime each can share one; a
/// [`kube::Client`] is bound to the runtime that it was made on, so each test makes its own with
/// [`LocalCluster::client`].
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
    // Last, so that the folder counts as in use until everything else has ended.
    _folder: ClusterFolder,
}

/// The processes. The lifeline is there until the end.
#[derive(Debug)]
struct Running {
    lifeline: Option<Lifeline>,
    components: BTreeMap<Component, Child>,
}

impl LocalCluster {
    /// Starts a cluster and waits until its node is ready and pods can be created in the namespace `default`.
    /// Builds the programs first if need be: see [`Binaries::ensure`].
    ///
    /// # Errors
    /// When a program can't be built, the folder can't be used, a part of the control plane ends or isn't ready
    /// in time; the error names its log and shows the end of it.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::ensure).await??;
        let mut cluster = Self::prepare(binaries, options)?;
        cluster.start_on_free_ports().await?;
        Ok(cluster)
    }

    /// The cluster that all tests of this process share. The first to ask starts it, and it ends with the process.
    ///
    /// # Panics
    /// When it can't be started: there is nothing that a test could do about it. All tests fail with the same
    /// message then, and only the first has waited for it.
    #[expect(clippy::panic, reason = "a test that can't have its cluster has failed")]
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Result<LocalCluster>> = OnceCell::const_new();
        let start = async || {
            let cluster = Self::start(ClusterOptions::default()).await?;
            // Nothing else would say where to look after a test has failed.
            say(&format!("{} runs, logs are in {}", cluster.server(), cluster.layout.logs().display()));
            Ok(cluster)
        };
        match SHARED.get_or_init(start).await {
            Ok(cluster) => cluster,
            Err(error) => panic!("the cluster that the tests share can't be started: {error}"),
        }
    }

    /// Ends the cluster, waits until all of its processes are gone, and removes etcd's data. The logs stay.
    ///
    /// # Errors
    /// When the task that waits is cancelled, since the runtime shuts down. The cluster ends all the same.
    pub async fn stop(self) -> Result<()> {
        Ok(tokio::task::spawn_blocking(move || drop(self)).await?)
    }

    /// The kubeconfig of an administrator, who may do everything. It contains all it needs and can be copied.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// The folder with the cluster's state, and in `logs` the log of each process.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.layout.folder
    }

    /// The cluster's programs, for instance for a `PATH`.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The API server's address, such as `https://127.0.0.1:12345`.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// Kills the API server and starts it again on the same port. Every watch and open request breaks off.
    ///
    /// # Errors
    /// As [`LocalCluster::start_component`].
    pub async fn restart_api_server(&self) -> Result<()> {
        self.stop_component(Component::ApiServer)?;
        self.start_component(Component::ApiServer).await
    }

    /// Kills a part of the control plane with SIGKILL and returns once it is gone. Nothing happens if it isn't running.
    ///
    /// # Errors
    /// When the process can't be signalled or waited for.
    pub fn stop_component(&self, component: Component) -> Result<()> {
        let Some(mut child) = self.running().components.remove(&component) else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map(drop).map_err(Error::process("stop", component.name()))
    }

    /// Starts a part of the control plane, unless it runs, and waits until it answers, if it is one that is asked:
    /// etcd or the API server.
    ///
    /// # Errors
    /// When it can't be started, ends again, or doesn't answer in time.
    pub async fn start_component(&self, component: Component) -> Result<()> {
        self.launch(component)?;
        match component {
            Component::Etcd => {
                let address = (Ipv4Addr::LOCALHOST, self.ports.etcd);
                let mut waiting = self.waiting("etcd to accept connections");
                let connect = async || -> Result<_, NotYet> { Ok(Some(TcpStream::connect(address).await?)) };
                while waiting.look(connect()).await?.is_none() {
                    self.check()?;
                }
            }
            Component::ApiServer => {
                let client = self.client().await?;
                let mut waiting = self.waiting("the API server to be ready");
                let ask = async || -> Result<_, NotYet> {
                    let request = http::Request::get("/readyz").body(Vec::new())?;
                    Ok(Some(client.request_text(request).await?))
                };
                while waiting.look(ask()).await?.is_none() {
                    self.check()?;
                }
            }
            Component::ControllerManager | Component::Scheduler | Component::Kwok => {}
        }
        Ok(())
    }

    /// Whether every part of the control plane that should run does.
    ///
    /// # Errors
    /// When one ended by itself, with the end of its log.
    pub fn check(&self) -> Result<()> {
        for (&component, child) in &mut self.running().components {
            let status = child.try_wait().map_err(Error::process("look after", component.name()))?;
            if let Some(status) = status {
                let log = self.layout.log(component);
                let output = last_lines(&log, 20);
                return Err(Error::ComponentEnded { component: component.name(), status, output, log });
            }
        }
        Ok(())
    }

    /// Everything up to the first process.
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

    /// Back to where nothing was started, with other ports.
    fn change_ports(&mut self) -> Result<()> {
        for component in Component::ALL {
            self.stop_component(component)?;
            // Each attempt is judged by its own log.
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
        let mut waiting = self.waiting("the simulated node to take pods");
        while waiting.look(async { node::takes_pods(&nodes.get(node::NAME).await?) }).await?.is_none() {
            self.check()?;
        }
        self.wait_for_default_account(client, "default").await?;
        // A process that lost its port may end only now, with another one's answers taken for its own until then.
        self.check()
    }

    /// Waits for the service account that the controller manager creates in each namespace, and without which no
    /// pod can be created there.
    pub(crate) async fn wait_for_default_account(&self, client: kube::Client, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        let mut waiting = self.waiting(&format!("the default service account of namespace {namespace}"));
        while waiting.look(async { Ok(accounts.get_opt("default").await?) }).await?.is_none() {
            self.check()?;
        }
        Ok(())
    }

    /// Starts a process, unless it runs, with its log appended to the one before.
    fn launch(&self, component: Component) -> Result<()> {
        let mut running = self.running();
        if let Some(child) = running.components.get_mut(&component) {
            let status = child.try_wait().map_err(Error::process("look after", component.name()))?;
            if status.is_none() {
                return Ok(());
            }
        }
        let (log, log_copy) = open_log(&self.layout.log(component))?;
        let child = Command::new(self.binaries.path(component.program()))
            .args(self.layout.arguments(component, self.ports))
            .current_dir(&self.layout.folder)
            // Much of the environment would be settings to them: etcd, for one, reads every flag from there, too.
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

    /// A wait with the cluster's deadline.
    fn waiting(&self, what: &str) -> Waiting {
        Waiting::new(what.to_owned(), self.deadline)
    }

    /// A number for each process that a test starts, so that their logs differ.
    pub(crate) fn next_process(&self) -> usize {
        self.started_processes.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // A panic in between leaves nothing half done: each change is a single insertion or removal.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the logs of the cluster are in {}", self.layout.logs().display());
        }
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        let cleaner = running.lifeline.take().map(Lifeline::cut);
        for child in running.components.values_mut() {
            // Already killed with its group; this is for the case that somebody else ended the group's leader.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(cleaner) = cleaner {
            cleaner.wait();
        }
    }
}

/// Opens a log twice, for the two outputs of a process.
pub(crate) fn open_log(path: &Path) -> Result<(File, File)> {
    let log = OpenOptions::new().create(true).append(true).open(path).map_err(Error::file("open", path))?;
    let copy = log.try_clone().map_err(Error::file("open", path))?;
    Ok((log, copy))
}

/// Whether a component ended because another process had taken its port.
fn is_port_taken(error: &Error) -> bool {
    let Error::ComponentEnded { log, .. } = error else { return false };
    fs::read(log).is_ok_and(|text| String::from_utf8_lossy(&text).contains("address already in use"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn port_that_another_process_takes_in_between_is_replaced() -> Result<()> {
        let binaries = tokio::task::spawn_blocking(Binaries::ensure).await??;
        let mut cluster = LocalCluster::prepare(binaries, ClusterOptions::default())?;
        let lost = cluster.ports;
        let _etcd = TcpListener::bind((Ipv4Addr::LOCALHOST, lost.etcd)).expect("the port was free");
        cluster.start_on_free_ports().await?;
        assert_ne!(cluster.ports.etcd, lost.etcd);

        let mut other = LocalCluster::prepare(cluster.binaries.clone(), ClusterOptions::default())?;
        // Not just anybody has it, but another cluster's API server.
        other.ports.api = cluster.ports.api;
        other.start_on_free_ports().await?;
        assert_ne!(other.ports.api, cluster.ports.api);
        cluster.check()?;
        other.namespace("other").await?;
        Ok(())
    }
}
