//! Start and end of clusters and of their parts.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use cluster::{ClusterOptions, Component, LocalCluster, wait_for};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::sync::{Mutex, MutexGuard};

/// How long is waited for anything. Long, for machines that do other things as well: it asserts nothing.
const SOON: Duration = Duration::from_mins(4);

/// A new folder that only one test uses.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("local-cluster-{name}-{}", std::process::id()))
}

/// The ids that a cluster has written for its processes.
fn process_ids(folder: &Path) -> Result<Vec<u32>> {
    Component::ALL
        .iter()
        .map(|component| {
            let path = folder.join(format!("{component}.pid"));
            let text = std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
            Ok(text.trim().parse()?)
        })
        .collect()
}

/// Whether a process runs. One that has ended, but whose parent hasn't noticed yet, doesn't.
fn runs(id: u32) -> Result<bool> {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &id.to_string()]).output()?;
    let state = String::from_utf8(output.stdout)?;
    Ok(!state.trim().is_empty() && !state.trim_start().starts_with('Z'))
}

fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn port(server: &str) -> Result<u16> {
    server.rsplit(':').next().context("no port")?.parse().context("not a port")
}

/// Waits until nothing of a cluster is left but its logs.
async fn wait_until_gone(folder: &Path, port: u16) -> Result<()> {
    let ids = process_ids(folder)?;
    wait_for("the cluster's processes, port and data to be gone", SOON, async || {
        let mut left = Vec::new();
        for &id in &ids {
            if runs(id)? {
                left.push(format!("process {id}"));
            }
        }
        if accepts(port) {
            left.push(format!("port {port}"));
        }
        if folder.join("etcd").exists() {
            left.push("data".to_owned());
        }
        if left.is_empty() { Ok(Some(())) } else { Err(left.join(", "))? }
    })
    .await?;
    assert!(folder.join("logs/kube-apiserver.log").exists(), "the logs stay");
    Ok(())
}

/// A running `local-cluster up`, which is killed with the test.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `local-cluster up` and waits until it says where its cluster is.
async fn up(folder: &Path) -> Result<(Up, PathBuf)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_local-cluster"))
        .args(["up", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no output")?;
    let up = Up(child);
    // The first line only, and the pipe is closed then, as `head` does it.
    let read = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next().transpose());
    let line = tokio::time::timeout(Duration::from_mins(10), read).await???;
    let line = line.context("local-cluster ended without a word on its standard output")?;
    let kubeconfig = line.strip_prefix("export KUBECONFIG='").and_then(|rest| rest.strip_suffix('\''));
    let kubeconfig = PathBuf::from(kubeconfig.with_context(|| format!("unexpected output: {line}"))?);
    Ok((up, kubeconfig))
}

/// The port in a kubeconfig, whose user can then list namespaces.
async fn port_of(kubeconfig: &Path) -> Result<u16> {
    let namespaces: Api<Namespace> = Api::all(LocalCluster::client_from(kubeconfig).await?);
    namespaces.list(&ListParams::default()).await?;
    let text = std::fs::read_to_string(kubeconfig)?;
    let contents: serde_json::Value = serde_json::from_str(&text)?;
    port(contents["clusters"][0]["cluster"]["server"].as_str().context("no server")?)
}

/// The cluster whose parts the tests stop, one test after another: starting one costs more than most of them.
async fn alone() -> Result<(&'static LocalCluster, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let cluster = LocalCluster::shared().await;
    // A test that failed may have left one stopped.
    for component in Component::ALL {
        cluster.start_component(component).await?;
    }
    Ok((cluster, turn))
}

/// A Deployment takes all parts of the control plane to complete.
async fn roll_out(cluster: &LocalCluster, name: &str) -> Result<()> {
    cluster.kubectl(["create", "deployment", name, "--image=web:1"]).await?;
    let resource = format!("deployment/{name}");
    cluster.kubectl(["rollout", "status", &resource, "--timeout=240s"]).await?;
    Ok(())
}

#[tokio::test]
async fn cluster_ends_when_its_owner_is_killed() -> Result<()> {
    let folder = folder("killed");
    let (mut owner, kubeconfig) = up(&folder).await?;
    let port = port_of(&kubeconfig).await?;
    for id in process_ids(&folder)? {
        assert!(runs(id)?, "process {id} runs as long as its owner does");
    }
    // SIGKILL: nothing of the owner's own can run any more.
    owner.0.kill()?;
    owner.0.wait()?;
    wait_until_gone(&folder, port).await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[tokio::test]
async fn up_ends_its_cluster_on_sigterm_and_reports_success() -> Result<()> {
    let folder = folder("terminated");
    let (mut owner, kubeconfig) = up(&folder).await?;
    let port = port_of(&kubeconfig).await?;
    let sent = Command::new("kill").args(["-s", "TERM", &owner.0.id().to_string()]).status()?;
    assert!(sent.success());
    let status = wait_for("local-cluster to end", SOON, async || Ok(owner.0.try_wait()?)).await?;
    assert!(status.success(), "{status}");
    wait_until_gone(&folder, port).await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[tokio::test]
async fn two_clusters_run_at_once_and_know_nothing_of_each_other() -> Result<()> {
    let ((second, _turn), first) =
        tokio::try_join!(alone(), async { Ok(LocalCluster::start(ClusterOptions::default()).await?) })?;
    assert_ne!(first.server(), second.server());
    assert_ne!(first.folder(), second.folder());
    let mine = first.namespace("mine").await?;
    let others: Api<Namespace> = Api::all(second.client().await?);
    assert!(others.get_opt(&mine).await?.is_none(), "{mine} is in both");

    let (folder, port) = (first.folder().to_owned(), port(&first.server())?);
    first.stop().await?;
    wait_until_gone(&folder, port).await?;
    second.check()?;
    others.list(&ListParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn data_and_clients_outlive_a_restart_of_the_api_server() -> Result<()> {
    let (cluster, _turn) = alone().await?;
    let namespace = cluster.namespace("restart").await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client().await?, &namespace);
    let mut kept = ConfigMap::default();
    kept.metadata.name = Some("kept".to_owned());
    config_maps.create(&PostParams::default(), &kept).await?;
    let (server, before) = (cluster.server(), process_ids(cluster.folder())?);

    cluster.restart_api_server().await?;
    assert_eq!(cluster.server(), server);
    let after = process_ids(cluster.folder())?;
    let changed: Vec<_> = Component::ALL
        .into_iter()
        .zip(before.iter().zip(&after))
        .filter(|(_, (before, after))| before != after)
        .map(|(component, _)| component)
        .collect();
    assert_eq!(changed, [Component::ApiServer]);
    config_maps.get("kept").await?;
    // The other parts of the control plane find it again, too: each has a share in this.
    roll_out(cluster, "after-the-restart").await
}

#[tokio::test]
async fn component_that_ends_by_itself_is_told_from_one_that_was_stopped() -> Result<()> {
    let (cluster, _turn) = alone().await?;
    cluster.stop_component(Component::Scheduler)?;
    cluster.check()?;
    cluster.stop_component(Component::Scheduler)?;
    cluster.start_component(Component::Scheduler).await?;

    let kwok = process_ids(cluster.folder())?[4].to_string();
    assert!(Command::new("kill").args(["-s", "KILL", &kwok]).status()?.success());
    let error = wait_for("the end of KWOK to be noticed", SOON, async || Ok(cluster.check().err())).await?;
    assert!(error.to_string().contains("kwok ended by itself"), "{error}");
    cluster.start_component(Component::Kwok).await?;
    cluster.check()?;
    roll_out(cluster, "with-all-parts").await
}

#[tokio::test]
async fn data_outlives_a_restart_of_etcd() -> Result<()> {
    let (cluster, _turn) = alone().await?;
    let name = cluster.namespace("kept").await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    cluster.stop_component(Component::Etcd)?;
    cluster.start_component(Component::Etcd).await?;
    wait_for("the API server to find etcd and the namespace again", SOON, async || {
        Ok(Some(namespaces.get(&name).await?))
    })
    .await?;
    roll_out(cluster, "after-the-restart-of-etcd").await
}

/// Checked by the compiler: nothing is started.
#[test]
fn methods_can_be_awaited_in_a_spawned_task() {
    fn sendable<T: Send>(_: T) {}
    sendable(LocalCluster::start(ClusterOptions::default()));
    sendable(async {
        let cluster = LocalCluster::shared().await;
        cluster.restart_api_server().await?;
        cluster.namespace("spawned").await
    });
}
