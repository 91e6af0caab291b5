//! The selection of Deployments, by the settings and by `dora.port.io/ignore`.

use cluster::DEADLINE;
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{Installation, SAME_POD};
use crate::test_env::TestEnv;
use crate::web::Web;

/// Applies a Deployment with this metadata and these annotations of its pod template, and waits until it is complete.
async fn apply(env: &TestEnv<'_>, name: &'static str, metadata: &Value, template: &Value) -> TestResult {
    let mut manifest: Value = serde_json::from_str(&Web { name, ..Web::default() }.manifest())?;
    for (field, value) in metadata.as_object().into_iter().flatten() {
        manifest["metadata"][field] = value.clone();
    }
    manifest["spec"]["template"]["metadata"]["annotations"] = template.clone();
    env.setup.apply_in(&env.namespace, &manifest.to_string()).await?;
    env.setup.progressing(&env.namespace, name, "NewReplicaSetAvailable").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_selection_deletes_no_records() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let system = TestEnv { setup: &setup, namespace: "kube-system".to_owned() };
    let [team, trial, other] = [
        TestEnv::on(&setup, "team-a").await?,
        TestEnv::on(&setup, "team-trial").await?,
        TestEnv::on(&setup, "other").await?,
    ];
    apply(&system, "web", &json!({}), &json!({})).await?;
    apply(&other, "web", &json!({}), &json!({})).await?;
    let before = other.table(&["web:1 Initial Succeeded success"]).await?;
    other.apply(&Web { name: "open", deadline: 600, ..Web::broken() }).await?;
    other.table(&["open:1 Initial InProgress InProgress", "web:1 Initial Succeeded success"]).await?;

    controller.process.terminate(DEADLINE).await?;
    // The later rollout is recorded, and a controller finishes its writes before it ends. So this one is not recorded.
    system.table(&[]).await?;
    let mut controller = setup
        .start_controller_with_settings(
            "workloads:\n  include: {namespaces: [kube-system, '{team,squad}-*']}\n  exclude: {namespaces: ['team-tr[a-z]al-?*'], labels: {matchLabels: \
             {preview: 'true'}}}\n",
        )
        .await?;
    other.kubectl("set image deployment/web app=app:v2").await?;
    other.complete(2).await?;
    apply(&trial, "web", &json!({}), &json!({})).await?;
    apply(&team, "preview", &json!({"labels": {"preview": "true"}}), &json!({})).await?;
    apply(&team, "web", &json!({"labels": {"preview": "false"}}), &json!({})).await?;
    team.table(&["web:1 Initial Succeeded success"]).await?;
    // Newly included Deployments are reported from the installation on, like missed rollouts.
    system.table(&["web:1 Initial Succeeded success"]).await?;
    // Existing records don't change, and open rollouts are followed to their end.
    let kept = other.table(&["open:1 Initial InProgress InProgress", "web:1 Initial Succeeded success"]).await?;
    assert_eq!(kept[1].version(), before[0].version());
    other.kubectl("delete deployment/open").await?;
    other.table(&["open:1 Initial Abandoned NotPublished", "web:1 Initial Succeeded success"]).await?;

    controller.process.terminate(DEADLINE).await?;
    // If earlier Deployments were selected, they would be recorded by now.
    team.table(&["web:1 Initial Succeeded success"]).await?;
    trial.table(&[]).await?;
    let mut controller = setup
        .start_controller_with_settings(
            "workloads: {include: {labels: {matchExpressions: [{key: tier, operator: In, values: [web, api]}]}}}",
        )
        .await?;
    let api = json!({"labels": {"tier": "api"}});
    apply(&trial, "unlabelled", &json!({}), &json!({})).await?;
    // Without `exclude` in the settings, kube-system is still excluded.
    apply(&system, "labelled", &api, &json!({})).await?;
    apply(&trial, "labelled", &api, &json!({})).await?;
    trial.table(&["labelled:1 Initial Succeeded success"]).await?;
    controller.process.terminate(DEADLINE).await?;
    trial.table(&["labelled:1 Initial Succeeded success"]).await?;
    system.table(&["web:1 Initial Succeeded success"]).await?;
    // This namespace is not deleted with the test, and other tests reuse the cluster.
    system.kubectl("delete deployment/web deployment/labelled").await?;
    system.kubectl("delete ddep --all").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nearest_ignore_annotation_decides() -> TestResult {
    const IGNORE: &str = "dora.port.io/ignore";
    let ignore = |value: &str| json!({IGNORE: value});
    let annotated = |value: &str| json!({"annotations": ignore(value)});
    let env = TestEnv::new("ignore").await?;
    apply(&env, "by-annotation", &annotated("true"), &json!({})).await?;
    apply(&env, "by-label", &json!({"labels": ignore("true")}), &json!({})).await?;
    apply(&env, "by-template", &annotated("false"), &ignore("true")).await?;
    apply(&env, "not-by-template", &annotated("true"), &ignore("false")).await?;
    apply(&env, "misspelt", &annotated("yes"), &json!({})).await?;
    env.table(&["misspelt:1 Initial Succeeded success", "not-by-template:1 Initial Succeeded success"]).await?;
    let note = env.setup.event(&env.namespace, "misspelt", "InvalidMetadata").await?;
    assert!(note.contains(IGNORE) && note.contains(r#""yes""#) && note.contains(r#"write "true""#), "{note}");

    let whole = TestEnv::in_environment("ignored", "whole", &["dora.port.io/ignore=true"], async |whole| {
        apply(whole, "first", &annotated("false"), &json!({})).await?;
        whole.table(&["first:1 Initial Succeeded success"]).await
    })
    .await?;
    apply(&whole, "by-namespace", &json!({}), &json!({})).await?;
    apply(&whole, "nearer", &annotated("false"), &json!({})).await?;
    whole.table(&["first:1 Initial Succeeded success", "nearer:1 Initial Succeeded success"]).await?;

    // The annotation changes: each revision is recorded or ignored by its value at that time.
    apply(&env, "by-annotation", &annotated("false"), &json!({"setting": "2"})).await?;
    apply(&env, "misspelt", &annotated("true"), &json!({"setting": "2"})).await?;
    apply(&env, "misspelt", &annotated("false"), &json!({"setting": "3"})).await?;
    env.table(&[
        "by-annotation:2 Config Succeeded success",
        "misspelt:1 Initial Succeeded success",
        "misspelt:3 Config Succeeded success",
        "not-by-template:1 Initial Succeeded success",
    ])
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_rollout_is_finished_when_ignored() -> TestResult {
    let env = TestEnv::new("open").await?;
    env.apply(&Web { deadline: 600, ..Web::broken() }).await?;
    env.table(&["web:1 Initial InProgress InProgress"]).await?;
    env.kubectl("annotate deployment/web dora.port.io/ignore=true").await?;
    env.reconciled().await?;
    env.kubectl("delete deployment/web").await?;
    env.table(&["web:1 Initial Abandoned NotPublished"]).await?;
    Ok(())
}
