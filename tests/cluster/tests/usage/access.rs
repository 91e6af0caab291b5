//! Clients, kubeconfigs, namespaces, kubectl, Helm and processes.

use std::time::Duration;

use anyhow::{Context, Result};
use cluster::{DEADLINE, LocalCluster, Process, wait_for};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::ListParams;

#[tokio::test]
async fn service_account_has_only_the_rights_of_its_role() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let namespace = cluster.namespace("rights").await?;
    cluster
        .apply(&format!(
            r#"
apiVersion: v1
kind: ServiceAccount
metadata: {{name: reader, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {namespace}}}
rules:
- {{apiGroups: [""], resources: [configmaps], verbs: [list]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects:
- {{kind: ServiceAccount, name: reader, namespace: {namespace}}}
"#
        ))
        .await?;
    let kubeconfig = cluster.service_account_kubeconfig(&namespace, "reader").await?;
    let client = LocalCluster::client_from(&kubeconfig).await?;
    assert_eq!(client.default_namespace(), namespace);
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    // The API server sees new roles through a watch.
    wait_for("the role to take effect", DEADLINE, async || Ok(Some(config_maps.list(&ListParams::default()).await?)))
        .await?;

    let secrets: Api<Secret> = Api::default_namespaced(client);
    let error = secrets.list(&ListParams::default()).await.map(drop).unwrap_err();
    let kube::Error::Api(status) = error else { anyhow::bail!("not an answer of the API server: {error}") };
    assert_eq!(status.code, 403);
    let user = format!("system:serviceaccount:{namespace}:reader");
    assert!(status.message.contains(&user), "{}", status.message);
    Ok(())
}

#[tokio::test]
async fn missing_service_account_is_named_in_the_error() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let error = cluster.service_account_kubeconfig("default", "nobody").await.unwrap_err().to_string();
    assert!(error.contains("default/nobody") && error.contains("not found"), "{error}");
    Ok(())
}

#[tokio::test]
async fn namespaces_with_the_same_prefix_differ() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let (first, second) = tokio::try_join!(cluster.namespace("same"), cluster.namespace("same"))?;
    assert!(first.starts_with("same-") && second.starts_with("same-"), "{first} {second}");
    assert_ne!(first, second);
    Ok(())
}

#[tokio::test]
async fn error_of_a_failed_command_shows_its_output() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let error = cluster.kubectl(["get", "pod", "nobody"]).await.unwrap_err().to_string();
    assert!(error.contains("`kubectl get pod nobody`"), "{error}");
    assert!(error.contains(r#"pods "nobody" not found"#), "{error}");
    Ok(())
}

#[tokio::test]
async fn kubectl_and_server_report_the_built_version() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let expected = programs::kubernetes_version();
    let answer: serde_json::Value = serde_json::from_str(&cluster.kubectl(["version", "--output=json"]).await?)?;
    assert_eq!(answer["clientVersion"]["gitVersion"], expected);
    assert_eq!(answer["serverVersion"]["gitVersion"], expected);
    Ok(())
}

/// Helm renders for the version of the cluster, and installs into it.
#[tokio::test]
async fn helm_installs_a_chart() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let namespace = cluster.namespace("helm").await?;
    let chart = cluster.folder().join("charts").join(&namespace);
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(
        chart.join("Chart.yaml"),
        "{apiVersion: v2, name: sample, version: 0.1.0, kubeVersion: '>=1.30.0'}",
    )?;
    std::fs::write(
        chart.join("templates/config.yaml"),
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: version}, \
         data: {kubernetes: '{{ .Capabilities.KubeVersion.Version }}'}}",
    )?;
    let path = chart.to_str().context("not UTF-8")?;
    let rendered = cluster.helm(["template", "sample", path]).await?;
    cluster.helm(["install", "sample", path, "--namespace", &namespace, "--wait"]).await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client().await?, &namespace);
    let data = config_maps.get("version").await?.data.context("no data")?;
    let server = cluster.client().await?.apiserver_version().await?;
    assert_eq!(data["kubernetes"], server.git_version);
    // Without a cluster, Helm knows only the minor version.
    let minor = format!("kubernetes: 'v1.{}.0'", server.minor);
    assert!(rendered.contains(&minor), "{rendered}");
    Ok(())
}

#[tokio::test]
async fn process_has_a_log_and_ends_on_sigterm_or_sigkill() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let shell = |script: &str| {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", script]).env("GREETING", "hello");
        command
    };
    let graceful = r#"trap 'echo asked; exit 3' TERM; echo "$GREETING" >&2; while :; do sleep 0.05; done"#;
    let mut graceful = Process::start(cluster, "shell", shell(graceful))?;
    let has_greeted = |process: &Process| Ok(process.log()?.contains("hello").then_some(()));
    wait_for("the shell to greet", DEADLINE, async || has_greeted(&graceful)).await?;
    assert_eq!(graceful.exit_status()?, None);
    assert_eq!(graceful.terminate(DEADLINE).await?.code(), Some(3));
    assert_eq!(graceful.log()?, "hello\nasked\n");
    assert_eq!(graceful.terminate(DEADLINE).await?.code(), Some(3), "the exit status stays known");

    let stubborn = r#"trap '' TERM; echo "$GREETING"; while :; do sleep 0.05; done"#;
    let mut stubborn = Process::start(cluster, "shell", shell(stubborn))?;
    wait_for("the second shell to greet", DEADLINE, async || has_greeted(&stubborn)).await?;
    assert_ne!(stubborn.log_path(), graceful.log_path());
    let error = stubborn.terminate(Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("still runs"), "{error}");
    assert_eq!(stubborn.kill()?.code(), None, "ended by a signal");
    Ok(())
}
