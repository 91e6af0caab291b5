//! The controller as a process of this machine, made from the pod template that the chart installed.
//!
//! The cluster's pods are simulated, so the controller can't run in one. It runs beside the cluster instead, with
//! everything that its pod would have: arguments, environment, mounted files, and the rights of its ServiceAccount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use cluster::{LocalCluster, Process};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret, Volume};
use kube::{Api, Client};

/// Name of the controller's program.
const PROGRAM: &str = "port-dora-controller";

/// The name of the replica that runs beside the cluster.
pub(crate) const REPLICA: &str = "port-dora-controller-beside-the-cluster";

/// Starts the controller that `deployment` in `namespace` describes.
///
/// # Errors
/// When the program isn't built, or the chart installed something that no pod could be made of.
pub(crate) async fn start(cluster: &LocalCluster, namespace: &str, deployment: &str) -> Result<Process> {
    let client = cluster.client().await?;
    let deployment = Api::<Deployment>::namespaced(client.clone(), namespace).get(deployment).await?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec).context("the chart's Deployment has no pod")?;
    let [container] = pod.containers.as_slice() else {
        anyhow::bail!("the pod of the chart's Deployment hasn't exactly one container");
    };
    let account = pod.service_account_name.as_deref().unwrap_or("default");
    let mounts = mount(&client, namespace, &pod, container, &cluster.folder().join("pod")).await?;
    let mut command = Command::new(program()?);
    command
        .args(container.args.iter().flatten())
        // A pod has the environment that its template gives it and no other.
        .env_clear()
        .envs(environment(container, namespace, &mounts))
        // Several demos and tests run at once here, and each pod has an address of its own.
        .env("LISTEN_ADDRESS", "127.0.0.1:0")
        .env("KUBECONFIG", cluster.service_account_kubeconfig(namespace, account).await?);
    Ok(Process::start(cluster, "controller", command)?)
}

/// The program that was built together with this one.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("can't find where this program is")?;
    let program = own.with_file_name(PROGRAM);
    anyhow::ensure!(
        program.exists(),
        "{} isn't there: build it with `cargo build --package port-dora-controller`, or use `make demo`",
        program.display()
    );
    Ok(program)
}

/// Writes what the kubelet would mount and returns the folder of each mounted path. As for the kubelet, an optional
/// Secret that doesn't exist is an empty folder.
async fn mount(
    client: &Client,
    namespace: &str,
    pod: &PodSpec,
    container: &Container,
    folder: &Path,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut mounts = BTreeMap::new();
    for volume in pod.volumes.iter().flatten() {
        let folder = folder.join(&volume.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
        for (name, contents) in contents(client, namespace, volume).await? {
            let path = folder.join(name);
            std::fs::write(&path, contents).with_context(|| format!("can't write {}", path.display()))?;
        }
        let mounted = container.volume_mounts.iter().flatten().filter(|mount| mount.name == volume.name);
        mounts.extend(mounted.map(|mount| (mount.mount_path.clone(), folder.clone())));
    }
    Ok(mounts)
}

async fn contents(client: &Client, namespace: &str, volume: &Volume) -> Result<Vec<(String, Vec<u8>)>> {
    if let Some(source) = &volume.config_map {
        let config_map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get(&source.name).await?;
        let data = config_map.data.unwrap_or_default();
        return Ok(data.into_iter().map(|(name, text)| (name, text.into_bytes())).collect());
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let secret = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        return Ok(data.into_iter().map(|(name, bytes)| (name, bytes.0)).collect());
    }
    anyhow::bail!("the pod's volume {} is neither a ConfigMap nor a Secret", volume.name)
}

/// The container's environment, with the paths of this machine for those in the pod.
fn environment(container: &Container, namespace: &str, mounts: &BTreeMap<String, PathBuf>) -> Vec<(String, String)> {
    let mut environment = Vec::new();
    for variable in container.env.iter().flatten() {
        let field = variable
            .value_from
            .as_ref()
            .and_then(|source| source.field_ref.as_ref())
            .map(|field| field.field_path.as_str());
        let value = match field {
            Some("metadata.name") => REPLICA.to_owned(),
            Some("metadata.namespace") => namespace.to_owned(),
            _ => on_this_machine(variable.value.as_deref().unwrap_or_default(), mounts),
        };
        environment.push((variable.name.clone(), value));
    }
    environment
}

fn on_this_machine(value: &str, mounts: &BTreeMap<String, PathBuf>) -> String {
    mounts
        .iter()
        .find_map(|(mounted, folder)| {
            let below = Path::new(value).strip_prefix(mounted).ok()?;
            Some(folder.join(below).to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| value.to_owned())
}
