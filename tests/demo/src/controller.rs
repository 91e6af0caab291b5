//! The controller as a process on this machine, created from the pod template of the chart.
//!
//! The pods of the cluster are simulated, so the controller can't run in a pod. It runs beside the cluster instead,
//! with the arguments, environment, mounted files and rights of its pod.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use cluster::{LocalCluster, Process};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret, Volume};
use kube::{Api, Client};

/// The name of the program.
const PROGRAM: &str = "port-dora-controller";

/// The pod name of the replica that runs beside the cluster.
pub(crate) const REPLICA: &str = "port-dora-controller-beside-the-cluster";

/// Starts the controller of the Deployment `deployment` in `namespace`.
///
/// # Errors
/// When the program is not built, or the chart has installed an unexpected Deployment.
pub(crate) async fn start(cluster: &LocalCluster, namespace: &str, deployment: &str) -> Result<Process> {
    let client = cluster.client().await?;
    let deployment = Api::<Deployment>::namespaced(client.clone(), namespace).get(deployment).await?;
    let pod = deployment
        .spec
        .and_then(|spec| spec.template.spec)
        .context("the Deployment of the chart has no pod template")?;
    let [container] = pod.containers.as_slice() else {
        anyhow::bail!("the pod of the chart must have one container");
    };
    let account = pod.service_account_name.as_deref().unwrap_or("default");
    let mounts = mount(&client, namespace, &pod, container, &cluster.folder().join("pod")).await?;
    let mut command = Command::new(program()?);
    command
        .args(container.args.iter().flatten())
        // A pod has only the environment of its template.
        .env_clear()
        .envs(environment(container, namespace, &mounts))
        // A free port, since several demos and tests may run on this machine.
        .env("LISTEN_ADDRESS", "127.0.0.1:0")
        .env("KUBECONFIG", cluster.service_account_kubeconfig(namespace, account).await?);
    Ok(Process::start(cluster, "controller", command)?)
}

/// The path of the controller, in the folder of this program.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    let program = own.with_file_name(PROGRAM);
    anyhow::ensure!(
        program.exists(),
        "{} doesn't exist: build it with `cargo build --package port-dora-controller`, or use `make demo`",
        program.display()
    );
    Ok(program)
}

/// Writes the files that a kubelet would mount, and returns the folder of each mount path. An optional Secret that
/// doesn't exist is an empty folder, as in a pod.
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
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        for (name, contents) in contents(client, namespace, volume).await? {
            let path = folder.join(name);
            std::fs::write(&path, contents).with_context(|| format!("failed to write {}", path.display()))?;
        }
        let mounted = container.volume_mounts.iter().flatten().filter(|mount| mount.name == volume.name);
        mounts.extend(mounted.map(|mount| (mount.mount_path.clone(), folder.clone())));
    }
    Ok(mounts)
}

/// The files of a volume, with their names.
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
    anyhow::bail!("the volume {} of the pod is neither a ConfigMap nor a Secret", volume.name)
}

/// The environment of the container. Paths in the pod are replaced by paths on this machine.
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

/// The value with a mount path replaced by its folder on this machine.
fn on_this_machine(value: &str, mounts: &BTreeMap<String, PathBuf>) -> String {
    mounts
        .iter()
        .find_map(|(mounted, folder)| {
            let below = Path::new(value).strip_prefix(mounted).ok()?;
            Some(folder.join(below).to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| value.to_owned())
}
