//! The controller as a process, with its memory and CPU time.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::{LocalCluster, NotYet, Process, wait_for};
use port_sim::PortSim;
use procfs::{ProcError, ProcResult};
use serde::Serialize;

/// The name of the cluster in the settings of the controller: the first part of the identifier of each entity.
pub const CLUSTER_NAME: &str = "bench";

/// The interval between checks of the readiness, which is the resolution of the time to ready.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// The deadline for the end of the controller after SIGTERM.
const TERMINATION_DEADLINE: Duration = Duration::from_secs(30);

/// Environment variables of this process that must not affect the controller.
const CLEARED: [&str; 8] = [
    "CONFIG_FILE",
    "LOG_FORMAT",
    "PORT_CLIENT_ID_FILE",
    "PORT_CLIENT_SECRET_FILE",
    "POD_NAME",
    "RUST_LOG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
];

/// The controller as a process with the rights of an administrator, which sends to a stand-in for Port.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    address: String,
    http: reqwest::Client,
    started: Instant,
}

/// The memory and the CPU time of a process at one time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// Resident memory (`VmRSS`), in bytes.
    pub resident_bytes: u64,
    /// The allocated part of it (`RssAnon`), in bytes. Nearly all of the rest is the code of the binary.
    pub allocated_bytes: u64,
    /// The peak of the resident memory (`VmHWM`), in bytes.
    pub peak_bytes: u64,
    /// The CPU time since the start, in seconds.
    pub cpu_seconds: f64,
}

impl Controller {
    /// Starts the binary.
    ///
    /// # Errors
    /// When the binary can't be started.
    pub fn start(binary: &Path, cluster: &LocalCluster, namespace: &str, port: &PortSim) -> Result<Self> {
        let defaults = port_sim::Options::default();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
        let mut command = Command::new(binary);
        for name in CLEARED {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("POD_NAMESPACE", namespace)
            .env("CLUSTER_NAME", CLUSTER_NAME)
            .env("LISTEN_ADDRESS", &address)
            .env("PORT_BASE_URL", port.base_url())
            .env("PORT_CLIENT_ID", defaults.client_id)
            .env("PORT_CLIENT_SECRET", defaults.client_secret);
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let started = Instant::now();
        let process = Process::start(cluster, "port-dora-controller", command)?;
        Ok(Self { process, address, http, started })
    }

    /// Waits until `/readyz` answers with 200, and returns the time since the start.
    ///
    /// # Errors
    /// When the process ends or isn't ready in time.
    pub async fn ready(&mut self, deadline: Duration) -> Result<Duration> {
        while self.started.elapsed() < deadline {
            if let Some(status) = self.process.exit_status()? {
                bail!("the controller ended ({status}); its log is {}", self.process.log_path().display());
            }
            let answer = self.http.get(format!("http://{}/readyz", self.address)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(self.started.elapsed());
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        bail!("the controller isn't ready after {deadline:?}; its log is {}", self.process.log_path().display());
    }

    /// Waits until the controller is the leader.
    ///
    /// # Errors
    /// When it doesn't become the leader in time.
    pub async fn leads(&self, deadline: Duration) -> Result<()> {
        wait_for("the controller to be the leader", deadline, async || {
            let metrics = self.http.get(format!("http://{}/metrics", self.address)).send().await?.text().await?;
            Ok::<_, NotYet>(metrics.lines().any(|line| line == "port_dora_leader 1").then_some(()))
        })
        .await
        .with_context(|| format!("its log is {}", self.process.log_path().display()))
    }

    /// Waits until no resource is pending: all entities are delivered, and all statuses are written.
    ///
    /// # Errors
    /// When resources are still pending at the deadline.
    pub async fn settled(&self, deadline: Duration) -> Result<()> {
        wait_for("all resources to be delivered", deadline, async || {
            let answer = self.http.get(format!("http://{}/readyz", self.address)).send().await?.text().await?;
            let pending: Vec<_> =
                answer.lines().filter(|line| line.contains("waiting") && !line.ends_with(": 0")).collect();
            if pending.is_empty() { Ok(Some(())) } else { Err(NotYet::from(pending.join(", "))) }
        })
        .await
        .with_context(|| format!("its log is {}", self.process.log_path().display()))
    }

    /// The current memory and CPU time.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.process.id()).with_context(|| {
            format!("the memory of the controller can't be read; its log is {}", self.process.log_path().display())
        })
    }

    /// Stops the controller with SIGTERM, like a kubelet.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub async fn stop(mut self) -> Result<()> {
        self.process.terminate(TERMINATION_DEADLINE).await?;
        Ok(())
    }
}

fn usage(id: u32) -> ProcResult<Usage> {
    let process = procfs::process::Process::new(id.cast_signed())?;
    let (status, stat) = (process.status()?, process.stat()?);
    let bytes = |kibibytes: Option<u64>| {
        kibibytes.map(|number| number * 1024).ok_or_else(|| ProcError::Other("the process has ended".to_owned()))
    };
    #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds of a run of minutes")]
    let cpu_seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    Ok(Usage {
        resident_bytes: bytes(status.vmrss)?,
        allocated_bytes: bytes(status.rssanon)?,
        peak_bytes: bytes(status.vmhwm)?,
        cpu_seconds,
    })
}
