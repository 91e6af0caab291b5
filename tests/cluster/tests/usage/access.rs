//! The ways into a cluster.

use std::time::Duration;

use anyhow::{Context, Result};
use cluster::{LocalCluster, Process, wait_for};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::ListParams;

use crate::SOON;

#[tokio::test]
async fn service_account_may_do_what_its_role_says_and_nothing_else() -> Result<()> {
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
    // The API server learns of a new role by a watch.
    wait_for("the role to be in force", SOON, async || Ok(Some(config_maps.list(&ListParams::default()).await?)))
        .await?;

    let secrets: Api<Secret> = Api::default_namespaced(client);
    let error = secrets.list(&ListParams::default()).await.map(drop).unwrap_err();
    let kube::Error::Api(status) = error else { anyhow::bail!("not refused by the API server: {error}") };
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
async fn failed_command_shows_itself_and_what_it_said() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let error = cluster.kubectl(["get", "pod", "nobody"]).await.unwrap_err().to_string();
    assert!(error.contains("`kubectl get pod nobody`"), "{error}");
    assert!(error.contains(r#"pods "nobody" not found"#), "{error}");
    Ok(())
}

#[tokio::test]
async fn client_and_server_report_the_version_that_they_were_built_from() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let expected = programs::kubernetes_version();
    let answer: serde_json::Value = serde_json::from_str(&cluster.kubectl(["version", "--output=json"]).await?)?;
    assert_eq!(answer["clientVersion"]["gitVersion"], expected);
    assert_eq!(answer["serverVersion"]["gitVersion"], expected);
    Ok(())
}

/// Helm both renders for the version of the cluster and installs into it.
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
    // What is rendered without a cluster knows the minor version only.
    let minor = format!("kubernetes: 'v1.{}.0'", server.minor);
    assert!(rendered.contains(&minor), "{rendered}");
    Ok(())
}

#[tokio::test]
async fn process_writes_its_log_and_ends_as_it_is_told() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let shell = |script: &str| {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", script]).env("GREETING", "hello");
        command
    };
    let patient = r#"trap 'echo asked; exit 3' TERM; echo "$GREETING" >&2; while :; do sleep 0.05; done"#;
    let mut polite = Process::start(cluster, "shell", shell(patient))?;
    let said = |process: &Process| Ok(process.log()?.contains("hello").then_some(()));
    wait_for("the shell to greet", SOON, async || said(&polite)).await?;
    assert_eq!(polite.exit_status()?, None);
    assert_eq!(polite.terminate(SOON).await?.code(), Some(3));
    assert_eq!(polite.log()?, "hello\nasked\n");
    assert_eq!(polite.terminate(SOON).await?.code(), Some(3), "the same again once it has ended");

    let deaf = r#"trap '' TERM; echo "$GREETING"; while :; do sleep 0.05; done"#;
    let mut deaf = Process::start(cluster, "shell", shell(deaf))?;
    wait_for("the second shell to greet", SOON, async || said(&deaf)).await?;
    assert_ne!(deaf.log_path(), polite.log_path());
    let error = deaf.terminate(Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("still runs"), "{error}");
    assert_eq!(deaf.kill()?.code(), None, "ended by a signal");
    Ok(())
}
