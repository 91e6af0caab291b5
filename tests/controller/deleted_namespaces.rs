//! Namespaces that are deleted, with their records first, and created again.

use cluster::{DEADLINE, wait_for};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::DoraDeployment;

use crate::TestResult;
use crate::fixture::{Controller, Installation, SAME_POD};
use crate::test_env::TestEnv;
use crate::web::Web;

/// The value of a metric without labels, or with the labels in `name`.
async fn metric(controller: &Controller, name: &str) -> Result<u64, crate::Error> {
    let (_, text) = controller.get("/metrics").await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Ok(value.ok_or_else(|| format!("{name} is missing in {text}"))?)
}

/// Deletes the namespace in an order in which the records go first: a finalizer holds the Deployment `web` until then.
async fn delete_records_first(env: &TestEnv<'_>) -> TestResult {
    let records: Api<DoraDeployment> = Api::namespaced(env.setup.client().await?, &env.namespace);
    env.kubectl(r#"patch deployment/web --type=merge --patch={"metadata":{"finalizers":["test.example/hold"]}}"#)
        .await?;
    env.setup.kubectl(["delete", "namespace", &env.namespace, "--wait=false"]).await?;
    wait_for("the records to be gone before their Deployment", DEADLINE, async || {
        Ok(records.list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await?;
    env.kubectl("annotate deployment/web test/changed=true").await?;
    env.kubectl(r#"patch deployment/web --type=merge --patch={"metadata":{"finalizers":null}}"#).await?;
    let namespaces: Api<Namespace> = Api::all(env.setup.client().await?);
    wait_for("the namespace to be gone", DEADLINE, async || {
        Ok(namespaces.get_opt(&env.namespace).await?.is_none().then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_namespace_leaves_no_work_behind() -> TestResult {
    const DROPPED: &str = "port_dora_rollouts_dropped_total{reason=\"NamespaceDeleted\"}";
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&SAME_POD).await?;
    controller.leads().await?;
    let env = TestEnv::on(&setup, "again").await?;
    let mut dropped = 0;
    for _ in 0..3 {
        env.apply(&Web::default()).await?;
        setup.outcomes(&env.namespace, &[("web:1", "Succeeded")]).await?;
        setup.delivered(&env.namespace, "web:1").await?;
        delete_records_first(&env).await?;
        dropped = wait_for("the rollout of the deleted Deployment to be dropped", DEADLINE, async || {
            let now = metric(&controller, DROPPED).await?;
            Ok((now > dropped).then_some(now))
        })
        .await?;
        setup.kubectl(["create", "namespace", &env.namespace]).await?;
    }
    assert_eq!(metric(&controller, "port_dora_record_writes_retried_total ").await?, 0, "a rollout is tried again");

    // What would be recorded of the earlier Deployments is recorded before this one.
    env.apply(&Web { name: "new", ..Web::default() }).await?;
    setup.outcomes(&env.namespace, &[("new:1", "Succeeded")]).await?;
    assert_eq!(metric(&controller, "port_dora_record_writes_retried_total ").await?, 0);
    Ok(())
}
