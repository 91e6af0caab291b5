//! Wrong revision numbers: somebody applies an exported manifest again, which has the annotation
//! `deployment.kubernetes.io/revision` of another time or of another cluster.

use cluster::clock::next_second;
use cluster::{Component, DEADLINE, wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::DoraDeployment;
use serde_json::{Value, json};

use crate::fixture::{Controller, Installation, SAME_POD};
use crate::objects::{revision_of, rollout_of};
use crate::test_env::TestEnv;
use crate::web::Web;
use crate::{Error, TestResult};

/// The annotation with the revision of a Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Waits until the records of the namespace are exactly these, each as `2 Release Succeeded`. Unlike [`TestEnv::table`],
/// it allows that records were deleted whose entities are in Port.
async fn recorded(env: &TestEnv<'_>, expected: &[&str]) -> TestResult {
    let api: Api<DoraDeployment> = Api::namespaced(env.setup.client().await?, &env.namespace);
    wait_for(format!("the records {expected:#?}"), DEADLINE, async || {
        let mut found: Vec<(i64, String)> = api.list(&ListParams::default()).await?.iter().map(line).collect();
        found.sort();
        let found: Vec<String> = found.into_iter().map(|(_, line)| line).collect();
        if found == expected { Ok(Some(())) } else { Err(format!("{found:#?}"))? }
    })
    .await?;
    Ok(())
}

fn line(record: &DoraDeployment) -> (i64, String) {
    let number = rollout_of(record).map_or(0, |(_, revision)| revision.number);
    let change = record.spec.change.map_or("?", |change| change.as_str());
    (number, format!("{number} {change} {}", record.spec.outcome.as_str()))
}

/// The manifest of the Deployment `web` as `kubectl get --output=json` exports it, without the fields that keep it from
/// being applied again.
async fn export(env: &TestEnv<'_>) -> Result<Value, Error> {
    let mut exported: Value = serde_json::from_str(&env.kubectl("get deployment/web --output=json").await?)?;
    for field in ["resourceVersion", "uid", "creationTimestamp"] {
        exported["metadata"][field] = Value::Null;
    }
    Ok(exported)
}

/// The same with another revision number.
fn with_revision(mut exported: Value, revision: i64) -> String {
    exported["metadata"]["annotations"][REVISION] = json!(revision.to_string());
    exported.to_string()
}

async fn annotate(env: &TestEnv<'_>, revision: i64) -> TestResult {
    env.kubectl(&format!("annotate deployment/web --overwrite {REVISION}={revision}")).await?;
    Ok(())
}

/// Waits until the Deployment controller has corrected the revision number.
async fn until_corrected(env: &TestEnv<'_>, revision: i64) -> TestResult {
    env.until(&format!("revision {revision}"), |web| (revision_of(web) == Some(revision)).then_some(())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_manifest_is_not_a_rollout() -> TestResult {
    let env = TestEnv::new("exported").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    let first = export(&env).await?;
    for (revision, image) in [(2, "app:v2"), (3, "app:v3")] {
        env.kubectl(&format!("set image deployment/web app={image}")).await?;
        env.complete(revision).await?;
    }
    recorded(&env, &["1 Initial Succeeded", "2 Release Succeeded", "3 Release Succeeded"]).await?;
    // A rollout of these revisions would be recorded again.
    let uid = env.web().await?.metadata.uid.unwrap_or_default();
    env.kubectl(&format!("delete ddep/web-1-{} ddep/web-2-{}", &uid[..8], &uid[..8])).await?;
    for wrong in [1, 2, 9, 4] {
        annotate(&env, wrong).await?;
        until_corrected(&env, 3).await?;
    }
    let third = export(&env).await?;
    for wrong in [2, 7] {
        env.kubectl_with_input("replace --filename=-", &with_revision(third.clone(), wrong)).await?;
        until_corrected(&env, 3).await?;
    }
    recorded(&env, &["3 Release Succeeded"]).await?;

    // The export has another template as well, so applying it is a rollback.
    env.kubectl_with_input("apply --filename=-", &with_revision(first, 1)).await?;
    env.complete(4).await?;
    let rolled_back = ["3 Release RolledBack", "4 Rollback Succeeded"];
    recorded(&env, &rolled_back).await?;

    // A new Deployment starts at revision 1, whatever its manifest says.
    env.kubectl("delete deployment/web --cascade=foreground").await?;
    env.kubectl_with_input("create --filename=-", &with_revision(third, 4)).await?;
    env.complete(1).await?;
    recorded(&env, &[&["1 Initial Succeeded"], &rolled_back[..]].concat()).await?;
    env.kubectl("set image deployment/web app=app:v5").await?;
    recorded(&env, &[&["1 Initial Succeeded", "2 Release Succeeded"], &rolled_back[..]].concat()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_revision_changes_no_record_while_it_lasts() -> TestResult {
    let setup = Installation::on_own_cluster().await?;
    let env = TestEnv::on(&setup, "wrong").await?;
    for (revision, image) in [(1, "app:v1"), (2, "app:v2")] {
        env.apply(&Web::image(image)).await?;
        env.complete(revision).await?;
    }
    next_second().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    env.apply(&Web::image("app:v3")).await?;
    recorded(&env, &["3 Release Succeeded"]).await?;
    env.apply(&env.gated(Web::image("app:v4"))).await?;
    let open = ["3 Release Succeeded", "4 Release InProgress"];
    recorded(&env, &open).await?;
    env.stalled(&env.gated(Web::image("app:v4")), 1).await?;

    // Without the Deployment controller, nobody corrects the number.
    setup.stop_component(Component::ControllerManager)?;
    for (wrong, first, second) in [(2, "a1", "a2"), (9, "b1", "b2"), (3, "c1", "c2"), (5, "d1", "d2")] {
        annotate(&env, wrong).await?;
        until_observed(&setup, &controller, first).await?;
        recorded(&env, &open).await?;
        // The next process finds the wrong number in its first list.
        controller.process.kill()?;
        controller = setup.start_controller(&SAME_POD).await?;
        controller.leads().await?;
        until_observed(&setup, &controller, second).await?;
        recorded(&env, &open).await?;
    }
    setup.start_component(Component::ControllerManager).await?;
    until_corrected(&env, 4).await?;
    env.open_gate().await?;
    recorded(&env, &["3 Release Succeeded", "4 Release Succeeded"]).await?;
    env.kubectl("set image deployment/web app=app:v5").await?;
    recorded(&env, &["3 Release Succeeded", "4 Release Succeeded", "5 Release Succeeded"]).await
}

/// Waits until the controller has observed all changes of Deployments so far. It observes them in order, so this creates
/// another Deployment and waits for it.
async fn until_observed(setup: &Installation, controller: &Controller, name: &'static str) -> TestResult {
    setup.apply_in("default", &Web { name, replicas: 0, ..Web::default() }.manifest()).await?;
    let all = Api::<Deployment>::all(setup.client().await?).list(&ListParams::default()).await?.items.len();
    let line = format!("port_dora_indexed_workloads {all}\n");
    wait_for(format!("{line:?} in the metrics"), DEADLINE, async || {
        let (_, metrics) = controller.get("/metrics").await?;
        Ok(metrics.contains(&line).then_some(()))
    })
    .await?;
    Ok(())
}
