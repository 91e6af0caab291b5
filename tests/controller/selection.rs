//! Which workloads are recorded, by the settings and by `dora.port.io/ignore`.

use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, SAME_POD};
use crate::stage::Stage;
use crate::web::Web;

/// Applies a Deployment with this metadata, and with annotations in its pod template.
async fn apply(stage: &Stage<'_>, name: &'static str, metadata: &Value, template: &Value) -> TestResult {
    let mut manifest: Value = serde_json::from_str(&Web { name, ..Web::default() }.manifest())?;
    for (field, value) in metadata.as_object().into_iter().flatten() {
        manifest["metadata"][field] = value.clone();
    }
    manifest["spec"]["template"]["metadata"]["annotations"] = template.clone();
    stage.on.apply_in(&stage.namespace, &manifest.to_string()).await?;
    stage.on.progressing(&stage.namespace, name, "NewReplicaSetAvailable").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_selection_deletes_no_record() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let system = Stage { on: &on, namespace: "kube-system".to_owned() };
    let [team, trial, other] =
        [Stage::on(&on, "team-a").await?, Stage::on(&on, "team-trial").await?, Stage::on(&on, "other").await?];
    apply(&system, "web", &json!({}), &json!({})).await?;
    apply(&other, "web", &json!({}), &json!({})).await?;
    let before = other.table(&["web:1 Initial Succeeded success"]).await?;
    other.apply(&Web { name: "open", deadline: 600, ..Web::broken() }).await?;
    other.table(&["open:1 Initial InProgress InProgress", "web:1 Initial Succeeded success"]).await?;

    controller.process.terminate(DEADLINE).await?;
    // The later rollout is recorded, and a controller that stops finishes its writes. So the earlier one would be recorded, too.
    system.table(&[]).await?;
    let mut controller = on
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
    // A workload that is newly included is recorded from the installation on, like a rollout that was missed.
    system.table(&["web:1 Initial Succeeded success"]).await?;
    // Existing records stay unchanged, and open rollouts are followed to their end.
    let kept = other.table(&["open:1 Initial InProgress InProgress", "web:1 Initial Succeeded success"]).await?;
    assert_eq!(kept[1].version(), before[0].version());
    other.kubectl("delete deployment/open").await?;
    other.table(&["open:1 Initial Abandoned NotPublished", "web:1 Initial Succeeded success"]).await?;

    controller.process.terminate(DEADLINE).await?;
    // The Deployments before the last one of the team would be recorded by now if they were selected.
    team.table(&["web:1 Initial Succeeded success"]).await?;
    trial.table(&[]).await?;
    let mut controller = on
        .start_controller_with_settings(
            "workloads: {include: {labels: {matchExpressions: [{key: tier, operator: In, values: [web, api]}]}}}",
        )
        .await?;
    let api = json!({"labels": {"tier": "api"}});
    apply(&trial, "unlabelled", &json!({}), &json!({})).await?;
    // Without `exclude` in the settings, kube-system stays excluded.
    apply(&system, "labelled", &api, &json!({})).await?;
    apply(&trial, "labelled", &api, &json!({})).await?;
    trial.table(&["labelled:1 Initial Succeeded success"]).await?;
    controller.process.terminate(DEADLINE).await?;
    trial.table(&["labelled:1 Initial Succeeded success"]).await?;
    system.table(&["web:1 Initial Succeeded success"]).await?;
    // The namespace stays in the cluster, which other tests use.
    system.kubectl("delete deployment/web deployment/labelled").await?;
    system.kubectl("delete ddep --all").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nearest_ignore_takes_precedence() -> TestResult {
    const IGNORE: &str = "dora.port.io/ignore";
    let says = |value: &str| json!({IGNORE: value});
    let annotated = |value: &str| json!({"annotations": says(value)});
    let stage = Stage::open("ignore").await?;
    apply(&stage, "by-annotation", &annotated("true"), &json!({})).await?;
    apply(&stage, "by-label", &json!({"labels": says("true")}), &json!({})).await?;
    apply(&stage, "by-template", &annotated("false"), &says("true")).await?;
    apply(&stage, "not-by-template", &annotated("true"), &says("false")).await?;
    apply(&stage, "misspelt", &annotated("yes"), &json!({})).await?;
    stage.table(&["misspelt:1 Initial Succeeded success", "not-by-template:1 Initial Succeeded success"]).await?;
    let note = stage.on.event(&stage.namespace, "misspelt", "InvalidMetadata").await?;
    assert!(note.contains(IGNORE) && note.contains(r#""yes""#) && note.contains(r#"write "true""#), "{note}");

    let whole = Stage::open_in("ignored", "whole", &["dora.port.io/ignore=true"], async |whole| {
        apply(whole, "first", &annotated("false"), &json!({})).await?;
        whole.table(&["first:1 Initial Succeeded success"]).await
    })
    .await?;
    apply(&whole, "by-namespace", &json!({}), &json!({})).await?;
    apply(&whole, "nearer", &annotated("false"), &json!({})).await?;
    whole.table(&["first:1 Initial Succeeded success", "nearer:1 Initial Succeeded success"]).await?;

    // A change of the annotation applies to later revisions only.
    apply(&stage, "by-annotation", &annotated("false"), &json!({"setting": "2"})).await?;
    apply(&stage, "misspelt", &annotated("true"), &json!({"setting": "2"})).await?;
    apply(&stage, "misspelt", &annotated("false"), &json!({"setting": "3"})).await?;
    stage
        .table(&[
            "by-annotation:2 Config Succeeded success",
            "misspelt:1 Initial Succeeded success",
            "misspelt:3 Config Succeeded success",
            "not-by-template:1 Initial Succeeded success",
        ])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_rollout_is_followed_to_its_end() -> TestResult {
    let stage = Stage::open("begun").await?;
    stage.apply(&Web { deadline: 600, ..Web::broken() }).await?;
    stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    stage.kubectl("annotate deployment/web dora.port.io/ignore=true").await?;
    stage.settled().await?;
    stage.kubectl("delete deployment/web").await?;
    stage.table(&["web:1 Initial Abandoned NotPublished"]).await?;
    Ok(())
}
