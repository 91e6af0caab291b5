//! The Deployments that the controller watches, with the size of real Deployments.

use anyhow::{Context, Result};
use cluster::LocalCluster;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The annotation of `kubectl apply`.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const CONTAINER: &str = "app";
const FIRST_IMAGE: &str = "registry.example.com/shop/storefront-service:v1.41.0";
const NEXT_IMAGE: &str = "registry.example.com/shop/storefront-service:v1.42.0";

/// Number of concurrent requests that create Deployments.
const CREATIONS_IN_FLIGHT: usize = 32;

/// Number of objects from which the mean size is computed.
const SAMPLE: usize = 200;

/// A Deployment of the bench.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the cluster.
    pub name: String,
}

/// Mean sizes of the objects of the API server, in bytes of JSON.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct MeanSizes {
    /// The mean size of a Deployment.
    pub deployment_bytes: usize,
    /// The mean size of a ReplicaSet.
    pub replica_set_bytes: usize,
}

/// Creates Deployments in new namespaces, without waiting for their rollouts.
///
/// # Errors
/// When the API server refuses one.
pub async fn create(
    cluster: &LocalCluster,
    client: &Client,
    deployments: usize,
    namespaces: usize,
) -> Result<Vec<Target>> {
    let mut names = Vec::new();
    for _ in 0..namespaces.min(deployments) {
        names.push(cluster.namespace("team").await?);
    }
    let targets: Vec<_> = names
        .iter()
        .cycle()
        .take(deployments)
        .enumerate()
        .map(|(number, namespace)| Target { namespace: namespace.clone(), name: format!("storefront-{number:05}") })
        .collect();
    stream::iter(&targets)
        .map(|target| async move {
            Api::<Deployment>::namespaced(client.clone(), &target.namespace)
                .create(&as_kubectl(), &serde_json::from_value(manifest(target))?)
                .await
                .with_context(|| format!("failed to create Deployment {}/{}", target.namespace, target.name))
        })
        .buffer_unordered(CREATIONS_IN_FLIGHT)
        .try_for_each(async |_| anyhow::Ok(()))
        .await?;
    Ok(targets)
}

/// Starts a rollout by changing the image of a Deployment.
///
/// # Errors
/// When the API server refuses it.
pub async fn change_template(client: &Client, target: &Target) -> Result<()> {
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": CONTAINER, "image": NEXT_IMAGE}]}}}});
    let parameters = PatchParams { field_manager: as_kubectl().field_manager, ..PatchParams::default() };
    Api::<Deployment>::namespaced(client.clone(), &target.namespace)
        .patch(&target.name, &parameters, &Patch::Strategic(patch))
        .await
        .with_context(|| format!("failed to change Deployment {}/{}", target.namespace, target.name))?;
    Ok(())
}

/// The mean sizes of a sample of Deployments and ReplicaSets.
///
/// # Errors
/// When they can't be listed.
pub async fn mean_sizes(client: &Client) -> Result<MeanSizes> {
    Ok(MeanSizes {
        deployment_bytes: mean_size(client, <Deployment as k8s_openapi::Resource>::URL_PATH_SEGMENT).await?,
        replica_set_bytes: mean_size(client, <ReplicaSet as k8s_openapi::Resource>::URL_PATH_SEGMENT).await?,
    })
}

async fn mean_size(client: &Client, plural: &str) -> Result<usize> {
    let request = kube::core::Request::new(format!("/apis/apps/v1/{plural}"))
        .list(&kube::api::ListParams::default().limit(u32::try_from(SAMPLE)?))?;
    let list: Value = client.request(request).await.with_context(|| format!("failed to list the {plural}"))?;
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let total: usize = items.iter().map(|item| item.to_string().len()).sum();
    total.checked_div(items.len()).with_context(|| format!("there are no {plural}"))
}

fn as_kubectl() -> PostParams {
    PostParams { field_manager: Some("kubectl-client-side-apply".to_owned()), ..PostParams::default() }
}

/// The manifest with the annotation of `kubectl apply`.
fn manifest(target: &Target) -> Value {
    let mut manifest = plain_manifest(target);
    let applied = manifest.to_string();
    manifest["metadata"]["annotations"][LAST_APPLIED] = json!(applied);
    manifest
}

fn plain_manifest(Target { namespace, name }: &Target) -> Value {
    let labels = json!({"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop"});
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let probe =
        |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "initialDelaySeconds": 5, "timeoutSeconds": 2});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {"example.com/owner": "team-storefront"},
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
                },
                "spec": {
                    "serviceAccountName": "default",
                    "containers": [{
                        "name": CONTAINER,
                        "image": FIRST_IMAGE,
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "env": [
                            variable("HTTP_PORT", "8080"),
                            variable("METRICS_PORT", "9090"),
                            variable("LOG_LEVEL", "info"),
                            variable("LOG_FORMAT", "json"),
                            variable("DATABASE_HOST", "postgres.databases.svc"),
                            variable("DATABASE_NAME", "storefront"),
                            variable("CACHE_URL", "redis://redis.caches.svc:6379/0"),
                            variable("OTEL_ENDPOINT", "http://otel-collector.observability.svc:4317"),
                            variable("FLAGS_URL", "http://flags.platform.svc:8000"),
                            json!({"name": "DATABASE_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "storefront", "key": "password"}}}),
                            field("POD_NAME", "metadata.name"),
                            field("POD_NAMESPACE", "metadata.namespace"),
                        ],
                        "resources": {
                            "requests": {"cpu": "100m", "memory": "128Mi"},
                            "limits": {"memory": "512Mi"},
                        },
                        "readinessProbe": probe("/ready"),
                        "livenessProbe": probe("/live"),
                        "securityContext": {"allowPrivilegeEscalation": false, "runAsNonRoot": true},
                    }],
                },
            },
        },
    })
}
