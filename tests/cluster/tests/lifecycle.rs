//! The start and the end of clusters and of their components.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use cluster::{ClusterOptions, Component, DEADLINE, LocalCluster, wait_for};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::sync::{Mutex, MutexGuard};

/// A folder for one test, which doesn't exist yet.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("local-cluster-{name}-{}", std::process::id()))
}

/// The ids of the processes of a cluster, which it writes to its folder.
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

/// Whether a process is running. A zombie, which has ended but has not been waited for, is not running.
fn is_running(id: u32) -> Result<bool> {
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

/// Waits until only the logs of a cluster are left.
async fn wait_until_gone(folder: &Path, port: u16) -> Result<()> {
    let ids = process_ids(folder)?;
    wait_for("the cluster's processes, port and data to be gone", DEADLINE, async || {
        let mut left = Vec::new();
        for &id in &ids {
            if is_running(id)? {
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
    assert!(folder.join("logs/kube-apiserver.log").exists(), "the logs must be kept");
    Ok(())
}

/// A running `local-cluster up`, which is killed at the end of the test.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `local-cluster up`, and waits until it prints the path of the kubeconfig.
async fn up(folder: &Path) -> Result<(Up, PathBuf)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_local-cluster"))
        .args(["up", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no output")?;
    let up = Up(child);
    // Read only the first line and close the pipe, like `head`.
    let read = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next().transpose());
    let line = tokio::time::timeout(Duration::from_mins(10), read).await???;
    let line = line.context("local-cluster ended without output")?;
    let kubeconfig = line.strip_prefix("export KUBECONFIG='").and_then(|rest| rest.strip_suffix('\''));
    let kubeconfig = PathBuf::from(kubeconfig.with_context(|| format!("unexpected output: {line}"))?);
    Ok((up, kubeconfig))
}

/// The port of the server in a kubeconfig. Also checks that its user can list namespaces.
async fn port_of(kubeconfig: &Path) -> Result<u16> {
    let namespaces: Api<Namespace> = Api::all(LocalCluster::client_from(kubeconfig).await?);
    namespaces.list(&ListParams::default()).await?;
    let text = std::fs::read_to_string(kubeconfig)?;
    let contents: serde_json::Value = serde_json::from_str(&text)?;
    port(contents["clusters"][0]["cluster"]["server"].as_str().context("no server")?)
}

/// The cluster whose components the tests stop. One test uses it at a time: starting a cluster takes longer than most
/// tests.
async fn exclusive() -> Result<(&'static LocalCluster, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let cluster = LocalCluster::shared().await;
    // A failed test may have left a component stopped.
    for component in Component::ALL {
        cluster.start_component(component).await?;
    }
    Ok((cluster, turn))
}

/// Rolls out a Deployment, which needs all components of the control plane.
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
        assert!(is_running(id)?, "process {id} must run as long as its owner");
    }
    // After SIGKILL, no code of the owner runs.
    owner.0.kill()?;
    owner.0.wait()?;
    wait_until_gone(&folder, port).await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[tokio::test]
async fn cluster_ends_when_up_receives_sigterm() -> Result<()> {
    let folder = folder("terminated");
    let (mut owner, kubeconfig) = up(&folder).await?;
    let port = port_of(&kubeconfig).await?;
    let sent = Command::new("kill").args(["-s", "TERM", &owner.0.id().to_string()]).status()?;
    assert!(sent.success());
    let status = wait_for("local-cluster to end", DEADLINE, async || Ok(owner.0.try_wait()?)).await?;
    assert!(status.success(), "{status}");
    wait_until_gone(&folder, port).await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[tokio::test]
async fn two_clusters_are_independent() -> Result<()> {
    let ((shared, _turn), first) =
        tokio::try_join!(exclusive(), async { Ok(LocalCluster::start(ClusterOptions::default()).await?) })?;
    assert_ne!(first.server(), shared.server());
    assert_ne!(first.folder(), shared.folder());
    let name = first.namespace("first").await?;
    let namespaces: Api<Namespace> = Api::all(shared.client().await?);
    assert!(namespaces.get_opt(&name).await?.is_none(), "namespace {name} is in both clusters");

    let (folder, port) = (first.folder().to_owned(), port(&first.server())?);
    first.stop().await?;
    wait_until_gone(&folder, port).await?;
    shared.check()?;
    namespaces.list(&ListParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn data_and_clients_survive_an_api_server_restart() -> Result<()> {
    let (cluster, _turn) = exclusive().await?;
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
    // The other components connect to it again: a rollout needs all of them.
    roll_out(cluster, "after-the-restart").await
}

#[tokio::test]
async fn only_an_unexpected_end_of_a_component_is_an_error() -> Result<()> {
    let (cluster, _turn) = exclusive().await?;
    cluster.stop_component(Component::Scheduler)?;
    cluster.check()?;
    cluster.stop_component(Component::Scheduler)?;
    cluster.start_component(Component::Scheduler).await?;

    let kwok = process_ids(cluster.folder())?[4].to_string();
    assert!(Command::new("kill").args(["-s", "KILL", &kwok]).status()?.success());
    let error = wait_for("the end of KWOK to be detected", DEADLINE, async || Ok(cluster.check().err())).await?;
    assert!(error.to_string().contains("kwok of the cluster ended unexpectedly"), "{error}");
    cluster.start_component(Component::Kwok).await?;
    cluster.check()?;
    roll_out(cluster, "with-all-parts").await
}

#[tokio::test]
async fn data_survives_an_etcd_restart() -> Result<()> {
    let (cluster, _turn) = exclusive().await?;
    let name = cluster.namespace("kept").await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    cluster.stop_component(Component::Etcd)?;
    cluster.start_component(Component::Etcd).await?;
    wait_for("the API server to return the namespace again", DEADLINE, async || Ok(Some(namespaces.get(&name).await?)))
        .await?;
    roll_out(cluster, "after-the-restart-of-etcd").await
}

/// Only the compiler checks this: nothing is started.
#[test]
fn futures_are_send() {
    fn assert_send<T: Send>(_: T) {}
    assert_send(LocalCluster::start(ClusterOptions::default()));
    assert_send(async {
        let cluster = LocalCluster::shared().await;
        cluster.restart_api_server().await?;
        cluster.namespace("spawned").await
    });
}
